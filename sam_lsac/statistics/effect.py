"""Cohen's d_z of a contrast with tests and bounds that hold for skewed and heavy-tailed data.

The interval by inversion of the noncentral t distribution takes the data to be normal. The variance of d depends on
their skewness and kurtosis, so elsewhere it covers too little (a "95 %" interval of skewed data covers 64 to 80 %).
That d is above a bound says that the mean of x - bound * sd is above zero, and the delete-one jackknife turns the
standard deviation into a mean of pseudo-values, so that the question becomes that of a contrast. Its spread is that at
the bound and not at the observed d, where a large d would have a wide interval.

References
----------
Cohen, "Statistical power analysis for the behavioral sciences", 1988 (labels); Miller, "The jackknife - a review",
Biometrika 61, 1974, 1-15; Hall, 1992 (see `sam_lsac.statistics._skewed`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from sam_lsac.statistics._noncentral import survival
from sam_lsac.statistics._samples import fraction, sample
from sam_lsac.statistics._skewed import Floats, moments, p_greater

__all__ = ["LABELS", "Effect", "above_bound", "effect_size"]

LABELS = (("negligible", 0.2), ("small", 0.5), ("medium", 0.8), ("large", math.inf))
"""Cohen's labels, each with the |d| below which it holds, from the smallest on."""

FARTHEST = 1e3  # no bound of d is looked for beyond


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effect:
    """Result of `effect_size`: d with its interval, and tests of whether d lies above or below a bound.

    Attributes
    ----------
    n, d
        Mixtures, and mean / standard deviation.
    low, high
        The interval; each end is a one-sided bound at (1 - level) / 2.
    level
        Its coverage.
    values
        The figures, [n].
    """

    n: int
    d: float
    low: float
    high: float
    level: float
    values: Floats

    def p_above(self, bound: float) -> float:
        """Return the one-sided p value of d <= `bound`: small where d is shown to be greater."""
        return _p_above(self.values, bound)

    def p_below(self, bound: float) -> float:
        """Return the one-sided p value of d >= `bound`: small where d is shown to be smaller."""
        return _p_above(-self.values, -bound)

    def p_within(self, bound: float) -> float:
        """Return the p value of |d| >= `bound`, the larger of two one-sided ones."""
        return max(self.p_below(bound), self.p_above(-bound))


def above_bound(values: Floats, bound: float) -> Floats:
    """Return the contrast whose mean is above zero where d is above `bound`: x - bound * pseudo-values of the sd.

    Parameters
    ----------
    values
        [..., n], n >= 3.
    bound
        Of d, finite.
    """
    contrast: Floats = values - bound * _deviation(values)
    return contrast


def effect_size(values: ArrayLike, *, level: float = 0.95) -> Effect:
    """Return Cohen's d_z of a contrast with an interval that makes no assumption of normal data.

    A test of d against a bound takes the larger of two p values: of the noncentral t, and of `contrast_test` on
    `above_bound`. All are in closed form: no draws, no seed. Measured over normal and skewed data, d from 0 to 1.5 and
    n from 24 to 200 (tests/calibration/README.md), a bound misses the truth at most 1.2 times as often as its level
    says at 0.05 and 0.006, 1.4 at 0.001 and 1.8 at 0.0005. Where the fourth moment is infinite (Student's t with 3
    degrees of freedom) the lower bound of a d of 1.5 misses 2.9 times as often at 0.05 and 4.6 times at 0.001, with 48
    mixtures; that of the noncentral t alone 6 times at 0.05. The price in normal data: at 24 mixtures and level 0.01 a
    d of 3 is shown to be above 0.8 in 62 of 100 samples, and one of 5 in all.

    Where all figures are equal, d is 0 or infinite with its sign and the interval is the point. An end is infinite
    where the sample bounds d on that side at no level.

    Parameters
    ----------
    values
        [n], one figure per mixture, averaged over seeds.
    level
        Coverage of the interval, two-sided.

    Raises
    ------
    InputError
        If there are fewer than three mixtures, a figure is not finite, or the level is not in (0, 1).
    """
    data = sample(values, at_least=3)
    fraction(level, "level")
    mean, sd, _ = (float(moment) for moment in moments(data))
    if sd == 0.0:
        d = math.copysign(math.inf, mean) if mean else 0.0
        return Effect(n=data.size, d=d, low=d, high=d, level=level, values=data)
    d, miss = mean / sd, (1 - level) / 2
    low, high = _lowest(_tester(data), d, miss), -_lowest(_tester(-data), -d, miss)
    return Effect(n=data.size, d=d, low=low, high=high, level=level, values=data)


def _deviation(values: Floats) -> Floats:
    """Return the delete-one jackknife's pseudo-values of the standard deviation, over the last axis."""
    n = values.shape[-1]
    centred = values - values.mean(axis=-1, keepdims=True)
    squares = (centred**2).sum(axis=-1, keepdims=True)
    left = np.maximum(squares - n / (n - 1) * centred**2, 0.0)  # sum of squares without the one
    pseudo: Floats = n * np.sqrt(squares / (n - 1)) - (n - 1) * np.sqrt(left / (n - 2))
    return pseudo


def _tester(values: Floats) -> Callable[[float], float]:
    """Return the p value of "d is not above a bound" as a function of the bound; the figures are not all equal."""
    n, root = values.size, math.sqrt(values.size)
    deviation = _deviation(values)
    mean, sd, _ = (float(moment) for moment in moments(values))
    mean_deviation = float(deviation.mean())
    centred, spread = values - mean, deviation - mean_deviation

    def p(bound: float) -> float:
        normal = survival(root * mean / sd, n - 1, root * bound)
        contrast = centred - bound * spread
        squares = contrast**2
        variance = float(squares.mean())
        if variance == 0.0:
            return normal
        skewness = float(squares @ contrast) / n / variance**1.5
        ratio = (mean - bound * mean_deviation) / math.sqrt(variance * n / (n - 1))
        return max(normal, float(p_greater(ratio, skewness, n)))

    return p


def _p_above(values: Floats, bound: float) -> float:
    if math.isinf(bound):
        return 0.0 if bound < 0.0 else 1.0
    if np.ptp(values) == 0.0:
        d = math.copysign(math.inf, values[0]) if values[0] else 0.0
        return float(0.5**values.size) if d > bound else 1.0
    return _tester(values)(bound)


def _lowest(p: Callable[[float], float], d: float, miss: float) -> float:
    """Return the bound at which p is `miss`, minus infinity where it is greater however low the bound is."""
    step = 0.5
    while p(d - step) > miss:
        step *= 2.0
        if step > FARTHEST:
            return -math.inf
    highest = d
    while p(highest) <= miss:  # a level near 0
        highest += 0.5
    return float(optimize.brentq(lambda bound: p(bound) - miss, d - step, highest, xtol=1e-6))
