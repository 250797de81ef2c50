"""saved-share: what an arm saves on every cost axis beside the paper's figure, shown and not judged.

It is arithmetic of thresholds that are a choice where the paper's are lost, so it can neither support nor refute.
"""

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Kind
from sam_lsac.claims.kinds._costs import costs_of
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import AXIS_NAMES, figure, percent

__all__ = ["KIND"]


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Evidence]:
    (arm,) = claim.arms
    cost = costs_of(claim, context)[arm]
    shares = {axis: getattr(cost, axis) for axis in AXIS_NAMES}
    return [
        Evidence(
            finding=Finding(
                quantity="saved share", arm=arm, estimate=share, axis=axis, paper=claim.figure(arm=arm) or claim.paper
            )
        )
        for axis, share in shares.items()
        if share is not None
    ]


def _reason(claim: Claim, findings: Findings) -> str:
    words = ", ".join(f"{percent(one.estimate)} of {AXIS_NAMES[one.axis]}" for one in findings)
    return f"{claim.arms[0]} saves {words}; the paper says {claim.paper or 'no figure'}. Arithmetic, not judged."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    return tuple(f"{figure(one)} of {AXIS_NAMES[one.axis]}" for one in findings)


KIND = Kind(
    name="saved-share",
    find=_find,
    reason=_reason,
    headline=_headline,
    shows=True,
    needs=frozenset({"arms"}),
    exactly={"arms": 1},
)
