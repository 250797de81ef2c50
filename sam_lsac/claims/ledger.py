"""The scores of all runs as plain rows, and the one place where runs are paired and incomplete mixtures dropped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.metrics import column

__all__ = ["Ledger", "Pairs", "Row"]

Column = tuple[str, str]  # metric, arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one run.

    Parameters
    ----------
    arm, tier, mixture, group, metric
        What was run, and the column. `group` is the target's speaker or label.
    seed
        Of the noise.
    value
        Finite, or NaN.
    reason
        Why the value is NaN; None where it is finite.
    failed
        Whether there is no value because the arm's output is silent or not finite.

    Raises
    ------
    InputError
        If the value is infinite, NaN without a reason, or finite with one.
    """

    arm: str
    tier: str
    mixture: str
    group: str
    seed: int
    metric: str
    value: float
    reason: str | None = None
    failed: bool = False

    def __post_init__(self) -> None:
        if math.isinf(self.value) or math.isnan(self.value) != bool(self.reason):
            raise InputError(
                f"row {self.arm}/{self.mixture}/{self.metric}: got {self.value!r} with reason {self.reason!r}: "
                "a value is finite, or NaN with a reason"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Two figures per mixture, averaged over the noise seeds, with what was dropped.

    What the first and the second figure are is said by the method of `Ledger` that returns them.

    Parameters
    ----------
    mixtures, groups
        One per pair, sorted by mixture.
    first, second
        Finite, one per pair, [n].
    n_dropped
        Mixtures without a finite figure in every run that the comparison needs.
    reasons
        One per dropped mixture.
    """

    mixtures: tuple[str, ...]
    groups: tuple[str, ...]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    n_dropped: int
    reasons: tuple[str, ...]

    @property
    def n(self) -> int:
        """The number of complete pairs."""
        return len(self.mixtures)

    @property
    def exchanged(self) -> "Pairs":
        """The same pairs with first and second exchanged."""
        return replace(self, first=self.second, second=self.first)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aligned:
    """Figures [seeds, columns] of every mixture that is complete in all columns."""

    mixtures: tuple[str, ...]
    figures: tuple[NDArray[np.float64], ...]
    reasons: tuple[str, ...]


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
    _groups: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns: dict[tuple[str, str, str], dict[str, dict[int, Row]]] = {}
        homes: dict[str, tuple[str, str]] = {}
        for row in self.rows:
            if homes.setdefault(row.mixture, (row.tier, row.group)) != (row.tier, row.group):
                raise InputError(f"mixture {row.mixture!r} appears in two tiers or groups: give each its own id")
            seeds = columns.setdefault((row.metric, row.arm, row.tier), {}).setdefault(row.mixture, {})
            if row.seed in seeds:
                raise InputError(
                    f"{row.metric} of {row.arm!r} on {row.mixture!r}, seed {row.seed}, is there twice: keep one a run"
                )
            seeds[row.seed] = row
        object.__setattr__(self, "_columns", MappingProxyType(columns))
        object.__setattr__(self, "_groups", MappingProxyType({m: group for m, (_, group) in homes.items()}))

    def has(self, metric: str, *, arm: str, tier: str) -> bool:
        """Return whether there is any row of this metric, arm and tier."""
        return (metric, arm, tier) in self._columns

    def paired(self, metric: str, *, arm: str, baseline: str, tier: str) -> Pairs:
        """Return `metric` of `arm` (first) and of `baseline` (second) for every mixture that has both.

        A mixture with NaN, or without a row, in either arm is dropped here, and here only. Seeds that both arms have
        are averaged first.
        """
        aligned = self._aligned([(metric, arm), (metric, baseline)], tier)
        means = [table.mean(axis=0) for table in aligned.figures]
        return self._pairs(aligned, [float(m[0]) for m in means], [float(m[1]) for m in means])

    def losses(self, metric: str, *, arm: str, baseline: str, tier: str) -> Pairs:
        """Return the pairs of `paired` so that first - second is the loss: by how much `arm` is worse than `baseline`.

        First is the baseline for a metric that is better when higher, and `arm` for one that is better when lower.
        """
        pairs = self.paired(metric, arm=arm, baseline=baseline, tier=tier)
        return pairs.exchanged if column(metric).higher_is_better else pairs

    def deviations(self, metric: str, *, arm: str, rival: str, baseline: str, tier: str) -> Pairs:
        """Return |metric(arm) - metric(baseline)| as first, and the same of `rival` as second.

        The deviation is taken for the same mixture and the same noise, then averaged over seeds; dropping is as in
        `paired`, over all three arms.

        References
        ----------
        The paper, section 4.4: signed SI-SNR is not monotonic in quality for generative separators, so runs are
        scored by the magnitude of their deviation from the 16-step baseline.
        """
        aligned = self._aligned([(metric, arm), (metric, rival), (metric, baseline)], tier)
        means = [np.abs(table[:, :2] - table[:, 2:]).mean(axis=0) for table in aligned.figures]
        return self._pairs(aligned, [float(m[0]) for m in means], [float(m[1]) for m in means])

    def points(self, x: Sequence[Column], y: Sequence[Column], *, tier: str) -> Pairs:
        """Return columns `x` (first) against `y` (second), one point per mixture and position; for sweeps.

        Parameters
        ----------
        x, y
            Pairs of metric and arm, of one length; a mixture that lacks any of them is dropped.
        tier
            Of the mixtures.
        """
        aligned = self._aligned([*x, *y], tier)
        means = [table.mean(axis=0) for table in aligned.figures]
        points = self._pairs(aligned, [], [])
        return Pairs(
            mixtures=tuple(m for m in aligned.mixtures for _ in x),
            groups=tuple(self._groups[m] for m in aligned.mixtures for _ in x),
            first=np.asarray([m[: len(x)] for m in means], dtype=np.float64).reshape(-1),
            second=np.asarray([m[len(x) :] for m in means], dtype=np.float64).reshape(-1),
            n_dropped=points.n_dropped,
            reasons=points.reasons,
        )

    def _pairs(self, aligned: _Aligned, first: list[float], second: list[float]) -> Pairs:
        return Pairs(
            mixtures=aligned.mixtures,
            groups=tuple(self._groups[mixture] for mixture in aligned.mixtures),
            first=np.asarray(first, dtype=np.float64),
            second=np.asarray(second, dtype=np.float64),
            n_dropped=len(aligned.reasons),
            reasons=aligned.reasons,
        )

    def _aligned(self, columns: Sequence[Column], tier: str) -> _Aligned:
        found = [self._columns.get((metric, arm, tier), {}) for metric, arm in columns]
        complete: dict[str, NDArray[np.float64]] = {}
        reasons: list[str] = []
        for mixture in sorted(set().union(*found)):
            rows = [column.get(mixture, {}) for column in found]
            seeds = sorted(set(rows[0]).intersection(*rows[1:]))
            reason = _incomplete(columns, rows, seeds)
            if reason:
                reasons.append(f"{mixture}: {reason}")
            else:
                complete[mixture] = np.asarray([[row[seed].value for row in rows] for seed in seeds], dtype=np.float64)
        return _Aligned(mixtures=tuple(complete), figures=tuple(complete.values()), reasons=tuple(reasons))


def _incomplete(columns: Sequence[Column], rows: Sequence[Mapping[int, Row]], seeds: Sequence[int]) -> str | None:
    """Return why a mixture cannot be paired, or None."""
    for (metric, arm), seen in zip(columns, rows, strict=True):
        if not seen:
            return f"no {metric} of {arm}"
    if not seeds:
        return f"no noise seed that all of {', '.join(dict.fromkeys(arm for _, arm in columns))} have"
    for (metric, arm), seen in zip(columns, rows, strict=True):
        for seed in seeds:
            if math.isnan(seen[seed].value):
                return f"{metric} of {arm}: {seen[seed].reason}"
    return None
