"""What a run was computed with beside its model: versions of libraries, and the machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from sam_lsac.model import SAMAudio

__all__ = ["LIBRARIES", "environment_of"]

#: Those whose version may show in the figures.
LIBRARIES = ("torch", "numpy", "fast-bss-eval", "pesq", "pystoi")


def environment_of(model: SAMAudio) -> dict[str, str]:
    """Versions and machine, as far as they may show in the figures.

    Parameters
    ----------
    model
        Where it computes.
    """
    device = model.proj.weight.device
    found = {"python": platform.python_version(), "machine": platform.machine()}
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # an editable or vendored copy without metadata
            found[library] = "unknown"
    return found
