"""layer-response: the layer of the last metric responds, and that of the first does not.

Supported where the logarithmic change of the last metric is significantly larger than that of the first, the last one
rises significantly, and the first is shown equal to its baseline within the relative margin (TOST). Refuted where the
first rises significantly more, or is shown beyond the margin, or the last one falls.
"""

from dataclasses import replace

import numpy as np

from sam_lsac.claims.cells import Cell, log_change, usable
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._factors import as_factor, unmoved
from sam_lsac.claims.kinds._shared import MORE_IS_CLAIMED, Findings, Lines, factor_words
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, number, p_text
from sam_lsac.statistics import paired_test

__all__ = ["KIND"]

BETWEEN = "log ratio between layers"


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    (arm,) = claim.arms
    findings = []
    for tier in claim.tiers:
        still, moving = (log_change(claim, ledger, tier=tier, metric=metric, arm=arm) for metric in claim.metrics)
        between = _between(claim, ledger, still=still, moving=moving)
        findings += [
            unmoved(still),
            as_factor(moving, MORE_IS_CLAIMED[moving.sign]),
            between.finding(status=MORE_IS_CLAIMED[between.sign]),
        ]
    return findings


def _between(claim: Claim, ledger: Ledger, *, still: Cell, moving: Cell) -> Cell:
    """Return the change of the moving layer less that of the still one, over mixtures that have both."""
    arm, versus = still.arm, still.versus
    points = ledger.points(
        [(cell.metric, arm) for cell in (still, moving)],
        [(cell.metric, versus) for cell in (still, moving)],
        tier=still.tier,
    )
    changes = np.log(points.first) - np.log(points.second)  # two a mixture: of the still layer, of the moving one
    pairs = replace(
        points, mixtures=points.mixtures[::2], groups=points.groups[::2], first=changes[1::2], second=changes[::2]
    )
    usable(pairs, f"{still.metric} and {moving.metric} of {arm} on {still.tier}")
    test = paired_test(pairs.first, pairs.second, alpha=claim.alpha)
    return replace(moving, quantity=BETWEEN, versus=still.metric, pairs=pairs, test=test)


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
    n_tests=lambda claim: 4 * len(claim.tiers),
    needs=PAIRED | {"margin"},
    exactly={"arms": 1, "metrics": 2},
)
