"""Euler's method."""

from __future__ import annotations

from sam_lsac.solver.base import GridSolver, SolverState, Velocity

__all__ = ["Euler"]


class Euler(GridSolver):
    """First order, one evaluation a step, at the step's start."""

    __slots__ = ()

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Follow the velocity at the start of the step."""
        slope = velocity(self._time(state), state.x)
        return SolverState(x=state.x + slope * float(self._length(state)), step=state.step + 1)
