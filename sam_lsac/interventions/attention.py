"""The arithmetic of one attention module, taken apart: its matrix, its values, and the matrix kept over steps.

Works on Meta's ``Attention`` and ours alike. Shapes: B batch, H heads, T queries, L keys, E channels of a head,
D = H E.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.interventions.work import LayerWork, NetworkSizes

__all__ = ["AttentionInputs", "MatrixCache", "apply_weights", "attention_weights", "checked_freeze_steps"]


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """The arguments of an attention module's forward, by Meta's names: ``AttentionInputs(*args, **kwargs)``."""

    x: Tensor
    cross_x: Tensor | None = None
    key_padding_mask: Tensor | None = None
    rope: Any = None

    @property
    def source(self) -> Tensor:
        """What keys and values are made from, [B, L, D]."""
        return self.x if self.cross_x is None else self.cross_x


def attention_weights(module: Any, inputs: AttentionInputs) -> Tensor:
    """The matrix softmax(Q K^T / sqrt(E)) in float32, [B, H, T, L]; masked keys have weight 0."""
    q = module.reshape_heads(module.wq(inputs.x), module.n_heads)  # [B, H, T, E]
    k = module.reshape_heads(module.wk(inputs.source), module.n_kv_heads)  # [B, H, L, E]
    if module.use_qk_norm:
        q, k = module.q_norm(q), module.k_norm(k)
    if inputs.rope is not None:
        q, k = inputs.rope(q, bhle=True), inputs.rope(k, bhle=True)
    scores = (q.float() * q.size(-1) ** -0.5) @ k.float().transpose(-1, -2)  # [B, H, T, L]
    if inputs.key_padding_mask is not None:
        scores = scores.masked_fill(~inputs.key_padding_mask[:, None, None, :], -torch.inf)
    weights: Tensor = scores.softmax(dim=-1)
    return weights


def apply_weights(module: Any, weights: Tensor, source: Tensor) -> Tensor:
    """Mix the values of ``source`` [B, L, D] by a matrix [B, H, T, L] and project, [B, T, D]; W_v, A V and W_o run."""
    v = module.reshape_heads(module.wv(source), module.n_kv_heads)  # [B, H, L, E]
    mixed = weights.to(v.dtype) @ v  # [B, H, T, E]
    output: Tensor = module.wo(mixed.transpose(1, 2).flatten(2))
    return output


def checked_freeze_steps(freeze_steps: Mapping[Any, int]) -> dict[int, int]:
    """Freeze steps by layer, in order of layers; layers may be text, as in a TOML table.

    Raises
    ------
    EditError
        If there are none, or a layer or step is not a whole number, or a step is below 1.
    """
    if not freeze_steps:
        raise EditError("No layer is frozen; name at least one, such as freeze_steps={1: 4}.")
    checked = {}
    for layer, step in freeze_steps.items():
        if isinstance(layer, bool) or not str(layer).isdecimal():
            raise EditError(f"Layer {layer!r} of freeze_steps is not a whole number from 0.")
        if isinstance(step, bool) or not isinstance(step, int) or step < 1:
            raise EditError(f"Layer {layer} freezes at step {step!r}; steps are whole numbers from 1.")
        checked[int(layer)] = step
    return dict(sorted(checked.items()))


class FrozenMatrices:
    """Self-attention matrices that are kept from a step on: the state of one solve.

    The matrix of step s is computed once, in the last evaluation of that step, whose output it already gives; in every
    evaluation of the steps s + 1 to N it is reused, and W_q, W_k, their norms, RoPE, Q K^T and the softmax do not run.

    Parameters
    ----------
    freeze_steps
        Step s of each layer.
    clock
        Of the solve.
    max_bytes
        What all matrices together may take; None for no limit.

    Raises
    ------
    EditError
        If a layer would be frozen at the last step or later, so that nothing would be reused.
    """

    def __init__(self, freeze_steps: Mapping[int, int], clock: Clock, max_bytes: int | None = None) -> None:
        for layer, step in freeze_steps.items():
            if step >= clock.n_steps:
                raise EditError(
                    f"Layer {layer} freezes at step {step} of {clock.n_steps}, after which no step is left to reuse "
                    f"its matrix; freeze at step {clock.n_steps - 1} at the latest, or leave the layer out."
                )
        self.freeze_steps = freeze_steps
        self.max_bytes = max_bytes
        self.matrices: dict[int, Tensor] = {}
        self.hits: dict[str, int] = {}

    def apply(self, call: Call) -> Tensor:
        """Do one call of a self-attention module."""
        layer = call.site.layer
        if layer is None:
            raise EditError(f"{call.site.path} is no module of a layer; matrices are kept of layers only.")
        inputs = AttentionInputs(*call.args, **call.kwargs)
        freeze_step = self.freeze_steps[layer]
        if call.clock.step > freeze_step:
            self.hits[call.site.path] = self.hits.get(call.site.path, 0) + 1
            return apply_weights(call.module, self._stored(layer, call), inputs.source)
        if self.max_bytes is not None:
            self._check_budget(call)
        if call.clock.step < freeze_step or not call.clock.ends_step:
            return call.proceed()
        self.matrices[layer] = attention_weights(call.module, inputs).type_as(call.x)
        return apply_weights(call.module, self.matrices[layer], inputs.source)

    def report(self) -> CacheReport:
        """Hits and bytes.

        Raises
        ------
        CacheError
            If a layer's matrix was never reused.
        """
        idle = [layer for layer in self.freeze_steps if f"transformer.layers.{layer}.attention" not in self.hits]
        if idle:
            raise CacheError(
                f"The attention matrix of layer {idle[0]}, frozen at step {self.freeze_steps[idle[0]]}, was never "
                "reused: the solve ended before, or another edit skipped the layer. Freeze earlier, or leave it out."
            )
        stored = sum(matrix.numel() * matrix.element_size() for matrix in self.matrices.values())
        return CacheReport(hits=dict(self.hits), stored_bytes=stored)

    def _stored(self, layer: int, call: Call) -> Tensor:
        batch, length = call.x.shape[:2]
        matrix = self.matrices.get(layer)
        if matrix is None:
            raise CacheError(
                f"Layer {layer} has no matrix of step {self.freeze_steps[layer]}: another edit skipped it; "
                "freeze at a step at which it runs."
            )
        if (matrix.size(0), matrix.size(2)) != (batch, length):
            raise CacheError(
                f"The matrix of layer {layer} is of {matrix.size(0)} examples of {matrix.size(2)} frames, this call "
                f"has {batch} of {length}; keep batch and length the same over one solve."
            )
        return matrix

    def _check_budget(self, call: Call) -> None:
        batch, length = call.x.shape[:2]
        one = batch * call.module.n_heads * length**2 * call.x.element_size()
        needed = one * len(self.freeze_steps)
        if self.max_bytes is not None and needed > self.max_bytes:
            raise CacheError(
                f"Keeping {len(self.freeze_steps)} attention matrices of {batch} x {call.module.n_heads} x {length} x "
                f"{length} takes {needed:,} bytes, and max_bytes allows {self.max_bytes:,}: freeze at most "
                f"{self.max_bytes // one} layers, separate fewer or shorter mixtures at once, or raise max_bytes."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixCache(Edit):
    """An edit that keeps the self-attention matrix of each of its layers from a step on."""

    @property
    @abstractmethod
    def freeze_steps(self) -> Mapping[int, int]:
        """Step s from 1 by layer from 0: the matrix of its last evaluation is used in the steps s + 1 to N."""

    @property
    def first_acting_step(self) -> int:
        """The earliest freeze step, whose matrix must be seen."""
        return min(self.freeze_steps.values())

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The self-attention modules."""
        return layer_sites(model, "attention", self.freeze_steps)

    def begin(self, clock: Clock) -> FrozenMatrices:
        """No matrices yet."""
        return FrozenMatrices(self.freeze_steps, clock)

    def apply(self, call: Call, state: FrozenMatrices) -> Tensor:
        """Attend, with the kept matrix where there is one."""
        return state.apply(call)

    def finish(self, state: FrozenMatrices) -> CacheReport:
        """Hits and bytes."""
        return state.report()

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """Half of self-attention after the freeze step, at which the matrix is computed here and not below."""
        step = self.freeze_steps.get(layer)
        if step is None or clock.step < step or (clock.step == step and not clock.ends_step):
            return inner
        return replace(inner, matrix=clock.step == step, probes=0)

    def kept_values(self, sizes: NetworkSizes) -> int:
        """A matrix T x T for every head of every layer."""
        return len(self.freeze_steps) * sizes.n_heads * sizes.n_frames**2
