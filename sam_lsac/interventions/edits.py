"""What is changed: the paper's interventions on the text conditioning and on self-attention.

Layers are counted from 0, steps from 1. See `attach` for how edits compose, and `spans` for the edits of the span gate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sam_lsac.interventions.attention import AttentionInputs, MatrixCache, apply_weights, checked_freeze_steps
from sam_lsac.interventions.edit import Call, Clock, Edit
from sam_lsac.interventions.sites import Site, checked_layers, layer_sites
from sam_lsac.interventions.work import CrossAttention, LayerWork

__all__ = ["FreezeSelfAttention", "UniformCrossAttention", "ZeroAdditive", "ZeroCrossAttention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroAdditive(Edit):
    """Make the text term of ``memory = memory_proj(text) + timestep_emb`` zero; the time embedding stays.

    The number of tokens and their mask stay too: every token then carries the time alone.

    References
    ----------
    Paper, Eq. 1 ("Additive Zeroed").
    """

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The text projection."""
        return (Site(path="memory_proj"),)

    def apply(self, call: Call, state: Any) -> Tensor:
        """Zeros in the shape of the text term, [B, L, D]."""
        return torch.zeros_like(call.proceed())

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """Every matrix product still runs."""
        return inner


@dataclass(frozen=True, slots=True, kw_only=True)
class _CrossAttentionEdit(Edit):
    """An edit of the cross-attention of some layers.

    Parameters
    ----------
    layers
        Layers from 0; None for all.

    Raises
    ------
    EditError
        If ``layers`` is empty or malformed.
    """

    layers: tuple[int, ...] | None = None
    _left: ClassVar[CrossAttention]

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", checked_layers(self.layers))

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The cross-attention modules."""
        return layer_sites(model, "cross_attention", self.layers)

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """What is left of the branch in these layers."""
        acts = self.layers is None or layer in self.layers
        return replace(inner, cross_attention=self._left) if acts else inner


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroCrossAttention(_CrossAttentionEdit):
    """Make the output of the cross-attention branch zero, in ``layers`` from 0, or None for all ("Zeroed CA")."""

    _left: ClassVar[CrossAttention] = "none"

    def apply(self, call: Call, state: Any) -> Tensor:
        """Zeros in the shape of the branch, [B, T, D]; the branch does not run."""
        return torch.zeros_like(call.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformCrossAttention(_CrossAttentionEdit):
    """Give every unmasked text token the weight 1 / L, in ``layers`` from 0, or None for all ("Forced Uniform")."""

    _left: ClassVar[CrossAttention] = "uniform"

    def apply(self, call: Call, state: Any) -> Tensor:
        """Project the mean value over the unmasked tokens, the same for every frame, [B, T, D]."""
        inputs = AttentionInputs(*call.args, **call.kwargs)
        source, mask = inputs.source, inputs.key_padding_mask  # [B, L, D], [B, L]
        keep = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device) if mask is None else mask.bool()
        weights = (keep / keep.sum(dim=1, keepdim=True))[:, None, None, :]  # [B, 1, 1, L]
        pooled = apply_weights(call.module, weights.expand(-1, call.module.n_heads, -1, -1), source)  # [B, 1, D]
        return pooled.expand_as(inputs.x)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeSelfAttention(MatrixCache):
    """Keep the self-attention matrices of step ``step`` for all later steps.

    The same arithmetic as ``CacheAttention``, as an intervention: one step for all layers, no budget.

    Parameters
    ----------
    layers
        Layers from 0.
    step
        Step s from 1: the matrix of its last evaluation is used in the steps s + 1 to N.

    Raises
    ------
    EditError
        If ``layers`` or ``step`` is malformed; when attached, if no step follows ``step``.
    """

    layers: tuple[int, ...]
    step: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))
        checked_freeze_steps(self.freeze_steps)

    @property
    def freeze_steps(self) -> dict[int, int]:
        """Freeze step of each layer."""
        return dict.fromkeys(self.layers, self.step)
