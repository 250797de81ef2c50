"""How all weights of a `Fitted` solver are improved together, after `Fitter` found them step by step.

Step by step, weights bring the solver near to where the reference passes next. But nothing needs to pass there: only
the end counts, and a detour that later velocities make up for may end nearer to it. So all weights are moved at once,
by the method of Levenberg and Marquardt. The derivative of the end by a weight is a difference quotient: from that
weight's step on, the solve is made once more with the weight a little larger.

What is made small is the mean over the examples of the logarithm of the relative squared distance, as decibels are, so
that no example which is far off in any case speaks for the others.

Shapes: B examples; what follows it is the state's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.solver.base import Velocity
from sam_lsac.solver.fitted import Fitted, advance

__all__ = ["Refined", "refine"]

#: What is added to a weight for a difference quotient; weights are parts of the unit interval.
_LITTLE = 2e-3
#: Rounds at most, and what one must gain, as a logarithm, to be worth another: 0.1 dB.
_ROUNDS = 6
_LEAST_GAIN = 0.023
#: Relative squared distance that is left to rounding, in 32 bits.
_ROUNDING = 1e-11
#: Damping that is tried, until a move is an improvement.
_DAMPING = (1e-6, 1e-4, 1e-2, 1.0)
#: Figures that are multiplied in double precision at a time.
_BLOCK = 1 << 20

#: Decibels of a natural logarithm of a squared distance.
_DB = 10 / math.log(10)

#: For every step the weights of the velocities so far.
_Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refined:
    """A solver with better weights.

    Parameters
    ----------
    solver
        With the nodes that were given.
    state
        Where it ends, [B, ...].
    gain_db
        By how much nearer to the reference's end than before, on average.
    """

    solver: Fitted
    state: Tensor
    gain_db: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Path:
    """A solve: its weights, the state before each step and after the last one, the velocities, and what it leaves.

    `rest` is from the reference's output to its own, [B, D], in units of the former.
    """

    rows: _Rows
    states: tuple[Tensor, ...]
    velocities: tuple[Tensor, ...]
    rest: Tensor

    @property
    def objective(self) -> float:
        return float(self.rest.square().sum(dim=1).log().mean())


def refine(
    solver: Fitted,
    velocity: Velocity,
    x0: Tensor,
    final: Tensor,
    *,
    output: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[], object] | None = None,
) -> Refined:
    """Move all weights of a solver together towards the reference's end, for as long as it pays.

    Parameters
    ----------
    solver
        To begin with; its nodes stay.
    velocity
        Of all examples at once; a time and a state always give the same.
    x0
        Where the examples start, [B, ...].
    final
        Where the reference ends, [B, ...].
    output
        From a state [B, ...] to what distances are measured in, [B, ...]; the state itself where None.
    progress
        Called after each evaluation of all examples.

    Raises
    ------
    InputError
        If the reference's output is 0 or not finite.

    References
    ----------
    Shaul et al. 2024, "Bespoke Non-Stationary Solvers for Fast Sampling of Diffusion and Flow Models", arXiv
    2403.01329: weights trained towards the end, by gradient descent. Marquardt 1963, "An algorithm for least-squares
    estimation of nonlinear parameters", SIAM Journal 11.
    """
    bench = _Bench(solver, velocity, final, output=output, progress=progress)
    path = first = bench.solve(solver.weights, (), (x0,))
    for _ in range(_ROUNDS):
        if float(path.rest.square().sum(dim=1).min()) <= _ROUNDING:
            break
        better = bench.improved(path)
        if better is None:
            break
        gain, path = path.objective - better.objective, better
        if gain < _LEAST_GAIN:
            break
    gained = 0.0 if path is first else (first.objective - path.objective) * _DB
    return Refined(solver=replace(solver, weights=path.rows), state=path.states[-1], gain_db=gained)


class _Bench:
    """Solves at the same nodes with any weights, and how far they end from the reference."""

    def __init__(
        self,
        solver: Fitted,
        velocity: Velocity,
        final: Tensor,
        *,
        output: Callable[[Tensor], Tensor] | None,
        progress: Callable[[], object] | None,
    ) -> None:
        self._times = [float(point) for point in solver.points[:-1]]
        self._velocity = velocity
        self._output = output or (lambda state: state)
        self._progress = progress or (lambda: None)
        self._goal = _flat(self._output(final))
        energy = self._goal.square().sum(dim=1, keepdim=True)
        if not bool((energy > 0).all() and energy.isfinite().all()):
            raise InputError("The reference's output is 0 or not finite; give other mixtures.")
        self._scale = energy.rsqrt()

    def solve(self, rows: _Rows, velocities: tuple[Tensor, ...], states: tuple[Tensor, ...]) -> _Path:
        """Go on from the last of the states, at the node after these velocities."""
        done = len(velocities)
        for time, row in zip(self._times[done:], rows[done:], strict=True):
            velocities = (*velocities, self._velocity(time, states[-1]))
            self._progress()
            states = (*states, advance(states[-1], velocities, row))
        rest = (_flat(self._output(states[-1])) - self._goal) * self._scale
        return _Path(rows=rows, states=states, velocities=velocities, rest=rest)

    def improved(self, path: _Path) -> _Path | None:
        """The solve after one move of all weights, damped until it is better; None where no such move is."""
        weight = path.rest.square().sum(dim=1, keepdim=True).rsqrt()  # of the logarithm's derivative
        columns = torch.stack([(one * weight).flatten().float() for one in self._slopes(path)])  # [P, B D]
        gram, ahead = _products(columns, (path.rest * weight).flatten())
        for damping in _DAMPING:
            damped = gram + damping * gram.diagonal().diag()
            moves = (-torch.linalg.pinv(damped, hermitian=True, rtol=1e-13) @ ahead).tolist()
            found = self.solve(_moved(path.rows, moves), (), path.states[:1])
            if found.objective < path.objective:
                return found
        return None

    def _slopes(self, path: _Path) -> Iterator[Tensor]:
        """Derivatives of what is left by each of the weights, [B, D] each, row by row."""
        for index, row in enumerate(path.rows):
            known, state = path.velocities[: index + 1], path.states[index + 1]
            for place in range(len(row)):
                beside = self.solve(path.rows, known, (state + known[place] * _LITTLE,))
                yield (beside.rest - path.rest) / _LITTLE


def _products(columns: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the columns with each other, [P, P], and with what is left, [P], in double precision."""
    gram = torch.zeros(len(columns), len(columns), dtype=torch.float64)
    ahead = torch.zeros(len(columns), dtype=torch.float64)
    for first in range(0, len(rest), _BLOCK):
        part = columns[:, first : first + _BLOCK].double()
        gram += part @ part.T
        ahead += part @ rest[first : first + _BLOCK]
    return gram, ahead


def _moved(rows: _Rows, moves: Sequence[float]) -> _Rows:
    rest = iter(moves)
    return tuple(tuple(weight + next(rest) for weight in row) for row in rows)


def _flat(x: Tensor) -> Tensor:
    """[B, ...] in double precision on the CPU, as [B, D]."""
    return x.detach().double().cpu().flatten(1)
