"""Where a source is active: an energy detector, and what follows from it (spans, levels, the choice of an excerpt).

A 20 ms frame is active where its power lies within 35 dB of the loudest frame's. For spans, gaps shorter than 0.2 s are
then filled: the pauses between words belong to the speech, the pauses between sentences do not.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError

__all__ = ["active_level_db", "active_share", "active_spans", "choose_excerpt"]

FRAME_S = 0.02
ACTIVE_DB = -35.0  # relative to the loudest frame
SHORTEST_GAP_S = 0.2
EXCERPT_GRID_S = 0.1
LEAST_TARGET_SHARE = 0.4
LEAST_RESIDUAL_SHARE = 0.6
BEST_TARGET_SHARE = 0.75
LEAST_POWER = 0.5  # of the whole wave's mean


def active_spans(wave: NDArray[np.float64], sample_rate: int) -> tuple[tuple[float, float], ...]:
    """Find where a wave is active, at a resolution of 20 ms.

    Parameters
    ----------
    wave
        [N], one source; not silent.
    sample_rate
        In Hz.

    Returns
    -------
    tuple of (start, end)
        In seconds, in order, at least 0.2 s apart; the last may end with the wave.

    Raises
    ------
    InputError
        If the wave is shorter than one frame or silent.
    """
    filled = _fill_gaps(_active_frames(wave, sample_rate))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    duration_s = wave.size / sample_rate
    return tuple(
        (round(float(start) * FRAME_S, 3), round(min(float(end) * FRAME_S, duration_s), 6))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    )


def active_level_db(wave: NDArray[np.float64], sample_rate: int) -> float:
    """Measure the level over the active frames alone, gaps left out.

    Parameters
    ----------
    wave
        [N], one source; not silent.
    sample_rate
        In Hz.

    Returns
    -------
    float
        Root mean square in dB relative to full scale.

    Raises
    ------
    InputError
        If the wave is shorter than one frame or silent.
    """
    power = _frame_power(wave, sample_rate)
    return float(10.0 * np.log10(np.mean(power[_is_active(power)])))


def active_share(spans: tuple[tuple[float, float], ...], start_s: float, end_s: float) -> float:
    """Tell which share of an interval the spans cover.

    Parameters
    ----------
    spans
        (start, end) in seconds, without overlaps.
    start_s, end_s
        The interval, in seconds.

    Returns
    -------
    float
        Between 0 and 1.
    """
    covered_s = sum(max(0.0, min(end, end_s) - max(start, start_s)) for start, end in spans)
    return covered_s / (end_s - start_s)


def choose_excerpt(
    target: NDArray[np.float64], residual: NDArray[np.float64], *, sample_rate: int, duration_s: float
) -> float:
    """Choose where an excerpt starts, so that both sources are active in it and the target, if it can be, not always.

    1. Candidates start at every multiple of 0.1 s from which the excerpt still fits.
    2. Where some have the target active for 40 % or more and the residual for 60 %, both with at least half of their
       mean power (so that neither is but dying away), only these remain, and the one whose target is active for nearest
       to 75 % is taken: a span that covers the whole excerpt would tell a model nothing.
    3. Where none has, the one with the highest smaller share of the two is taken.
    4. Of equals the earliest is taken.

    Parameters
    ----------
    target, residual
        [N] each, the two sources, without added noise.
    sample_rate
        In Hz.
    duration_s
        Length of the excerpt in seconds; where it is longer than the waves, it starts at 0.

    Returns
    -------
    float
        Start of the excerpt in seconds.

    Raises
    ------
    InputError
        If a wave is shorter than one frame or silent.
    """
    waves = (target, residual)
    spans = [active_spans(wave, sample_rate) for wave in waves]
    energies = [np.concatenate([[0.0], np.cumsum(wave**2)]) for wave in waves]
    last = int((target.size / sample_rate - duration_s) / EXCERPT_GRID_S + 1e-6)
    starts = [round(step * EXCERPT_GRID_S, 3) for step in range(max(0, last) + 1)]
    scores = []
    for start in starts:
        wanted, other = (round(active_share(span, start, start + duration_s), 6) for span in spans)
        powers = [_relative_power(energy, start * sample_rate, duration_s * sample_rate) for energy in energies]
        is_good = wanted >= LEAST_TARGET_SHARE and other >= LEAST_RESIDUAL_SHARE and min(powers) >= LEAST_POWER
        scores.append((is_good, -abs(wanted - BEST_TARGET_SHARE) if is_good else min(wanted, other)))
    return starts[scores.index(max(scores))]


def _relative_power(energy: NDArray[np.float64], first: float, n_samples: float) -> float:
    """Compare the power of an excerpt with that of the whole, from the running sum of squares [N + 1]."""
    begin, end = round(first), min(round(first + n_samples), energy.size - 1)
    return float((energy[end] - energy[begin]) / (end - begin) / (energy[-1] / (energy.size - 1)))


def _active_frames(wave: NDArray[np.float64], sample_rate: int) -> NDArray[np.bool_]:
    """Tell which 20 ms frames are active, [n_frames]."""
    return _is_active(_frame_power(wave, sample_rate))


def _frame_power(wave: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Measure the mean power of whole 20 ms frames, [n_frames]; a shorter rest is left out."""
    n_frames = int(wave.size / (FRAME_S * sample_rate) + 1e-9)
    if n_frames == 0 or not wave.any():
        raise InputError(
            f"a source of {wave.size} samples is shorter than {FRAME_S} s or silent; use another recording"
        )
    borders = np.round(np.arange(n_frames + 1) * FRAME_S * sample_rate).astype(np.int64)  # whole frames at any rate
    summed = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    power: NDArray[np.float64] = np.diff(summed[borders]) / np.diff(borders)
    return power


def _is_active(power: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Compare each frame with the loudest."""
    active: NDArray[np.bool_] = power >= np.max(power) * 10.0 ** (ACTIVE_DB / 10.0)
    return active


def _fill_gaps(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill inner gaps that are shorter than the shortest pause."""
    filled = active.copy()
    frames = np.flatnonzero(active)
    for before, after in pairwise(frames):
        if (after - before - 1) * FRAME_S < SHORTEST_GAP_S - 1e-9:
            filled[before:after] = True
    return filled
