"""What several kinds share: cells, labels of d, rare failures, and sentences and headlines over findings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sam_lsac.claims.cells import loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import Evidence, combine
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Finding, Harm, Status
from sam_lsac.claims.wording import effect, figure, measured, number, p_text
from sam_lsac.statistics import effect_size, share_beyond, sign_test
from sam_lsac.statistics.effect import LABELS, above_bound

Lines = tuple[str, ...]
Findings = Sequence[Finding]

NEGLIGIBLE_D = LABELS[0][1]
RARE = 10.0  # smallest effects: a loss beyond these on one mixture is not averaged away
HARM = "worst loss"


def n_cells(claim: Claim) -> int:
    """Return the number of pairs of tier and metric."""
    return len(claim.tiers) * len(claim.metrics)


def cells(claim: Claim) -> Iterator[tuple[str, str]]:
    """Return every pair of tier and metric."""
    return ((tier, metric) for tier in claim.tiers for metric in claim.metrics)


def labelled(contrast: Contrast, *, low: float, high: float, note: str = "") -> Evidence:
    """Judge that d lies within [low, high), by its bounds at the claim's level (docs/verdicts.md, rule 7).

    An end that is infinite asks nothing. Outside counts only by the smallest effect in the metric's own unit.
    """
    values, claim = contrast.figures, contrast.claim
    effect = effect_size(values, level=1 - 2 * claim.level)
    mean, sd = contrast.mean, float(values.std(ddof=1))
    outside = [
        effect.p_below(low) if low * sd - mean >= contrast.floor else 1.0,
        effect.p_above(high) if mean - high * sd >= contrast.floor else 1.0,
    ]
    refuted = min(outside) < claim.refutation_level
    within = max(effect.p_above(low), effect.p_below(high))
    status: Status = "refuted" if refuted else "supported" if within < claim.level else "inconclusive"
    p = min(outside) if refuted else within
    said = f"d between {number(effect.low)} and {number(effect.high)} at the claim's level"
    needed = [(bound, side) for bound, side in ((low, 1), (-high, -1)) if np.isfinite(bound)]
    requires = tuple(contrast.requirement(bound, side=side) for bound, side in needed)
    contradicts = tuple(contrast.requirement(-bound, side=-side) for bound, side in needed)
    nearer = min((above_bound(side * values, bound) for bound, side in needed), key=np.mean)
    finding = replace(
        contrast.shown(note=f"{note}{said}"),
        status=status,
        p=p,
        p_adjusted=claim.adjusted(p, refuting=refuted),
        groups=contrast.groups(-nearer if refuted else nearer),  # the gate asks for what the status says
    )
    return Evidence(finding=finding, requires=requires, contradicts=contradicts, possible=low < effect.d < high)


def harm(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Evidence:
    """Judge that no rare failure of `arm` hides behind its mean (docs/verdicts.md, rule 10)."""
    own = loss(claim, ledger, tier=tier, metric=metric, arm=arm)
    floor = claim.smallest(metric)
    pairs = ledger.rivals(metric, arm=arm, rival=rival, baseline=claim.baseline_of(arm), tier=tier)
    at = int(own.figures.argmax())
    worst, bearable = float(own.figures[at]), max(RARE * floor, float(pairs.first.max(initial=-np.inf)))
    share = share_beyond(own.figures, margin=floor)
    rare = worst > bearable
    spread = Harm(
        worst=worst,
        mixture=own.pairs.mixtures[at],
        share=share.share,
        share_low=share.low,
        share_high=share.high,
        p_sign=sign_test(own.figures),
    )
    unseen = 1.0 - claim.alpha ** (1.0 / own.pairs.n)
    words = (
        f"{own.pairs.mixtures[at]} loses {measured(worst, metric)}, more than {rival} on any mixture: not averaged away"
        if rare
        else f"no rare failure among {own.pairs.n}; up to {unseen:.0%} of mixtures may still fail unseen"
    )
    finding = replace(
        own.shown(note=words), quantity=HARM, estimate=worst, ci_low=None, ci_high=None, harm=spread, paper="",
        status="inconclusive" if rare else "supported",
    )  # fmt: skip
    return Evidence(finding=finding, possible=not rare)


def within_margin(contrast: Contrast, *, margin: float) -> tuple[Status, tuple[np.ndarray, np.ndarray]]:
    """Judge that the mean lies within the margin on both sides (TOST); refuted where it is shown beyond one."""
    inside = (margin - contrast.figures, margin + contrast.figures)
    parts = [replace(contrast, figures=values, wanted=1, floor=0.0) for values in inside]
    return combine(part.status for part in parts), inside


def judged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that have a status."""
    return [one for one in findings if one.status]


