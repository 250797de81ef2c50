"""Kinds that judge how much an arm loses, or deviates, on every tier and metric of the claim.

================  ==================================================================================================
kind              supported where, in every cell (refuted where any cell shows the opposite)
================  ==================================================================================================
smaller-loss      each arm's score (signed loss, or deviation) is significantly smaller than its rival's;
                  refuted: significantly larger
no-loss           no arm has a significant loss and each is shown equivalent to its baseline (TOST); every rival
                  has a significant loss; refuted: an arm has a significant loss, or a rival has none in the strong
                  sense (equivalent, or significantly better)
negligible-loss   the loss is shown to be within the margin (TOST) and d is not shown to be beyond 0.2; refuted: the
                  loss is shown to exceed the margin, or d 0.2
labelled-loss     the loss is significant and d carries Cohen's label of the claim; refuted: a significant gain, or
                  an interval of d (within the family) that leaves no room for the label
equivalent        each arm is shown to stay within the margin of its own baseline; refuted: shown to exceed it
================  ==================================================================================================

"Significant" and "shown" mean p < alpha after Bonferroni over the claim's family. A p value that is not significant
supports nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import Cell, conclude, deviation_difference, loss, p_text, summarise
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status, Verdict
from sam_lsac.errors import InputError
from sam_lsac.metrics import column
from sam_lsac.statistics import mean_interval, paired_test, pairs_needed, ratio_interval
from sam_lsac.statistics.paired import LABELS

__all__ = ["equivalent", "labelled_loss", "negligible_loss", "no_loss", "smaller_loss"]

NEGLIGIBLE_D = LABELS[0][1]
BY_SIGN: dict[int, Status] = {-1: "supported", 0: "inconclusive", 1: "refuted"}


def smaller_loss(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge whether each arm loses (or deviates) less than the rival beside it."""
    findings: list[Finding] = []
    reasons: list[str] = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for arm, rival in zip(claim.arms, claim.rivals, strict=True):
                shown, reason = _one_smaller(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
                findings += shown
                reasons.append(reason)
    return conclude(claim, " ".join(reasons), findings)


def _one_smaller(
    claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str
) -> tuple[list[Finding], str]:
    if claim.score == "deviation":
        cell = deviation_difference(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
        scores = {arm: cell.pairs.treated, rival: cell.pairs.baseline}
    else:
        cell = loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=rival)
        own = [
            loss(claim, ledger, tier=tier, metric=metric, arm=each, versus=claim.baselines[0]).pairs
            for each in (arm, rival)
        ]
        scores = {each: pairs.baseline - pairs.treated for each, pairs in zip((arm, rival), own, strict=True)}
    means = [_mean_score(cell, each, values) for each, values in scores.items()]
    ratio, ratio_text = _ratio(claim, cell, paper=claim.figure(tier=tier, arm="ratio"))
    verb = "deviates" if claim.score == "deviation" else "loses"
    how = {-1: "significantly less", 0: "not significantly different", 1: "significantly more"}[cell.sign]
    words = [column(metric).text(mean.estimate or 0.0) for mean in means]
    reason = (
        f"On {tier}, {arm} {verb} {words[0]} and {rival} {words[1]} in {metric}{ratio_text}: {how} "
        f"({p_text(cell.adjusted(cell.test.p))}, n = {cell.pairs.n})."
    )
    return [*means, cell.finding(status=BY_SIGN[cell.sign]), *ratio], reason


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
        quantity=claim.score or "loss",
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


def _ratio(claim: Claim, cell: Cell, *, paper: str) -> tuple[list[Finding], str]:
    """Return rival / arm with its bootstrap interval, where every deviation is above zero."""
    if claim.score != "deviation":
        return [], ""
    try:
        ratio = ratio_interval(
            cell.pairs.baseline,
            cell.pairs.treated,
            level=1 - claim.alpha,
            seed=claim.settings.bootstrap_seed,
            n_resamples=claim.settings.bootstrap_resamples,
        )
    except InputError:  # a deviation of exactly zero: the two means say it all
        return [], ""
    finding = Finding(
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
    text = f" ({ratio.estimate:.2f} times, {100 * ratio.level:g} % CI {ratio.low:.2f} to {ratio.high:.2f})"
    return [finding], text


def no_loss(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that arms lose nothing while every rival does."""
    judged = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for arm in (*claim.arms, *claim.rivals):
                cell = loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=claim.baselines[0])
                judged.append((cell, *(_unharmed(cell) if arm in claim.arms else _harmed(cell))))
    return _verdict(claim, judged)


def _unharmed(cell: Cell) -> tuple[Status, str]:
    margin = cell.claim.margin or 0.0
    test = cell.equivalence(margin)
    shown = cell.adjusted(test.p) < cell.claim.alpha
    words = f"TOST within {column(cell.metric).text(margin, digits='g')}: {p_text(cell.adjusted(test.p))}"
    if cell.sign > 0:
        size = "although equivalent within the margin" if shown else "and not shown to be within the margin"
        return "refuted", f"a significant loss, {size} ({words})"
    if shown:
        return "supported", f"no significant loss, and equivalent ({words})"
    return "inconclusive", f"no significant loss, but equivalence is not shown either ({words})"


def _harmed(cell: Cell) -> tuple[Status, str]:
    margin = cell.claim.margin or 0.0
    if cell.sign > 0:
        return "supported", "a significant loss, as claimed"
    if cell.sign < 0:
        return "refuted", "significantly better than the baseline, not worse"
    if cell.adjusted(cell.equivalence(margin).p) < cell.claim.alpha:
        return "refuted", f"no significant loss, and equivalent within {column(cell.metric).text(margin, digits='g')}"
    return "inconclusive", "no significant loss, but none is ruled out"


def negligible_loss(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that the loss is negligible, in its unit and as an effect size."""
    return _verdict(claim, [(cell, *_negligible(cell)) for cell in _losses(claim, ledger)])


def _negligible(cell: Cell) -> tuple[Status, str]:
    margin = cell.claim.margin or 0.0
    test = cell.equivalence(margin)
    within = column(cell.metric).text(margin, digits="g")
    if cell.adjusted(test.p_beyond) < cell.claim.alpha:
        return "refuted", f"larger than {within}"
    if cell.adjusted(cell.test.p_d_beyond(_signed(NEGLIGIBLE_D, cell.test.t))) < cell.claim.alpha:
        return "refuted", f"an effect larger than negligible (|d| > {NEGLIGIBLE_D:g})"
    if cell.adjusted(test.p) < cell.claim.alpha:
        return "supported", f"shown to be within {within} ({p_text(cell.adjusted(test.p))})"
    return "inconclusive", f"not shown to be within {within} ({p_text(cell.adjusted(test.p))})"


def labelled_loss(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that the loss is significant and of the claimed size (Cohen's label)."""
    return _verdict(claim, [(cell, *_labelled(cell)) for cell in _losses(claim, ledger)])


def _labelled(cell: Cell) -> tuple[Status, str]:
    label = str(cell.claim.label)
    names = [name for name, _ in LABELS]
    low = LABELS[names.index(label) - 1][1]
    high = LABELS[names.index(label)][1]
    wide = paired_test(cell.pairs.baseline, cell.pairs.treated, alpha=cell.claim.alpha / cell.claim.family_size)
    room = f"d between {wide.d_low:.2f} and {wide.d_high:.2f} within the family"
    if cell.sign < 0:
        return "refuted", "a significant gain, not a loss"
    if wide.d_high < low or wide.d_low >= high:
        return "refuted", f"not a {label} effect ({room})"
    if cell.sign > 0 and low <= cell.test.d < high:
        return "supported", f"a significant loss with a {label} effect ({room})"
    return "inconclusive", f"a {label} effect is neither found nor ruled out ({room})"


def equivalent(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that each arm stays within the margin of its own baseline."""
    return _verdict(claim, [(cell, *_within(cell)) for cell in _losses(claim, ledger)])


def _within(cell: Cell) -> tuple[Status, str]:
    margin = column(cell.metric).text(cell.claim.margin or 0.0, digits="g")
    test = cell.equivalence(cell.claim.margin or 0.0)
    words = f"TOST {p_text(cell.adjusted(test.p))}"
    if cell.adjusted(test.p_beyond) < cell.claim.alpha:
        return "refuted", f"shown to exceed {margin} ({words})"
    if cell.adjusted(test.p) < cell.claim.alpha:
        return "supported", f"shown to be within {margin} ({words})"
    return "inconclusive", f"not shown to be within {margin} ({words})"


def _losses(claim: Claim, ledger: Ledger) -> list[Cell]:
    """Return the loss of every arm against its own baseline, over tiers and metrics."""
    return [
        loss(claim, ledger, tier=tier, metric=metric, arm=arm)
        for tier in claim.tiers
        for metric in claim.metrics
        for arm in claim.arms
    ]


def _verdict(claim: Claim, judged: Sequence[tuple[Cell, Status, str]]) -> Verdict:
    """Return the verdict of cells that were each judged, with a note."""
    findings = [cell.finding(status=status, note=note) for cell, status, note in judged]
    return conclude(claim, summarise([(status, f"{cell}: {note}") for cell, status, note in judged]), findings)


def needed_text(claim: Claim) -> str:
    """Return how many mixtures a negligible d would need, in words."""
    needed = pairs_needed(NEGLIGIBLE_D, alpha=claim.alpha / claim.family_size, power=claim.settings.power)
    return f"showing |d| < {NEGLIGIBLE_D:g} needs about {needed} mixtures per tier"


def _signed(bound: float, t: float) -> float:
    return bound if t >= 0 else -bound
