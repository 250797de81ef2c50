"""Networks built without values: names, shapes and types on the meta device, for weights that a file gives.

PyTorch draws and computes on the meta device by Python code that imports its compiler and a computer algebra system,
which takes longer than all else of a load. So nothing is drawn or computed here that is to be replaced anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["blank", "fill_buffers", "filled"]

#: What initialises a tensor in place; it returns the tensor.
_INITIALISERS = frozenset(
    {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.div_}
    | {value for name, value in vars(nn.init).items() if name.endswith("_") and callable(value)}
)


@contextmanager
def blank() -> Iterator[None]:
    """Let modules that are built in the block have shapes and types alone."""
    with torch.device("meta"), _Uninitialised():
        yield


def filled(module: nn.Module) -> None:
    """Let a module that has just declared its buffers compute them, unless it is being built without values.

    Parameters
    ----------
    module
        With a method ``reset_buffers``.
    """
    if not any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        cast(Any, module).reset_buffers()


def fill_buffers(module: nn.Module, device: torch.device) -> None:
    """Compute the buffers that a checkpoint does not hold, of all parts of a module that was built without values.

    Parameters
    ----------
    module
        Its weights are there already.
    device
        Where the buffers are computed.
    """
    for part in module.modules():
        if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
            with device:
                cast(Any, part).reset_buffers()


class _Uninitialised(TorchFunctionMode):
    """Leaves tensors as they are where they would be initialised in place."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, or leave it out."""
        given = kwargs or {}
        if func in _INITIALISERS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
