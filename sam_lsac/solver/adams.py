"""Adams-Bashforth methods: the velocities of the last steps, extrapolated over the next one.

The polynomial through the velocities at the last ``order`` starts is integrated over the step, in exact fractions, so
that the coefficients are right for steps of any lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

from sam_lsac.solver.base import GridSolver, SolverState, Velocity

__all__ = ["AB2", "AB3", "integrals"]


class _AdamsBashforth(GridSolver):
    """One evaluation a step; what the first steps lack in order is told in the methods."""

    __slots__ = ()
    order: ClassVar[int]

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Extrapolate the velocity from the last starts over this step."""
        known = min(self.order - 1, state.step)
        before = self._velocities(state, at_least=known)[len(state.velocities) - known :]
        slopes = (*before, velocity(self._time(state), state.x))
        length = self._length(state)
        newest, *older = reversed([weight / length for weight in self._weights(state.step, known)])
        mean = float(newest) * slopes[-1]
        for weight, slope in zip(older, reversed(before), strict=True):
            mean = mean + float(weight) * slope
        return SolverState(
            x=state.x + mean * float(length), step=state.step + 1, velocities=slopes[-(self.order - 1) :]
        )

    def _weights(self, step: int, known: int) -> list[Fraction]:
        """Of the velocities, the newest last, for the step that follows ``step`` others."""
        return integrals(self.points[step - known : step + 1], self.points[step], self.points[step + 1])


class AB2(_AdamsBashforth):
    """Adams-Bashforth of second order, one evaluation a step.

    The first step has no velocity to look back at and is an Euler step, so NFE = n_steps; that one step's error is of
    second order and leaves the order of the method as it is.
    """

    __slots__ = ()
    order: ClassVar[int] = 2


class AB3(_AdamsBashforth):
    """Adams-Bashforth of third order, one evaluation a step.

    The first step is an Euler step, whose error of second order would be the error of the whole solve. So the second
    step mends it: it goes, in effect, from the start anew, over both steps, along the line through both velocities.
    """

    __slots__ = ()
    order: ClassVar[int] = 3

    def _weights(self, step: int, known: int) -> list[Fraction]:
        """Those of the polynomial, but for the second step, which takes the first one back."""
        if step != 1:
            return super()._weights(step, known)
        first, second = integrals(self.points[:2], self.points[0], self.points[2])
        return [first - self.points[1], second]


def integrals(nodes: Sequence[Fraction], start: Fraction, end: Fraction) -> list[Fraction]:
    """Integrate the Lagrange polynomials of some nodes.

    Parameters
    ----------
    nodes
        Different times.
    start, end
        Of the integral.

    Returns
    -------
    list of Fraction
        For every node the integral of the polynomial that is 1 there and 0 at the others.

    References
    ----------
    Hairer, Norsett and Wanner 1993, section III.5, equation (5.3).
    """
    found = []
    for node in nodes:
        polynomial = [Fraction(1)]  # coefficients of 1, t, t ** 2, ...
        for other in nodes:
            if other != node:
                raised, lowered = [Fraction(0), *polynomial], [*polynomial, Fraction(0)]
                polynomial = [(up - other * low) / (node - other) for up, low in zip(raised, lowered, strict=True)]
        found.append(
            sum(
                (factor * (end**power - start**power) / power for power, factor in enumerate(polynomial, start=1)),
                start=Fraction(0),
            )
        )
    return found
