"""negligible-loss: against its matched rival the arm deviates little, and its loss is of negligible d.

Required: the arm's deviation is below theta times the rival's, the d of its loss is below 0.2, and no rare failure
hides behind the mean. Contradicted by a loss whose d is beyond 0.2. Whether the loss is within the metric's smallest
effect (TOST) is shown beside it.
"""

import math

from sam_lsac.claims.cells import loss, within_share
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import (
    NEGLIGIBLE_D,
    cells,
    effects,
    harm,
    labelled,
    n_cells,
    summary,
    within_margin,
)
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context
from sam_lsac.claims.wording import measured

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        for arm, rival in zip(claim.arms, claim.rivals, strict=True):
            where = {"tier": tier, "metric": metric, "arm": arm}
            own = loss(claim, ledger, **where)
            found += [
                within_share(claim, ledger, rival=rival, **where).evidence(),
                labelled(own, low=-math.inf, high=NEGLIGIBLE_D, note=_absolute(own)),
                harm(claim, ledger, rival=rival, **where),
            ]
    return found


def _absolute(own: Contrast) -> str:
    """Return in words whether the loss is within the smallest effect, which decides nothing."""
    status, _ = within_margin(own, margin=own.floor)
    words = {"supported": "shown", "refuted": "shown not"}.get(status, "not shown")
    return f"{words} to be within {measured(own.floor, own.metric, digits='g')}; "


KIND = Kind(
    name="negligible-loss",
    find=_find,
    reason=summary,
    headline=effects,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.arms),
    measures=True,
    early=frozenset({"refuted"}),
    needs=PAIRED | {"rivals"},
    parallel=True,
)
