"""What commands share that make one file from calibration mixtures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sam_lsac.errors import InputError
from sam_lsac.whole_files import write_whole

if TYPE_CHECKING:
    from sam_lsac.mixtures import Mixture
    from sam_lsac.model import SAMAudio

__all__ = ["calibration_mixtures", "kept", "write_result"]


def calibration_mixtures(options: argparse.Namespace, model: SAMAudio) -> list[Mixture]:
    """The mixtures of the calibration subset that the options name.

    Raises
    ------
    InputError
        If there are none, or one cannot be read.
    """
    from sam_lsac.mixtures import load_mixtures
    from sam_lsac.suite.gather import EMBEDDED_SECONDS

    return load_mixtures(
        options.mixtures,
        per_tier=options.mixtures_per_tier,
        subset="calibration",
        sample_rate=model.sample_rate,
        duration_s=EMBEDDED_SECONDS if options.mixtures == "embedded" and model.name == "embedded" else None,
        follow_outside=options.follow_outside,
    )


def write_result(path: Path, text: str) -> None:
    """Write the file that was computed, whole.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise InputError(f"--out {path} cannot be written ({error}); free some space, or name another file.") from error


def kept(options: argparse.Namespace) -> str:
    """What an interrupt leaves, and how to go on."""
    return f"{options.out} is as it was; the same command begins anew"
