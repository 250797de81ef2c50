"""The noncentral t distribution, safe in its tails and quick enough to be inverted."""

import math

import numpy as np
from scipy import special, stats

__all__ = ["survival"]

LARGE_T = 2000.0  # SciPy's functions are used up to here, the limit for large t beyond


def survival(t: float, df: int, centre: float) -> float:
    """Return P(T > t) for noncentrality `centre`; `t` may be infinite.

    SciPy's quick cumulative function is asked first, mirrored; it gives NaN far in the tails, where its slower
    survival function does not.
    """
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    if abs(t) > LARGE_T:  # T is about centre / (chi / sqrt df) there
        if t < 0 or centre <= 0:
            return 1.0 if t < 0 else 0.0
        return float(special.chdtr(df, df * (centre / t) ** 2))
    quick = float(special.nctdtr(df, -centre, -t))
    return float(np.clip(stats.nct.sf(t, df, centre) if math.isnan(quick) else quick, 0.0, 1.0))
