"""Validation that every statistic shares."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_lsac.errors import InputError

__all__ = ["fraction", "pair", "sample"]

Sample = NDArray[np.float64]


def sample(values: ArrayLike, *, at_least: int = 2) -> Sample:
    """Return finite float64 values [n], n >= `at_least`; InputError names the remedy otherwise."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"expected one figure per mixture [n], got shape {array.shape}: average over seeds first")
    if not np.isfinite(array).all():
        raise InputError("figures must be finite: pairs with NaN are dropped, and counted, in Ledger.paired")
    if array.size < at_least:
        raise InputError(f"needs at least {at_least} mixtures, got {array.size}: run more mixtures")
    return array


def pair(treated: ArrayLike, baseline: ArrayLike) -> tuple[Sample, Sample]:
    """Return two samples of one length, paired by position; InputError otherwise."""
    first, second = sample(treated), sample(baseline)
    if first.size != second.size:
        raise InputError(f"pairs must have one length, got {first.size} and {second.size}: pair with Ledger.paired")
    return first, second


def fraction(value: float, name: str) -> float:
    """Return `value` if it lies strictly between 0 and 1; InputError otherwise."""
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} must lie between 0 and 1, got {value!r}: 0.05 means 5 per cent")
    return value
