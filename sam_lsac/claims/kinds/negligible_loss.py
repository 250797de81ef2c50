"""negligible-loss: the loss is shown to be within the margin (TOST), and d is not shown to be beyond 0.2.

Refuted where the loss is shown to exceed the margin, or |d| to exceed 0.2.
"""

import math

from sam_lsac.claims.cells import Cell
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import NEGLIGIBLE_D, effects, n_cells, own_losses, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.claims.wording import measured, p_text

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    found = []
    for cell in own_losses(claim, ledger):
        status, note = _judged(cell)
        found.append(cell.finding(status=status, note=note))
    return found


def _judged(cell: Cell) -> tuple[Status, str]:
    test = cell.equivalence(cell.margin)
    within = measured(cell.margin, cell.metric, digits="g")
    if cell.shows(test.p_beyond):
        return "refuted", f"larger than {within}"
    if cell.shows(cell.test.p_d_beyond(math.copysign(NEGLIGIBLE_D, cell.test.t))):
        return "refuted", f"an effect larger than negligible (|d| > {NEGLIGIBLE_D:g})"
    p = p_text(cell.claim.adjusted(test.p))
    if cell.shows(test.p):
        return "supported", f"shown to be within {within} ({p})"
    return "inconclusive", f"not shown to be within {within} ({p})"


KIND = Kind(
    name="negligible-loss",
    find=_find,
    reason=summary,
    headline=effects,
    n_tests=lambda claim: 3 * n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"margin"},
)
