"""Separation of audio of any length, in windows that overlap, with the memory of one window.

The wave is brought to the model's rate as a stream and cut into windows on the codec's frames. Each is separated by
itself, and they are joined by cross-fades whose weights sum to 1. Overlapping windows start from the same noise where
they overlap, so that they agree there as far as the model lets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit, edits_of
from sam_lsac.model import SAMAudio
from sam_lsac.request import SILENCE_RMS, Span, check_request, check_seed
from sam_lsac.separate import Separation, draw_noise, separate
from sam_lsac.solver import Solver, SolverState, solver_of

__all__ = ["Window", "plan_windows", "separate_windows", "windows_of"]

Wave = NDArray[np.float64]

_NOISE_BLOCK = 256  # frames that share one stream of noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a wave: the samples from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


def plan_windows(n_samples: int, *, length: int, overlap: int, hop: int = 1) -> tuple[Window, ...]:
    """Cut a wave into windows that overlap.

    Every window starts on a multiple of ``hop``. The last is moved back so that it is about as long as the others: a
    model hears no short rest.

    Parameters
    ----------
    n_samples
        Of the wave.
    length, overlap
        Of a window, and the least that neighbours share, in samples; both are rounded down to multiples of ``hop``.
    hop
        Samples of a codec frame.

    Raises
    ------
    InputError
        If the overlap is not at least one hop and at most half of the length.
    """
    length, overlap = length // hop * hop, overlap // hop * hop
    if not hop <= overlap <= length // 2:
        raise InputError(
            f"Windows of {length} samples cannot overlap by {overlap}: the overlap is at least a codec frame ({hop} "
            "samples) and at most half of a window; use longer windows or another overlap."
        )
    if n_samples <= length:
        return (Window(start=0, stop=n_samples),)
    last = -(-(n_samples - length) // hop) * hop
    starts = [*range(0, last, length - overlap), last]
    return tuple(Window(start=start, stop=min(start + length, n_samples)) for start in starts)


def windows_of(
    model: SAMAudio, *, n_samples: int, sample_rate: int, window_s: float, overlap_s: float
) -> tuple[Window, ...]:
    """The windows of `separate_windows`, in samples at the model's rate; arguments and errors are the same."""
    for name, value_s in (("window_s", window_s), ("overlap_s", overlap_s)):
        if not 0 < value_s < math.inf:
            raise InputError(f"{name} = {value_s} is no length; give seconds above 0, such as windows of 30 and 3.")
    rate = model.sample_rate
    n_at_rate = -(-n_samples * rate // sample_rate)  # up, so that the way back gives no sample too few
    length, overlap = round(window_s * rate), round(overlap_s * rate)
    return plan_windows(n_at_rate, length=length, overlap=overlap, hop=model.audio_codec.hop_length)


def separate_windows(
    model: SAMAudio,
    blocks: Iterable[Wave],
    *,
    n_samples: int,
    sample_rate: int,
    prompt: str,
    spans: Sequence[Span] | None = None,
    solver: Solver | str | None = None,
    edits: Iterable[Edit] | None = None,
    seed: int = 0,
    window_s: float,
    overlap_s: float,
    on_step: Callable[[int, SolverState], None] | None = None,
    cuda_graph: bool = False,
) -> Iterator[Separation]:
    """Separate a stream of audio window by window.

    A wave of one window gives what `separate` gives. In a window that no span touches, the prompt alone decides. A
    silent window is silent in both outputs, without a solve.

    Parameters
    ----------
    model
        Of ``load_model``.
    blocks
        Consecutive parts of the wave, one channel, full scale at 1, each [N'].
    n_samples
        Of all blocks together.
    sample_rate
        Of the wave, in hertz.
    prompt, spans, solver, edits, seed, on_step, cuda_graph
        As for `separate`; spans are in seconds of the whole wave.
    window_s, overlap_s
        Length of a window and what neighbours share at least, in seconds.

    Yields
    ------
    Separation
        Consecutive parts at the wave's rate, ``n_samples`` in all.

    Raises
    ------
    InputError
        If the request or the windows are impossible, or the blocks do not hold ``n_samples``.
    ModelError, EditError, CacheError
        As `separate` does.
    """
    check_request(prompt, spans, duration_s=n_samples / sample_rate)
    solver, edits, seed = solver_of(solver), edits_of(edits), check_seed(seed)
    rate, hop = model.sample_rate, model.audio_codec.hop_length
    plan = windows_of(model, n_samples=n_samples, sample_rate=sample_rate, window_s=window_s, overlap_s=overlap_s)
    common: dict[str, Any] = {"prompt": prompt, "solver": solver, "edits": edits, "seed": seed, "on_step": on_step}
    common["cuda_graph"] = cuda_graph
    if len(plan) == 1:
        yield _whole(model, blocks, n_samples=n_samples, sample_rate=sample_rate, spans=spans, **common)
        return
    waves = _cut(_resampled(_counted(blocks, n_samples), sample_rate, rate), plan)

    def solve(window: Window, wave: Wave) -> Wave:
        if wave.std() < SILENCE_RMS:
            return np.zeros((wave.size, 2))
        n_frames = model.audio_codec.n_frames(wave.size)
        width = 2 * model.config.audio_codec.n_channels
        noise = _noise(window.start // hop, n_frames, width, seed)
        inside = _spans_within(spans, window.start / rate, window.stop / rate)
        found = separate(model, wave, sample_rate=rate, spans=inside, noise=noise, **common)
        return np.stack([found.target, found.residual], axis=1).astype(np.float64)

    solved = (solve(window, wave) for window, wave in zip(plan, waves, strict=True))
    n_left = n_samples
    for part in _resampled(_joined(solved, plan, overlap=round(overlap_s * rate) // hop * hop), rate, sample_rate):
        kept = part[:n_left].astype(np.float32)
        n_left -= len(kept)
        if len(kept):
            yield Separation(target=kept[:, 0], residual=kept[:, 1], sample_rate=sample_rate)


def _whole(model: SAMAudio, blocks: Iterable[Wave], *, n_samples: int, sample_rate: int, **options: Any) -> Separation:
    """Separate a wave that is one window as `separate` does, from the same noise."""
    wave = np.concatenate(list(_counted(blocks, n_samples)))
    if wave.std() < SILENCE_RMS:
        silence = np.zeros(n_samples, dtype=np.float32)
        return Separation(target=silence, residual=silence.copy(), sample_rate=sample_rate)
    return separate(model, wave, sample_rate=sample_rate, **options)


def _counted(blocks: Iterable[Wave], n_samples: int) -> Iterator[Wave]:
    """The blocks, if they are as long as was said."""
    n_seen = 0
    for block in blocks:
        n_seen += len(block)
        yield block
    if n_seen != n_samples:
        raise InputError(f"The blocks hold {n_seen} samples, not {n_samples}; give the number of all samples.")


def _resampled(blocks: Iterable[Wave], from_hz: int, to_hz: int) -> Iterator[Wave]:
    """The same audio at another rate, [N'] or [N', channels] as the blocks are, as a stream without seams."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(
            from_hz, to_hz, block.shape[1] if block.ndim == 2 else 1, dtype="float64", quality="HQ"
        )
        shape = (0, *block.shape[1:])
        yield stream.resample_chunk(block)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(shape), last=True)


def _cut(blocks: Iterable[Wave], plan: Sequence[Window]) -> Iterator[Wave]:
    """The wave of each window; a resampler's missing last samples are zeros."""
    source, kept, at = iter(blocks), np.zeros(0), 0
    for window in plan:
        parts, n_kept = [kept[window.start - at :]], at + len(kept)
        while n_kept < window.stop and (block := next(source, None)) is not None:
            parts.append(block)
            n_kept += len(block)
        kept, at = np.concatenate(parts), window.start
        wave = kept[: window.stop - window.start]
        yield np.pad(wave, (0, window.stop - window.start - len(wave)))
    for _ in source:  # to the end, so that the number of samples is checked
        pass


def _joined(waves: Iterable[Wave], plan: Sequence[Window], *, overlap: int) -> Iterator[Wave]:
    """The windows' waves [N', 2], cross-faded over the last ``overlap`` samples of each but the last."""
    overlap = overlap if len(plan) > 1 else 0  # of a single window it may be anything
    rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(1, overlap))[:, None] ** 2
    tail = np.zeros((0, 2))
    for index, (window, wave) in enumerate(zip(plan, waves, strict=True)):
        new = wave
        if index:
            new = wave[plan[index - 1].stop - overlap - window.start :].copy()
            new[:overlap] = (1 - rise) * tail + rise * new[:overlap]
        n_sure = len(new) if window is plan[-1] else len(new) - overlap
        tail = new[n_sure:]
        yield new[:n_sure]


def _noise(first_frame: int, n_frames: int, width: int, seed: int) -> Tensor:
    """Noise [n_frames, width] that depends on the frames' places in the whole wave, not on the window."""
    first, last = first_frame // _NOISE_BLOCK, (first_frame + n_frames - 1) // _NOISE_BLOCK
    drawn = [
        draw_noise((_NOISE_BLOCK, width), int(np.random.SeedSequence((seed, block)).generate_state(1)[0]))
        for block in range(first, last + 1)
    ]
    return torch.cat(drawn)[first_frame - first * _NOISE_BLOCK :][:n_frames]


def _spans_within(spans: Sequence[Span] | None, start_s: float, stop_s: float) -> list[Span] | None:
    """The spans' parts inside a window, in seconds of the window; None where no span touches it."""
    inside = [
        (sign, max(start, start_s) - start_s, min(end, stop_s) - start_s)
        for sign, start, end in spans or ()
        if max(start, start_s) < min(end, stop_s)
    ]
    return inside or None
