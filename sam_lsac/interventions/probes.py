"""What is measured: attention entropy and Block Ratio of each layer at each step, as reductions.

Shapes: B batch, H heads, T frames (queries), L keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.attention import AttentionInputs, attention_weights
from sam_lsac.interventions.edit import Call, Clock, Edit
from sam_lsac.interventions.sites import Site, checked_layers, layer_sites
from sam_lsac.interventions.spans import AnchorInputs
from sam_lsac.interventions.work import LayerWork

__all__ = ["Record", "Recording", "attention_entropy", "block_ratio", "entropy_rates"]

#: Id of "+" in the span vocabulary (Meta, ``Batch.process_anchors``).
_TARGET_ID = 1


def attention_entropy(weights: Tensor, keep: Tensor | None = None) -> Tensor:
    """Mean over heads and queries of -sum A log A.

    Parameters
    ----------
    weights
        Attention matrix A, rows sum to 1, [B, H, T, L].
    keep
        True where a query counts, [B, T]; None for all.

    Returns
    -------
    Tensor
        Entropy in nats, 0 to log(L), [B].
    """
    rows: Tensor = torch.special.entr(weights.double()).sum(dim=-1).mean(dim=1)  # [B, T]
    if keep is None:
        return rows.mean(dim=1)
    return (rows * keep).sum(dim=1) / keep.sum(dim=1)


def block_ratio(
    weights: Tensor, span: Tensor, *, keep: Tensor | None = None, eps: float = 1e-12
) -> tuple[Tensor, Tensor]:
    """Attention inside segments over attention across them.

    B(i, j) = 1 where frames i and j lie in the same segment: a longest run of frames with one value of the span. The
    Block Ratio is mean(A over B) / (mean(A over not B) + eps), so that uniform attention gives 1 (less T eps); the sum
    form is sum(A over B) / (sum(A over not B) + eps).

    Parameters
    ----------
    weights
        Head-averaged attention matrix A, [B, T, T].
    span
        Where the target is active, boolean, [B, T].
    keep
        True where a frame counts, as query and as key, [B, T]; None for all.
    eps
        Guards the division.

    Returns
    -------
    tuple of Tensor
        Block Ratio in the mean form and in the sum form, [B] each; NaN for an example of one single segment.
    """
    changes = span[:, 1:] != span[:, :-1]
    segment = torch.nn.functional.pad(changes.long().cumsum(dim=1), (1, 0))  # [B, T]
    inside = segment[:, :, None] == segment[:, None, :]  # [B, T, T]
    counted = torch.ones_like(inside) if keep is None else keep[:, :, None] & keep[:, None, :]
    within, across = inside & counted, ~inside & counted
    a = weights.double()
    sum_within, sum_across = (a * within).sum(dim=(1, 2)), (a * across).sum(dim=(1, 2))
    n_within, n_across = within.sum(dim=(1, 2)), across.sum(dim=(1, 2))
    mean_form = (sum_within / n_within) / (sum_across / n_across + eps)  # 0 / 0 = NaN where there is nothing across
    sum_form = torch.where(n_across > 0, sum_within / (sum_across + eps), torch.nan)
    return mean_form, sum_form


def entropy_rates(entropy: Tensor) -> Tensor:
    """How fast each layer's attention still changes: mean over steps n and examples of |H(n + 1) - H(n)|.

    Parameters
    ----------
    entropy
        In nats, [layers, steps, B].

    Returns
    -------
    Tensor
        In nats a step, [layers].

    Raises
    ------
    EditError
        If there are fewer than two steps.
    """
    if entropy.size(1) < 2:
        raise EditError(f"A rate needs the entropy of at least two steps, not of {entropy.size(1)}; record more steps.")
    return entropy.diff(dim=1).abs().mean(dim=(1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a `Record` leaves, on the CPU in float64.

    Parameters
    ----------
    layers, steps
        What the first two axes stand for.
    entropy
        In nats, [layers, steps, B]; None where it was not asked for.
    block_ratio, block_ratio_sum
        Mean form and sum form, [layers, steps, B]; None where not asked for.
    maps
        Head-averaged matrices by (layer, step), [B, T, T] each.
    """

    layers: tuple[int, ...]
    steps: tuple[int, ...]
    entropy: Tensor | None = None
    block_ratio: Tensor | None = None
    block_ratio_sum: Tensor | None = None
    maps: dict[tuple[int, int], Tensor] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _RecordState:
    """Values [B] by (quantity, layer, step), matrices, and the span mask, [B, T]."""

    steps: tuple[int, ...]
    values: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)
    maps: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    span: Tensor | None = None

    def stacked(self, quantity: str, layers: Iterable[int]) -> Tensor:
        """One quantity, [layers, steps, B]."""
        missing = [(i, n) for i in layers for n in self.steps if (quantity, i, n) not in self.values]
        if missing:
            raise EditError(
                f"Record has no {quantity} of layer {missing[0][0]} at step {missing[0][1]}: the solve ended before "
                "it, or an edit skipped the layer. Pass steps= and layers= that run, and list Record after other edits."
            )
        return torch.stack([torch.stack([self.values[quantity, i, n] for n in self.steps]) for i in layers])


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Edit):
    """Measure self-attention and change nothing: the outputs are bit-equal to the run without it.

    The matrix is computed beside the module's own, from the inputs that the module gets, in the last evaluation of a
    step; where another edit keeps an older matrix, this is the one that the layer would have computed. The span mask of
    the Block Ratio is that of the "+" anchors as they reach this edit: list `Record` after ``ShuffleSpans`` to measure
    against the true spans, before it to measure against the shuffled ones.

    Parameters
    ----------
    entropy
        Keep `attention_entropy`.
    block_ratio
        Keep `block_ratio`; the solve then needs spans.
    maps
        (layer, step) pairs of which the head-averaged matrix is kept.
    layers
        Layers from 0; None for all.
    steps
        Steps from 1; None for all.

    Raises
    ------
    EditError
        If nothing is asked for, layers or steps are malformed or not in the solve; on leaving, if a value is missing.
    """

    entropy: bool = True
    block_ratio: bool = False
    maps: tuple[tuple[int, int], ...] = ()
    layers: tuple[int, ...] | None = None
    steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", tuple((int(layer), int(step)) for layer, step in self.maps))
        if not (self.entropy or self.block_ratio or self.maps):
            raise EditError("Record has nothing to record; ask for entropy, block_ratio or maps.")
        if self.layers is not None:
            object.__setattr__(self, "layers", checked_layers(self.layers))
        if self.steps is not None:
            object.__setattr__(self, "steps", tuple(sorted(set(self.steps))))
        if any(step < 1 for step in self._named_steps()) or self.steps == ():
            raise EditError(f"Steps are whole numbers from 1, at least one of them, not {self._named_steps()!r}.")

    def _named_steps(self) -> tuple[int, ...]:
        return (*(self.steps or ()), *(step for _, step in self.maps))

    @property
    def first_acting_step(self) -> int:
        """The first step that is recorded."""
        return 1 if self.steps is None else min(self._named_steps())

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The self-attention modules, and the span gate where spans are needed."""
        gate = (Site(path="embed_anchors"),) if self.block_ratio else ()
        mapped = {layer for layer, _ in self.maps}
        layer_sites(model, "attention", mapped)  # refuses a map of a layer that does not exist
        wanted = None if self.layers is None else sorted({*self.layers, *mapped})
        return gate + layer_sites(model, "attention", wanted)

    def begin(self, clock: Clock) -> _RecordState:
        """Nothing recorded yet."""
        late = [step for step in self._named_steps() if step > clock.n_steps]
        if late:
            raise EditError(
                f"Record names step {late[0]} of a solve of {clock.n_steps} steps; name steps of 1 to {clock.n_steps}."
            )
        return _RecordState(steps=tuple(range(1, clock.n_steps + 1)) if self.steps is None else self.steps)

    def apply(self, call: Call, state: _RecordState) -> Tensor:
        """Do the call unchanged, and look."""
        if call.site.layer is None:
            anchors = AnchorInputs(*call.args, **call.kwargs)
            if anchors.anchor_ids is not None and anchors.anchor_alignment is not None:
                state.span = anchors.anchor_ids.gather(1, anchors.anchor_alignment) == _TARGET_ID
        elif call.clock.ends_step:
            self._look(call, state, (call.site.layer, call.clock.step))
        return call.proceed()

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """One matrix more, where one is looked at."""
        looks = clock.ends_step and (self._reduces(layer, clock.step) or (layer, clock.step) in self.maps)
        return replace(inner, probes=inner.probes + looks)

    def _reduces(self, layer: int, step: int) -> bool:
        return (self.layers is None or layer in self.layers) and (self.steps is None or step in self.steps)

    def _look(self, call: Call, state: _RecordState, where: tuple[int, int]) -> None:
        reduced = self._reduces(*where)
        if not (reduced or where in self.maps):
            return
        inputs = AttentionInputs(*call.args, **call.kwargs)
        weights = attention_weights(call.module, inputs)  # [B, H, T, T]
        if where in self.maps:
            state.maps[where] = weights.mean(dim=1).cpu()
        if reduced and self.entropy:
            state.values["entropy", *where] = attention_entropy(weights, inputs.key_padding_mask).cpu()
        if reduced and self.block_ratio:
            if state.span is None:
                raise EditError("The Block Ratio needs a solve with spans; give spans, or record the entropy alone.")
            ratios = block_ratio(weights.mean(dim=1), state.span, keep=inputs.key_padding_mask)
            for quantity, ratio in zip(("block_ratio", "block_ratio_sum"), ratios, strict=True):
                state.values[quantity, *where] = ratio.cpu()

    def finish(self, state: _RecordState) -> Recording:
        """What was recorded."""
        layers = self.layers or tuple(sorted({layer for _, layer, _ in state.values}))
        missing = [where for where in self.maps if where not in state.maps]
        if missing:
            raise EditError(
                f"Record has no map of (layer, step) = {missing[0]}: the solve ended before it; run the whole solve."
            )
        return Recording(
            layers=layers,
            steps=state.steps,
            entropy=state.stacked("entropy", layers) if self.entropy else None,
            block_ratio=state.stacked("block_ratio", layers) if self.block_ratio else None,
            block_ratio_sum=state.stacked("block_ratio_sum", layers) if self.block_ratio else None,
            maps=state.maps,
        )
