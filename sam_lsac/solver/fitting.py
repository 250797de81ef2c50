"""How a `Fitted` solver is found: which evaluations of a reference to make, and with which weights.

1. The reference is solved once on calibration examples; the velocities at its ``evaluation_points`` are kept, and the
   states that they were evaluated at: halfway through a step of midpoint, that is where half an Euler step leads.
2. Choices of these places are ranked by one small matrix, the mean inner products of the velocities: how well could the
   states be written as weighted sums of the velocities that are left? That is linear least squares. Where there are too
   many choices to rank each, those of a beam are (`Fitter.ranked`).
3. Errors of a solve feed back into its later velocities, which the matrix does not know. So the weights are fitted step
   by step to what the solver itself evaluates on the way: at each node, least squares of its own velocities so far
   towards the reference's state at the next one. The best choices of 2 are compared so, and improved by moving nodes.

Then `sam_lsac.solver.refining` moves all weights of the best together.

Shapes: B examples; what follows it is the state's own. N places at which the reference evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import torch
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.solver.base import GridSolver, Velocity
from sam_lsac.solver.euler import Euler
from sam_lsac.solver.fitted import Fitted, advance
from sam_lsac.solver.midpoint import Midpoint

__all__ = ["Fit", "Fitter"]

#: A solve under way: where it stands, its velocities so far, and its weights so far.
_Path = tuple[Tensor, tuple[Tensor, ...], tuple[tuple[float, ...], ...]]

#: Most choices of nodes that are ranked one by one; 16 places have 6,435 at most.
_MOST_SUBSETS = 20_000
#: Where there are more: beginnings that are kept of those with one number of nodes and one next place.
_BEAM = 64
#: Best choices of the ranking that are fitted before nodes are moved.
_STARTS = 4
#: How far a node is moved at a time.
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
        What is to be reproduced.
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
        self._times = [float(point) for point in reference.evaluation_points]
        seen: dict[float, tuple[Tensor, Tensor]] = {}

        def recorded(time: float, x: Tensor) -> Tensor:
            seen[time] = x, velocity(time, x)  # the later one, where there are two
            return seen[time][1]

        self.final = reference.solve(recorded, x0)
        self._targets = [*(seen[time][0] for time in self._times), self.final]
        energy = _flat(self.final).square().sum(dim=1)
        if not bool((energy > 0).all() and energy.isfinite().all()):
            raise InputError("The reference ended at 0 or at values that are not finite; give other mixtures.")
        self._scale = energy.rsqrt()  # [B]
        self._gram = self._inner_products([seen[time][1] for time in self._times])
        self._known: dict[tuple[int, ...], _Path] = {}

    def fit(self, nodes: tuple[int, ...]) -> Fit:
        """Fit the weights for given nodes, places of the reference's evaluations from 1.

        Raises
        ------
        InputError
            If the nodes are not rising places of these, from 1.
        """
        Fitted(reference=self.reference, nodes=nodes, weights=tuple((0.0,) * n for n in range(1, len(nodes) + 1)))
        path: _Path = (self._targets[0], (), ())
        for index, end in enumerate((*nodes[1:], len(self._times) + 1), start=1):
            path = self._step(path, nodes[:index], end)
        x, _, rows = path
        self.n_fits += 1
        return self.measured(Fitted(reference=self.reference, nodes=nodes, weights=rows), x)

    def measured(self, solver: Fitted, state: Tensor) -> Fit:
        """Return what a solver leaves that ended at a state [B, ...]."""
        errors = (_flat(state - self.final) * self._scale[:, None]).square().sum(dim=1)
        return Fit(solver=solver, errors=errors, state=state)

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
            If there are not from 1 to as many as there are places at which the reference evaluates.
        """
        if not 1 <= n_evaluations <= len(self._times) or most_fits < 1:
            raise InputError(
                f"{n_evaluations} evaluations in {most_fits} fits cannot be; give from 1 to {len(self._times)}, the "
                f"places at which {self.reference.name} evaluates, and at least one fit."
            )
        tried: dict[tuple[int, ...], Fit] = {}

        def attempt(nodes: tuple[int, ...]) -> Fit:
            tried[nodes] = self.fit(nodes)
            if progress is not None:
                progress(tried[nodes])
            return tried[nodes]

        best = min((attempt(nodes) for nodes in self._starts(n_evaluations)[:most_fits]), key=_error)
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

    def _starts(self, n_evaluations: int) -> list[tuple[int, ...]]:
        """The best of the ranking; where places lie closer than steps, with the best of the shortest first steps.

        What the matrix does not know, how errors feed back, weighs least where the first step is short.
        """
        if len(self._times) == self.reference.n_steps:
            return self.ranked(n_evaluations)[:_STARTS]
        ranked = self.ranked(n_evaluations, most=_MOST_SUBSETS)
        short = (next((nodes for nodes in ranked if nodes[1:2] == (second,)), None) for second in (2, 3))
        first = dict.fromkeys(nodes for nodes in (*short, *ranked[:_STARTS]) if nodes is not None)
        return list(first)[:_STARTS]

    def ranked(self, n_evaluations: int, *, most: int = 16) -> list[tuple[int, ...]]:
        """Return the most promising nodes in closed form, the best first.

        A choice's residual is a sum over its steps, of how far the velocities so far are from telling where the next
        node lies. Every choice is ranked by it where there are few enough. Otherwise nodes are added one by one: of the
        beginnings with one number of nodes and one next place, whose sums so far go equally far, the best are kept.
        """
        n_places = len(self._times)
        if comb(n_places - 1, n_evaluations - 1) > _MOST_SUBSETS:
            return self._ranked_by_beam(n_evaluations, most)
        rest = combinations(range(1, n_places), n_evaluations - 1)
        subsets = torch.tensor([(0, *chosen) for chosen in rest])  # [S, n], counted from 0
        ends = torch.cat([subsets[:, 1:], torch.full((len(subsets), 1), n_places)], dim=1)
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

    def _ranked_by_beam(self, n_evaluations: int, most: int) -> list[tuple[int, ...]]:
        """Rank choices that begin well; as `ranked` does, if the beam is as wide as there are beginnings."""
        n_places = len(self._times)
        subsets = torch.zeros(1, 1, dtype=torch.long)  # [S, n], counted from 0
        sums = self._sums(subsets, torch.zeros(1, dtype=torch.float64))
        for size in range(1, n_evaluations):
            kept = []
            for place in range(size, n_places - (n_evaluations - size - 1)):
                before = (subsets[:, -1] < place).nonzero().flatten()
                best = before[sums[before, place].argsort(stable=True)[:_BEAM]]
                kept.append((torch.cat([subsets[best], torch.full((len(best), 1), place)], dim=1), sums[best, place]))
            subsets, residuals = (torch.cat(parts) for parts in zip(*kept, strict=True))
            sums = self._sums(subsets, residuals)
        order = sums[:, n_places].argsort(stable=True)[:most]
        return [tuple(place + 1 for place in subsets[index].tolist()) for index in order.tolist()]

    def _sums(self, subsets: Tensor, residuals: Tensor) -> Tensor:
        """Residuals with one more step added, from the last place of each subset to every place, [S, N + 1]."""
        gram, cross, energy = self._gram
        g, c = gram[subsets[:, :, None], subsets[:, None, :]], cross[subsets]  # [S, n, n], [S, n, N + 1]
        weights = torch.linalg.pinv(g, hermitian=True, rtol=_RANK) @ c
        sums: Tensor = residuals[:, None] + energy - (c * weights).sum(dim=1)
        return sums

    def _step(self, so_far: _Path, nodes: tuple[int, ...], end: int) -> _Path:
        """Evaluate at the last of the nodes and fit the way to ``end``; what is known is not computed again."""
        path = (*nodes, end)
        if path not in self._known:
            x, velocities, rows = so_far
            node = nodes[-1]
            # Another end of the same step has evaluated here already.
            twin = next((known for key, known in self._known.items() if key[:-1] == nodes), None)
            velocities = (*velocities, self._velocity(self._times[node - 1], x)) if twin is None else twin[1]
            row = self._row(x, velocities, node=node, end=end)
            self._known[path] = advance(x, velocities, row), velocities, (*rows, row)
        return self._known[path]

    def _row(self, x: Tensor, velocities: tuple[Tensor, ...], *, node: int, end: int) -> tuple[float, ...]:
        """Weights from x towards the reference's state at ``end``, a place counted from 1."""
        own = _own_row(self.reference, node) if end == node + 1 == len(velocities) + 1 else None
        if own is not None:  # nothing was left out so far
            return own
        scale = self._scale[:, None]
        basis = torch.stack([(_flat(one) * scale).flatten() for one in velocities])  # [n, B * ...]
        target = (_flat(self._targets[end - 1] - x) * scale).flatten()
        weights = torch.linalg.pinv(basis @ basis.T, hermitian=True, rtol=_RANK) @ (basis @ target)
        return tuple(weights.tolist())

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
                after = nodes[index + 1] if index + 1 < len(nodes) else len(self._times) + 1
                if nodes[index - 1] < moved < after:
                    yield (*nodes[:index], moved, *nodes[index + 1 :])


def _own_row(reference: GridSolver, place: int) -> tuple[float, ...] | None:
    """Weights of the reference's own way from a place to the next, where its last velocities alone make it, or None.

    Euler's are its bits. Midpoint goes half an Euler step, and from there takes it back and goes the whole step.
    """
    points = reference.points
    if type(reference) is Euler:
        return (*(0.0 for _ in range(place - 1)), float(points[place] - points[place - 1]))
    if type(reference) is Midpoint:
        step, halfway = divmod(place - 1, 2)
        half = float((points[step + 1] - points[step]) / 2)
        last = (-half, 2 * half) if halfway else (half,)
        return (*(0.0 for _ in range(place - len(last))), *last)
    return None


def _flat(x: Tensor) -> Tensor:
    """[B, ...] in double precision on the CPU, as [B, D]."""
    return x.detach().double().cpu().flatten(1)


def _error(fit: Fit) -> float:
    return fit.error
