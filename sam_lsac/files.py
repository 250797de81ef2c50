"""Separation of an audio file into two WAV files, with what it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sam_lsac.costs import count_flops
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit, edits_of
from sam_lsac.mixtures.sound_file import open_sound
from sam_lsac.model import SAMAudio
from sam_lsac.request import SILENCE_RMS, Span, check_request, check_seed
from sam_lsac.solver import Fitted, Solver, solver_of
from sam_lsac.whole_files import remove_abandoned, whole_files
from sam_lsac.windows import separate_windows, windows_of

__all__ = ["CHANNELS", "FileSeparation", "check_files", "separate_file"]

#: What becomes of several channels: each is separated by itself, or their mean is.
CHANNELS = ("each", "mix")

_BLOCK_S = 5.0
_BYTES = 4  # of a sample in the files written
_LARGEST_WAV = 2**32 - 2**16  # a WAV file counts its bytes in 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSeparation:
    """What `separate_file` did.

    Parameters
    ----------
    target, residual
        The files written: 32-bit floating-point WAV of the input's rate and length.
    n_channels
        In each of them.
    n_windows
        Of every channel.
    audio_s, wall_s
        Duration of the audio, and the time that separating and writing took, in seconds.
    flops, plain_flops
        Floating-point operations of the network in all windows, as if none were silent: as they were
        separated, and without edits and by the solver that a fitted one stands for.
    """

    target: Path
    residual: Path
    n_channels: int
    n_windows: int
    audio_s: float
    wall_s: float
    flops: float
    plain_flops: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio; below 1 is faster than real time."""
        return self.wall_s / self.audio_s

    @property
    def flops_saved(self) -> float:
        """Fraction of the operations that the edits and the fitted solver saved."""
        return 1 - self.flops / self.plain_flops


