"""How much memory something takes: measured at its peak, and on paper for what caches keep."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from sam_lsac.caching import LSAC
from sam_lsac.costs.sizes import Countable, sizes_of
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit
from sam_lsac.interventions.work import NetworkSizes

__all__ = ["PeakMemory", "cache_bytes", "peak_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakMemory:
    """Memory before a call and at its peak, in bytes.

    Parameters
    ----------
    start_bytes, peak_bytes
        In use before, and at most during the call.
    method
        "cuda": what PyTorch allocated on the device. "resident": the process' resident memory, whose high-water mark
        was reset before. "resident, not reset": where the system cannot reset that mark, it is that of the process'
        whole life, and a call that stays below an earlier peak seems to add nothing.
    """

    start_bytes: int
    peak_bytes: int
    method: Literal["cuda", "resident", "resident, not reset"]

    @property
    def added_bytes(self) -> int:
        """What the call took at its peak beyond what was in use before."""
        return max(0, self.peak_bytes - self.start_bytes)


def peak_memory(call: Callable[[], object], *, device: str | torch.device = "cpu") -> PeakMemory:
    """Run a call once and say how much memory it took at its peak.

    Parameters
    ----------
    call
        What to run.
    device
        Whose memory: a CUDA device's, or else that of this process.
    """
    gc.collect()  # garbage that were let go during the call would hide as much of what it takes
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        start = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return PeakMemory(start_bytes=start, peak_bytes=torch.cuda.max_memory_allocated(device), method="cuda")
    if _reset_high_water_mark():
        start = _status_bytes("VmRSS")
        call()
        return PeakMemory(start_bytes=start, peak_bytes=_status_bytes("VmHWM"), method="resident")
    start = _lifetime_peak_bytes()
    call()
    return PeakMemory(start_bytes=start, peak_bytes=_lifetime_peak_bytes(), method="resident, not reset")


def cache_bytes(
    model: Countable, schedule: LSAC | Edit, *, n_frames: int, batch: int = 1, dtype: torch.dtype = torch.float32
) -> int:
    """Bytes that a cache keeps from one step to the next: its `Edit.kept_values`, for a batch.

    Parameters
    ----------
    model
        A model, its configuration, or the name of a released size.
    schedule
        `LSAC`, or the edit.
    n_frames
        Latent frames T.
    batch
        Mixtures separated at once.
    dtype
        Of the model.

    Raises
    ------
    ModelError
        If the size is unknown.
    InputError
        If a count is below 1.
    EditError
        If the edit does not say what it keeps.
    """
    if n_frames < 1 or batch < 1:
        raise InputError(f"n_frames = {n_frames} and batch = {batch} must be at least 1.")
    transformer = sizes_of(model).transformer
    edit = schedule.edit() if isinstance(schedule, LSAC) else schedule
    sizes = NetworkSizes(
        n_layers=transformer.n_layers, n_heads=transformer.n_heads, width=transformer.dim, n_frames=n_frames
    )
    return batch * edit.kept_values(sizes) * dtype.itemsize


def _reset_high_water_mark() -> bool:
    """Ask Linux to forget this process' peak of resident memory; False where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        _status_bytes("VmHWM")
    except (OSError, LookupError):
        return False
    return True


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _lifetime_peak_bytes() -> int:
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
