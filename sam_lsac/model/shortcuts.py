"""When a module may be computed by other means than its own forward: nobody looks in, and nothing else is asked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["is_edited", "is_plain"]


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
