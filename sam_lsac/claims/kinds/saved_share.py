"""saved-share: the saved share is within the stated absolute tolerance of the paper's figure, else refuted.

The axis of `targets` decides; the others are shown.
"""

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Kind
from sam_lsac.claims.kinds._costs import SAME_COST, costs_of
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import AXIS_NAMES, figure, percent

__all__ = ["KIND"]


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Finding]:
    (arm,) = claim.arms
    ((_, target),) = claim.targets.items()
    cost = costs_of(claim, context)[arm]
    shares = {axis: getattr(cost, axis) for axis in AXIS_NAMES}
    return [
        Finding(
            quantity="saved share",
            arm=arm,
            estimate=share,
            axis=axis,
            paper=claim.figure(arm=arm),
            status="supported" if abs(share - target) <= claim.given("tolerance") + SAME_COST else "refuted",
        )
        for axis, share in shares.items()
        if share is not None
    ]


def _reason(claim: Claim, findings: Findings) -> str:
    ((axis, target),) = claim.targets.items()
    words = ", ".join(f"{percent(one.estimate)} of {AXIS_NAMES[one.axis]}" for one in findings)
    return (
        f"{claim.arms[0]} saves {words}; the paper says about {target:.0%}, judged within "
        f"{100 * claim.given('tolerance'):g} percentage points by {AXIS_NAMES[axis]}."
    )


def _headline(_claim: Claim, findings: Findings) -> Lines:
    return tuple(f"{figure(one)} of {AXIS_NAMES[one.axis]}" for one in findings)


KIND = Kind(
    name="saved-share",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_tests=lambda _: 0,
    decides=lambda claim, finding: finding.axis in claim.targets,
    needs=frozenset({"arms", "targets", "tolerance"}),
    choices={"targets": tuple(AXIS_NAMES)},
    exactly={"arms": 1, "targets": 1},
)
