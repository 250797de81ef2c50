"""ratio-change: the quantity, positive in every mixture, rises (or falls) against the baseline.

A contrast of logarithms, because the change is reported as a factor. Contradicted by a change the other way. Whether
the paper's factor lies inside our interval is shown beside the direction.
"""

from sam_lsac.claims.cells import log_change
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._factors import as_factor
from sam_lsac.claims.kinds._shared import Findings, cells, each, factor_words, n_cells
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context

__all__ = ["KIND"]

DIRECTIONS = {"increase": 1, "decrease": -1}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    wanted = DIRECTIONS[str(claim.direction)]
    return [
        as_factor(log_change(claim, ledger, tier=tier, metric=metric, arm=arm, wanted=wanted))
        for tier, metric in cells(claim)
        for arm in claim.arms
    ]


def _reason(claim: Claim, findings: Findings) -> str:
    return f"{'; '.join(map(factor_words, findings))}; the paper: {claim.paper or 'no figure'}."


KIND = Kind(
    name="ratio-change",
    find=_find,
    reason=_reason,
    headline=each,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"direction"},
    may=frozenset({"sizes"}),
    choices={"direction": tuple(DIRECTIONS)},
)
