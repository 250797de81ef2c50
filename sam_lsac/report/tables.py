"""What a ledger says besides the verdicts: arms, speakers, freeze curves and the gate's sweep, tier by tier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sam_lsac.claims import Arm, Book, Claim, Context, Ledger
from sam_lsac.records import STRICT, Extended
from sam_lsac.report.frontier import FrontierPoint, frontier
from sam_lsac.report.variance import VarianceRow, variance_rows
from sam_lsac.runs.arms import schedule_of
from sam_lsac.solver import parse_solver
from sam_lsac.statistics import contrast_test, effect_size, mean_interval

__all__ = ["ArmRow", "Point", "SpeakerRow", "Tables", "summarise"]

FEWEST = 3  # mixtures of a cell that gets intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCell:
    """One arm on one tier: mean deviation from its baseline with interval, and d_z of the signed loss.

    `n` and `n_dropped` count mixtures; `n_failed` counts runs whose own output is silent or not finite.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    tier: str
    n: int
    n_dropped: int
    n_failed: int = 0
    deviation: Extended | None = None
    deviation_low: Extended | None = None
    deviation_high: Extended | None = None
    loss: Extended | None = None
    loss_low: Extended | None = None
    loss_high: Extended | None = None
    d: Extended | None = None
    d_low: Extended | None = None
    d_high: Extended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm that a claim compares, against `baseline`; costs are None where they were not computed."""

    __pydantic_config__: ClassVar[Any] = STRICT

    arm: str
    baseline: str
    solver: str
    evaluations: int
    layer_steps_saved: float | None
    flops_saved: float | None
    flops_total: float | None
    cells: tuple[TierCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerRow:
    """One target speaker (or label) of one tier: the reference's figure, and how far each arm deviates from it."""

    __pydantic_config__: ClassVar[Any] = STRICT

    tier: str
    group: str
    n: int
    baseline: float
    deviations: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRatioRow:
    """One layer on one tier: the mean Block Ratio of each arm with spans, in its form of means and of sums."""

    __pydantic_config__: ClassVar[Any] = STRICT

    tier: str
    layer: str
    n: int
    means: Mapping[str, float]
    sums: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a curve: `x` is a step or a gate value, `series` the layers or the metric."""

    __pydantic_config__: ClassVar[Any] = STRICT

    series: str
    tier: str
    x: float
    estimate: float
    low: Extended | None
    high: Extended | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Everything that is read from the ledger for display alone."""

    __pydantic_config__: ClassVar[Any] = STRICT

    arms: tuple[ArmRow, ...] = ()
    speakers: tuple[SpeakerRow, ...] = ()
    freezing: tuple[Point, ...] = ()
    gate: tuple[Point, ...] = ()
    block_ratios: tuple[BlockRatioRow, ...] = ()
    variances: tuple[VarianceRow, ...] = ()
    frontier: tuple[FrontierPoint, ...] = ()


def summarise(book: Book, ledger: Ledger, context: Context, *, arms: Mapping[str, Arm]) -> Tables:
    """Return the tables of a ledger; `arms` may name more arms than the book, such as those of a grid."""
    reference = book.views.reference
    rows = [_arm(arms[arm], ledger, context, baseline=base, book=book) for arm, base in _compared(book)]
    present = tuple(row for row in rows if any(cell.n or cell.n_failed for cell in row.cells))
    return Tables(
        arms=present,
        speakers=tuple(_speakers(ledger, book, arms=[row.arm for row in present if row.baseline == reference])),
        freezing=tuple(_freezing(arms.values(), ledger, book)),
        gate=tuple(_gate(arms.values(), ledger, book)),
        block_ratios=tuple(_block_ratios(book, ledger)),
        variances=tuple(variance_rows(book, ledger)),
        frontier=tuple(frontier(book, ledger, context)),
    )


def _compared(book: Book) -> Iterable[tuple[str, str]]:
    """Return each arm that some claim tests in the metric of the views, with its baseline.

    Arms that freeze, and those that force the gate where that is drawn, have curves of their own; one whose schedule
    the checkpoint lacks has no run.
    """
    drawn = ("FreezeSelfAttention", *(("HijackGate",) if book.views.sweep.metrics else ()))
    found: dict[str, str] = {}
    for claim in book.claims:
        if not claim.family or book.views.metric not in claim.metrics:
            continue  # a claim without a family makes no test: it only shows
        for arm in (*claim.arms, *claim.rivals):
            if _only_edit(book.arms[arm]) not in drawn and schedule_of(book.arms[arm]) is None:
                found.setdefault(arm, _baseline_of(claim, arm))
    return found.items()


def _baseline_of(claim: Claim, arm: str) -> str:
    """Return the baseline of an arm, or of a rival, which has that of the arm in its own place."""
    if arm in claim.rivals and len(claim.baselines) == len(claim.rivals):
        return claim.baselines[claim.rivals.index(arm)]
    return claim.baselines[0] if arm in claim.rivals else claim.baseline_of(arm)


def _only_edit(arm: Arm) -> str | None:
    """Return the kind of an arm's edit where it has exactly one."""
    return str(arm.edits[0]["kind"]) if len(arm.edits) == 1 else None


def _arm(arm: Arm, ledger: Ledger, context: Context, *, baseline: str, book: Book) -> ArmRow:
    cost = context.costs.get(arm.name)
    solver = parse_solver(arm.solver)
    return ArmRow(
        arm=arm.name,
        baseline=baseline,
        solver=solver.name,
        evaluations=solver.nfe,
        layer_steps_saved=cost.layer_steps_saved if cost else None,
        flops_saved=cost.flops_saved if cost else None,
        flops_total=cost.flops_total if cost else None,
        cells=tuple(_cell(ledger, book, tier=tier, arm=arm.name, baseline=baseline) for tier in book.settings.tiers),
    )


