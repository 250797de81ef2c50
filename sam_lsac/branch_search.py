"""Which branches of which layers a fitted solver can do without, and the weights of the sums that stand for them.

1. On a few examples the solver runs as it is. At every evaluation each branch alone is replaced by the weighted sum of
   its last evaluations that is nearest to it, and the change of the velocity is kept, weighted by what the solver makes
   of that velocity in the end (`effects`).
2. Branches are left out one by one, none twice in a row: whichever adds least to the squared distance from the
   reference for the operations that it saves. Changes may cancel, so they are added as vectors (`choose`).
3. On all examples the solver is fitted anew without these branches, whose weights are fitted on its own way
   (`fit_without`).

Shapes: B examples; what follows it is the state's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.caching import FittedBranch
from sam_lsac.interventions import Edit, attach
from sam_lsac.interventions.edit import Call
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.solver import Fitted
from sam_lsac.solver.base import Velocity
from sam_lsac.solver.fitting import Fit, Fitter

__all__ = ["PARTS", "BranchBench", "choose", "effects", "fit_without"]

#: What may be left out; a whole layer is all three.
PARTS = ("attention", "cross_attention", "feed_forward")
#: Evaluations of which a sum is made, at most.
DEPTH = 2
#: Singular values below this part of the largest are rounding: of values that are equal, say.
_RANK = 1e-13
#: More evaluations than any search makes.
_MANY = 1_000_000

#: A branch of any step: the layer, from 0, and the part.
_Place = tuple[int, str]


@dataclass(frozen=True, slots=True, order=True)
class Branch:
    """A part of a layer, from 0, at a step of the solver, from 1."""

    step: int
    layer: int
    part: str


@dataclass(slots=True, kw_only=True)
class _Desk:
    """What the wrapped modules do in the evaluation under way: run and be noted, or give what lies here.

    Each list has an entry for each batch: the outputs of whole layers in the last whole evaluation, and what the
    branches gave in the last one.
    """

    n_batches: int
    call: int = -1
    given: Mapping[_Place, Sequence[Tensor]] = field(default_factory=dict)
    layers: list[dict[int, Tensor]] = field(default_factory=list)
    ran: list[dict[_Place, Tensor]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Probe(Edit):
    """Notes what every branch gives, and lets some of them give something else."""

    desk: _Desk

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The network, its layers and their parts."""
        parts = (site for part in PARTS for site in layer_sites(model, part))
        return (Site(path="transformer"), *layer_sites(model), *parts)

    def apply(self, call: Call, state: Any) -> Tensor:
        """Run, or give what lies there; before the first layer that is changed nothing need run again."""
        desk, layer = self.desk, call.site.layer
        if layer is None:
            desk.call += 1
            desk.ran[desk.call % desk.n_batches] = {}
            return call.proceed()
        batch, part = desk.call % desk.n_batches, call.site.path.rpartition(".")[2]
        if part in PARTS:
            if (layer, part) in desk.given:
                return desk.given[layer, part][batch]
            output = desk.ran[batch][layer, part] = call.proceed()
        elif layer < min((changed for changed, _ in desk.given), default=0):
            output = desk.layers[batch][layer]
        else:
            output = call.proceed()
            if not desk.given:
                desk.layers[batch][layer] = output
        return output


class BranchBench:
    """A velocity whose branches can be replaced, and the solve with it that is under way.

    Parameters
    ----------
    model
        Of the velocity.
    velocity
        Of all examples.
    n_batches
        Calls of the network for one evaluation of all.
    """

    def __init__(self, model: nn.Module, velocity: Velocity, *, n_batches: int = 1) -> None:
        self._model = model
        self._velocity = velocity
        self._desk = _Desk(
            n_batches=n_batches, layers=[{} for _ in range(n_batches)], ran=[{} for _ in range(n_batches)]
        )
        self._past: dict[_Place, list[list[Tensor]]] = {}

    @contextmanager
    def solving(self) -> Iterator[None]:
        """Wrap the branches for one solve; all below works inside alone."""
        self._past = {}
        with attach(self._model, [_Probe(desk=self._desk)], nfe=_MANY):
            yield

    def whole(self, time: float, x: Tensor) -> tuple[Tensor, dict[_Place, list[Tensor]]]:
        """Evaluate with every branch; return the velocity, and what each branch gave in each batch."""
        return self._evaluate(time, x, {})

    def without(self, time: float, x: Tensor, given: Mapping[_Place, Sequence[Tensor]]) -> Tensor:
        """Evaluate again where `whole` just did, with other values for some branches."""
        return self._evaluate(time, x, given)[0]

    def told(self, place: _Place, value: Sequence[Tensor]) -> tuple[tuple[float, ...], list[Tensor]]:
        """Weights of the branch's last evaluations, the newest first, nearest to a value; and their sum."""
        newest = self._past[place][::-1]
        basis = torch.stack([_joined(past) for past in newest])  # [n, B * ...]
        fitted = torch.linalg.pinv(basis @ basis.T, hermitian=True, rtol=_RANK) @ (basis @ _joined(value))
        weights = tuple(fitted.tolist())
        sums = []
        for batch in range(len(value)):
            first, *rest = (past[batch] * weight for past, weight in zip(newest, weights, strict=True))
            sums.append(sum(rest, start=first))
        return weights, sums

    def keep(self, ran: Mapping[_Place, list[Tensor]]) -> None:
        """Note what ran in this evaluation, for later ones to be told from."""
        for place, value in ran.items():
            self._past[place] = [*self._past.get(place, []), value][-DEPTH:]

    def step(
        self, time: float, x: Tensor, left_out: Sequence[_Place]
    ) -> tuple[Tensor, dict[_Place, tuple[float, ...]]]:
        """Evaluate without some branches and go on; return the velocity, and the weights that stand for them."""
        velocity, whole = self.whole(time, x)
        told = {place: self.told(place, whole[place]) for place in left_out}
        if not told:
            self.keep(whole)
            return velocity, {}
        velocity, ran = self._evaluate(time, x, {place: value for place, (_, value) in told.items()})
        first = min(layer for layer, _ in told)
        self.keep({place: value for place, value in whole.items() if place[0] < first} | ran)
        return velocity, {place: weights for place, (weights, _) in told.items()}

    def _evaluate(
        self, time: float, x: Tensor, given: Mapping[_Place, Sequence[Tensor]]
    ) -> tuple[Tensor, dict[_Place, list[Tensor]]]:
        self._desk.given = given
        velocity = self._velocity(time, x)
        ran = self._desk.ran
        return velocity, {place: [batch[place] for batch in ran] for place in ran[0]}


