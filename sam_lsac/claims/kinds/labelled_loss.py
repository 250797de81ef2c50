"""labelled-loss: the loss is significant, and its d carries Cohen's label that the claim names.

Refuted by a significant gain, or where the interval of d (at the family's level) leaves no room for the label.
"""

from sam_lsac.claims.cells import Cell
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import effects, n_cells, own_losses, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.statistics import paired_test
from sam_lsac.statistics.paired import LABELS

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    found = []
    for cell in own_losses(claim, ledger):
        status, note = _judged(cell)
        found.append(cell.finding(status=status, note=note))
    return found


def _judged(cell: Cell) -> tuple[Status, str]:
    label = str(cell.claim.label)
    place = [name for name, _ in LABELS].index(label)
    low, high = LABELS[place - 1][1], LABELS[place][1]
    wide = paired_test(cell.pairs.first, cell.pairs.second, alpha=cell.claim.family_alpha)
    room = f"d between {wide.d_low:.2f} and {wide.d_high:.2f} within the family"
    if cell.sign < 0:
        return "refuted", "a significant gain, not a loss"
    if wide.d_high < low or wide.d_low >= high:
        return "refuted", f"not a {label} effect ({room})"
    if cell.sign > 0 and low <= cell.test.d < high:
        return "supported", f"a significant loss with a {label} effect ({room})"
    return "inconclusive", f"a {label} effect is neither found nor ruled out ({room})"


KIND = Kind(
    name="labelled-loss",
    find=_find,
    reason=summary,
    headline=effects,
    n_tests=lambda claim: 2 * n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"label"},
    choices={"label": tuple(name for name, _ in LABELS[1:])},
)
