"""Where the steps of a solve begin: points from 0 to 1, as exact fractions.

Fractions and not floats, so that two grids that share a point share its bits, and so do the lengths of their steps:
that is what lets solves on two grids share the states of their first steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from sam_lsac.errors import InputError

__all__ = ["EPSS", "Grid", "Points", "Sway", "Uniform"]

LARGEST_NUMERATOR = 10**9 - 1


@dataclass(frozen=True, slots=True)
class Grid(ABC):
    """A rule that places the points of a solve."""

    @property
    def name(self) -> str:
        """As it stands behind the @ in a solver's name."""
        return type(self).__name__.lower()

    @abstractmethod
    def points(self, n_steps: int) -> tuple[Fraction, ...]:
        """Return the n_steps + 1 points, from 0 to 1, in rising order.

        Raises
        ------
        InputError
            If the grid has none for so many steps.
        """


@dataclass(frozen=True, slots=True)
class Uniform(Grid):
    """Steps of one length."""

    def points(self, n_steps: int) -> tuple[Fraction, ...]:
        """k / n_steps."""
        return tuple(Fraction(step, n_steps) for step in range(n_steps + 1))


@dataclass(frozen=True, slots=True)
class Sway(Grid):
    """Short steps near the noise: t + s (cos(pi t / 2) - 1 + t) of the uniform t, with s = -1.

    With this s it is 1 - cos(pi t / 2), which is computed as 2 sin(pi t / 4) ** 2, exact for small t too.

    References
    ----------
    Chen et al. 2024, "F5-TTS", arXiv 2410.06885, section 3.3, sway sampling.
    """

    def points(self, n_steps: int) -> tuple[Fraction, ...]:
        """The uniform points, moved towards 0."""
        inner = (Fraction(2 * math.sin(math.pi * step / (4 * n_steps)) ** 2) for step in range(1, n_steps))
        return (Fraction(0), *inner, Fraction(1))


_EPSS_DENOMINATOR = 32
_EPSS = {
    5: (0, 2, 4, 8, 16, 32),
    6: (0, 2, 4, 6, 8, 16, 32),
    7: (0, 2, 4, 6, 8, 16, 24, 32),
    10: (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
    12: (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32),
    16: (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32),
}


@dataclass(frozen=True, slots=True)
class EPSS(Grid):
    """Empirically pruned step sampling: a grid of 32 steps without those that speech synthesis can spare.

    The points alone; F5-TTS moves them by its sway as well, unless it is told not to.

    References
    ----------
    Zheng et al. 2025, "Accelerating Flow-Matching-Based Text-to-Speech via Empirically Pruned Step Sampling", arXiv
    2505.19931; the table is ``get_epss_timesteps`` of F5-TTS, ``f5_tts/model/utils.py``.
    """

    def points(self, n_steps: int) -> tuple[Fraction, ...]:
        """The published points, for 5, 6, 7, 10, 12 or 16 steps."""
        if n_steps not in _EPSS:
            raise InputError(
                f"The grid epss has no {n_steps} steps; choose from {', '.join(map(str, _EPSS))}, or give points of "
                "your own, such as 'euler:3@0,1,2,8'."
            )
        return tuple(Fraction(numerator, _EPSS_DENOMINATOR) for numerator in _EPSS[n_steps])


@dataclass(frozen=True, slots=True)
class Points(Grid):
    """Points of one's own.

    Parameters
    ----------
    numerators
        Whole numbers in rising order from 0; each point is one of them over the last. They are kept in lowest terms, so
        that equal grids are equal.

    Raises
    ------
    InputError
        If they are not that, or make steps of one length, which is `Uniform`.
    """

    numerators: tuple[int, ...]

    def __post_init__(self) -> None:
        given = self.numerators
        whole = isinstance(given, tuple) and all(type(number) is int for number in given)
        if not whole or len(given) < 2 or given[0] != 0 or given[-1] > LARGEST_NUMERATOR:
            raise InputError(
                f"The points of a grid are whole numbers from 0 to at most {LARGEST_NUMERATOR}, such as (0, 1, 2, 4), "
                f"not {given!r}."
            )
        lengths = {after - before for before, after in pairwise(given)}
        if min(lengths) < 1:
            raise InputError(f"The points {self._text(given)} of a grid do not rise; give each once, in order.")
        if len(lengths) == 1:
            raise InputError(
                f"The points {self._text(given)} make {len(given) - 1} steps of one length, which is the uniform grid; "
                "leave the points out."
            )
        divisor = math.gcd(*given)
        object.__setattr__(self, "numerators", tuple(number // divisor for number in given))

    @property
    def name(self) -> str:
        """The numerators, with commas."""
        return self._text(self.numerators)

    def points(self, n_steps: int) -> tuple[Fraction, ...]:
        """The points; there are ``n_steps + 1`` of them, or it is an error."""
        if n_steps != len(self.numerators) - 1:
            raise InputError(
                f"The points {self.name} make {len(self.numerators) - 1} steps, not {n_steps}; name as many steps as "
                "there are, one fewer than points."
            )
        return tuple(Fraction(number, self.numerators[-1]) for number in self.numerators)

    @staticmethod
    def _text(numerators: tuple[int, ...]) -> str:
        return ",".join(map(str, numerators))
