"""labelled-loss: there is a loss, and its d carries Cohen's label that the claim names.

Required: the loss is shown, and the bounds of d lie inside the label. Contradicted by a gain, or by a d outside the
label.
"""

import math

from sam_lsac.claims.cells import loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import cells, effects, labelled, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context
from sam_lsac.statistics.effect import LABELS

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    place = [name for name, _ in LABELS].index(str(claim.label))
    low, high = LABELS[place - 1][1], LABELS[place][1]
    room = f"a {claim.label} d is {'at least ' if math.isinf(high) else ''}{low:g}"
    room += ": " if math.isinf(high) else f" to {high:g}: "
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        for arm in claim.arms:
            own = loss(claim, ledger, tier=tier, metric=metric, arm=arm)
            found += [own.evidence(note="is there a loss"), labelled(own, low=low, high=high, note=room)]
    return found


KIND = Kind(
    name="labelled-loss",
    find=_find,
    reason=summary,
    headline=effects,
    n_contradictions=lambda claim: 3 * n_cells(claim) * len(claim.arms),
    measures=True,
    needs=PAIRED | {"label"},
    choices={"label": tuple(name for name, _ in LABELS[1:])},
)