def effects(
    bench: BranchBench, solver: Fitted, x0: Tensor, *, progress: Callable[[], object] = lambda: None
) -> tuple[Tensor, dict[Branch, Tensor]]:
    """Where a solver ends, and how far, to first order, each branch that is left out would move that.

    Parameters
    ----------
    bench
        Of the examples.
    solver
        At work.
    x0
        Where the examples start, [B, ...].
    progress
        Called after each evaluation whose branches were tried.

    Returns
    -------
    tuple
        The end, [B, ...], and by branch the change of it, in the state's type; from the second step on.
    """
    found: dict[Branch, Tensor] = {}
    steps = iter(range(1, solver.nfe + 1))

    def velocity(time: float, x: Tensor) -> Tensor:
        step = next(steps)
        share = sum(row[step - 1] for row in solver.weights[step - 1 :])
        value, ran = bench.whole(time, x)
        for place in sorted(ran) if step > 1 else ():
            _, told = bench.told(place, ran[place])
            found[Branch(step, *place)] = (bench.without(time, x, {place: told}) - value) * share
        bench.keep(ran)
        progress()
        return value

    with bench.solving():
        return solver.solve(velocity, x0), found


def choose(
    moves: Mapping[Branch, Tensor], residual: Tensor, scale: Tensor, *, costs: Mapping[str, float], saved: float
) -> list[Branch]:
    """Leave branches out until enough is saved: whichever adds least to the squared distance for what it saves.

    Parameters
    ----------
    moves
        Of `effects`.
    residual
        From the reference to where the solver ends with every branch, [B, ...].
    scale
        By which distances of each example are multiplied, [B].
    costs
        Of a branch, by part; what is left out is counted in the same unit.
    saved
        What to save; less is saved where all that may be left out does not reach it.
    """
    branches = sorted(moves)
    rows = torch.stack([_scaled(moves[one], scale) for one in branches])  # [n, B * ...]
    gram = (rows @ rows.T).double()
    ahead = (rows @ _scaled(residual, scale)).double()  # of each move with the distance so far
    prices = torch.tensor([costs[one.part] for one in branches], dtype=torch.float64)
    left_out: list[Branch] = []
    free = torch.ones(len(branches), dtype=torch.bool)
    while bool(free.any()) and sum(costs[one.part] for one in left_out) < saved:
        increase = ((gram.diagonal() + 2 * ahead) / prices).where(free, torch.inf)
        best = int(increase.argmin())
        left_out.append(branches[best])
        ahead += gram[best]
        free &= torch.tensor([not _beside(one, left_out[-1]) for one in branches])
    return sorted(left_out)


def fit_without(
    bench: BranchBench,
    left_out: Sequence[Branch],
    *,
    nodes: tuple[int, ...],
    fitter: Callable[[Velocity], Fitter],
) -> tuple[Fit, tuple[FittedBranch, ...]]:
    """Fit a solver to what it evaluates without some branches, and the weights that stand for these on the way.

    Parameters
    ----------
    bench
        Of the examples.
    left_out
        Of `choose`.
    nodes
        Of the solver.
    fitter
        Makes a fitter of a velocity that knows where the reference goes.

    Returns
    -------
    tuple
        The fit, and an edit for each part, to attach beside its solver.
    """
    weights: dict[str, dict[int, dict[int, tuple[float, ...]]]] = {}
    steps = iter(range(1, len(nodes) + 1))

    def velocity(time: float, x: Tensor) -> Tensor:
        step = next(steps)
        value, found = bench.step(time, x, [(one.layer, one.part) for one in left_out if one.step == step])
        for (layer, part), row in found.items():
            weights.setdefault(part, {}).setdefault(layer, {})[step] = row
        return value

    with bench.solving():
        fit = fitter(velocity).fit(nodes)
    edits = (FittedBranch(part=part, weights=rows, n_steps=len(nodes)) for part, rows in sorted(weights.items()))
    return fit, tuple(edits)


def _beside(one: Branch, other: Branch) -> bool:
    """Whether two are one branch at one step or at neighbouring ones; what is told needs what was just before."""
    return (one.layer, one.part) == (other.layer, other.part) and abs(one.step - other.step) <= 1


def _joined(value: Sequence[Tensor]) -> Tensor:
    """All batches as one row, in double precision on the CPU."""
    return torch.cat([one.detach().double().cpu().flatten() for one in value])


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """[B, ...] as one row on the CPU, in 32 bits."""
    return (x.detach().float().cpu().flatten(1) * scale[:, None].float().cpu()).flatten()