def count(findings: Iterable[Finding], status: Status) -> int:
    """Return how many findings have a status."""
    return sum(one.status == status for one in findings)


def comparison(claim: Claim, finding: Finding) -> str:
    """Return one paired comparison in words, with its note."""
    level = 100 * (1 - claim.alpha)
    note = f": {finding.note}" if finding.note else ""
    interval = (
        ""
        if finding.ci_low is None
        else (
            f"{level:g} % CI {number(finding.ci_low, signed=True)} to {number(finding.ci_high, signed=True)}, "
            f"d {effect(finding.d)}, "
        )
    )
    return (
        f"{finding.arm} against {finding.versus} on {finding.tier}: {finding.metric} {finding.quantity} "
        f"{measured(finding.estimate, finding.metric, digits='+.3g')} ({interval}{p_text(finding.p_adjusted)}){note}"
    )


def summary(claim: Claim, findings: Findings, *, words: Callable[[Claim, Finding], str] = comparison) -> str:
    """Return a sentence that counts the judged comparisons and quotes the first one that decided."""
    asked = judged(findings)
    if not asked:
        return (
            f"None of {len(findings)} comparisons contradicts the claim, and none could support it; "
            f"first {words(claim, findings[0])}."
        )
    status = combine(one.status for one in asked)
    quoted = next(words(claim, one) for one in asked if one.status == status)
    if len(asked) == 1:
        return f"{quoted}."
    if status == "supported":
        return f"All {len(asked)} comparisons are as claimed, first {quoted}."
    verb = "contradict the claim" if status == "refuted" else "decide nothing"
    return (
        f"{count(asked, status)} of {len(asked)} comparisons {verb}, {count(asked, 'supported')} support it; "
        f"first {quoted}."
    )


def factor_words(finding: Finding, *, test: str = "") -> str:
    """Return a change as a factor in words; `test` names the test that is not a t-test."""
    return (
        f"{finding.metric} of {finding.arm} on {finding.tier} {figure(finding)} ({finding.note}, "
        f"{test}{p_text(finding.p_adjusted)})"
    )


def inside(size: float | None, low: float | None, high: float | None) -> str:
    """Return in words whether the paper's size lies inside our interval; empty where the paper gives none."""
    if size is None or low is None or high is None:
        return ""
    return f"the paper's {number(size)} lies {'inside' if low <= size <= high else 'outside'} it"


def each(_claim: Claim, findings: Findings) -> Lines:
    """Return one line per judged finding, or per finding where none is."""
    shown = judged(findings) or list(findings)
    return tuple(" ".join(word for word in (one.tier, figure(one)) if word) for one in shown)


def effects(_claim: Claim, findings: Findings) -> Lines:
    """Return one line per loss, with its effect size."""
    losses = [one for one in findings if one.quantity == "loss"]
    return tuple(dict.fromkeys(f"{one.tier} {figure(one)}, d {effect(one.d)}" for one in losses))


def worst(findings: Findings) -> Finding:
    """Return the finding whose interval reaches highest."""
    return max(findings, key=lambda one: float("-inf") if one.ci_high is None else one.ci_high)


def mildest(findings: Findings) -> Finding:
    """Return the finding whose interval reaches lowest."""
    return min(findings, key=lambda one: float("inf") if one.ci_low is None else one.ci_low)


def stems(arms: Iterable[str]) -> str:
    """Return what the arms' names begin with, up to the first hyphen."""
    return "/".join(dict.fromkeys(arm.split("-")[0] for arm in arms))
