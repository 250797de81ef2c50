"""Branches of layers that do not run at named steps: held, predicted over unequal steps, or summed by fitted weights.

A branch is what a part of a layer adds, or its attention matrix. Which part, in which layers, at which steps, and how
it is told from the evaluations before: that is all of caching at given steps, and several such edits make one schedule.
What decides by itself when to skip (`sam_lsac.caching.peers`) is another matter.

References
----------
Ma, Fang and Wang 2024 (DeepCache) and Selvaraju et al. 2024 (FORA), arXiv 2407.01425, hold branches; Liu et al. 2025
(TaylorSeer), arXiv 2503.06923, predict them on a uniform grid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from torch import Tensor, nn

from sam_lsac.caching.branch_work import BranchWork
from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.attention import AttentionInputs, apply_weights, attention_weights
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, checked_layers, layer_sites
from sam_lsac.interventions.work import LayerWork, NetworkSizes
from sam_lsac.records import unknown

__all__ = ["PARTS", "CacheBranch", "FittedBranch"]

#: What may be taken from earlier evaluations, and the module inside the layer where that is done; None: the layer.
PARTS: Mapping[str, str | None] = {
    "matrix": "attention",
    "attention": "attention",
    "cross_attention": "cross_attention",
    "feed_forward": "feed_forward",
    "layer": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What a branch gave at a step: [B, T, D], or the matrix [B, H, T, T]; the flow's time then, [B]."""

    step: int
    time: Tensor
    value: Tensor


