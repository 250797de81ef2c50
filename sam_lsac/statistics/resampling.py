"""Bootstrap intervals with an explicit seed; what is resampled is always the mixture."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics._samples import Sample, fraction, pair, sample

__all__ = ["Interval", "mean_interval", "ratio_interval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with the ends of its interval and the coverage (`level`) that these were made for."""

    n: int
    estimate: float
    low: float
    high: float
    level: float


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, method: Literal["t", "bca"] = "t", seed: int = 0, n_resamples: int = 9999
) -> Interval:
    """Return the mean over mixtures with Student's or the bootstrap (BCa) interval.

    Parameters
    ----------
    values
        [n], one figure per mixture. Equal figures give the point.
    level
        Coverage, between 0 and 1.
    method
        "t" or "bca".
    seed, n_resamples
        Seed and number of draws of "bca"; they do not matter to "t".

    Raises
    ------
    InputError
        If there are fewer than two figures, one is not finite, or the method is unknown.
    """
    data = sample(values)
    fraction(level, "level")
    mean = float(data.mean())
    if np.ptp(data) == 0.0:
        return Interval(n=data.size, estimate=mean, low=mean, high=mean, level=level)
    if method == "t":
        half = float(stats.t.ppf((1 + level) / 2, data.size - 1)) * float(stats.sem(data))
        return Interval(n=data.size, estimate=mean, low=mean - half, high=mean + half, level=level)
    if method != "bca":
        raise InputError(f"unknown method {method!r}: choose 't' or 'bca'")
    low, high = _bca((data,), np.mean, level=level, seed=seed, n_resamples=n_resamples)
    return Interval(n=data.size, estimate=mean, low=low, high=high, level=level)


def ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, seed: int = 0, n_resamples: int = 9999
) -> Interval:
    """Return mean(numerator) / mean(denominator) over paired mixtures, with its bootstrap (BCa) interval.

    Parameters
    ----------
    numerator, denominator
        [n] each, one figure per mixture, in one order; the denominator's figures are all greater than 0.
    level, seed, n_resamples
        Coverage, seed and number of draws.

    Raises
    ------
    InputError
        As `mean_interval`, and if a figure of the denominator is not positive.
    """
    above, below = pair(numerator, denominator)
    fraction(level, "level")
    if below.min() <= 0.0:
        raise InputError("a ratio needs a denominator above 0 in every mixture: compare differences instead")
    ratio = float(above.mean() / below.mean())
    if np.ptp(above / below) <= 1e-12 * abs(ratio):
        return Interval(n=above.size, estimate=ratio, low=ratio, high=ratio, level=level)
    low, high = _bca((above, below), _mean_ratio, level=level, seed=seed, n_resamples=n_resamples)
    return Interval(n=above.size, estimate=ratio, low=low, high=high, level=level)


def _mean_ratio(above: Sample, below: Sample, axis: int = -1) -> Sample:
    ratio: Sample = above.mean(axis=axis) / below.mean(axis=axis)
    return ratio


def _bca(
    data: tuple[Sample, ...], statistic: object, *, level: float, seed: int, n_resamples: int
) -> tuple[float, float]:
    result = stats.bootstrap(
        data,
        statistic,
        paired=len(data) > 1,
        vectorized=True,
        confidence_level=level,
        n_resamples=n_resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
