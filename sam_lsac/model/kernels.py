"""The arithmetic that takes the time of an evaluation, and for each part the fastest way that is exact enough.

Every function has a plain form, which training, the compiler, every other device and every other type use, and a form
for float32 on a CPU without gradients, equal to it up to rounding. Which one runs follows from the tensors alone.
What is given is never written to: edits and hooks may keep it.

Shapes: B batch, T queries, L keys, H heads, E channels of a head, D = H E.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear", "attend", "gated_product", "is_edited", "is_plain", "linear", "rms_norm"]

#: Below so many rows, arranging the weight costs more than the faster product saves.
_FEWEST_ROWS = 192


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


def gated_product(x: Tensor, gate: nn.Linear, value: nn.Linear, non_linearity: Callable[[Tensor], Tensor]) -> Tensor:
    """``non_linearity(gate(x)) * value(x)``; one pass a product where it is SiLU's and neither layer is edited.

    Parameters
    ----------
    x
        [..., in_features].
    gate, value
        Layers of equal widths.
    non_linearity
        Of the gate.
    """
    fused = non_linearity is F.silu and _suits_onednn(x, gate.weight, value.weight)
    if not fused or is_edited(gate) or is_edited(value):
        product: Tensor = non_linearity(gate(x)) * value(x)
        return product
    gated = _onednn_linear(x, gate.weight, gate.bias, "swish")
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, gated, value.weight, value.bias, "mul")
    return result


def attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None = None) -> Tensor:
    """Mix values by softmax(Q K^T / sqrt(E)), [B, H, T, E].

    Where keys are masked on a CPU, each example attends to the keys that it keeps, without a mask: the fused kernel
    takes nearly twice as long with one, and gives an example the same bits alone as in a batch.

    Parameters
    ----------
    q, k, v
        [B, H, T, E], [B, H, L, E] and [B, H, L, E].
    keep
        True where a key is kept, [B, L]; None for all.
    """
    if keep is None:
        return F.scaled_dot_product_attention(q, k, v)
    if not (is_plain(q, k, v) and keep.dtype == torch.bool and bool(keep.any(dim=1).all())):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :])
    rows = (
        F.scaled_dot_product_attention(q[i : i + 1], k[i : i + 1, :, kept], v[i : i + 1, :, kept])
        for i, kept in enumerate(keep)
    )
    return torch.cat([row.transpose(1, 2) for row in rows]).transpose(1, 2)  # the kernel's layout


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


def is_edited(module: nn.Module) -> bool:
    """Whether the module, or one inside it, has a forward of its own or a hook."""
    return any(
        "forward" in part.__dict__ or part._forward_hooks or part._forward_pre_hooks  # no public way to ask
        for part in module.modules()
    )


def is_plain(*tensors: Tensor) -> bool:
    """Whether all are float32 on a CPU, and neither gradients nor a graph are wanted."""
    if torch.compiler.is_compiling():
        return False
    grad = torch.is_grad_enabled()
    return all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 and not (grad and tensor.requires_grad)
        for tensor in tensors
    )


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
