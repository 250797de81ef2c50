"""The input projections of attention, side by side and with their heads in blocks, for the time of a solve.

In a checkpoint channel c of a query, key or value belongs to head c mod H, so that every head must be gathered from
strided channels. With the rows of the weights in another order the product itself puts each head in one block: queries,
keys and values come out of one product, and nothing is copied. The order within a head stays, so that packed and plain
projections can be mixed.

The packed weights are a copy, which whoever solves holds (see `PreparedVelocity`) and the modules only refer to; it is
used as long as the weights that it was made from are still those of the module and have not been written to.

Shapes: B batch, T frames, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.model.kernels import Linear, is_edited, is_plain, linear, rms_norm

__all__ = ["PackedHeads", "pack_heads"]


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class PackedHeads:
    """Packed projections of one attention module.

    Parameters
    ----------
    weight
        Of queries, or of queries, keys and values, heads in blocks, [D, D] or [3 D, D].
    bias
        In the same order; None where there is none.
    norm
        Weights of the norms of queries and keys, [2, 1, E], or of queries, [1, 1, E]; None without norms.
    made_from
        Parameters that these are copies of, and their versions.
    """

    weight: Tensor
    bias: Tensor | None
    norm: Tensor | None
    made_from: tuple[tuple[Tensor, int], ...]

    def project(self, attention: Any, x: Tensor, rope: Any) -> tuple[Tensor, ...]:
        """Queries, or queries, keys and values, normed and rotated, [B, H, T, E] each.

        Parameters
        ----------
        attention
            The module that the projections are of.
        x
            [B, T, D].
        rope
            Rotates queries and keys [B, T, heads, E]; None for none.
        """
        batch, length = x.shape[:2]
        parts = linear(x, self.weight, self.bias).view(batch, length, -1, attention.n_heads, attention.head_dim)
        n_turned = min(parts.size(2), 2)  # values are neither normed nor rotated
        turned = parts[:, :, :n_turned]  # [B, T, 1 or 2, H, E]
        if self.norm is not None:
            turned = rms_norm(turned, self.norm, attention.q_norm.eps)
        if rope is not None:
            turned = rope(turned.flatten(2, 3)).view_as(turned)
        heads = [*turned.unbind(2), *parts[:, :, n_turned:].unbind(2)]  # [B, T, H, E] each
        return tuple(head.transpose(1, 2) for head in heads)

    def serves(self, attention: Any, rope: Any) -> bool:
        """Whether it stands for what the module would do now: same weights, unwritten, and no part edited."""
        parts = _parts(attention, joint=self.weight.size(0) != self.weight.size(1))
        if any(is_edited(part) for part in parts) or (rope is not None and is_edited(rope)):
            return False
        now = list(_parameters(parts))
        return len(now) == len(self.made_from) and all(
            parameter is source and parameter._version == version
            for parameter, (source, version) in zip(now, self.made_from, strict=True)
        )


def pack_heads(attention: Any, *, joint: bool) -> PackedHeads | None:
    """Pack the projections of an attention module, or None where they are none that can be.

    Parameters
    ----------
    attention
        Its head_dim, n_heads, wq, wk, wv and norms are looked at.
    joint
        Queries, keys and values, as for self-attention; else queries alone.
    """
    parts = _parts(attention, joint=joint)
    layers = [part for part in parts if isinstance(part, nn.Linear)]
    parameters = list(_parameters(parts))
    if not is_plain(*parameters) or any(parameter.is_inference() for parameter in parameters):
        return None
    if any(type(layer) is not Linear for layer in layers):
        return None
    norms = [part.weight for part in parts if part not in layers]
    return PackedHeads(
        weight=torch.cat([_blocked(layer.weight, attention) for layer in layers]),
        bias=None if layers[0].bias is None else torch.cat([_blocked(layer.bias, attention) for layer in layers]),
        norm=torch.stack(norms)[:, None] if norms else None,
        made_from=tuple((parameter, parameter._version) for parameter in parameters),
    )


def _parts(attention: Any, *, joint: bool) -> list[Any]:
    """The modules that the packed projections stand for."""
    names = ["wq", "wk", "wv"] if joint else ["wq"]
    if attention.use_qk_norm:
        names += ["q_norm", "k_norm"] if joint else ["q_norm"]
    return [getattr(attention, name) for name in names]


def _parameters(parts: list[Any]) -> Iterator[Tensor]:
    for part in parts:
        yield from part.parameters()


def _blocked(tensor: Tensor, attention: Any) -> Tensor:
    """Rows from the order (channel of a head, head) to (head, channel of a head)."""
    return tensor.unflatten(0, (attention.head_dim, attention.n_heads)).transpose(0, 1).flatten(0, 1)
