"""The arithmetic that takes the time of an evaluation, and for each part the fastest way that is exact enough.

Every function has a plain form, which training, the compiler, every other device and every other type use, and a form
for float32 on a CPU without gradients, equal to it up to rounding. Which one runs follows from the tensors alone.
What is given is never written to: edits and hooks may keep it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_lsac.model.shortcuts import is_edited, is_plain

__all__ = ["Linear", "gated_layers", "linear", "rms_norm"]

#: Below so many rows, arranging the weight costs more than the faster product saves.
_FEWEST_ROWS = 192

#: So many at once through a feed-forward network.
_MOST_ROWS = 512


class Linear(nn.Linear):
    """A linear layer; long float32 inputs on a CPU go through oneDNN, which is faster there than PyTorch's choice."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in_features] to [..., out_features]."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map [..., in_features] to [..., out_features] by a weight [out_features, in_features]."""
    if _suits_onednn(x, weight):
        return _onednn_linear(x, weight, bias)
    return F.linear(x, weight, bias)


def gated_layers(
    x: Tensor, *, gate: nn.Linear, value: nn.Linear, output: nn.Linear, non_linearity: Callable[[Tensor], Tensor]
) -> Tensor:
    """``output(non_linearity(gate(x)) * value(x))``.

    Where the gate is SiLU's and no layer is edited, gate and value take one pass each, and a few rows go through all
    three layers before the next do: what lies between them then stays in the cache, and in memory that is used again.

    Parameters
    ----------
    x
        [..., in_features].
    gate, value
        To equal widths.
    output
        Of the product.
    non_linearity
        Of the gate.
    """
    layers = (gate, value, output)
    plain = all(type(layer) is Linear and not is_edited(layer) for layer in layers)
    if not (plain and non_linearity is F.silu and _suits_onednn(x, *(layer.weight for layer in layers))):
        result: Tensor = output(non_linearity(gate(x)) * value(x))
        return result
    mapped = x.new_empty(*x.shape[:-1], output.out_features)
    for rows, into in zip(x.flatten(0, -2).split(_MOST_ROWS), mapped.flatten(0, -2).split(_MOST_ROWS), strict=True):
        gated = _onednn_linear(rows, gate.weight, gate.bias, "swish")
        hidden = torch.ops.mkldnn._linear_pointwise.binary(rows, gated, value.weight, value.bias, "mul")
        into.copy_(_onednn_linear(hidden, output.weight, output.bias))
    return mapped


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axis, computed in float32.

    Parameters
    ----------
    x
        [..., D].
    weight
        [D].
    eps
        Guards the root.
    """
    if is_plain(x, weight):
        root = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = root.square_().div_(x.size(-1)).add_(eps).rsqrt_()  # [..., 1]
        return (x * scale).mul_(weight)
    x32 = x.float()
    normed = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps)
    return (normed * weight).type_as(x)


def _suits_onednn(x: Tensor, *weights: Tensor) -> bool:
    """Whether a product is long enough, and such that oneDNN can do it exactly."""
    return (
        x.numel() >= _FEWEST_ROWS * x.size(-1)
        and is_plain(x, *weights)
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "")  # what the compiler emits too
    return result