@dataclass(slots=True, kw_only=True)
class _State:
    """The time of the evaluation under way, and by layer what was kept, the oldest first."""

    time: Tensor | None = None
    kept: dict[int, list[_Kept]] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch(Edit):
    """One part of some layers is taken from earlier evaluations at some steps.

    Parameters
    ----------
    part
        A word of `PARTS`.
    n_steps
        Solver steps that it was made for; None for any.
    """

    part: str
    n_steps: int | None = None

    @abstractmethod
    def steps_of(self, layer: int) -> Collection[int]:
        """Steps at which the branch of a layer does not run, in ascending order."""

    @abstractmethod
    def depth(self, layer: int, step: int) -> int:
        """How many of the evaluations before stand for the branch at a step; 0 where it runs."""

    @abstractmethod
    def told(self, kept: Sequence[_Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
        """Tell the branch at a step and time from what was kept of its last evaluations, the oldest first."""

    @property
    @abstractmethod
    def named_layers(self) -> tuple[int, ...] | None:
        """Layers from 0; None for all."""

    def sources(self, layer: int, step: int) -> list[int]:
        """The steps before, at which the branch ran, from which it is told at a step; empty where it runs."""
        depth, skipped = self.depth(layer, step), self.steps_of(layer)
        return [before for before in range(1, step) if before not in skipped][-depth:] if depth else []

    @property
    def first_acting_step(self) -> int:
        """The first step of which something is kept."""
        return min(self.sources(layer, step)[0] for layer in self._layers for step in self.steps_of(layer))

    @property
    def _layers(self) -> tuple[int, ...]:
        """Those that are named, or one that stands for all."""
        return (0,) if self.named_layers is None else self.named_layers

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The network, which is told the time, and the part of each layer."""
        return (Site(path="transformer"), *layer_sites(model, PARTS[self.part], self.named_layers))

    def begin(self, clock: Clock) -> _State:
        """Nothing kept yet."""
        last = max(step for layer in self._layers for step in self.steps_of(layer))
        if self.n_steps not in (None, clock.n_steps) or last > clock.n_steps:
            made_for = f"{self.n_steps} steps" if self.n_steps else f"at least {last} steps"
            raise EditError(
                f"This cache of {self.part} was made for {made_for}, and the solve has {clock.n_steps}; attach it to "
                "the solver that it was made for, or name other steps."
            )
        return _State()

    def apply(self, call: Call, state: _State) -> Tensor:
        """Run the branch, or tell it."""
        layer, step = call.site.layer, call.clock.step
        if layer is None:
            state.time = _time(call)
            return call.proceed()
        if self.depth(layer, step):
            output = self._skip(call, state, layer=layer, step=step)
        elif call.clock.ends_step and step in self._later(layer, step - 1):
            output, value = self._run(call)
            state.kept.setdefault(layer, []).append(_Kept(step=step, time=_now(state), value=value))
        else:
            return call.proceed()
        if call.clock.ends_step:
            self._forget(state, layer, step)
        return output

    def _run(self, call: Call) -> tuple[Tensor, Tensor]:
        """The module's output, and what the branch gave."""
        if self.part == "matrix":
            inputs = AttentionInputs(*call.args, **call.kwargs)
            matrix = attention_weights(call.module, inputs).type_as(call.x)
            return apply_weights(call.module, matrix, inputs.source), matrix
        output = call.proceed()
        return output, output - call.x if self.part == "layer" else output

    def _skip(self, call: Call, state: _State, *, layer: int, step: int) -> Tensor:
        kept = state.kept.get(layer, [])[-self.depth(layer, step) :]
        ran = [one.step for one in kept]
        if ran != self.sources(layer, step):
            raise CacheError(
                f"{call.site.path} did not run at the steps {self.sources(layer, step)}, from which step {step} is told"
                f" (it did at {ran}): another edit skipped it; name steps at which it runs."
            )
        if any(call.x.shape[:2] != (one.value.size(0), one.value.size(-2)) for one in kept):
            raise CacheError(
                f"What {call.site.path} kept is {list(kept[-1].value.shape)}, and this call has {list(call.x.shape)}; "
                "keep batch and length the same over one solve."
            )
        state.hits[call.site.path] = state.hits.get(call.site.path, 0) + 1
        value = self.told(kept, layer=layer, step=step, time=_now(state))
        if self.part == "matrix":
            return apply_weights(call.module, value, AttentionInputs(*call.args, **call.kwargs).source)
        return call.x + value if self.part == "layer" else value

    def _later(self, layer: int, step: int) -> set[int]:
        """The steps from which the branch is told after a step."""
        return {source for later in self.steps_of(layer) if later > step for source in self.sources(layer, later)}

    def _forget(self, state: _State, layer: int, step: int) -> None:
        """Count what is there, of all layers, and drop what no later step is told from."""
        later = self._later(layer, step)
        state.kept[layer] = [one for one in state.kept.get(layer, []) if one.step in later]
        values = [one.value for kept in state.kept.values() for one in kept]
        state.stored_bytes = max(state.stored_bytes, sum(one.numel() * one.element_size() for one in values))

    def finish(self, state: _State) -> CacheReport:
        """Hits and bytes."""
        hit = {path.split(".")[2] for path in state.hits}
        idle = [layer for layer in self.named_layers or () if str(layer) not in hit]
        if idle or not hit:
            raise CacheError(
                f"The {self.part} of layer {idle[0] if idle else 0} was never taken from an earlier evaluation: run "
                "the whole solve inside the block, or leave it out."
            )
        return CacheReport(hits=state.hits, stored_bytes=state.stored_bytes)

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """Nothing of the branch at its steps; a matrix that is to be kept is computed here and not below."""
        if self.named_layers is not None and layer not in self.named_layers:
            return inner
        skips = self.depth(layer, clock.step) > 0
        if self.part == "matrix":
            keeps = clock.ends_step and clock.step in self._later(layer, clock.step - 1)
            return replace(inner, matrix=not skips, probes=0) if skips or keeps else inner
        if not skips:
            return inner
        if self.part == "layer":
            return LayerWork(runs=False)
        if self.part == "cross_attention":
            return replace(inner, cross_attention="none")
        if self.part == "feed_forward":
            return replace(BranchWork.of(inner), feed_forward=False)
        return replace(BranchWork.of(inner), self_attention=False, matrix=False, probes=0)

    def kept_values(self, sizes: NetworkSizes) -> int:
        """The most that is there at once; a branch is T x D, a matrix T x T for every head."""
        layers = range(sizes.n_layers) if self.named_layers is None else self.named_layers
        one = sizes.n_heads * sizes.n_frames**2 if self.part == "matrix" else sizes.n_frames * sizes.width
        there, most = dict.fromkeys(layers, 0), 0
        last = max(step for layer in self._layers for step in self.steps_of(layer))
        for step in range(1, last + 1):
            for layer in layers:
                there[layer] = sum(source <= step for source in self._later(layer, step))
                most = max(most, sum(there.values()))
        return most * one


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBranch(_Branch):
    """A part of layers is held or predicted at some steps, from the last steps at which it ran.

    Of the ``part`` "layer" is meant all that a layer adds; ``n_steps`` may say for how many solver steps it was made.

    Parameters
    ----------
    steps
        At which it does not run, from 1.
    layers
        From 0; None for all.
    order
        0: as in the last step at which it ran. 1: on the line through the last two, at the time of this evaluation.

    Raises
    ------
    EditError
        If a field is malformed, or too few steps lie before one of ``steps``; when attached, if the solve has other or
        fewer steps.
    CacheError
        In the solve, if another edit skipped what is needed; on leaving, if a layer was never skipped.
    """

    steps: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    order: int = 0

    def __post_init__(self) -> None:
        _check_part(self.part)
        object.__setattr__(self, "steps", _checked_steps(self.steps))
        if self.layers is not None:
            object.__setattr__(self, "layers", checked_layers(self.layers))
        if self.order not in (0, 1) or isinstance(self.order, bool):
            raise EditError(f"order = {self.order!r}; 0 holds what was, 1 predicts on a line.")
        _check_sources(self)

    @property
    def named_layers(self) -> tuple[int, ...] | None:
        """As they were given."""
        return self.layers

    def steps_of(self, layer: int) -> tuple[int, ...]:
        """The same in every layer."""
        return self.steps

    def depth(self, layer: int, step: int) -> int:
        """One evaluation, or two."""
        return self.order + 1 if step in self.steps else 0

    def told(self, kept: Sequence[_Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
        """Hold the last value, or go on along the line through the last two."""
        last = kept[-1]
        if self.order == 0:
            return last.value
        ahead = (time - last.time) / (last.time - kept[-2].time)  # [B]; steps are unequal
        factor = ahead.to(last.value.dtype).reshape(-1, *[1] * (last.value.ndim - 1))
        return last.value + factor * (last.value - kept[-2].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBranch(_Branch):
    """A part of layers is, at some steps, a weighted sum of what it gave before; `sam_lsac.tune` fits the weights.

    ``part`` and ``n_steps`` are those of `CacheBranch`.

    Parameters
    ----------
    weights
        By layer from 0 and step from 1, weights of the last evaluations at which it ran, the newest first.

    Raises
    ------
    EditError
        If a field is malformed, or there are more weights than steps before; when attached, as `CacheBranch`.
    CacheError
        As of `CacheBranch`.
    """

    weights: Mapping[int, Mapping[int, tuple[float, ...]]] = field(hash=False)

    def __post_init__(self) -> None:
        _check_part(self.part)
        layers = checked_layers(self.weights)
        rows = {layer: _checked_steps(self.weights[layer]) for layer in layers}
        weights = {layer: {step: tuple(self.weights[layer][step]) for step in steps} for layer, steps in rows.items()}
        object.__setattr__(self, "weights", weights)
        if not all(row and all(map(isfinite, row)) for steps in weights.values() for row in steps.values()):
            raise EditError("A step needs finite weights, at least one; fit them anew.")
        _check_sources(self)

    @property
    def named_layers(self) -> tuple[int, ...]:
        """Those that have weights."""
        return tuple(self.weights)

    def steps_of(self, layer: int) -> tuple[int, ...]:
        """Those that have weights."""
        return tuple(self.weights.get(layer, ()))

    def depth(self, layer: int, step: int) -> int:
        """As many evaluations as there are weights."""
        return len(self.weights.get(layer, {}).get(step, ()))

    def told(self, kept: Sequence[_Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
        """Sum what was, weighted."""
        parts = zip(reversed(kept), self.weights[layer][step], strict=True)
        (first, *rest) = (one.value * weight for one, weight in parts)
        return sum(rest, start=first)


def _check_part(part: Any) -> None:
    if part not in PARTS:
        raise EditError(f"{unknown('part of a layer', part, PARTS)}.")


def _checked_steps(steps: Collection[int]) -> tuple[int, ...]:
    given = list(steps)
    if not given or any(isinstance(step, bool) or not isinstance(step, int) or step < 2 for step in given):
        raise EditError(f"Steps to skip are whole numbers from 2, at least one of them, not {given!r}.")
    if len(set(given)) != len(given):
        raise EditError(f"A step is named twice in {given!r}; name each once.")
    return tuple(sorted(given))


def _check_sources(edit: _Branch) -> None:
    """Every step that is skipped must have the evaluations before it that it is told from."""
    for layer in edit._layers:
        for step in edit.steps_of(layer):
            there, needed = len(edit.sources(layer, step)), edit.depth(layer, step)
            if there < needed:
                raise EditError(
                    f"At step {step} the {edit.part} of layer {layer} is told from {needed} evaluations, and has run at"
                    f" {there}; skip later steps, or take fewer."
                )


def _time(call: Call) -> Tensor:
    """The flow's time, [B], as the network is given it."""
    time: Tensor = call.args[1] if len(call.args) > 1 else call.kwargs["time"]
    return time


def _now(state: _State) -> Tensor:
    if state.time is None:
        raise CacheError("A layer was called outside the network, which knows the flow's time; call the whole network.")
    return state.time
