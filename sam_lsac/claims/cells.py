"""From a claim's cells to contrasts: the comparisons that the kinds of judgement share (docs/verdicts.md).

A loss is by how much an arm is worse than its baseline: baseline - arm for a metric that is better when higher, arm -
baseline for one that is better when lower, so that positive is always worse. A deviation is the magnitude of the
difference, taken per mixture and noise before averaging.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast, usable
from sam_lsac.claims.kind import UndecidedError
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.metrics import column

__all__ = ["better", "deviates_less", "log_change", "loses_more", "loss", "within_share"]

STILL = 1e-4  # of the smallest effect: so little may be rounding


def loss(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str) -> Contrast:
    """Return the loss of `arm` against its baseline, of which the claim says that there is one.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable, or the arm changed nothing.
    """
    baseline = claim.baseline_of(arm)
    pairs = ledger.losses(metric, arm=arm, baseline=baseline, tier=tier)
    usable(pairs, f"{metric} of {arm} and {baseline} on {tier}", claim=claim)
    figures = pairs.first - pairs.second
    _moved(figures, arm=arm, baseline=baseline, tier=tier, floor=claim.smallest(metric))
    return Contrast(
        claim=claim,
        quantity="loss",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=baseline,
        pairs=pairs,
        figures=figures,
        floor=claim.smallest(metric),
    )


def loses_more(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Contrast:
    """Return by how much `rival` loses more than `arm`, of which the claim says that it does.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable, or an arm changed nothing.
    """
    pairs = _beside(claim, ledger, "rivals", tier=tier, metric=metric, arm=arm, rival=rival)
    return Contrast(
        claim=claim,
        quantity="loss difference",
        tier=tier,
        metric=metric,
        arm=rival,
        versus=arm,
        pairs=pairs,
        figures=pairs.first - pairs.second,
        floor=claim.smallest(metric),
    )


def deviates_less(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Contrast:
    """Return by how much `arm` deviates more than `rival` from the baseline: below zero, says the claim.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable, or an arm changed nothing.
    """
    pairs = _beside(claim, ledger, "deviations", tier=tier, metric=metric, arm=arm, rival=rival)
    larger = float(max(pairs.first.mean(), pairs.second.mean()))
    return Contrast(
        claim=claim,
        quantity="deviation difference",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=rival,
        pairs=pairs,
        figures=pairs.first - pairs.second,
        wanted=-1,
        floor=larger * (1.0 - 1.0 / claim.settings.smallest_factor),
    )


def within_share(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Contrast:
    """Return the deviation of `arm` less theta times that of `rival`: below zero, says the claim.

    Above zero refutes nothing by itself.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable, or an arm changed nothing.
    """
    pairs = _beside(claim, ledger, "deviations", tier=tier, metric=metric, arm=arm, rival=rival)
    return Contrast(
        claim=claim,
        quantity=f"deviation beyond {claim.settings.theta:g} of the rival's",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=rival,
        pairs=pairs,
        figures=pairs.first - claim.settings.theta * pairs.second,
        wanted=-1,
        refutes=False,
    )


def better(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Contrast:
    """Return by how much `arm` is better than `rival` in a metric that itself compares with the full solve.

    Above zero, says the claim.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable.
    """
    pairs = ledger.abreast(metric, arm=arm, rival=rival, tier=tier)
    usable(pairs, f"{metric} of {arm} and {rival} on {tier}", claim=claim)
    difference = pairs.first - pairs.second
    return Contrast(
        claim=claim,
        quantity="lead",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=rival,
        pairs=pairs,
        figures=difference if column(metric).higher_is_better else -difference,
        floor=claim.smallest(metric),
    )


def log_change(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, wanted: int = 1) -> Contrast:
    """Return the logarithm of `arm` less that of its baseline, of a quantity that is positive in every mixture.

    Raises
    ------
    UndecidedError
        If too few mixtures are usable, a figure is not above zero, or the arm changed nothing.
    """
    baseline = claim.baseline_of(arm)
    pairs = ledger.paired(metric, arm=arm, baseline=baseline, tier=tier)
    usable(pairs, f"{metric} of {arm} and {baseline} on {tier}", claim=claim)
    if min(pairs.first.min(), pairs.second.min()) <= 0.0:
        raise UndecidedError(
            "inconclusive", f"{metric} on {tier} must be above zero in every mixture to be compared as a factor."
        )
    logs = replace(pairs, first=np.log(pairs.first), second=np.log(pairs.second))
    figures = logs.first - logs.second
    floor = float(np.log(claim.settings.smallest_factor))
    _moved(figures, arm=arm, baseline=baseline, tier=tier, floor=floor)
    return Contrast(
        claim=claim,
        quantity="log ratio",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=baseline,
        pairs=logs,
        figures=figures,
        wanted=wanted,
        floor=floor,
    )


def _beside(claim: Claim, ledger: Ledger, score: str, *, tier: str, metric: str, arm: str, rival: str) -> Pairs:
    """Return the pairs of an arm and a rival under their baselines by the method of `Ledger` that `score` names."""
    baseline = claim.baseline_of(arm)
    method = getattr(ledger, score)
    pairs: Pairs = method(metric, arm=arm, rival=rival, baseline=baseline, tier=tier)
    usable(pairs, f"{metric} of {arm}, {rival} and {baseline} on {tier}", claim=claim)
    scores: Mapping[str, NDArray[np.float64]] = (
        {arm: pairs.first, rival: pairs.second} if score == "deviations" else {rival: pairs.first, arm: pairs.second}
    )
    for name, figures in scores.items():
        _moved(figures, arm=name, baseline=baseline, tier=tier, floor=claim.smallest(metric))
    return pairs


def _moved(figures: NDArray[np.float64], *, arm: str, baseline: str, tier: str, floor: float) -> None:
    """Raise where an arm equals its baseline, but for rounding, on half of the mixtures or more."""
    still = int((np.abs(figures) <= STILL * floor).sum())
    if 2 * still >= figures.size:
        raise UndecidedError(
            "inconclusive",
            f"{arm} changed nothing on {still} of {figures.size} mixtures of {tier}: it equals {baseline} there, "
            "which is no evidence.",
        )
