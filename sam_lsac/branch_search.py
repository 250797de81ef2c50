"""Which branches of which layers a fitted solver can do without, and the weights of the sums that stand for them.

1. On a few examples the solver runs as it is. At every evaluation each branch alone is replaced by the weighted sum of
   its last evaluations that is nearest to it, and the change of the velocity is kept, weighted by what the solver makes
   of that velocity in the end.
2. Branches are left out one by one: whichever adds least to the squared distance from the reference for the operations
   that it saves. Changes may cancel, so they are added as vectors and not as sizes.
3. On all examples the solver is fitted anew with these branches left out, their weights fitted on its own way.

Shapes: B examples, T frames, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.interventions import Edit, attach
from sam_lsac.interventions.edit import Call
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.solver import Fitted
from sam_lsac.solver.base import Velocity

__all__ = ["Branch", "BranchBench", "choose", "effects"]

#: What may be left out; a whole layer is all three.
PARTS = ("attention", "cross_attention", "feed_forward")
#: Evaluations of which a sum is made, at most.
DEPTH = 2
#: Singular values below this part of the largest are rounding.
_RANK = 1e-10
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Branch:
    """A part of a layer, from 0, at a step of the solver, from 1."""

    step: int
    layer: int
    part: str


@dataclass(slots=True)
class _Desk:
    """What the wrapped modules do in the evaluation under way: run and be noted, or give what was put here."""

    n_batches: int
    call: int = -1
    given: Mapping[tuple[int, str], Sequence[Tensor]] = field(default_factory=dict)
    known: list[dict[int, Tensor]] = field(default_factory=list)
    ran: list[dict[tuple[int, str], Tensor]] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Which of the batches is evaluated."""
        return self.call % self.n_batches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Probe(Edit):
    """Notes what every branch gives, and lets some of them give something else."""

    desk: _Desk

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The network, its layers and their parts."""
        parts = (site for part in PARTS for site in layer_sites(model, part))
        return (Site(path="transformer"), *layer_sites(model), *parts)

    def apply(self, call: Call, state: Any) -> Tensor:
        """Run, unless something else is given, or nothing before the first thing that is given has changed."""
        desk, layer = self.desk, call.site.layer
        if layer is None:
            desk.call += 1
            desk.ran[desk.batch] = {}
            return call.proceed()
        part = call.site.path.rpartition(".")[2]
        if part not in PARTS:
            first = min((one for one, _ in desk.given), default=None)
            if first is not None and layer < first:
                return desk.known[desk.batch][layer]
            output = call.proceed()
            if not desk.given:
                desk.known[desk.batch][layer] = output
            return output
        if (layer, part) in desk.given:
            return desk.given[layer, part][desk.batch]
        output = desk.ran[desk.batch][layer, part] = call.proceed()
        return output


class BranchBench:
    """A velocity whose branches can be replaced, and the solve with it that is under way.

    Parameters
    ----------
    model
        Of the velocity.
    velocity
        Of all examples, evaluated in so many batches.
    n_batches
        Calls of the network for one evaluation.
    """

    def __init__(self, model: nn.Module, velocity: Velocity, *, n_batches: int) -> None:
        self._model = model
        self._velocity = velocity
        self._desk = _Desk(n_batches, known=[{} for _ in range(n_batches)], ran=[{} for _ in range(n_batches)])
        self.begin()

    def begin(self) -> None:
        """Forget the solve before."""
        self._past: dict[tuple[int, str], list[list[Tensor]]] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Wrap the branches; everything below works inside alone."""
        with attach(self._model, [_Probe(desk=self._desk)], nfe=_MANY):
            yield

    def whole(self, time: float, x: Tensor) -> tuple[Tensor, dict[tuple[int, str], list[Tensor]]]:
        """Evaluate with every branch; return the velocity, and what the branches gave in each batch."""
        self._desk.given = {}
        velocity = self._velocity(time, x)
        return velocity, self._ran()

    def without(self, time: float, x: Tensor, given: Mapping[tuple[int, str], Sequence[Tensor]]) -> Tensor:
        """Evaluate again where `whole` just did, with other values for some branches."""
        self._desk.given = given
        return self._velocity(time, x)

    def told(self, branch: tuple[int, str], value: Sequence[Tensor]) -> tuple[tuple[float, ...], list[Tensor]]:
        """Weights of the branch's last evaluations, the newest first, nearest to a value, and their sum."""
        newest = self._past[branch][::-1]
        flat = torch.stack([torch.cat([one.flatten() for one in past]) for past in newest]).double()
        wanted = torch.cat([one.flatten() for one in value]).double()
        fitted = torch.linalg.pinv(flat @ flat.T, hermitian=True, rtol=_RANK) @ (flat @ wanted)
        weights = tuple(fitted.tolist())
        sums = [
            sum(
                (past[batch] * weight for past, weight in zip(newest[1:], weights[1:], strict=True)),
                newest[0][batch] * weights[0],
            )
            for batch in range(len(value))
        ]
        return weights, sums

    def keep(self, ran: Mapping[tuple[int, str], list[Tensor]]) -> None:
        """Note what ran in this evaluation, for later ones to be told from."""
        for branch, value in ran.items():
            self._past[branch] = [*self._past.get(branch, []), value][-DEPTH:]

    def step(
        self, time: float, x: Tensor, chosen: Sequence[tuple[int, str]]
    ) -> tuple[Tensor, dict[tuple[int, str], tuple[float, ...]]]:
        """Evaluate with some branches left out, and go on; return the velocity and the weights for the branches."""
        velocity, ran = self.whole(time, x)
        told = {branch: self.told(branch, ran[branch]) for branch in chosen}
        if told:
            before = {branch: value for branch, value in ran.items() if branch[0] < min(layer for layer, _ in told)}
            velocity = self.without(time, x, {branch: value for branch, (_, value) in told.items()})
            ran = before | {branch: value for branch, value in self._ran().items() if branch not in told}
        self.keep(ran)
        return velocity, {branch: weights for branch, (weights, _) in told.items()}

    def _ran(self) -> dict[tuple[int, str], list[Tensor]]:
        return {branch: [batch[branch] for batch in self._desk.ran] for branch in self._desk.ran[0]}


