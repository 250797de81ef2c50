"""Waves in and out of files: reading with errors that name the file, resampling, and a grid that sums exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.mixtures.sound_file import read_channels

__all__ = ["on_grid", "read_wave", "resample"]

#: Steps of amplitude per unit: -120 dB. Sums of two waves on this grid are exact in float32 up to an amplitude of 16,
#: and the rounding swallows the last bits in which processors differ, so that digests agree between machines.
GRID_STEPS = 2.0**20

SHORTEST_S = 0.1
LOUDEST = 16.0  # times full scale: as far as the grid is exact; what is louder is damaged, or integers in a float file
SILENCE_RMS = 1e-5  # -100 dB of full scale: below one step of 16 bits


def read_wave(path: Path, *, remedy: str = "replace the file or leave it out") -> tuple[NDArray[np.float64], int]:
    """Read an audio file to mono.

    Parameters
    ----------
    path
        WAV, AIFF, FLAC, OGG or MP3.
    remedy
        What the error tells the user to do.

    Returns
    -------
    wave
        The mean of the channels, full scale at 1, `[N]`.
    sample_rate
        In Hz.

    Raises
    ------
    InputError
        If the file is missing, does not decode, is cut short or claims more than it can hold, is silent (below
        -100 dB), shorter than 0.1 s, or holds NaN or infinite samples.
    """
    channels, sample_rate = read_channels(path, remedy=remedy)
    if channels.size == 0:
        raise InputError(f"{path} is empty; {remedy}")
    if not np.isfinite(channels).all():
        raise InputError(f"{path} holds NaN or infinite samples; {remedy}")
    if np.abs(channels).max() > LOUDEST:
        raise InputError(f"{path} has samples above {LOUDEST:g} times full scale; {remedy}")
    wave: NDArray[np.float64] = channels.mean(axis=1)
    if wave.size < SHORTEST_S * sample_rate:
        raise InputError(f"{path} lasts less than {SHORTEST_S} s; {remedy}")
    if np.mean(wave**2) < SILENCE_RMS**2:
        raise InputError(f"{path} is silent; {remedy}")
    return wave, sample_rate


def resample(wave: NDArray[np.float64], from_hz: int, to_hz: int) -> NDArray[np.float64]:
    """Change the sample rate with soxr at its high quality, in double precision and without delay.

    Parameters
    ----------
    wave
        [N], samples at ``from_hz``.
    from_hz, to_hz
        Sample rates in Hz.

    Returns
    -------
    NDArray
        [round(N * to_hz / from_hz)]; the same array where the rates are equal.
    """
    if from_hz == to_hz:
        return wave
    n_samples = round(wave.size * to_hz / from_hz)
    resampled = np.asarray(soxr.resample(wave, from_hz, to_hz, quality="HQ"), dtype=np.float64)
    return np.pad(resampled, (0, max(0, n_samples - resampled.size)))[:n_samples]


def on_grid(wave: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to the grid of amplitudes on which sums of waves are exact.

    Parameters
    ----------
    wave
        [N], samples within -16 and 16.

    Returns
    -------
    NDArray
        [N], multiples of 2 ** -20, without negative zeros.
    """
    return (np.round(wave * GRID_STEPS) / GRID_STEPS + 0.0).astype(np.float32)
