"""layer-response: the layer of the last metric responds, and that of the first does not.

Required: the first layer's change is within the relative margin (TOST on its logarithm), the last one's rises, and
rises by more than the first one's. Contradicted by a first layer beyond the margin, or a change of the last, or
between the two, the other way. Whether the paper's factor lies inside our interval is shown beside it.
"""

from dataclasses import replace

import numpy as np

from sam_lsac.claims.cells import log_change
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast, usable
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._factors import as_factor, unmoved
from sam_lsac.claims.kinds._shared import Findings, Lines, factor_words
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context
from sam_lsac.claims.wording import figure, number, p_text

__all__ = ["KIND"]

BETWEEN = "log ratio between layers"


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    (arm,) = claim.arms
    found: list[Evidence] = []
    for tier in claim.tiers:
        still, moving = (log_change(claim, ledger, tier=tier, metric=metric, arm=arm) for metric in claim.metrics)
        between = _between(claim, ledger, still=still, moving=moving)
        found += [unmoved(still), as_factor(moving), between.evidence()]
    return found


def _between(claim: Claim, ledger: Ledger, *, still: Contrast, moving: Contrast) -> Contrast:
    """Return the change of the moving layer less that of the still one, over mixtures that have both."""
    arm, versus = still.arm, still.versus
    points = ledger.points(
        [(cell.metric, arm) for cell in (still, moving)],
        [(cell.metric, versus) for cell in (still, moving)],
        tier=still.tier,
    )
    changes = np.log(points.first) - np.log(points.second)  # two a mixture: of the still layer, of the moving one
    pairs = replace(
        points,
        mixtures=points.mixtures[::2],
        groups=points.groups[::2],
        residual_groups=points.residual_groups[::2],
        first=changes[1::2],
        second=changes[::2],
    )
    usable(pairs, f"{still.metric} and {moving.metric} of {arm} on {still.tier}", claim=claim)
    return replace(moving, quantity=BETWEEN, versus=still.metric, pairs=pairs, figures=pairs.first - pairs.second)


def _reason(claim: Claim, findings: Findings) -> str:
    within = f"TOST within {claim.given('margin'):.0%}: "
    words = []
    for tier in dict.fromkeys(one.tier for one in findings):
        still, moving, between = (one for one in findings if one.tier == tier)
        words.append(
            f"{factor_words(still, test=within)}; {factor_words(moving)}; apart by "
            f"{number(between.estimate, signed=True)} in logarithm ({p_text(between.p_adjusted)})"
        )
    return f"{'; '.join(words)}."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    factors = [one for one in findings if one.quantity == "factor"]
    return tuple(f"{one.tier} {one.metric.split('/')[-1]} {figure(one)}" for one in factors)


KIND = Kind(
    name="layer-response",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_contradictions=lambda claim: 4 * len(claim.tiers),
    needs=PAIRED | {"margin"},
    may=frozenset({"sizes"}),
    exactly={"arms": 1, "metrics": 2},
)
