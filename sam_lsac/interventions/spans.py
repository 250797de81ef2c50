"""What is changed at the span gate ``x + tanh(gate) * proj(embedding)``: its opening, and which frames it marks.

References
----------
Paper, Eq. 4; Meta, ``sam_audio/model/model.py``, ``EmbedAnchors``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import Call, Clock, Edit
from sam_lsac.interventions.sites import Site
from sam_lsac.interventions.work import LayerWork

__all__ = ["AnchorInputs", "HijackGate", "ShuffleSpans"]


@dataclass(frozen=True, slots=True)
class AnchorInputs:
    """The arguments of the span gate's forward, by Meta's names; bind with ``AnchorInputs(*args, **kwargs)``.

    Parameters
    ----------
    x
        Aligned inputs, [B, T, D].
    anchor_ids
        Span vocabulary ids of each example, [B, S].
    anchor_alignment
        Which of the ids holds at each frame, [B, T].
    """

    x: Tensor
    anchor_ids: Tensor | None = None
    anchor_alignment: Tensor | None = None


@dataclass(slots=True)
class _GateState:
    """The projected span embedding of the call under way, [B, T, D]."""

    projected: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SpanEdit(Edit):
    """An edit of the span gate."""

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """Every matrix product still runs."""
        return inner


@dataclass(frozen=True, slots=True, kw_only=True)
class HijackGate(_SpanEdit):
    """Replace tanh(gate) of the span gate ``x + tanh(gate) * proj(embedding)`` by a value; the parameter stays.

    Parameters
    ----------
    value
        What stands in for tanh(gate); 1 is fully open. Values outside -1..1, which no gate can reach, are allowed.

    Raises
    ------
    EditError
        If ``value`` is not finite; in the solve, if it has no span inputs at all.
    """

    value: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise EditError(f"The gate cannot be {self.value}; give a finite number such as 1.0.")
        object.__setattr__(self, "value", float(self.value))  # 1 and 1.0 are one edit

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The gate, and the projection inside it."""
        return (Site(path="embed_anchors"), Site(path="embed_anchors.proj"))

    def begin(self, clock: Clock) -> _GateState:
        """Nothing projected yet."""
        return _GateState()

    def apply(self, call: Call, state: _GateState) -> Tensor:
        """Gate anew what the gate's own forward projects, so that edits of the spans below still act."""
        output = call.proceed()
        if call.site.path == "embed_anchors.proj":
            state.projected = output
            return output
        projected, state.projected = state.projected, None
        if projected is None:
            raise EditError(
                "HijackGate needs a solve with span inputs; give anchor_ids and anchor_alignment, or spans."
            )
        return call.x + self.value * projected


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleSpans(_SpanEdit):
    """Permute the span alignment over time, frame by frame; every example keeps its duty cycle.

    Frames are permuted, not segments: one span between two silences has hardly any other order of segments. Padding
    frames stay where they are. The permutation is one and the same in every evaluation and for every example of the
    same length, whatever else is in the batch.

    Parameters
    ----------
    seed
        Of the permutation.

    Raises
    ------
    EditError
        If ``seed`` is negative; in the solve, if no example has a span.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise EditError(f"A seed is a whole number from 0, not {self.seed!r}.")

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The span gate."""
        return (Site(path="embed_anchors"),)

    def apply(self, call: Call, state: Any) -> Tensor:
        """Gate the permuted spans."""
        inputs = AnchorInputs(*call.args, **call.kwargs)
        ids, alignment = inputs.anchor_ids, inputs.anchor_alignment
        if ids is None or alignment is None:
            raise EditError("ShuffleSpans needs a solve with spans; there are none to permute.")
        anchors = ids.gather(1, alignment)  # [B, T]
        kept = anchors != call.module.embed.padding_idx
        rows = zip(alignment, kept, strict=True)
        shuffled = torch.stack([self._permute(row, row_kept) for row, row_kept in rows])
        if torch.equal(ids.gather(1, shuffled), anchors):
            raise EditError(
                "ShuffleSpans changed nothing: no example has a span beside frames of another kind. Give spans."
            )
        output: Tensor = call.inner(inputs.x, ids, shuffled)
        return output

    def _permute(self, alignment: Tensor, kept: Tensor) -> Tensor:
        positions = kept.nonzero().squeeze(1).cpu()
        generator = torch.Generator().manual_seed(self.seed)
        order = positions[torch.randperm(len(positions), generator=generator)]
        shuffled = alignment.clone()
        shuffled[positions.to(alignment.device)] = alignment[order.to(alignment.device)]
        return shuffled
