"""Is the mean of a contrast above zero? One figure a mixture, one side, any distribution.

A contrast is what a claim says is positive on average: a loss, a margin less a loss, a share of one run's deviation
less another's. Its sign carries the claim, so that every test is one-sided.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from sam_lsac.errors import InputError
from sam_lsac.statistics._samples import fraction, sample
from sam_lsac.statistics._skewed import bound, moments, p_greater

__all__ = ["Contrast", "Share", "contrast_test", "share_beyond", "sign_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Result of `contrast_test`.

    Attributes
    ----------
    n, mean, sd, skewness
        Of the sample; the standard deviation with n - 1.
    p_greater
        Small where a mean above 0 is shown.
    p_less
        Small where a mean below 0 is shown.
    ci_low, ci_high
        Interval of the mean, each end a one-sided bound at alpha / 2: `ci_low` > 0 exactly where `p_greater` <
        alpha / 2.
    """

    n: int
    mean: float
    sd: float
    skewness: float
    p_greater: float
    p_less: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Result of `share_beyond`: how many of n mixtures, their share, and its exact (Clopper-Pearson) interval."""

    n: int
    count: int
    share: float
    low: float
    high: float
    level: float


def contrast_test(values: ArrayLike, *, alpha: float = 0.05) -> Contrast:
    """Test, on either side, whether the mean of a contrast is above 0.

    The p value is the larger of Student's and of Student's after Hall's transformation for skewness, in which the
    sample's skewness is moved by 1.25 of its standard errors, sqrt(6 / n), to the side that makes rejection harder.
    Student's alone rejects a true null of skewed data 10 times too often at a level of 0.001, since the sample shows
    too little of the tail; Hall's with the sample's own skewness still 4 times. Chosen by measured size over normal,
    heavy-tailed and skewed data with n from 19 to 200 (tests/calibration/README.md): at most 1.04 times the level at
    0.05 and 0.006, 1.2 at 0.001, 1.3 at 0.0005. The price: at 24 mixtures and level 0.001 it finds a true effect of
    d = 1.2 in normal data with probability 0.83 (Student's: 0.98). What no test of a mean can see is a failure too
    rare to be in the sample: `share_beyond` bounds its rate.

    Where all figures are equal and not 0, the p value is that of the sign test, 2^-n, on their side and 1 on the
    other; where all are 0, both are 1. The interval is then the point.

    Parameters
    ----------
    values
        [n], one figure per mixture, averaged over seeds.
    alpha
        The interval covers 1 - alpha.

    Raises
    ------
    InputError
        If there are fewer than three mixtures, a figure is not finite, or alpha is not in (0, 1).
    """
    data = sample(values, at_least=3)
    fraction(alpha, "alpha")
    mean, sd, skewness = (float(moment) for moment in moments(data))
    n = data.size
    if sd == 0.0:
        shown = 0.5**n
        return Contrast(
            n=n,
            mean=mean,
            sd=0.0,
            skewness=0.0,
            p_greater=shown if mean > 0.0 else 1.0,
            p_less=shown if mean < 0.0 else 1.0,
            ci_low=mean,
            ci_high=mean,
        )
    ratio = mean / sd
    return Contrast(
        n=n,
        mean=mean,
        sd=sd,
        skewness=skewness,
        p_greater=float(p_greater(ratio, skewness, n)),
        p_less=float(p_greater(-ratio, -skewness, n)),
        ci_low=mean - sd * float(bound(alpha / 2, skewness, n)),
        ci_high=mean + sd * float(bound(alpha / 2, -skewness, n)),
    )


def sign_test(values: ArrayLike) -> float:
    """Return the exact p value of "figures above 0 are no more frequent than those below"; zeros are left out.

    It sees how often, not how much: a contrast whose mean is positive because of few mixtures does not pass.

    Parameters
    ----------
    values
        [n], one figure per mixture; all zero gives 1.

    Raises
    ------
    InputError
        If there are no figures, or one is not finite.
    """
    data = sample(values, at_least=1)
    n = int(np.count_nonzero(data))
    above = int((data > 0).sum())
    return float(special.betainc(above, n - above + 1, 0.5)) if above else 1.0


def share_beyond(values: ArrayLike, *, margin: float, level: float = 0.95) -> Share:
    """Return the share of mixtures whose figure is greater than a margin, with its exact interval.

    The upper end bounds the rate of failures that were never seen: with none in 24 mixtures it is 0.14.

    Parameters
    ----------
    values
        [n], one figure per mixture.
    margin
        In the unit of the figures; may be 0 or negative.
    level
        Coverage of the interval, two-sided.

    Raises
    ------
    InputError
        If there are no figures, one or the margin is not finite, or the level is not in (0, 1).
    """
    data = sample(values, at_least=1)
    fraction(level, "level")
    if not math.isfinite(margin):
        raise InputError(f"margin must be finite, got {margin!r}: state it in the metric's own unit")
    n, count, miss = data.size, int((data > margin).sum()), (1 - level) / 2
    return Share(
        n=n,
        count=count,
        share=count / n,
        low=float(special.betaincinv(count, n - count + 1, miss)) if count else 0.0,
        high=float(special.betaincinv(count + 1, n - count, 1 - miss)) if count < n else 1.0,
        level=level,
    )
