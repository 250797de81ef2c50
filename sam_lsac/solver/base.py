"""What every solver is: points in time, a step between two of them, and the loop over the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.solver.grids import Grid, Uniform

__all__ = ["MAX_STEPS", "GridSolver", "Solver", "SolverState", "Velocity"]

#: (t, x) -> dx/dt; t is a float in 0..1, x and the result have one shape.
Velocity = Callable[[float, Tensor], Tensor]

#: Beyond it, 1 / n ** 2 is below the rounding of 32 bits, 2 ** -24: a method of second order gains nothing more.
MAX_STEPS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverState:
    """Where a solve stands after some step; all that is needed to go on from there.

    Parameters
    ----------
    x
        State of the flow.
    step
        Steps done; 0 before the first.
    velocities
        At the starts of the last steps, the newest last: as many as the method looks back at.
    """

    x: Tensor
    step: int = 0
    velocities: tuple[Tensor, ...] = ()


class Solver(ABC):
    """Points from 0 to 1 and a way to step from each to the next.

    Attributes
    ----------
    n_steps
        Steps of a solve.
    points
        Their ``n_steps + 1`` starts and ends, from 0 to 1.
    """

    __slots__ = ()
    evaluations_per_step: ClassVar[int] = 1
    n_steps: int
    points: tuple[Fraction, ...]

    @property
    def nfe(self) -> int:
        """Network evaluations of one solve."""
        return self.n_steps * self.evaluations_per_step

    @property
    @abstractmethod
    def name(self) -> str:
        """What people call it: method and steps, and the grid where it is not uniform."""

    @property
    def text(self) -> str:
        """Everything that decides what the solver does, as `parse_solver` reads it; often that is the name."""
        return self.name

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
            State at t = 0, or a stored state of an earlier solve with the same first steps, from which to go on.
        on_step
            Called after every step with its number, from 1, and the state that it reached.

        Returns
        -------
        Tensor
            State at t = 1.

        Raises
        ------
        InputError
            If a stored state lies beyond the last step, or lacks velocities that the method looks back at.
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
        """Advance from ``points[state.step]`` to the next point."""

    @abstractmethod
    def step_key(self, step: int) -> Hashable:
        """What decides a step's outcome, beside the start and the steps before; equal keys give equal bits."""

    def step_at(self, time: float | Fraction) -> int:
        """Return the step, from 1, during which the flow passes a time.

        Edits name steps of the solve that they are attached to. An edit that was made for step 4 of one grid belongs,
        on another, into the step that is under way at that time: ``solver.step_at(Euler(16).points[4 - 1])``.

        Parameters
        ----------
        time
            From 0, below 1; a step's own start belongs to it.

        Raises
        ------
        InputError
            If the time lies outside.
        """
        if not 0 <= time < 1:
            raise InputError(f"No step of {self.name} passes t = {time}; give a time from 0, below 1.")
        return bisect_right(self.points, time)

    def _velocities(self, state: SolverState, *, at_least: int) -> tuple[Tensor, ...]:
        """The velocities that a method looks back at; refuse a state that lacks them."""
        if len(state.velocities) < at_least:
            raise InputError(
                f"{self.name} cannot go on from a state without its last {at_least} velocities; store the states of a "
                f"solve by {type(self).__name__}."
            )
        return state.velocities


@dataclass(frozen=True, slots=True)
class GridSolver(Solver):
    """A method on a grid.

    Parameters
    ----------
    n_steps
        Steps of the grid.
    grid
        Where they begin.

    Raises
    ------
    InputError
        If ``n_steps`` is not a whole number from 1 to `MAX_STEPS`, or the grid has none for so many steps.
    """

    n_steps: int
    grid: Grid = field(default=Uniform(), kw_only=True)
    points: tuple[Fraction, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.n_steps) is not int or self.n_steps < 1:
            raise InputError(f"A solver needs a whole number of steps of at least 1, not {self.n_steps!r}; try 16.")
        if self.n_steps > MAX_STEPS:
            raise InputError(
                f"More than {MAX_STEPS:,} steps are too many: each is an evaluation of the network or more, and a "
                "shorter step changes less than the rounding of 32 bits; try 16."
            )
        if not isinstance(self.grid, Grid):
            raise InputError(f"grid = {self.grid!r} is no grid; give one such as Sway() or Points((0, 1, 2, 4)).")
        object.__setattr__(self, "points", self.grid.points(self.n_steps))

    @property
    def evaluation_points(self) -> tuple[Fraction, ...]:
        """The times below 1 at which a solve evaluates, each once, in rising order: the starts of steps, if no others.

        Where a solve evaluates twice at a time, as a method does that looks ahead to where the next step begins, the
        later evaluation is the one at the state that the solve goes on from.
        """
        return self.points[:-1]

    @property
    def name(self) -> str:
        """Method and steps, and the grid where it is not uniform: "euler:16", "ab2:8@sway"."""
        plain = f"{type(self).__name__.lower()}:{self.n_steps}"
        return plain if isinstance(self.grid, Uniform) else f"{plain}@{self.grid.name}"

    def step_key(self, step: int) -> Hashable:
        """The method and where the step ends; where it begins, and what it looks back at, the steps before decide."""
        return type(self), self.points[step]

    def _time(self, state: SolverState) -> float:
        return float(self.points[state.step])

    def _length(self, state: SolverState) -> Fraction:
        return self.points[state.step + 1] - self.points[state.step]
