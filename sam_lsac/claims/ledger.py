"""The scores of all runs as plain rows, and the one place where runs are paired and incomplete mixtures dropped."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.metrics import column

__all__ = ["Ledger", "Pairs", "Row"]

Column = tuple[str, str]  # metric, arm
Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one run.

    Parameters
    ----------
    arm, tier, mixture, group, metric
        What was run, and the column. `group` is the target's speaker or label.
    residual_group
        The residual's speaker or label; empty where it is not known.
    seed
        Of the noise.
    value
        Finite, or NaN.
    reason
        Why the value is NaN; None where it is finite.
    failed
        Whether the run's own output is why: it is silent or not finite.

    Raises
    ------
    InputError
        If the value is infinite, NaN without a reason, or finite with one or failed.
    """

    arm: str
    tier: str
    mixture: str
    group: str
    seed: int
    metric: str
    value: float
    reason: str | None = None
    residual_group: str = ""
    failed: bool = False

    def __post_init__(self) -> None:
        known = math.isfinite(self.value)
        if math.isinf(self.value) or known == bool(self.reason) or (known and self.failed):
            raise InputError(
                f"row {self.arm}/{self.mixture}/{self.metric}: got {self.value!r} with reason {self.reason!r}: "
                "a value is finite, or NaN with a reason"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Two figures per mixture, averaged over the noise seeds, with what is not among them.

    What the first and the second figure are is said by the method of `Ledger` that returns them.

    Parameters
    ----------
    mixtures, groups, residual_groups
        One per pair, sorted by mixture.
    first, second
        Finite, one per pair, [n].
    failed
        Mixtures on which an arm failed and the baseline did not; its figure is the worst of all runs there.
    reasons
        Of every dropped mixture: one that lacks a figure which it should have.
    excluded
        Of every mixture on which the figure does not exist for the baseline either.
    """

    mixtures: tuple[str, ...]
    groups: tuple[str, ...]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    residual_groups: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """The number of complete pairs."""
        return len(self.mixtures)

    @property
    def n_dropped(self) -> int:
        """Mixtures that lack a figure which they should have."""
        return len(self.reasons)

    @property
    def n_excluded(self) -> int:
        """Mixtures on which the figure does not exist for the baseline either."""
        return len(self.excluded)

    @property
    def exchanged(self) -> "Pairs":
        """The same pairs with first and second exchanged."""
        return replace(self, first=self.second, second=self.first)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aligned:
    """Figures [seeds, columns] of every mixture that is complete in all columns."""

    figures: Mapping[str, NDArray[np.float64]]
    failed: tuple[str, ...]
    reasons: tuple[str, ...]
    excluded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All rows of a report.

    Parameters
    ----------
    rows
        At most one per (arm, mixture, seed, metric); a mixture belongs to one tier and group.

    Raises
    ------
    InputError
        If a row is there twice, or a mixture changes its tier or group.
    """

    rows: tuple[Row, ...]
    _columns: Mapping[tuple[str, str, str], Mapping[str, Mapping[int, Row]]] = field(
        init=False, repr=False, compare=False
    )
    _homes: Mapping[str, tuple[str, str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns: dict[tuple[str, str, str], dict[str, dict[int, Row]]] = {}
        homes: dict[str, tuple[str, str, str]] = {}
        for row in self.rows:
            home = (row.tier, row.group, row.residual_group)
            if homes.setdefault(row.mixture, home) != home:
                raise InputError(f"mixture {row.mixture!r} appears in two tiers or groups: give each its own id")
            seeds = columns.setdefault((row.metric, row.arm, row.tier), {}).setdefault(row.mixture, {})
            if row.seed in seeds:
                raise InputError(
                    f"{row.metric} of {row.arm!r} on {row.mixture!r}, seed {row.seed}, is there twice: keep one a run"
                )
            seeds[row.seed] = row
        object.__setattr__(self, "_columns", MappingProxyType(columns))
        object.__setattr__(self, "_homes", MappingProxyType(homes))

    def has(self, metric: str, *, arm: str, tier: str) -> bool:
        """Return whether there is any row of this metric, arm and tier."""
        return (metric, arm, tier) in self._columns

    def group(self, mixture: str) -> str:
        """Return the target's group of a mixture; empty where the ledger does not know it."""
        return self._homes.get(mixture, ("", "", ""))[1]

    def mixtures(self, tier: str) -> tuple[str, ...]:
        """Return the mixtures of a tier in the order in which rows first name them: that of the plan."""
        return tuple(mixture for mixture, (home, _, _) in self._homes.items() if home == tier)

    def sample(self, columns: Iterable[tuple[str, str, str]], sizes: Mapping[str, int]) -> "Ledger":
        """Return the rows of some columns on the first mixtures of each tier alone.

        Parameters
        ----------
        columns
            Tier, arm and metric of each.
        sizes
            By tier, how many mixtures; none of a tier that is not there.
        """
        first = {tier: frozenset(self.mixtures(tier)[:n]) for tier, n in sizes.items()}
        return Ledger(
            tuple(
                row
                for tier, arm, metric in columns
                for mixture, seeds in self._columns.get((metric, arm, tier), {}).items()
                if mixture in first.get(tier, ())
                for row in seeds.values()
            )
        )

    def paired(self, metric: str, *, arm: str, baseline: str, tier: str) -> Pairs:
        """Return `metric` of `arm` (first) and of `baseline` (second) for every mixture that has both.

        Seeds that both arms have are averaged first. A mixture on which `arm` failed keeps its place with the worst
        figure that any run has of this metric on the tier; one without a figure in `baseline` is excluded; any other
        without a figure is dropped. This is the only place where mixtures are left out.
        """
        return self._means([(metric, arm), (metric, baseline)], tier)

    def losses(self, metric: str, *, arm: str, baseline: str, tier: str) -> Pairs:
        """Return the pairs of `paired` so that first - second is the loss: by how much `arm` is worse than `baseline`.

        First is the baseline for a metric that is better when higher, and `arm` for one that is better when lower.
        """
        pairs = self.paired(metric, arm=arm, baseline=baseline, tier=tier)
        return pairs.exchanged if column(metric).higher_is_better else pairs

    def rivals(self, metric: str, *, arm: str, rival: str, baseline: str, tier: str) -> Pairs:
        """Return the losses of `rival` (first) and of `arm` (second), both against `baseline`.

        First - second is by how much the rival loses more; mixtures are left out as in `paired`, over all three arms.
        """
        sign = -1.0 if column(metric).higher_is_better else 1.0
        return self._means(
            [(metric, rival), (metric, arm), (metric, baseline)], tier, lambda t: sign * (t[:, :2] - t[:, 2:])
        )

    def deviations(self, metric: str, *, arm: str, rival: str, baseline: str, tier: str) -> Pairs:
        """Return |metric(arm) - metric(baseline)| as first, and the same of `rival` as second.

        The deviation is taken for the same mixture and the same noise, then averaged over seeds; mixtures are left out
        as in `paired`, over all three arms.

        References
        ----------
        The paper, section 4.4: signed SI-SNR is not monotonic in quality for generative separators, so runs are
        scored by the magnitude of their deviation from the 16-step baseline.
        """
        columns = [(metric, arm), (metric, rival), (metric, baseline)]
        return self._means(columns, tier, lambda t: np.abs(t[:, :2] - t[:, 2:]))

    def points(self, x: Sequence[Column], y: Sequence[Column], *, tier: str) -> Pairs:
        """Return columns `x` (first) against `y` (second), one point per mixture and position; for sweeps.

        Parameters
        ----------
        x, y
            Pairs of metric and arm, of one length; a mixture that lacks any of them is left out.
        tier
            Of the mixtures.
        """
        aligned = self._aligned([*x, *y], tier, baseline=False)
        means = [table.mean(axis=0) for table in aligned.figures.values()]
        return self._pairs(
            aligned,
            first=np.asarray([m[: len(x)] for m in means], dtype=np.float64).reshape(-1),
            second=np.asarray([m[len(x) :] for m in means], dtype=np.float64).reshape(-1),
            each=len(x),
        )

    def abreast(self, metric: str, *, arm: str, rival: str, tier: str) -> Pairs:
        """Return `metric` of `arm` (first) and of `rival` (second) where the metric itself compares with a baseline.

        Neither is what the other is compared with: of both, a failed run keeps its place with the worst figure.
        """
        return self._means([(metric, arm), (metric, rival)], tier, baseline=False)

    def _means(
        self,
        columns: Sequence[Column],
        tier: str,
        score: Callable[[Table], Table] | None = None,
        *,
        baseline: bool = True,
    ) -> Pairs:
        """Return the first two columns, or the two that `score` makes of all of them, averaged over seeds."""
        aligned = self._aligned(columns, tier, baseline=baseline)
        tables = [score(table) if score else table for table in aligned.figures.values()]
        means = np.asarray([table.mean(axis=0)[:2] for table in tables], dtype=np.float64).reshape(-1, 2)
        return self._pairs(aligned, first=means[:, 0].copy(), second=means[:, 1].copy())

    def _pairs(self, aligned: _Aligned, *, first: Table, second: Table, each: int = 1) -> Pairs:
        mixtures = tuple(mixture for mixture in aligned.figures for _ in range(each))
        return Pairs(
            mixtures=mixtures,
            groups=tuple(self._homes[mixture][1] for mixture in mixtures),
            residual_groups=tuple(self._homes[mixture][2] for mixture in mixtures),
            first=first,
            second=second,
            failed=aligned.failed,
            reasons=aligned.reasons,
            excluded=aligned.excluded,
        )

    def _aligned(self, columns: Sequence[Column], tier: str, *, baseline: bool = True) -> _Aligned:
        """Return the figures of every mixture; the last column is that of the `baseline`, where there is one."""
        found = [self._columns.get((metric, arm, tier), {}) for metric, arm in columns]
        complete: dict[str, Table] = {}
        said: dict[str, list[str]] = {"failed": [], "reasons": [], "excluded": []}
        for mixture in sorted(set().union(*found)):
            rows = [column.get(mixture, {}) for column in found]
            seeds = sorted(set(rows[0]).intersection(*rows[1:]))
            where, reason = _incomplete(columns, rows, seeds, baseline=baseline)
            if where == "failed" and not all(self._measured(metric, tier) for metric, _ in columns):
                where = "reasons"
            if where:
                said[where].append(f"{mixture}: {reason}")
            if where in ("", "failed"):
                complete[mixture] = np.asarray(
                    [[self._figure(row[seed]) for row in rows] for seed in seeds], dtype=np.float64
                )
        return _Aligned(figures=complete, **{name: tuple(reasons) for name, reasons in said.items()})

    def _figure(self, row: Row) -> float:
        """Return the row's value, or that of the worst run of its metric on its tier where the run failed."""
        if not row.failed:
            return row.value
        values = self._measured(row.metric, row.tier)
        return min(values) if column(row.metric).higher_is_better else max(values)

    def _measured(self, metric: str, tier: str) -> list[float]:
        """Return every figure that any run has of a metric on a tier."""
        return [
            row.value
            for (name, _, where), mixtures in self._columns.items()
            if (name, where) == (metric, tier)
            for seeds in mixtures.values()
            for row in seeds.values()
            if math.isfinite(row.value)
        ]


def _incomplete(
    columns: Sequence[Column], rows: Sequence[Mapping[int, Row]], seeds: Sequence[int], *, baseline: bool
) -> tuple[str, str]:
    """Return whether a mixture is failed, dropped or excluded, and why; two empty texts where it is complete."""
    said = [
        (column_, [row for seed, row in seen.items() if row.reason and (seed in seeds or not seeds)])
        for column_, seen in zip(columns, rows, strict=True)
    ]
    if reason := _nowhere([said[-1]] if baseline else said):
        return "excluded", reason
    for (metric, arm), seen in zip(columns, rows, strict=True):
        if not seen:
            return "reasons", f"no {metric} of {arm}"
    if not seeds:
        arms = ", ".join(dict.fromkeys(arm for _, arm in columns))
        return "reasons", f"no noise seed that all of {arms} have"
    without = [f"{row.metric} of {arm}: {row.reason}" for (_, arm), found in said for row in found]
    if not without:
        return "", ""
    if all(row.failed for _, found in said for row in found) and not (baseline and said[-1][1]):
        return "failed", without[0]
    return "reasons", without[0]


def _nowhere(said: Sequence[tuple[Column, Sequence[Row]]]) -> str:
    """Return why one of the metrics has no figure in any of these columns, though nothing failed; else empty."""
    for metric in dict.fromkeys(name for (name, _), _ in said):
        mine = [(arm, found) for (name, arm), found in said if name == metric]
        if all(any(not row.failed for row in found) for _, found in mine):
            arm, found = mine[0]
            return f"{metric} of {arm}: {next(row.reason for row in found if not row.failed)}"
    return ""
