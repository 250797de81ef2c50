"""Adjusted p values over a stated family of tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_lsac.errors import InputError

__all__ = ["bonferroni", "holm"]


def bonferroni(p_values: ArrayLike, *, family_size: int | None = None) -> NDArray[np.float64]:
    """Return p values multiplied by the size of their family, at most 1.

    Parameters
    ----------
    p_values : array_like [k]
        Between 0 and 1.
    family_size : int, optional
        The number of tests that the family makes in all, at least k; k where not given.

    Raises
    ------
    InputError
        If a p value is outside [0, 1] or the family is smaller than the values given.
    """
    values = _p_values(p_values)
    size = values.size if family_size is None else family_size
    if size < values.size:
        raise InputError(f"a family of {size} cannot hold {values.size} tests: state the number of all its tests")
    return np.minimum(1.0, values * size)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's step-down adjusted p values, never larger than Bonferroni's.

    Parameters
    ----------
    p_values : array_like [k]
        All p values of the family, between 0 and 1.

    Raises
    ------
    InputError
        If a p value is outside [0, 1].

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    values = _p_values(p_values)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


def _p_values(p_values: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError("p values must be one row of numbers between 0 and 1: pass the raw values of the tests")
    return values
