"""ratio-change: the quantity, positive in every mixture, rises (or falls) against the baseline.

A paired t-test on its logarithm, because the change is reported as a factor. Refuted where it changes significantly
the other way.
"""

from sam_lsac.claims.cells import log_change
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._factors import as_factor
from sam_lsac.claims.kinds._shared import MORE_IS_CLAIMED, Findings, each, factor_words, n_cells
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding

__all__ = ["KIND"]

DIRECTIONS = {"increase": 1, "decrease": -1}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    wanted = DIRECTIONS[str(claim.direction)]
    cells = [
        log_change(claim, ledger, tier=tier, metric=metric, arm=arm)
        for tier in claim.tiers
        for metric in claim.metrics
        for arm in claim.arms
    ]
    return [as_factor(cell, MORE_IS_CLAIMED[wanted * cell.sign]) for cell in cells]


def _reason(claim: Claim, findings: Findings) -> str:
    return f"{'; '.join(map(factor_words, findings))}; the paper: {claim.paper or 'no figure'}."


KIND = Kind(
    name="ratio-change",
    find=_find,
    reason=_reason,
    headline=each,
    n_tests=lambda claim: n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"direction"},
    choices={"direction": tuple(DIRECTIONS)},
)
