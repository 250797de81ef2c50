"""Kinds that judge an order among arms, layers or points of a sweep.

loss-order
    The arm's loss is the largest (or the smallest) of all: significantly larger than every rival's on every tier and
    metric. Refuted where any rival's is significantly larger. With `stronger_tier`, the arm's lead over its nearest
    rival is also larger there than on the other tiers (Welch's test, since their mixtures differ).
ratio-change
    The quantity, positive in every mixture, rises (or falls) against the baseline: paired t-test on its logarithm,
    because it is reported as a factor. Refuted where it changes significantly the other way.
layer-response
    The logarithmic change of the last metric (layer) is significantly larger than that of the first, the last one
    rises significantly, and the first is shown equal within the relative margin (TOST). Refuted where the first
    rises significantly more, or is shown beyond the margin, or the last one falls.
rank-correlation
    Over all points of a sweep, Spearman's coefficient of the two metrics has the sign of `direction`, by an interval
    that resamples mixtures, at the family's level. Refuted where the interval lies on the other side. Below 8
    mixtures it is inconclusive: simulation shows that so small a bootstrap does not keep its level.
"""

import math
from dataclasses import replace

import numpy as np

from sam_lsac.claims.cells import Cell, UndecidedError, conclude, loss, p_text, require_pairs, summarise
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.claims.verdict import Context, Finding, Status, Verdict
from sam_lsac.errors import InputError
from sam_lsac.statistics import Interval, equivalence, paired_test, spearman, welch

__all__ = ["layer_response", "loss_order", "rank_correlation", "ratio_change"]

FEWEST_RESAMPLED = 8  # mixtures


def loss_order(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that one arm's loss is the largest or the smallest of all."""
    (arm,) = claim.arms
    wanted = 1 if claim.direction == "largest" else -1
    findings: list[Finding] = []
    words: list[tuple[Status, str]] = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for name in (arm, *claim.rivals, *claim.controls):
                own = loss(claim, ledger, tier=tier, metric=metric, arm=name, versus=claim.baselines[0])
                findings.append(own.finding(note="control, decides nothing" if name in claim.controls else ""))
            for rival in claim.rivals:
                lead = replace(
                    loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=rival), quantity="lead in loss"
                )
                status: Status = "inconclusive"
                if lead.sign:
                    status = "supported" if lead.sign == wanted else "refuted"
                findings.append(lead.finding(status=status))
                words.append((status, str(lead)))
    if claim.stronger_tier:
        stronger, text = _stronger(claim, ledger, claim.stronger_tier)
        findings += stronger
        words += text
    return conclude(claim, summarise(words), findings)


def _stronger(claim: Claim, ledger: Ledger, tier: str) -> tuple[list[Finding], list[tuple[Status, str]]]:
    """Return the tests of the arm's lead over its nearest rival, `tier` against each other tier."""
    (arm,) = claim.arms
    findings: list[Finding] = []
    words: list[tuple[Status, str]] = []
    for metric in claim.metrics:
        leads = {}
        for each in claim.tiers:
            cells = [loss(claim, ledger, tier=each, metric=metric, arm=arm, versus=rival) for rival in claim.rivals]
            nearest = min(cells, key=lambda cell: cell.test.mean)
            leads[each] = nearest.pairs.baseline - nearest.pairs.treated
        for other in (each for each in claim.tiers if each != tier):
            result = welch(leads[tier], leads[other], alpha=claim.alpha)
            adjusted = min(1.0, result.p * claim.family_size)
            status: Status = "inconclusive"
            if adjusted < claim.alpha:
                status = "supported" if result.difference > 0 else "refuted"
            findings.append(
                Finding(
                    quantity="lead, tier against tier",
                    tier=tier,
                    metric=metric,
                    arm=arm,
                    versus=other,
                    estimate=result.difference,
                    ci_low=result.ci_low,
                    ci_high=result.ci_high,
                    p=result.p,
                    p_adjusted=adjusted,
                    n=min(leads[tier].size, leads[other].size),
                    status=status,
                )
            )
            words.append((status, f"lead on {tier} less that on {other} {result.difference:+.3g}, {p_text(adjusted)}"))
    return findings, words


