"""How a `Fitted` solver is found: which steps of a reference to evaluate, and with which weights.

1. The reference is solved once on calibration examples; its states and the velocities at its steps are kept.
2. All choices of steps are ranked by one small matrix, the mean inner products of these velocities: how well could the
   reference's states be written as weighted sums of the velocities that are left? That is linear least squares.
3. Errors of a solve feed back into its later velocities, which the matrix does not know. So the weights are fitted step
   by step to what the solver itself evaluates on the way: at each node, least squares of its own velocities so far
   towards the reference's state at the next one. The best choices of 2 are compared so, and improved by moving steps.

Shapes: B examples; what follows it is the state's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import torch
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.solver.base import GridSolver, SolverState, Velocity
from sam_lsac.solver.euler import Euler
from sam_lsac.solver.fitted import Fitted, advance

__all__ = ["Fit", "Fitter"]

#: A solve under way: where it stands, its velocities so far, and its weights so far.
_Path = tuple[Tensor, tuple[Tensor, ...], tuple[tuple[float, ...], ...]]

#: Most choices of steps that are ranked one by one; 16 steps have 6,435 at most.
_MOST_SUBSETS = 20_000
#: Best choices of the ranking that are fitted before steps are moved.
_STARTS = 4
#: How far a step is moved at a time.
_MOVES = (1, -1, 2, -2)
#: Singular values below this part of the largest are rounding: of velocities that are equal, say.
_RANK = 1e-13


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fitted solver and what it leaves.

    Parameters
    ----------
    solver
        Nodes and weights.
    errors
        For each example, squared distance of the final state from the reference's over the square of that, [B].
    state
        Final state, [B, ...].
    """

    solver: Fitted
    errors: Tensor
    state: Tensor

    @property
    def error(self) -> float:
        """Mean over the examples."""
        return float(self.errors.mean())


