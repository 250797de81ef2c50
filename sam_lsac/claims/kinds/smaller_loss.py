"""smaller-loss: each arm's score (signed loss, or deviation) is significantly smaller than that of the rival beside it.

Refuted where it is significantly larger. The mean scores, and the ratio of two deviations, are shown beside it.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import Cell, deviation_difference, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import LESS_IS_CLAIMED, Findings, Lines, judged, n_cells
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, measured, number, p_text
from sam_lsac.errors import InputError
from sam_lsac.statistics import mean_interval, ratio_interval

__all__ = ["KIND"]

VERBS = {"loss": "loses", "deviation": "deviates"}
HOW = {
    "supported": "significantly less",
    "inconclusive": "not significantly different",
    "refuted": "significantly more",
}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    findings: list[Finding] = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for arm, rival in zip(claim.arms, claim.rivals, strict=True):
                findings += _compared(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
    return findings


def _compared(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> list[Finding]:
    """Return the mean scores of arm and rival, their difference, and the ratio of deviations."""
    if claim.score == "deviation":
        cell = deviation_difference(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
        scores = {arm: cell.pairs.first, rival: cell.pairs.second}
        ratio = _ratio(claim, cell, paper=claim.figure(tier=tier, arm="ratio"))
    else:
        cell = loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=rival)
        base = claim.baselines[0]
        scores = {
            one: loss(claim, ledger, tier=tier, metric=metric, arm=one, versus=base).difference for one in (arm, rival)
        }
        ratio = []
    means = [_mean_score(cell, one, values) for one, values in scores.items()]
    return [*means, cell.finding(status=LESS_IS_CLAIMED[cell.sign]), *ratio]


def _mean_score(cell: Cell, arm: str, values: NDArray[np.float64]) -> Finding:
    """Return the mean loss or deviation of one arm with its bootstrap interval."""
    claim = cell.claim
    mean = mean_interval(
        values,
        level=1 - claim.alpha,
        method="bca",
        seed=claim.settings.bootstrap_seed,
        n_resamples=claim.settings.bootstrap_resamples,
    )
    return Finding(
        quantity=str(claim.score),
        tier=cell.tier,
        metric=cell.metric,
        arm=arm,
        versus=claim.baselines[0],
        estimate=mean.estimate,
        ci_low=mean.low,
        ci_high=mean.high,
        n=mean.n,
        n_dropped=cell.pairs.n_dropped,
        paper=claim.figure(tier=cell.tier, arm=arm),
    )


def _ratio(claim: Claim, cell: Cell, *, paper: str) -> list[Finding]:
    """Return rival / arm with its bootstrap interval, where every deviation is above zero."""
    try:
        ratio = ratio_interval(
            cell.pairs.second,
            cell.pairs.first,
            level=1 - claim.alpha,
            seed=claim.settings.bootstrap_seed,
            n_resamples=claim.settings.bootstrap_resamples,
        )
    except InputError:  # a deviation of exactly zero: the two means say it all
        return []
    return [
        Finding(
            quantity="ratio",
            tier=cell.tier,
            metric=cell.metric,
            arm=cell.versus,
            versus=cell.arm,
            n=ratio.n,
            estimate=ratio.estimate,
            ci_low=ratio.low,
            ci_high=ratio.high,
            n_dropped=cell.pairs.n_dropped,
            paper=paper,
        )
    ]


def _reason(claim: Claim, findings: Findings) -> str:
    return " ".join(_sentence(claim, findings, decisive) for decisive in judged(findings))


def _sentence(claim: Claim, findings: Findings, decisive: Finding) -> str:
    here = [one for one in findings if (one.tier, one.metric) == (decisive.tier, decisive.metric) and not one.status]
    own, rival = (
        next(measured(one.estimate, one.metric) for one in here if one.quantity == claim.score and one.arm == arm)
        for arm in (decisive.arm, decisive.versus)
    )
    ratio = "".join(_ratio_words(claim, here, decisive))
    return (
        f"On {decisive.tier}, {decisive.arm} {VERBS[str(claim.score)]} {own} and {decisive.versus} {rival} in "
        f"{decisive.metric}{ratio}: {HOW[str(decisive.status)]} ({p_text(decisive.p_adjusted)}, n = {decisive.n})."
    )


def _ratio_words(claim: Claim, findings: Findings, decisive: Finding) -> Iterable[str]:
    for one in findings:
        if one.quantity == "ratio" and (one.arm, one.versus) == (decisive.versus, decisive.arm):
            level = 100 * (1 - claim.alpha)
            yield f" ({number(one.estimate)} times, {level:g} % CI {number(one.ci_low)} to {number(one.ci_high)})"


def _headline(claim: Claim, findings: Findings) -> Lines:
    """Arm, rival and their ratio, tier by tier."""
    lines = []
    for tier in dict.fromkeys(one.tier for one in findings):
        here = [one for one in findings if one.tier == tier]
        scores = [figure(one) for one in here if one.quantity == claim.score and not one.status]
        lines.append(f"{tier} {' against '.join(scores)}")
        lines += [f"{tier} ratio {figure(one)}" for one in here if one.quantity == "ratio"]
    return tuple(lines)


KIND = Kind(
    name="smaller-loss",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_tests=lambda claim: n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"rivals", "score"},
    choices={"score": tuple(VERBS)},
    parallel=True,
)