def effects(
    bench: BranchBench, solver: Fitted, x0: Tensor, *, progress: Callable[[], object] = lambda: None
) -> tuple[Tensor, dict[Branch, Tensor]]:
    """Where a solver ends, and to first order how far each branch that is left out would move that, in float32."""
    n_layers = len(bench._model.transformer.layers)  # type: ignore
    found: dict[Branch, Tensor] = {}
    shares = [sum(row[node] for row in solver.weights[node:]) for node in range(solver.nfe)]
    count = 0

    def velocity(time: float, x: Tensor) -> Tensor:
        nonlocal count
        count += 1
        value, ran = bench.whole(time, x)
        if count > 1:
            for layer in range(n_layers):
                for part in PARTS:
                    _, told = bench.told((layer, part), ran[layer, part])
                    change = bench.without(time, x, {(layer, part): told}) - value
                    found[Branch(count, layer, part)] = (change * shares[count - 1]).float()
            progress()
        bench.keep(ran)
        return value

    bench.begin()
    with bench.attached():
        final = solver.solve(velocity, x0)
    return final, found


def choose(
    moves: Mapping[Branch, Tensor], residual: Tensor, scale: Tensor, *, cost: Mapping[str, float], saved: float
) -> list[Branch]:
    """Leave branches out until enough is saved: whichever adds least to the squared error for what it saves.

    Parameters
    ----------
    moves
        Of `effects`.
    residual
        Distance from the reference with every branch, of the same shape.
    scale
        By which each example is multiplied, [B].
    cost
        Of a branch, by part.
    saved
        In the same unit.
    """
    branches = sorted(moves)
    rows = torch.stack([(moves[one] * scale[:, None, None]).flatten() for one in branches])
    gram = (rows @ rows.T).double()
    ahead = (rows @ (residual * scale[:, None, None]).float().flatten()).double()
    prices = torch.tensor([cost[one.part] for one in branches], dtype=torch.float64)
    left = torch.ones(len(branches), dtype=torch.bool)
    chosen: list[Branch] = []
    total = 0.0
    while total < saved and bool(left.any()):
        increase = (gram.diagonal() + 2 * ahead) / prices
        increase[~left] = torch.inf
        best = int(increase.argmin())
        chosen.append(branches[best])
        left[best] = False
        total += float(prices[best])
        ahead += gram[best]
    return chosen