class Fitter:
    """Fits solvers to a reference on calibration examples.

    Parameters
    ----------
    reference
        What is to be reproduced; its first evaluation of a step must lie at the step's start, as in every method here.
    velocity
        Of all examples at once.
    x0
        Where they start, [B, ...].

    Attributes
    ----------
    final
        Where the reference ended, [B, ...].
    n_fits
        Solvers fitted so far.

    Raises
    ------
    InputError
        If the reference ends at 0 or at values that are not finite.
    """

    def __init__(self, reference: GridSolver, velocity: Velocity, x0: Tensor) -> None:
        self.reference = reference
        self.n_fits = 0
        self._velocity = velocity
        slopes: list[Tensor] = []
        states = {0: SolverState(x=x0)}

        def recorded(time: float, x: Tensor) -> Tensor:
            slopes.append(velocity(time, x))
            return slopes[-1]

        self.final = reference.solve(recorded, x0, on_step=states.__setitem__)
        self._targets = [states[step].x for step in range(reference.n_steps + 1)]
        energy = _flat(self.final).square().sum(dim=1)
        if not bool((energy > 0).all() and energy.isfinite().all()):
            raise InputError("The reference ended at 0 or at values that are not finite; give other mixtures.")
        self._scale = energy.rsqrt()  # [B]
        self._gram = self._inner_products(slopes[:: reference.evaluations_per_step])
        self._known: dict[tuple[int, ...], _Path] = {}

    def fit(self, nodes: tuple[int, ...]) -> Fit:
        """Fit the weights for given nodes, steps of the reference from 1.

        Raises
        ------
        InputError
            If the nodes are not rising steps of the reference, from 1.
        """
        Fitted(reference=self.reference, nodes=nodes, weights=tuple((0.0,) * n for n in range(1, len(nodes) + 1)))
        path: _Path = (self._targets[0], (), ())
        for index, end in enumerate((*nodes[1:], self.reference.n_steps + 1), start=1):
            path = self._step(path, nodes[:index], end)
        x, _, rows = path
        self.n_fits += 1
        solver = Fitted(reference=self.reference, nodes=nodes, weights=rows)
        return Fit(solver=solver, errors=self._errors(x), state=x)

    def search(
        self, n_evaluations: int, *, most_fits: int = 24, progress: Callable[[Fit], object] | None = None
    ) -> Fit:
        """Find nodes for a number of evaluations.

        Parameters
        ----------
        n_evaluations
            Of the solver.
        most_fits
            Solvers that may be fitted; each takes at most ``n_evaluations`` evaluations of all examples, less where it
            begins like an earlier one.
        progress
            Called with every fit.

        Raises
        ------
        InputError
            If there are not from 1 to the reference's steps.
        """
        if not 1 <= n_evaluations <= self.reference.n_steps or most_fits < 1:
            raise InputError(
                f"{n_evaluations} evaluations in {most_fits} fits cannot be; give from 1 to {self.reference.n_steps}, "
                f"the steps of {self.reference.name}, and at least one fit."
            )
        tried: dict[tuple[int, ...], Fit] = {}

        def attempt(nodes: tuple[int, ...]) -> Fit:
            tried[nodes] = self.fit(nodes)
            if progress is not None:
                progress(tried[nodes])
            return tried[nodes]

        best = min((attempt(nodes) for nodes in self.ranked(n_evaluations)[: min(_STARTS, most_fits)]), key=_error)
        improved = True
        while improved:
            improved = False
            fresh = (nodes for nodes in self._moved(best.solver.nodes) if nodes not in tried)
            for nodes in islice(fresh, most_fits - len(tried)):
                found = attempt(nodes)
                if found.error < best.error:
                    best, improved = found, True
                    break
        return best

    def ranked(self, n_evaluations: int, *, most: int = 16) -> list[tuple[int, ...]]:
        """Return the most promising nodes in closed form, the best first.

        Raises
        ------
        InputError
            If the reference has too many choices to rank.
        """
        n_steps = self.reference.n_steps
        if comb(n_steps - 1, n_evaluations - 1) > _MOST_SUBSETS:
            raise InputError(
                f"{self.reference.name} has more than {_MOST_SUBSETS:,} choices of {n_evaluations} steps; fit to a "
                "reference of at most 16 steps, or fit nodes of your own."
            )
        rest = combinations(range(1, n_steps), n_evaluations - 1)
        subsets = torch.tensor([(0, *chosen) for chosen in rest])  # [S, n], counted from 0
        ends = torch.cat([subsets[:, 1:], torch.full((len(subsets), 1), n_steps)], dim=1)
        gram, cross, energy = self._gram
        residuals = torch.zeros(len(subsets), dtype=torch.float64)
        for size in range(1, n_evaluations + 1):
            used, end = subsets[:, :size], ends[:, size - 1]
            g = gram[used[:, :, None], used[:, None, :]]  # [S, size, size]
            c = cross[used, end[:, None]]  # [S, size]
            weights = torch.linalg.pinv(g, hermitian=True, rtol=_RANK) @ c[:, :, None]
            residuals += energy[end] - (c * weights[:, :, 0]).sum(dim=1)
        order = residuals.argsort(stable=True)[:most]
        return [tuple(step + 1 for step in subsets[index].tolist()) for index in order.tolist()]

    def _step(self, so_far: _Path, nodes: tuple[int, ...], end: int) -> _Path:
        """Evaluate at the last of the nodes and fit the way to ``end``; what is known is not computed again."""
        path = (*nodes, end)
        if path not in self._known:
            x, velocities, rows = so_far
            node = nodes[-1]
            # Another end of the same step has evaluated here already.
            twin = next((known for key, known in self._known.items() if key[:-1] == nodes), None)
            if twin is None:
                velocities = (*velocities, self._velocity(float(self.reference.points[node - 1]), x))
            else:
                velocities = twin[1]
            row = self._row(x, velocities, node=node, end=end)
            self._known[path] = advance(x, velocities, row), velocities, (*rows, row)
        return self._known[path]

    def _row(self, x: Tensor, velocities: tuple[Tensor, ...], *, node: int, end: int) -> tuple[float, ...]:
        """Weights from x towards the reference's state at ``end``, a step counted from 1."""
        if type(self.reference) is Euler and end == node + 1 == len(velocities) + 1:
            # Nothing was left out so far: this is the reference's own step, and these are its bits.
            return (
                *(0.0 for _ in velocities[1:]),
                float(self.reference.points[node] - self.reference.points[node - 1]),
            )
        scale = self._scale[:, None]
        basis = torch.stack([(_flat(one) * scale).flatten() for one in velocities])  # [n, B * ...]
        target = (_flat(self._targets[end - 1] - x) * scale).flatten()
        weights = torch.linalg.pinv(basis @ basis.T, hermitian=True, rtol=_RANK) @ (basis @ target)
        return tuple(weights.tolist())

    def _errors(self, x: Tensor) -> Tensor:
        return (_flat(x - self.final) * self._scale[:, None]).square().sum(dim=1)

    def _inner_products(self, slopes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of the reference's velocities with each other, with the ways to its states, and of those with themselves."""
        scale = self._scale[:, None]
        v = torch.stack([(_flat(one) * scale).flatten() for one in slopes])  # [N, B * ...]
        ways = torch.stack([(_flat(one - self._targets[0]) * scale).flatten() for one in self._targets])  # [N + 1, ...]
        return v @ v.T, v @ ways.T, ways.square().sum(dim=1)

    def _moved(self, nodes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Nodes with one of them moved; the last one first, since what lies before it is known."""
        for index in range(len(nodes) - 1, 0, -1):
            for move in _MOVES:
                moved = nodes[index] + move
                after = nodes[index + 1] if index + 1 < len(nodes) else self.reference.n_steps + 1
                if nodes[index - 1] < moved < after:
                    yield (*nodes[:index], moved, *nodes[index + 1 :])


def _flat(x: Tensor) -> Tensor:
    """[B, ...] in double precision on the CPU, as [B, D]."""
    return x.detach().double().cpu().flatten(1)


def _error(fit: Fit) -> float:
    return fit.error
