"""What a ledger says besides the verdicts: arms, speakers, freeze curves and the gate's sweep, tier by tier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam_lsac.claims import Arm, Book, Context, Ledger, Settings
from sam_lsac.solver import parse_solver
from sam_lsac.statistics import mean_interval, paired_test

__all__ = ["ArmRow", "Point", "SpeakerRow", "Tables", "summarise"]

METRIC = "si_snr"  # the paper's own axis of fidelity
COMPARED = ("pareto", "effect-table", "equivalent")  # kinds whose arms trade quality for cost
FEWEST = 2  # mixtures of a cell that gets an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm on one tier, in SI-SNR: mean deviation from its baseline with interval, and d_z of the signed loss."""

    tier: str
    n: int
    n_dropped: int
    deviation: float | None = None
    deviation_low: float | None = None
    deviation_high: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    d: float | None = None
    d_low: float | None = None
    d_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm of the acceleration study, against `baseline`; costs are None where they were not computed."""

    arm: str
    baseline: str
    solver: str
    evaluations: int
    layer_steps_saved: float | None
    flops_saved: float | None
    flops_total: float | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerRow:
    """One target speaker (or label) of one tier: the baseline's SI-SNR and the deviation of some arms, in dB."""

    tier: str
    group: str
    n: int
    baseline: float
    deviations: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRatioRow:
    """One layer on one tier: the mean Block Ratio of each arm with spans, in its form of means and of sums."""

    tier: str
    layer: str
    n: int
    means: Mapping[str, float]
    sums: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a curve: `x` is a step or a gate value, `series` the layers or the metric."""

    series: str
    tier: str
    x: float
    estimate: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Everything that is read from the ledger for display alone."""

    arms: tuple[ArmRow, ...] = ()
    speakers: tuple[SpeakerRow, ...] = ()
    freezing: tuple[Point, ...] = ()
    gate: tuple[Point, ...] = ()
    block_ratios: tuple[BlockRatioRow, ...] = ()


def summarise(book: Book, ledger: Ledger, context: Context, *, arms: Mapping[str, Arm]) -> Tables:
    """Return the tables of a ledger; `arms` may name more arms than the book, such as those of a grid."""
    compared = {
        arm: claim.baselines[0] if arm in claim.rivals else claim.baseline_of(arm)
        for claim in book.claims
        if claim.kind in COMPARED and claim.applies_to == "any"
        for arm in (*claim.arms, *claim.rivals)
    }
    tiers, settings = book.settings.tiers, book.settings
    rows = [_arm(arms[arm], ledger, context, baseline=base, settings=settings) for arm, base in compared.items()]
    present = tuple(row for row in rows if any(cell.n for cell in row.cells))
    shown = next(((*claim.arms, *claim.rivals) for claim in book.claims if claim.kind == "pareto"), ())
    return Tables(
        arms=present,
        speakers=tuple(_speakers(ledger, tiers, arms=[arm for arm in shown if _has(ledger, arm)])),
        freezing=tuple(_freezing(arms.values(), ledger, tiers)),
        gate=tuple(_gate(arms.values(), ledger, tiers)),
        block_ratios=tuple(_block_ratios(book, ledger)),
    )


def _has(ledger: Ledger, arm: str) -> bool:
    return any(row.arm == arm and row.metric == METRIC for row in ledger.rows)


def _arm(arm: Arm, ledger: Ledger, context: Context, *, baseline: str, settings: Settings) -> ArmRow:
    cost = context.costs.get(arm.name)
    return ArmRow(
        arm=arm.name,
        baseline=baseline,
        solver=arm.solver,
        evaluations=parse_solver(arm.solver).nfe,
        layer_steps_saved=cost.layer_steps_saved if cost else None,
        flops_saved=cost.flops_saved if cost else None,
        flops_total=cost.flops_total if cost else None,
        cells=tuple(_cell(ledger, settings, tier=tier, arm=arm.name, baseline=baseline) for tier in settings.tiers),
    )


def _cell(ledger: Ledger, settings: Settings, *, tier: str, arm: str, baseline: str) -> Cell:
    pairs = ledger.paired(METRIC, arm=arm, baseline=baseline, tier=tier)
    if pairs.n < FEWEST:
        return Cell(tier=tier, n=pairs.n, n_dropped=pairs.n_dropped)
    magnitudes = ledger.deviations(METRIC, arm=arm, rival=arm, baseline=baseline, tier=tier).first
    deviation = mean_interval(
        magnitudes,
        level=1 - settings.alpha,
        method="bca",
        seed=settings.bootstrap_seed,
        n_resamples=settings.bootstrap_resamples,
    )
    test = paired_test(pairs.second, pairs.first, alpha=settings.alpha)
    return Cell(
        tier=tier,
        n=pairs.n,
        n_dropped=pairs.n_dropped,
        deviation=deviation.estimate,
        deviation_low=deviation.low,
        deviation_high=deviation.high,
        loss=test.mean,
        loss_low=test.ci_low,
        loss_high=test.ci_high,
        d=test.d,
        d_low=test.d_low,
        d_high=test.d_high,
    )


def _speakers(ledger: Ledger, tiers: Sequence[str], *, arms: Sequence[str]) -> Iterable[SpeakerRow]:
    for tier in tiers:
        base = ledger.paired(METRIC, arm="baseline", baseline="baseline", tier=tier)
        magnitudes = {
            arm: ledger.deviations(METRIC, arm=arm, rival=arm, baseline="baseline", tier=tier) for arm in arms
        }
        for group in sorted(set(base.groups)):
            mine = np.asarray([one == group for one in base.groups])
            means = {}
            for arm, pairs in magnitudes.items():
                own = [v for v, g in zip(pairs.first, pairs.groups, strict=True) if g == group]
                means[arm] = float(np.mean(own)) if own else None
            yield SpeakerRow(
                tier=tier, group=group, n=int(mine.sum()), baseline=float(base.first[mine].mean()), deviations=means
            )


def _freezing(arms: Iterable[Arm], ledger: Ledger, tiers: Sequence[str]) -> Iterable[Point]:
    """Return the loss of every arm that freezes some layers at some step, and does nothing else; one per cell."""
    seen = set()
    for arm in arms:
        if [edit["kind"] for edit in arm.edits] != ["FreezeSelfAttention"]:
            continue
        layers, step = arm.edits[0].get("layers", "default"), arm.edits[0].get("step", 4)
        series = layers if isinstance(layers, str) else ",".join(f"L{layer:02d}" for layer in layers)
        for tier in tiers:
            pairs = ledger.paired(METRIC, arm=arm.name, baseline="baseline", tier=tier)
            if pairs.n >= FEWEST and (series, tier, step) not in seen:
                seen.add((series, tier, step))
                mean = mean_interval(pairs.second - pairs.first)
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
    """Return every layer under the arms whose Block Ratio some claim compares, baselines first."""
    compared = [claim for claim in book.claims if claim.kind == "ratio-change"]
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


def _gate(arms: Iterable[Arm], ledger: Ledger, tiers: Sequence[str]) -> Iterable[Point]:
    """Return Block Ratio and SI-SNR of every arm that forces the gate, and does nothing else."""
    seen = set()
    for arm in arms:
        if [edit["kind"] for edit in arm.edits] != ["HijackGate"]:
            continue
        value = float(arm.edits[0].get("value", 1.0))
        for tier in tiers:
            for metric in ("block_ratio/mean", METRIC):
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
