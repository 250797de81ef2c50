"""Where a model can run on this machine, checked before anything is read."""

from __future__ import annotations

import torch

from sam_lsac.errors import ModelError

__all__ = ["check_device", "check_dtype"]

#: Types that every operation of the model has.
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_device(device: str | torch.device) -> torch.device:
    """Return a device that this machine has.

    Parameters
    ----------
    device
        Such as "cpu", "cuda" or "cuda:1".

    Raises
    ------
    ModelError
        If it is no device, or one that this machine or this PyTorch does not have.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):  # of a name, a type and a number that mean nothing
        found = None
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    counts = {"cpu": 1} | ({} if accelerator is None else {accelerator.type: torch.accelerator.device_count()})
    if found is None or (found.index or 0) >= counts.get(found.type, 0):
        here = ", ".join(f'"{kind}"' if n == 1 else f'"{kind}:0" to "{kind}:{n - 1}"' for kind, n in counts.items())
        raise ModelError(
            f"There is no device {str(device)!r} here; give one of: {here}. For a GPU, install the PyTorch that fits "
            "it and its driver."
        )
    return found


def check_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return the type of the transformer's weights, float32 where none is given.

    Raises
    ------
    ModelError
        If the model cannot compute in it.
    """
    if dtype is None:
        return torch.float32
    if dtype not in _DTYPES:
        raise ModelError(f"dtype = {dtype!r} is none that the model runs in; give {', '.join(map(str, _DTYPES))}.")
    return dtype
