"""A solver whose weights were fitted to reproduce another one from fewer evaluations."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.solver.base import GridSolver, Solver, SolverState, Velocity

__all__ = ["Fitted", "advance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted(Solver):
    """Some evaluations of a reference solver are made; a weighted sum of what they gave stands for the others.

    One step goes from one of these evaluations to the next, and the last one to t = 1: x + the sum over all velocities
    so far of weight times velocity. Steps are counted as evaluations, from 1 to ``n_steps``, like those of every
    solver, so that edits, costs and probes need to know nothing of the reference; `step_at` says which of them is under
    way at a step of the reference.

    Parameters
    ----------
    reference
        What is reproduced: a method on a grid.
    nodes
        Where the velocity is evaluated: places among the reference's ``evaluation_points``, from 1; the first is 1.
        A method of one evaluation a step has them at the starts of its steps, midpoint halfway too.
    weights
        For every step the weights of the velocities so far, the oldest first: row i has i + 1.

    Raises
    ------
    InputError
        If nodes and weights do not fit each other or the reference.

    References
    ----------
    Shaul et al. 2024, "Bespoke Non-Stationary Solvers for Fast Sampling of Diffusion and Flow Models", arXiv
    2403.01329: the same family of solvers; there the weights are trained by gradient descent, here `Fitter` fits them.
    """

    reference: GridSolver
    nodes: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    n_steps: int = field(init=False, repr=False, compare=False)
    points: tuple[Fraction, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.reference, GridSolver):
            raise InputError(f"A solver is fitted to a method on a grid, such as Euler(16), not to {self.reference!r}.")
        places = self.reference.evaluation_points
        rising = all(before < after for before, after in zip((0, *self.nodes), self.nodes, strict=False))
        if not self.nodes or self.nodes[0] != 1 or not rising or self.nodes[-1] > len(places):
            raise InputError(
                f"The nodes {self.nodes} are not among the {len(places)} places at which {self.reference.name} "
                "evaluates, rising from 1; fit them anew."
            )
        if [len(row) for row in self.weights] != list(range(1, len(self.nodes) + 1)):
            raise InputError(f"{len(self.nodes)} nodes need rows of 1, 2, ... weights; fit them anew.")
        if not all(math.isfinite(weight) for row in self.weights for weight in row):
            raise InputError("A weight of the fitted solver is not finite; fit it anew.")
        object.__setattr__(self, "n_steps", len(self.nodes))
        object.__setattr__(self, "points", (*(places[node - 1] for node in self.nodes), Fraction(1)))

    @property
    def name(self) -> str:
        """Evaluations, the reference, and the first of a digest over everything; weights do not fit a name."""
        return f"fitted:{self.n_steps}@{self.reference.name}#{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

    @property
    def text(self) -> str:
        """Reference, nodes and weights, without loss."""
        rows = (",".join(map(repr, row)) for row in self.weights)
        return "/".join([f"fitted:{self.reference.name}", ",".join(map(str, self.nodes)), *rows])

    def step(self, velocity: Velocity, state: SolverState) -> SolverState:
        """Evaluate at the node and go to the next one."""
        before = self._velocities(state, at_least=state.step)
        velocities = (*before, velocity(float(self.points[state.step]), state.x))
        return SolverState(
            x=advance(state.x, velocities, self.weights[state.step]), step=state.step + 1, velocities=velocities
        )

    def step_key(self, step: int) -> Hashable:
        """Where the step ends, and its weights."""
        return type(self), self.points[step], self.weights[step - 1]


def advance(x: Tensor, velocities: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return x plus the weighted sum of velocities, the newest added first; a weight of 0 costs nothing."""
    change: Tensor | None = None
    for velocity, weight in zip(reversed(velocities), reversed(weights), strict=True):
        if weight:
            change = velocity * weight if change is None else change + velocity * weight
    return x if change is None else x + change
