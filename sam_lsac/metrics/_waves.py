"""What all metrics share: waves checked and scaled, why they cannot be scored, and ratios in decibels."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_lsac.errors import InputError
from sam_lsac.metrics.score import Score

__all__ = ["checked_rate", "decibel", "peak", "scored", "unit", "unscored", "waves_of"]

SILENCE_RMS = 1e-8  # of full scale, after removal of the mean: -160 dB, far below any recording or codec

Wave = NDArray[np.float64]


def waves_of(**named: ArrayLike) -> dict[str, Wave]:
    """Return the waves as float64 [N], all of one length."""
    waves: dict[str, Wave] = {}
    for name, given in named.items():
        array = np.asarray(given)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu":
            raise InputError(
                f"{name} must be one channel of real samples [N], got shape {array.shape} and dtype {array.dtype}: "
                "select a channel or average them"
            )
        waves[name] = array.astype(np.float64)
    if len({wave.size for wave in waves.values()}) > 1:
        lengths = ", ".join(f"{name} {wave.size}" for name, wave in waves.items())
        raise InputError(f"waves must have one length, got {lengths} samples: cut or pad them first")
    return waves


def checked_rate(sample_rate: int) -> int:
    """Return a rate in Hz; InputError where it is none."""
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)) or sample_rate <= 0:
        raise InputError(f"sample_rate must be a positive integer in Hz, got {sample_rate!r}: round or resample first")
    return int(sample_rate)


def unscored(waves: Mapping[str, Wave]) -> Score | None:
    """Return the score of waves that have none at all, failed where it is the "estimate" that has none; else None."""
    for name, wave in waves.items():
        if not np.isfinite(wave).all():
            return Score(math.nan, f"{name} has samples that are NaN or infinite", failed=name == "estimate")
        if wave.std() < SILENCE_RMS:
            return Score(math.nan, f"{name} is silent", failed=name == "estimate")
    return None


def unit(wave: Wave) -> Wave:
    """Remove the mean and scale to a power of 1 in all."""
    centred: Wave = peak(wave) - peak(wave).mean()
    return centred / np.linalg.norm(centred)


def peak(wave: Wave) -> Wave:
    """Scale to a peak of 1: pesq expects full scale, and no metric here depends on the level."""
    scaled: Wave = wave / np.abs(wave).max()
    return scaled


def decibel(power: float, error_power: float) -> float:
    """Return 10 log10(power / error_power), infinite where rounding is all that is left of one of them."""
    eps = float(np.finfo(np.float64).eps)
    if error_power <= eps**2 * power:
        return math.inf
    return 10.0 * math.log10(power / error_power) if power > eps**2 * error_power else -math.inf


def scored(value: float, name: str) -> Score:
    """Return the score of a figure, which says why where it is none."""
    if math.isfinite(value):
        return Score(float(value))
    what = {math.inf: "the estimate equals the reference", -math.inf: "nothing of the reference is left"}
    return Score(math.nan, f"{name} is unbounded: {what[value]}" if value in what else f"{name} is not a number")