def _cell(ledger: Ledger, book: Book, *, tier: str, arm: str, baseline: str) -> TierCell:
    settings, metric = book.settings, book.views.metric
    pairs = ledger.losses(metric, arm=arm, baseline=baseline, tier=tier)
    counted: dict[str, Any] = {
        "tier": tier,
        "n": pairs.n,
        "n_dropped": pairs.n_dropped,
        "n_failed": _failed(ledger, tier, arm),
    }
    if pairs.n < FEWEST:
        return TierCell(**counted)
    magnitudes = ledger.deviations(metric, arm=arm, rival=arm, baseline=baseline, tier=tier).first
    deviation = mean_interval(
        magnitudes,
        level=1 - settings.alpha,
        method="bca",
        seed=settings.bootstrap_seed,
        n_resamples=settings.bootstrap_resamples,
    )
    losses = pairs.first - pairs.second
    test, effect = contrast_test(losses, alpha=settings.alpha), effect_size(losses, level=1 - settings.alpha)
    return TierCell(
        **counted,
        deviation=deviation.estimate,
        deviation_low=deviation.low,
        deviation_high=deviation.high,
        loss=test.mean,
        loss_low=test.ci_low,
        loss_high=test.ci_high,
        d=effect.d,
        d_low=effect.low,
        d_high=effect.high,
    )


def _failed(ledger: Ledger, tier: str, arm: str) -> int:
    """Count the runs that failed, each once, whatever metrics lack a value for it."""
    return len({(row.mixture, row.seed) for row in ledger.rows if row.failed and (row.tier, row.arm) == (tier, arm)})


def _speakers(ledger: Ledger, book: Book, *, arms: Sequence[str]) -> Iterable[SpeakerRow]:
    metric, reference = book.views.metric, book.views.reference
    for tier in book.settings.tiers if arms else ():
        base = ledger.paired(metric, arm=reference, baseline=reference, tier=tier)
        magnitudes = {arm: ledger.deviations(metric, arm=arm, rival=arm, baseline=reference, tier=tier) for arm in arms}
        for group in sorted(set(base.groups)):
            mine = np.asarray([one == group for one in base.groups])
            means = {}
            for arm, pairs in magnitudes.items():
                own = [v for v, g in zip(pairs.first, pairs.groups, strict=True) if g == group]
                means[arm] = float(np.mean(own)) if own else None
            yield SpeakerRow(
                tier=tier, group=group, n=int(mine.sum()), baseline=float(base.first[mine].mean()), deviations=means
            )


def _freezing(arms: Iterable[Arm], ledger: Ledger, book: Book) -> Iterable[Point]:
    """Return the loss of every arm that freezes some layers at some step, and does nothing else; one per cell."""
    metric, reference = book.views.metric, book.views.reference
    seen = set()
    for arm in arms:
        if _only_edit(arm) != "FreezeSelfAttention":
            continue
        layers, step = arm.edits[0].get("layers", "default"), arm.edits[0].get("step", 4)
        series = layers if isinstance(layers, str) else ",".join(f"L{layer:02d}" for layer in layers)
        for tier in book.settings.tiers:
            pairs = ledger.losses(metric, arm=arm.name, baseline=reference, tier=tier)
            if pairs.n >= FEWEST and (series, tier, step) not in seen:
                seen.add((series, tier, step))
                mean = mean_interval(pairs.first - pairs.second)
                yield Point(
                    series=series,
                    tier=tier,
                    x=float(step),
                    estimate=mean.estimate,
                    low=mean.low,
                    high=mean.high,
                    n=mean.n,
                )


def _block_ratios(book: Book, ledger: Ledger) -> Iterable[BlockRatioRow]:
    """Return every layer under the arms whose Block Ratio of single layers some claim compares, baselines first."""
    compared = [claim for claim in book.claims if any(one.startswith("block_ratio/L") for one in claim.metrics)]
    arms = list(dict.fromkeys(arm for claim in compared for arm in (*claim.baselines, *claim.arms)))
    layers = sorted({row.metric.split("/")[1] for row in ledger.rows if row.metric.startswith("block_ratio/L")})
    for tier in book.settings.tiers:
        for layer in layers:
            forms: dict[str, dict[str, float]] = {"block_ratio": {}, "block_ratio_sum": {}}
            n = 0
            for form, means in forms.items():
                for arm in arms:
                    pairs = ledger.paired(f"{form}/{layer}", arm=arm, baseline=arm, tier=tier)
                    if pairs.n:
                        means[arm], n = float(pairs.first.mean()), pairs.n
            if n:
                yield BlockRatioRow(
                    tier=tier, layer=layer, n=n, means=forms["block_ratio"], sums=forms["block_ratio_sum"]
                )


def _gate(arms: Iterable[Arm], ledger: Ledger, book: Book) -> Iterable[Point]:
    """Return the sweep's metrics of every arm that forces the gate, and does nothing else."""
    seen = set()
    for arm in arms:
        if _only_edit(arm) != "HijackGate":
            continue
        value = float(arm.edits[0].get("value", 1.0))
        for tier in book.settings.tiers:
            for metric in book.views.sweep.metrics:
                pairs = ledger.paired(metric, arm=arm.name, baseline=arm.name, tier=tier)
                if pairs.n >= FEWEST and (metric, tier, value) not in seen:
                    seen.add((metric, tier, value))
                    mean = mean_interval(pairs.first)
                    yield Point(
                        series=metric,
                        tier=tier,
                        x=value,
                        estimate=mean.estimate,
                        low=mean.low,
                        high=mean.high,
                        n=mean.n,
                    )