def separate_file(
    model: SAMAudio,
    path: Path,
    folder: Path,
    *,
    prompt: str,
    spans: Sequence[Span] | None = None,
    solver: Solver | str | None = None,
    edits: Iterable[Edit] | None = None,
    seed: int = 0,
    channels: str = "each",
    window_s: float,
    overlap_s: float,
    overwrite: bool = False,
    cuda_graph: bool = False,
    on_start: Callable[[int], None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> FileSeparation:
    """Separate a file into ``STEM.target.wav`` and ``STEM.residual.wav``.

    Audio is read, separated and written in parts, so the memory is that of one window whatever the length. Both files
    appear when they are complete; after an error there is neither.

    Parameters
    ----------
    model
        Of ``load_model``.
    path
        Any format, rate, length and number of channels that libsndfile reads.
    folder
        Where the files go; made where it is missing.
    prompt, spans, solver, edits, seed
        As for ``separate``. All channels start from the same noise, so that their image stays together.
    channels
        "each" separates every channel by itself, "mix" their mean.
    window_s, overlap_s
        Of the windows, see ``separate_windows``.
    overwrite
        Replace files that are there.
    cuda_graph
        As for ``separate``.
    on_start
        Called with the number of solver steps ahead. Silent windows take none.
    on_step
        Called after each of them.

    Raises
    ------
    InputError
        If the file cannot be read, is silent, too short or holds NaN, an output is already there, or an option or the
        request is not possible.
    ModelError, EditError, CacheError
        As ``separate`` does.
    """
    if channels not in CHANNELS:
        raise InputError(f"channels = {channels!r} is unknown; it is one of {', '.join(CHANNELS)}.")
    solver, edits = solver_of(solver), edits_of(edits)
    check_seed(seed)
    outputs = check_files(path, folder, overwrite=overwrite)
    with _opened(path) as file:
        rate, selected = file.samplerate, [None] if channels == "mix" else list(range(file.channels))
        check_request(prompt, spans, duration_s=file.frames / rate)
    n_samples, n_channels = _checked_length(path, selected), len(selected)
    if n_samples * n_channels * _BYTES > _LARGEST_WAV:
        raise InputError(f"{path} is longer than a WAV file can hold ({_LARGEST_WAV} bytes); cut it into parts.")
    began = time.perf_counter()
    windows = windows_of(model, n_samples=n_samples, sample_rate=rate, window_s=window_s, overlap_s=overlap_s)
    if on_start is not None:
        on_start(len(windows) * n_channels * solver.n_steps)
    streams = [
        separate_windows(
            model,
            _blocks(path, channel),
            n_samples=n_samples,
            sample_rate=rate,
            prompt=prompt,
            spans=spans,
            solver=solver,
            edits=edits,
            seed=seed,
            window_s=window_s,
            overlap_s=overlap_s,
            on_step=None if on_step is None else lambda *_: on_step(),
            cuda_graph=cuda_graph,
        )
        for channel in selected
    ]
    with _complete_files(outputs, rate, n_channels) as (target, residual):
        for parts in zip(*streams, strict=True):
            target.write(np.stack([part.target for part in parts], axis=1))
            residual.write(np.stack([part.residual for part in parts], axis=1))
    tokens = int(model.text_encoder.n_tokens([prompt]).sum()) if model.text_encoder is not None else 0
    seconds = [(window.stop - window.start) / model.sample_rate for window in windows]

    def total(of: Sequence[Edit], by: Solver) -> float:
        counts = {
            one: count_flops(model, seconds=one, text_tokens=tokens, edits=of, solver=by).total for one in set(seconds)
        }
        return n_channels * sum(counts[one] for one in seconds)

    return FileSeparation(
        target=outputs[0],
        residual=outputs[1],
        n_channels=n_channels,
        n_windows=len(windows),
        audio_s=n_samples / rate,
        wall_s=time.perf_counter() - began,
        flops=total(edits, solver),
        plain_flops=total((), solver.reference if isinstance(solver, Fitted) else solver),
    )


def check_files(path: Path, folder: Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Look at a file and at where its parts go, before anything is loaded, and return the names of the parts.

    Parameters
    ----------
    path, folder, overwrite
        As for `separate_file`.

    Raises
    ------
    InputError
        If the file does not open as audio, or an output is already there.
    """
    with _opened(path):
        pass
    outputs = (folder / f"{path.stem}.target.wav", folder / f"{path.stem}.residual.wav")
    for output in outputs:
        if output.exists() and not overwrite:
            raise InputError(f"{output} is already there; name another folder, or allow to overwrite it.")
    return outputs


def _opened(path: Path) -> contextlib.AbstractContextManager[soundfile.SoundFile]:
    return open_sound(path, remedy="correct the path, or convert it to WAV or FLAC.")


def _blocks(path: Path, channel: int | None) -> Iterator[NDArray[np.float64]]:
    """Parts of one channel, or of the mean of all where ``channel`` is None."""
    with _opened(path) as file:
        for block in file.blocks(round(_BLOCK_S * file.samplerate), dtype="float64", always_2d=True):
            yield block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])


def _checked_length(path: Path, selected: Sequence[int | None]) -> int:
    """Samples of each channel, counted in a pass before anything is separated, so that a fault costs no hours."""
    sounds, n_samples = False, 0
    for channel in selected:
        n_samples = 0
        for block in _blocks(path, channel):
            if not np.isfinite(block).all():
                raise InputError(f"{path} holds NaN or infinite samples; repair them or cut them out.")
            sounds = sounds or bool(block.std() >= SILENCE_RMS)
            n_samples += block.size
        with _opened(path) as file:
            if n_samples < file.frames:
                raise InputError(
                    f"{path} is cut short: {n_samples} of {file.frames} samples are there; replace the file, or decode "
                    "what is there into a new one."
                )
    if not sounds:
        raise InputError(
            f"{path} is silent or empty; there is nothing to separate. Give one in which something sounds."
        )
    return n_samples


@contextlib.contextmanager
def _complete_files(
    outputs: Sequence[Path], sample_rate: int, n_channels: int
) -> Iterator[tuple[soundfile.SoundFile, ...]]:
    """Files that take their names when all are written, in the folder where they belong; else nothing is left."""
    folder = outputs[0].parent
    made = [home for home in (folder, *folder.parents) if not home.exists()]
    form = {"samplerate": sample_rate, "channels": n_channels, "subtype": "FLOAT", "format": "WAV"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        with whole_files(*outputs) as hidden, contextlib.ExitStack() as stack:
            yield tuple(stack.enter_context(soundfile.SoundFile(path, "w", **form)) for path in hidden)
    except BaseException as error:
        for home in made:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                home.rmdir()
        if isinstance(error, soundfile.SoundFileError | OSError):
            raise InputError(
                f"{folder} cannot be written to ({error}); free some space there, or name another folder."
            ) from error
        raise
