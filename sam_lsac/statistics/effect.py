"""Cohen's d_z of a contrast with bounds that hold for skewed and heavy-tailed data.

The interval by inversion of the noncentral t distribution takes the data to be normal. The variance of d depends on
their skewness and kurtosis, so elsewhere it covers too little (a "95 %" interval of skewed data covers 64 to 80 %).
The delete-one jackknife turns d into a mean of pseudo-values, whose spread is that of d whatever the distribution.

References
----------
Miller, "The jackknife - a review", Biometrika 61, 1974, 1-15; Hall, 1992 (see `sam_lsac.statistics._skewed`); Cumming
and Finch, "A primer on the understanding, use, and calculation of confidence intervals", 2001.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sam_lsac.statistics._noncentral import noncentrality, survival
from sam_lsac.statistics._samples import fraction, sample
from sam_lsac.statistics._skewed import Floats, bound, moments, p_greater

__all__ = ["Effect", "effect_size", "pseudo_values"]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    centre, spread, skewness
        Mean, standard deviation and skewness of the jackknife's pseudo-values.
    """

    n: int
    d: float
    low: float
    high: float
    level: float
    centre: float
    spread: float
    skewness: float

    def p_above(self, bound: float) -> float:
        """Return the one-sided p value of d <= `bound`: small where d is shown to be greater."""
        return self._p(bound, 1.0)

    def p_below(self, bound: float) -> float:
        """Return the one-sided p value of d >= `bound`: small where d is shown to be smaller."""
        return self._p(bound, -1.0)

    def p_within(self, bound: float) -> float:
        """Return the p value of |d| >= `bound`, the larger of two one-sided ones."""
        return max(self.p_below(bound), self.p_above(-bound))

    def _p(self, bound: float, side: float) -> float:
        if self.spread == 0.0:  # all figures are equal
            return 0.5**self.n if side * self.d > side * bound else 1.0
        if math.isinf(self.spread):
            return 1.0
        root = math.sqrt(self.n)
        normal = survival(side * root * self.d, self.n - 1, side * root * bound)
        ratio = side * (self.centre - bound) / self.spread
        return max(normal, float(p_greater(ratio, side * self.skewness, self.n)))


def pseudo_values(values: Floats) -> Floats:
    """Return the delete-one jackknife's pseudo-values of d over the last axis [..., n], n >= 3.

    Their mean is d less the jackknife's estimate of its bias. Infinite where all figures but one are equal.

    Parameters
    ----------
    values
        Not all equal.
    """
    n = values.shape[-1]
    mean = values.mean(axis=-1, keepdims=True)
    centred = values - mean
    squares = (centred**2).sum(axis=-1, keepdims=True)
    left = squares - n / (n - 1) * centred**2  # sum of squares without the one, exactly 0 or more
    left = np.where(left > 1e-14 * squares, left, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (mean - centred / (n - 1)) * np.sqrt((n - 2) / left)
    pseudo: Floats = n * mean * np.sqrt((n - 1) / squares) - (n - 1) * without
    return pseudo


def effect_size(values: ArrayLike, *, level: float = 0.95) -> Effect:
    """Return Cohen's d_z of a contrast with an interval that makes no assumption of normal data.

    Each end is the outermost of three: the noncentral t, Student's t of the jackknife's pseudo-values, and the same
    after Hall's transformation for their skewness. All are in closed form: no draws, no seed. Measured over normal
    and skewed data, |d| up to 1.9, n from 24 to 200 and one-sided levels from 0.05 to 0.0005, the lower end of a
    positive d misses at most 1.2 times as often as its level says. Where the fourth moment is infinite (Student's t
    with 3 degrees of freedom and a true d of 1.5) it misses up to 2.2 times as often at 0.05 and 3.6 times at 0.0005
    (the noncentral t: 7 and 200). The price in normal data of d = 0.8: at 24 mixtures the 95 % interval is 1.3 times
    as wide as the exact one, at 48 1.2 times.

    Where all figures are equal, d is 0 or infinite with its sign and the interval is the point; where all but one
    are, the sample does not bound d and the interval is the whole line.

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
    n, (mean, sd, _) = data.size, (float(moment) for moment in moments(data))
    if sd == 0.0:
        d = math.copysign(math.inf, mean) if mean else 0.0
        return Effect(n=n, d=d, low=d, high=d, level=level, centre=d, spread=0.0, skewness=0.0)
    d = mean / sd
    pseudo = pseudo_values(data)
    if not np.isfinite(pseudo).all():
        return Effect(n=n, d=d, low=-math.inf, high=math.inf, level=level, centre=d, spread=math.inf, skewness=0.0)
    centre, spread, skewness = (float(moment) for moment in moments(pseudo))
    miss = (1 - level) / 2
    low, high = _normal_bounds(d, n, miss)
    return Effect(
        n=n,
        d=d,
        low=min(low, centre - spread * float(bound(miss, skewness, n))),
        high=max(high, centre + spread * float(bound(miss, -skewness, n))),
        level=level,
        centre=centre,
        spread=spread,
        skewness=skewness,
    )


def _normal_bounds(d: float, n: int, miss: float) -> tuple[float, float]:
    """Return the exact bounds of normal data, each missed with probability `miss`."""
    root = math.sqrt(n)
    low, high = (noncentrality(abs(d) * root, n - 1, level) / root for level in (miss, 1 - miss))
    return (low, high) if d >= 0 else (-high, -low)
