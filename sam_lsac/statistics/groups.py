"""Comparisons that are not of one pair: several layers over the same mixtures, two groups of different mixtures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics._samples import sample

__all__ = ["Friedman", "Welch", "friedman", "welch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Friedman:
    """Result of `friedman`: chi-squared, its p value, and Kendall's W (0 no agreement, 1 one order everywhere)."""

    n: int
    k: int
    chi_squared: float
    p: float
    kendall_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Welch:
    """Result of `welch`: difference of the means first - second with its interval, and the two-sided p value."""

    difference: float
    ci_low: float
    ci_high: float
    t: float
    p: float


def friedman(values: ArrayLike) -> Friedman:
    """Test whether k layers differ in their ranks over n mixtures.

    Parameters
    ----------
    values
        [n, k], a figure per mixture and layer; n >= 2, k >= 3.

    Raises
    ------
    InputError
        If the shape is another or a figure is not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise InputError(f"expected [mixtures >= 2, layers >= 3], got shape {table.shape}: record more mixtures")
    if not np.isfinite(table).all():
        raise InputError("figures must be finite: leave out, and count, mixtures that have none")
    n, k = table.shape
    if (np.ptp(table, axis=1) == 0.0).all():
        return Friedman(n=n, k=k, chi_squared=0.0, p=1.0, kendall_w=0.0)
    result = stats.friedmanchisquare(*table.T)
    chi_squared = float(result.statistic)
    return Friedman(n=n, k=k, chi_squared=chi_squared, p=float(result.pvalue), kendall_w=chi_squared / (n * (k - 1)))


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
