"""One part of some layers that does not run at some steps, and is told from what it gave before: `BranchEdit`.

How it is told is the matter of `sam_lsac.caching.branches`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.attention import AttentionInputs, apply_weights, attention_weights
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.interventions.work import LayerWork, NetworkSizes

__all__ = ["PARTS", "BranchEdit", "Kept"]

#: What may be taken from earlier evaluations, and the module inside the layer where that is done; None: the layer.
PARTS: Mapping[str, str | None] = {
    "matrix": "attention",
    "attention": "attention",
    "cross_attention": "cross_attention",
    "feed_forward": "feed_forward",
    "layer": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a branch gave at a step: [B, T, D], or the matrix [B, H, T, T]; the flow's time then, [B]."""

    step: int
    time: Tensor
    value: Tensor


@dataclass(slots=True, kw_only=True)
class _State:
    """The time of the evaluation under way, and by layer what was kept, the oldest first."""

    time: Tensor | None = None
    kept: dict[int, list[Kept]] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchEdit(Edit):
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
    def told(self, kept: Sequence[Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
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
            state.kept.setdefault(layer, []).append(Kept(step=step, time=_now(state), value=value))
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
            return replace(inner, feed_forward=False)
        return replace(inner, self_attention=False, matrix=False, probes=0)

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


def _time(call: Call) -> Tensor:
    """The flow's time, [B], as the network is given it."""
    time: Tensor = call.args[1] if len(call.args) > 1 else call.kwargs["time"]
    return time


def _now(state: _State) -> Tensor:
    if state.time is None:
        raise CacheError("A layer was called outside the network, which knows the flow's time; call the whole network.")
    return state.time