def ratio_change(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that a positive quantity rises or falls against the baseline."""
    wanted = 1 if claim.direction == "increase" else -1
    findings, words = [], []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for arm in claim.arms:
                cell = _log_change(claim, ledger, tier=tier, metric=metric, arm=arm)
                status: Status = "inconclusive"
                if cell.sign:
                    status = "supported" if cell.sign == wanted else "refuted"
                findings.append(_as_factor(cell, status))
                words.append(_factor_words(cell))
    return conclude(claim, f"{'; '.join(words)}; the paper: {claim.paper or 'no figure'}.", findings)


def layer_response(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge that one layer responds and another does not."""
    (arm,) = claim.arms
    still, moving = claim.metrics
    findings, words = [], []
    for tier in claim.tiers:
        first = _log_change(claim, ledger, tier=tier, metric=still, arm=arm)
        last = _log_change(claim, ledger, tier=tier, metric=moving, arm=arm)
        versus = claim.baseline_of(arm)
        points = ledger.points(
            [(still, arm), (still, versus)], [(moving, arm), (moving, versus)], tier=tier
        )  # rows of (arm, baseline) per mixture
        require_pairs(_every_other(points), f"{still} and {moving} of {arm} on {tier}")
        change_still, change_moving = (
            _logs(values[0::2], claim) - _logs(values[1::2], claim) for values in (points.treated, points.baseline)
        )
        difference = paired_test(change_moving, change_still, alpha=claim.alpha)
        between = replace(
            last, quantity="log ratio between layers", versus=still, test=difference, pairs=_every_other(points)
        )
        status: Status = "inconclusive" if not between.sign else "supported" if between.sign > 0 else "refuted"
        findings += [_unmoved(first), _as_factor(last, _RISES[last.sign]), between.finding(status=status)]
        words.append(
            f"{_factor_words(first)}; {_factor_words(last)}; apart by {between.test.mean:+.3g} in logarithm "
            f"({p_text(between.adjusted(difference.p))})"
        )
    return conclude(claim, f"{'; '.join(words)}.", findings)


def rank_correlation(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge the sign of a rank correlation over the points of a sweep."""
    x_metric, y_metric = claim.metrics
    wanted = -1 if claim.direction == "negative" else 1
    findings, words = [], []
    for tier in claim.tiers:
        points = ledger.points(
            [(x_metric, arm) for arm in claim.arms], [(y_metric, arm) for arm in claim.arms], tier=tier
        )
        result = _clustered(claim, points, tier=tier)
        sign = 1 if result.low > 0 else -1 if result.high < 0 else 0
        status: Status = "inconclusive" if not sign else "supported" if sign == wanted else "refuted"
        findings.append(
            Finding(
                quantity="Spearman rho",
                tier=tier,
                metric=f"{x_metric}, {y_metric}",
                estimate=result.estimate,
                ci_low=result.low,
                ci_high=result.high,
                n=result.n,
                n_dropped=points.n_dropped,
                paper=claim.figure(tier=tier),
                status=status,
                note=f"interval at {result.level:.3%}, the family's level",
            )
        )
        words.append(f"{tier} {result.estimate:+.2f} [{result.low:+.2f}, {result.high:+.2f}]")
    text = f"Spearman's coefficient of {x_metric} and {y_metric} over {len(claim.arms)} arms: {', '.join(words)}"
    return conclude(claim, f"{text}; the paper says {claim.direction}.", findings)


def _clustered(claim: Claim, points: Pairs, *, tier: str) -> Interval:
    """Return the pooled coefficient with its interval at the family's level; mixtures are resampled."""
    mixtures = len(set(points.mixtures))
    if mixtures < FEWEST_RESAMPLED:
        raise UndecidedError(
            "inconclusive",
            f"Only {mixtures} mixtures have the whole sweep on {tier} ({points.n_dropped} dropped): "
            f"resampling them needs {FEWEST_RESAMPLED}.",
        )
    try:
        return spearman(
            points.treated,
            points.baseline,
            clusters=points.mixtures,
            level=1 - claim.alpha / claim.family_size,
            seed=claim.settings.bootstrap_seed,
            n_resamples=claim.settings.bootstrap_resamples,
        )
    except InputError as error:
        raise UndecidedError("inconclusive", f"On {tier}: {error}.") from error


_RISES: dict[int, Status] = {-1: "refuted", 0: "inconclusive", 1: "supported"}


def _log_change(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str) -> Cell:
    """Return log(arm) - log(baseline) as a cell."""
    versus = claim.baseline_of(arm)
    pairs = ledger.paired(metric, arm=arm, baseline=versus, tier=tier)
    require_pairs(pairs, f"{metric} of {arm} and {versus} on {tier}")
    test = paired_test(_logs(pairs.treated, claim), _logs(pairs.baseline, claim), alpha=claim.alpha)
    return Cell(
        claim=claim, quantity="log ratio", tier=tier, metric=metric, arm=arm, versus=versus, pairs=pairs, test=test
    )


def _logs(
    values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", claim: Claim
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    if values.min() <= 0.0:
        raise UndecidedError(
            "inconclusive", f"{', '.join(claim.metrics)} must be above zero to be compared as a factor."
        )
    return np.log(values)


def _as_factor(cell: Cell, status: Status) -> Finding:
    test = cell.test
    return replace(
        cell.finding(status=status),
        quantity="factor",
        estimate=math.exp(test.mean),
        ci_low=math.exp(test.ci_low),
        ci_high=math.exp(test.ci_high),
        paper=cell.claim.figure(tier=cell.tier, arm=cell.arm) or cell.claim.paper,
        note=f"mean {cell.pairs.treated.mean():.3g} against {cell.pairs.baseline.mean():.3g}",
    )


def _unmoved(cell: Cell) -> Finding:
    """Judge "none": equal within the relative margin."""
    bound = math.log1p(cell.claim.margin or 0.0)
    test = equivalence(
        _logs(cell.pairs.treated, cell.claim),
        _logs(cell.pairs.baseline, cell.claim),
        margin=bound,
        alpha=cell.claim.alpha,
    )
    status: Status = "supported" if cell.adjusted(test.p) < cell.claim.alpha else "inconclusive"
    status = "refuted" if cell.adjusted(test.p_beyond) < cell.claim.alpha else status
    return replace(_as_factor(cell, status), p=test.p, p_adjusted=cell.adjusted(test.p))


def _factor_words(cell: Cell) -> str:
    return (
        f"{cell.metric} of {cell.arm} on {cell.tier} x {math.exp(cell.test.mean):.2f} "
        f"[{math.exp(cell.test.ci_low):.2f}, {math.exp(cell.test.ci_high):.2f}] "
        f"({cell.pairs.baseline.mean():.3g} to {cell.pairs.treated.mean():.3g}, {p_text(cell.adjusted(cell.test.p))})"
    )


def _every_other(points: Pairs) -> Pairs:
    return replace(
        points,
        mixtures=points.mixtures[::2],
        groups=points.groups[::2],
        treated=points.treated[::2],
        baseline=points.baseline[::2],
    )
