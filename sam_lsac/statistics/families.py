"""Adjusted p values over a stated family of tests."""

from sam_lsac.errors import InputError

__all__ = ["bonferroni"]


def bonferroni(p: float, *, family_size: int) -> float:
    """Return a p value multiplied by the size of its family, at most 1.

    Parameters
    ----------
    p
        Between 0 and 1.
    family_size
        The number of tests that the family makes in all.

    Raises
    ------
    InputError
        If the p value is outside [0, 1], or the family has no tests.
    """
    if not 0.0 <= p <= 1.0:
        raise InputError(f"a p value lies between 0 and 1, got {p!r}: pass the raw value of the test")
    if family_size < 1:
        raise InputError(f"a family of {family_size} tests cannot hold this one: state the number of all its tests")
    return min(1.0, p * family_size)
