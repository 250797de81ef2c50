"""Whether a test that was not passed so far is likely to be passed with all mixtures."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from sam_lsac.statistics._samples import fraction, sample

__all__ = ["conditional_power"]


def conditional_power(values: ArrayLike, *, level: float, share: float) -> float:
    """Return the probability that all mixtures show the mean to be above zero, if the others go on like the first.

    That is the conditional power under the current trend, of a normal statistic: what is in stays as it is, and what is
    missing is drawn around the mean so far.

    Parameters
    ----------
    values
        One figure a mixture so far, [n], n >= 3.
    level
        One-sided, of the test of all.
    share
        Of all mixtures, that are in.

    Raises
    ------
    InputError
        If there are too few figures, one is not finite, or the level or the share is not in (0, 1).

    References
    ----------
    Lan and Wittes, "The B-value: a tool for monitoring data", Biometrics 44, 1988, 579-585; Jennison and Turnbull,
    "Group sequential methods with applications to clinical trials", 2000, chapter 10.
    """
    column = sample(values, at_least=3)
    fraction(level, "level")
    fraction(share, "share")
    mean, sd = float(column.mean()), float(column.std(ddof=1))
    if np.ptp(column) == 0.0:
        return 1.0 if mean > 0.0 else 0.0
    in_all = mean / sd * math.sqrt(column.size / share)
    return float(special.ndtr((in_all + special.ndtri(level)) / math.sqrt(1.0 - share)))
