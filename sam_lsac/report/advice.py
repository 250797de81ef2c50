"""What to ship on a checkpoint: for each level of fidelity the cheapest setting that is shown to hold it.

A setting holds a level where, on every tier, its mean fidelity is shown above the level, and its loss of every quality
metric is shown within the metric's smallest effect on both sides (TOST). Each test is made at alpha over the number of
candidates, so that the chance that any setting is advised wrongly is alpha at most. All that a setting must hold is
shown together, and a level follows from a higher one, so nothing more is divided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sam_lsac.claims import Arm, Book, Context, Ledger, Pairs
from sam_lsac.claims.wording import estimate, measured, percent
from sam_lsac.metrics import column
from sam_lsac.records import STRICT, Extended
from sam_lsac.report.settings import SAME_COST, caches, code_of, shippable
from sam_lsac.runs.timings import ArmTime
from sam_lsac.solver import parse_solver
from sam_lsac.statistics import contrast_test

__all__ = ["Advice", "Level", "PairedTime", "Setting", "TierFidelity", "advise"]

FEWEST = 3  # mixtures of which a test can be had


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFidelity:
    """The fidelity of a setting on one tier: mean, the bound that it is shown beyond, and the worst mixture's."""

    __pydantic_config__: ClassVar[Any] = STRICT

    tier: str
    mean: Extended
    bound: Extended
    worst: Extended
    n: int
    n_dropped: int = 0
    n_failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTime:
    """The time of a setting over the reference's: median of pairs, its interval, and the memory that either adds."""

    __pydantic_config__: ClassVar[Any] = STRICT

    ratio: float
    low: float
    high: float
    n_pairs: int
    clock: str
    device: str
    peak_bytes: int
    reference_peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that may be shipped.

    Parameters
    ----------
    arm, solver, evaluations
        Its name, its solver's, and how often that evaluates the network.
    flops_saved, flops_total
        Of a solve: the share of the reference's, and how many are left.
    seconds
        Median of stored runs, one example's solve and decoding; None where no run tells.
    time
        Beside the reference's; None where it was not measured on this machine.
    cache_bytes
        What is kept between steps for one example; None where the edits do not say.
    cached
        Whether it has a cache itself.
    code
        The arguments of `separate` that make it.
    tiers
        Its fidelity.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    arm: str
    solver: str
    evaluations: int
    flops_saved: float
    flops_total: float
    seconds: float | None
    time: PairedTime | None
    cache_bytes: int | None
    cached: bool
    code: str
    tiers: tuple[TierFidelity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The advice for one level of fidelity.

    Parameters
    ----------
    level
        In the unit of the fidelity.
    setting
        The cheapest that holds it, or None.
    cheaper
        Why each setting that would be cheaper does not hold, or, without a setting, why each does not; the cheapest
        first.
    n_caches, n_as_cheap
        Candidates with a cache beside the setting, and how many of them save as much as it does.
    better
        Those of these whose fidelity is shown to be higher on every tier.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    level: float
    setting: Setting | None
    cheaper: tuple[str, ...] = ()
    n_caches: int = 0
    n_as_cheap: int = 0
    better: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to ship.

    Parameters
    ----------
    fidelity
        The column that compares outputs with the reference's.
    margins
        By metric of quality, the margin of equivalence with the reference.
    candidates
        The settings among which was chosen.
    alpha
        Of each test: that of the book over the number of candidates.
    levels
        One for each level of the book; empty where the figures were not computed.
    missing
        How to compute them; empty where they are there.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    fidelity: str
    margins: Mapping[str, float]
    candidates: tuple[str, ...] = ()
    alpha: float | None = None
    levels: tuple[Level, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What the advice is computed from."""

    book: Book
    ledger: Ledger
    context: Context
    arms: Mapping[str, Arm]
    candidates: tuple[str, ...]

    @property
    def alpha(self) -> float:
        return self.book.settings.alpha / max(1, len(self.candidates))

    def saved(self, arm: str) -> float:
        return self.context.costs[arm].flops_saved

    def fidelity(self, arm: str, tier: str) -> Pairs:
        return self.ledger.abreast(self.book.views.advice.fidelity, arm=arm, rival=arm, tier=tier)


def advise(book: Book, ledger: Ledger, context: Context) -> Advice | None:
    """Return the advice of a book's views on one checkpoint; None where the views ask for none."""
    view, settings = book.views.advice, book.settings
    if not view.levels:
        return None
    margins = {metric: settings.smallest_effects[metric.split("/")[0]] for metric in view.metrics}
    columns = [view.fidelity, *view.metrics]
    able = shippable(book, context, among=view.candidates)
    there = [arm for arm in able if _is_whole(ledger, arm, columns=columns, tiers=settings.tiers)]
    if not there:
        return Advice(fidelity=view.fidelity, margins=margins, missing=view.missing)
    candidates = view.candidates or tuple(there)
    world = _World(book=book, ledger=ledger, context=context, arms=book.arms, candidates=candidates)
    ranked = sorted(there, key=lambda arm: (-round(world.saved(arm) / SAME_COST), -_least(world, arm)))
    levels = tuple(_level(world, ranked, level) for level in view.levels)
    return Advice(fidelity=view.fidelity, margins=margins, candidates=candidates, alpha=world.alpha, levels=levels)


def _is_whole(ledger: Ledger, arm: str, *, columns: Iterable[str], tiers: Sequence[str]) -> bool:
    return all(ledger.has(metric, arm=arm, tier=tier) for metric in columns for tier in tiers)


def _least(world: _World, arm: str) -> float:
    """Return the fidelity on the tier where it is poorest, turned so that more is better."""
    means = []
    for tier in world.book.settings.tiers:
        pairs = world.fidelity(arm, tier)
        means.append(_side(world) * float(pairs.first.mean()) if pairs.n else float("-inf"))
    return min(means)


def _side(world: _World) -> int:
    return 1 if column(world.book.views.advice.fidelity).higher_is_better else -1


def _level(world: _World, ranked: Sequence[str], level: float) -> Level:
    reasons: list[str] = []
    for arm in ranked:
        if why := _why_not(world, arm, level):
            reasons.append(f"{arm} ({percent(world.saved(arm))} of FLOPs saved): {why}")
            continue
        others = [one for one in ranked if one != arm and caches(world.arms[one])]
        as_cheap = [one for one in others if world.saved(one) >= world.saved(arm) - SAME_COST]
        return Level(
            level=level,
            setting=_setting(world, arm),
            cheaper=tuple(reasons),
            n_caches=len(others),
            n_as_cheap=len(as_cheap),
            better=tuple(one for one in as_cheap if _is_better(world, one, than=arm)),
        )
    return Level(level=level, setting=None, cheaper=tuple(reasons))


def _why_not(world: _World, arm: str, level: float) -> str:
    """Return the first thing that is not shown of a setting; empty where it holds."""
    view, settings = world.book.views.advice, world.book.settings
    side = _side(world)
    for tier in settings.tiers:
        pairs = world.fidelity(arm, tier)
        if lack := _lack(pairs, settings.missing_share):
            return f"{column(view.fidelity).label} on {tier}: {lack}"
        if contrast_test(side * (pairs.first - level)).p_greater >= world.alpha:
            shown = _tier(world, arm, tier)
            return (
                f"{column(view.fidelity).label} on {tier} is not shown beyond {measured(level, view.fidelity)}: "
                f"mean {measured(shown.mean, view.fidelity)}, bound {measured(shown.bound, view.fidelity)}"
            )
    for metric in view.metrics:
        for tier in settings.tiers:
            if why := _unequal(world, arm, metric, tier):
                return why
    return ""


def _unequal(world: _World, arm: str, metric: str, tier: str) -> str:
    """Return why a setting is not shown equivalent to the reference in a metric; empty where it is."""
    settings = world.book.settings
    margin = settings.smallest_effects[metric.split("/")[0]]
    pairs = world.ledger.losses(metric, arm=arm, baseline=world.book.views.reference, tier=tier)
    if lack := _lack(pairs, settings.missing_share):
        return f"{column(metric).label} on {tier}: {lack}"
    loss = pairs.first - pairs.second
    if all(contrast_test(room).p_greater < world.alpha for room in (margin - loss, margin + loss)):
        return ""
    test = contrast_test(loss, alpha=2 * world.alpha)
    return (
        f"{column(metric).label} on {tier} is not shown within {measured(margin, metric)}: loss "
        f"{estimate(test.mean, test.ci_low, test.ci_high, unit=column(metric).unit)}"
    )


def _lack(pairs: Pairs, missing_share: float) -> str:
    """Return why pairs are too few to judge by; empty where they are not."""
    if pairs.n < FEWEST:
        return f"only {pairs.n} mixtures have a figure"
    if pairs.n_dropped > missing_share * (pairs.n + pairs.n_dropped):
        return f"{pairs.n_dropped} of {pairs.n + pairs.n_dropped} mixtures lack it"
    return f"it does not exist on {pairs.n_excluded} mixtures" if pairs.n_excluded > pairs.n else ""


def _tier(world: _World, arm: str, tier: str) -> TierFidelity:
    pairs, side = world.fidelity(arm, tier), _side(world)
    test = contrast_test(side * pairs.first, alpha=2 * world.alpha)  # whose lower end is the bound at alpha
    return TierFidelity(
        tier=tier,
        mean=side * test.mean,
        bound=side * test.ci_low,
        worst=float((side * pairs.first).min() * side),
        n=pairs.n,
        n_dropped=pairs.n_dropped,
        n_failed=len(pairs.failed),
    )


def _paired(time: ArmTime | None) -> PairedTime | None:
    if time is None:
        return None
    return PairedTime(
        ratio=time.ratio,
        low=time.low,
        high=time.high,
        n_pairs=len(time.arm_seconds),
        clock=time.clock,
        device=time.device,
        peak_bytes=time.arm_peak_bytes,
        reference_peak_bytes=time.against_peak_bytes,
    )


def _is_better(world: _World, arm: str, *, than: str) -> bool:
    """Whether the fidelity of `arm` is shown to be higher on every tier."""
    for tier in world.book.settings.tiers:
        pairs = world.ledger.abreast(world.book.views.advice.fidelity, arm=arm, rival=than, tier=tier)
        if _lack(pairs, world.book.settings.missing_share):
            return False
        if contrast_test(_side(world) * (pairs.first - pairs.second)).p_greater >= world.alpha:
            return False
    return True


def _setting(world: _World, arm: str) -> Setting:
    context, row = world.context, world.arms[arm]
    solver = parse_solver(row.solver)
    return Setting(
        arm=arm,
        solver=solver.name,
        evaluations=solver.nfe,
        flops_saved=world.saved(arm),
        flops_total=context.costs[arm].flops_total,
        seconds=context.seconds.get(arm),
        time=_paired(context.times.get(arm)),
        cache_bytes=context.cache_bytes.get(arm),
        cached=caches(row),
        code=code_of(row, solver, schedule=context.schedules.get(arm)),
        tiers=tuple(_tier(world, arm, tier) for tier in world.book.settings.tiers),
    )
