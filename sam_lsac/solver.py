"""Fixed-grid solvers of the flow ODE dx/dt = velocity(t, x), from t = 0 (noise) to t = 1 (data).

The grid has ``n_steps`` equal steps, counted from 1; a solver may evaluate the velocity more than once a step, so steps
and network evaluations (NFE) are both named. The base class owns the loop; a method is one step.

References
----------
Hairer, Norsett and Wanner 1993, "Solving Ordinary Differential Equations I", sections II.1 and III.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sam_lsac.errors import InputError

__all__ = ["AB2", "Euler", "Midpoint", "SolverState", "parse_solver"]

#: (t, x) -> dx/dt; t is a float in 0..1, x and the result have one shape.
Velocity = Callable[[float, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverState:
    """Where a solve stands after some step; all that is needed to go on from there.

    Parameters
    ----------
    x
        State of the flow.
    step
        Steps done; 0 before the first.
    velocity
        Velocity at the start of the last step, for methods that look back; else None.
    """

    x: Tensor
    step: int = 0
    velocity: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Solver(ABC):
    """A method on the grid t = 0, 1/n_steps, ..., 1.

    Parameters
    ----------
    n_steps
        Steps of the grid.

    Raises
    ------
    InputError
        If ``n_steps`` is not a whole number of at least 1.
    """

    n_steps: int
    evaluations_per_step: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if isinstance(self.n_steps, bool) or not isinstance(self.n_steps, int) or self.n_steps < 1:
            raise InputError(f"A solver needs a whole number of steps of at least 1, not {self.n_steps!r}; try 16.")

    @property
    def nfe(self) -> int:
        """Network evaluations of one solve."""
        return self.n_steps * self.evaluations_per_step

    @property
    def name(self) -> str:
        """Method and steps, as `parse_solver` reads them."""
        return f"{type(self).__name__.lower()}:{self.n_steps}"

    def solve(
        self,
        velocity: Velocity,
        x0: Tensor | SolverState,
        *,
        on_step: Callable[[int, SolverState], None] | None = None,
    ) -> Tensor:
        """Integrate to t = 1.

        Parameters
        ----------
        velocity
            Maps (t, x) to dx/dt.
        x0
            State at t = 0, or a stored state of an earlier solve on the same grid, from which to go on.
        on_step
            Called after every step with its number, from 1, and the state that it reached.

        Returns
        -------
        Tensor
            State at t = 1.

        Raises
        ------
        InputError
            If a stored state lies beyond the last step.
        """
        state = x0 if isinstance(x0, SolverState) else SolverState(x=x0)
        if not 0 <= state.step <= self.n_steps:
            raise InputError(
                f"A state after step {state.step} does not lie on the grid of {self.name}; use the solver that made it."
            )
        while state.step < self.n_steps:
            state = self.step(velocity, state)
            if on_step is not None:
                on_step(state.step, state)
        return state.x

    @abstractmethod
    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Advance by one step of length 1 / n_steps."""


class Euler(Solver):
    """First order, one evaluation a step, at the step's start."""

    __slots__ = ()

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Follow the velocity at the start of the step."""
        slope = velocity(state.step / self.n_steps, state.x)
        return SolverState(x=state.x + slope * (1 / self.n_steps), step=state.step + 1)


class Midpoint(Solver):
    """Second order, two evaluations a step, at its start and its middle; Meta's default, with 16 steps."""

    __slots__ = ()
    evaluations_per_step: ClassVar[int] = 2

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Follow the velocity in the middle of the step, found by half an Euler step."""
        first = velocity(state.step / self.n_steps, state.x)
        middle = velocity((state.step + 0.5) / self.n_steps, state.x + first * (0.5 / self.n_steps))
        return SolverState(x=state.x + middle * (1 / self.n_steps), step=state.step + 1)


class AB2(Solver):
    """Adams-Bashforth of second order, one evaluation a step.

    The first step has no velocity to look back at and is an Euler step, so NFE = n_steps; that one step's error is of
    second order and leaves the order of the method as it is.
    """

    __slots__ = ()

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Extrapolate the velocity linearly from this step's start and the last one's."""
        slope = velocity(state.step / self.n_steps, state.x)
        if state.step == 0:
            extrapolated = slope
        elif state.velocity is None:
            raise InputError(
                "AB2 cannot go on from a state without its last velocity; store the states of an AB2 solve."
            )
        else:
            extrapolated = 1.5 * slope - 0.5 * state.velocity
        return SolverState(x=state.x + extrapolated * (1 / self.n_steps), step=state.step + 1, velocity=slope)


_METHODS: dict[str, type[Solver]] = {"euler": Euler, "midpoint": Midpoint, "ab2": AB2}


def parse_solver(text: str) -> Solver:
    """Read a solver from text such as ``"midpoint:16"``.

    Parameters
    ----------
    text
        Method and steps, as `Solver.name` writes them.

    Raises
    ------
    InputError
        If the method is unknown or the steps are not a whole number of at least 1.
    """
    method, _, steps = text.partition(":")
    if method not in _METHODS or not steps.isdecimal():
        known = ", ".join(f'"{name}:16"' for name in _METHODS)
        raise InputError(f"The solver {text!r} is unknown; write a method and its steps, such as {known}.")
    return _METHODS[method](int(steps))
