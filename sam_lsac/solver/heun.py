"""Heun's method."""

from __future__ import annotations

from typing import ClassVar

from sam_lsac.solver.base import GridSolver, SolverState, Velocity

__all__ = ["Heun"]


class Heun(GridSolver):
    """Second order, two evaluations a step, at its start and its end."""

    __slots__ = ()
    evaluations_per_step: ClassVar[int] = 2

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Follow the mean of the velocity at the start and that at the end, found by an Euler step."""
        length = self._length(state)
        first = velocity(self._time(state), state.x)
        last = velocity(float(self.points[state.step + 1]), state.x + first * float(length))
        return SolverState(x=state.x + (first + last) * float(length / 2), step=state.step + 1)
