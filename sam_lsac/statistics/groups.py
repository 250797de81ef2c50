"""A comparison that is not of pairs: two groups of different mixtures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sam_lsac.statistics._samples import sample

__all__ = ["Welch", "welch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Welch:
    """Result of `welch`: difference of the means first - second with its interval, and the two-sided p value."""

    difference: float
    ci_low: float
    ci_high: float
    t: float
    p: float


def welch(first: ArrayLike, second: ArrayLike, *, alpha: float = 0.05) -> Welch:
    """Compare two groups of different mixtures with Welch's t-test.

    Parameters
    ----------
    first, second
        [n] and [m], one figure per mixture.
    alpha
        The interval covers 1 - alpha.

    Raises
    ------
    InputError
        If a group has fewer than two figures or one that is not finite.
    """
    a, b = sample(first), sample(second)
    difference = float(a.mean() - b.mean())
    if np.ptp(a) == 0.0 and np.ptp(b) == 0.0:
        t = 0.0 if difference == 0.0 else float(np.copysign(np.inf, difference))
        return Welch(difference=difference, ci_low=difference, ci_high=difference, t=t, p=float(difference == 0.0))
    result = stats.ttest_ind(a, b, equal_var=False)
    interval = result.confidence_interval(1 - alpha)
    return Welch(
        difference=difference,
        ci_low=float(interval.low),
        ci_high=float(interval.high),
        t=float(result.statistic),
        p=float(result.pvalue),
    )
