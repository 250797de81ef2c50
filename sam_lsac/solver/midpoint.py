"""The midpoint method."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import ClassVar

from sam_lsac.solver.base import GridSolver, SolverState, Velocity

__all__ = ["Midpoint"]


class Midpoint(GridSolver):
    """Second order, two evaluations a step, at its start and its middle; Meta's default, with 16 steps."""

    __slots__ = ()
    evaluations_per_step: ClassVar[int] = 2

    @property
    def evaluation_points(self) -> tuple[Fraction, ...]:
        """The start and the middle of every step."""
        return tuple(time for start, end in pairwise(self.points) for time in (start, start + (end - start) / 2))

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Follow the velocity in the middle of the step, found by half an Euler step."""
        half = self._length(state) / 2
        first = velocity(self._time(state), state.x)
        middle = velocity(float(self.points[state.step] + half), state.x + first * float(half))
        return SolverState(x=state.x + middle * float(2 * half), step=state.step + 1)
