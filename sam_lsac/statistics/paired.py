"""Paired comparisons of two runs over the same mixtures: t-test, Cohen's d_z, equivalence.

Conventions: the difference is treated - baseline, so that a loss is negative; d_z is the mean difference divided by
the standard deviation of the differences. Two degenerate samples have a stated answer instead of a division by
zero: where all differences are exactly 0, t = 0, p = 1, d = 0 and every interval is the point 0; where all are equal
and not 0, t and d are infinite with their sign, and p = 0.

References
----------
Cohen, "Statistical power analysis for the behavioral sciences", 1988 (labels); Lakens, "Calculating and reporting
effect sizes", 2013 (d_z); Cumming and Finch, 2001 (interval by inversion of the noncentral t distribution);
Schuirmann, 1987 (two one-sided tests).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics._noncentral import noncentrality, survival
from sam_lsac.statistics._samples import Sample, fraction, pair

__all__ = ["Equivalence", "PairedTest", "cohen_label", "equivalence", "paired_test"]

LABELS = (("negligible", 0.2), ("small", 0.5), ("medium", 0.8), ("large", math.inf))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """Result of `paired_test`: mean difference with interval, t, two-sided p, and d_z with interval."""

    n: int
    mean: float
    sd: float
    ci_low: float
    ci_high: float
    t: float
    p: float
    d: float
    d_low: float
    d_high: float

    @property
    def label(self) -> str:
        """Cohen's label of d_z."""
        return cohen_label(self.d)

    def p_d_within(self, bound: float) -> float:
        """Return the p value of |d_z| >= `bound`: small where the effect is shown to be smaller (TOST on d_z)."""
        centre = math.sqrt(self.n) * bound
        above, below = survival(self.t, self.n - 1, -centre), survival(-self.t, self.n - 1, -centre)
        return max(above, below)

    def p_d_beyond(self, bound: float) -> float:
        """Return the one-sided p value of d_z <= `bound` (of d_z >= `bound` for a negative bound)."""
        centre = math.sqrt(self.n) * abs(bound)
        return survival(self.t if bound >= 0 else -self.t, self.n - 1, centre)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Result of `equivalence`: `p` is small where |mean difference| < `margin` is shown."""

    n: int
    mean: float
    margin: float
    p_above_lower: float
    p_below_upper: float
    p_beyond: float
    ci_low: float
    ci_high: float

    @property
    def p(self) -> float:
        """The larger of the two one-sided p values."""
        return max(self.p_above_lower, self.p_below_upper)


def cohen_label(d: float) -> str:
    """Return Cohen's label of an effect size: negligible < 0.2 <= small < 0.5 <= medium < 0.8 <= large.

    Raises
    ------
    InputError
        If `d` is NaN.
    """
    if math.isnan(d):
        raise InputError("an effect size that is NaN has no label: compute it from finite pairs")
    return next(label for label, bound in LABELS if abs(d) < bound or math.isinf(bound))


def paired_test(treated: ArrayLike, baseline: ArrayLike, *, alpha: float = 0.05) -> PairedTest:
    """Compare two runs over the same mixtures with a two-sided paired t-test.

    Parameters
    ----------
    treated, baseline
        [n] each, one figure per mixture, in one order.
    alpha
        The intervals cover 1 - alpha.

    Raises
    ------
    InputError
        If there are fewer than two pairs, lengths differ, a figure is not finite, or alpha is not in (0, 1).
    """
    first, second = pair(treated, baseline)
    fraction(alpha, "alpha")
    difference = first - second
    n, mean, sd = difference.size, float(difference.mean()), _sd(difference)
    if sd == 0.0:
        extreme = math.copysign(math.inf, mean) if mean else 0.0
        return PairedTest(
            n=n,
            mean=mean,
            sd=0.0,
            ci_low=mean,
            ci_high=mean,
            t=extreme,
            p=float(mean == 0.0),
            d=extreme,
            d_low=extreme,
            d_high=extreme,
        )
    result = stats.ttest_rel(first, second)
    half = float(stats.t.ppf(1 - alpha / 2, n - 1)) * sd / math.sqrt(n)
    t = float(result.statistic)
    d_low, d_high = _d_interval(t, n, alpha)
    return PairedTest(
        n=n,
        mean=mean,
        sd=sd,
        ci_low=mean - half,
        ci_high=mean + half,
        t=t,
        p=float(result.pvalue),
        d=mean / sd,
        d_low=d_low,
        d_high=d_high,
    )


def equivalence(treated: ArrayLike, baseline: ArrayLike, *, margin: float, alpha: float = 0.05) -> Equivalence:
    """Show, or fail to show, that two runs differ by less than a margin (paired two one-sided t-tests).

    Parameters
    ----------
    treated, baseline
        [n] each, one figure per mixture, in one order.
    margin
        In the unit of the figures, greater than 0.
    alpha
        The interval covers 1 - 2 alpha, so that it lies within the margin exactly where p < alpha.

    Returns
    -------
    Equivalence
        `p` small: equivalent. `p_beyond` small: the difference is shown to be larger than the margin, on the side
        where it lies.

    Raises
    ------
    InputError
        As `paired_test`, and if the margin is not finite and positive.
    """
    first, second = pair(treated, baseline)
    fraction(alpha, "alpha")
    if not 0.0 < margin < math.inf:
        raise InputError(f"margin must be positive and finite, got {margin!r}: state it in the metric's own unit")
    difference = first - second
    n, mean, sd = difference.size, float(difference.mean()), _sd(difference)
    half = float(stats.t.ppf(1 - alpha, n - 1)) * sd / math.sqrt(n) if sd else 0.0
    lower, upper = _one_sided(mean + margin, sd, n), _one_sided(margin - mean, sd, n)
    return Equivalence(
        n=n,
        mean=mean,
        margin=margin,
        p_above_lower=lower,
        p_below_upper=upper,
        p_beyond=_one_sided(abs(mean) - margin, sd, n),
        ci_low=mean - half,
        ci_high=mean + half,
    )


def _one_sided(excess: float, sd: float, n: int) -> float:
    """Return the p value of a true excess <= 0."""
    if sd == 0.0:
        return 0.0 if excess > 0 else 1.0
    return float(stats.t.sf(excess / (sd / math.sqrt(n)), n - 1))


def _sd(difference: Sample) -> float:
    """Return the sample standard deviation, exactly 0 where all differences are equal."""
    return 0.0 if np.ptp(difference) == 0.0 else float(difference.std(ddof=1))


def _d_interval(t: float, n: int, alpha: float) -> tuple[float, float]:
    """Return the exact interval of d_z: the noncentralities under which t is no more extreme than alpha / 2."""
    low, high = (noncentrality(abs(t), n - 1, level) / math.sqrt(n) for level in (alpha / 2, 1 - alpha / 2))
    return (low, high) if t >= 0 else (-high, -low)
