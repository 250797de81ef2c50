"""Opening audio files that came from elsewhere: what a header claims is compared with what the file can hold.

A header is a few bytes that anybody can write. Believed, one of 42 bytes asks for 512 GiB; and a WAV whose copy was
broken off opens without a word, since its reader takes what is there. Both are refused before memory is asked for.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from sam_lsac.errors import InputError

__all__ = ["open_sound", "read_channels"]

FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
RATES_HZ = (1000, 1_000_000)  # from far below speech to far above ultrasound
#: The densest that encoders write is digital silence, in FLAC's largest frames of its common subset: 1,170.
SAMPLES_PER_BYTE = 1500
UNKNOWN_FRAMES = 2**63 - 1  # as libsndfile gives it for a FLAC that was written to a pipe

_UNKNOWN_BYTES = (0, 2**32 - 1)  # as writers to a pipe leave it, who cannot go back
_MOST_CHUNKS = 1000
_BLOCK_SAMPLES = 2**20


@contextlib.contextmanager
def open_sound(path: Path, *, remedy: str) -> Iterator[soundfile.SoundFile]:
    """Open an audio file whose header can be believed.

    Parameters
    ----------
    path
        WAV, AIFF, FLAC, OGG or MP3.
    remedy
        What an error tells the user to do.

    Yields
    ------
    SoundFile
        At its first frame. ``frames`` is `UNKNOWN_FRAMES` where the file does not say.

    Raises
    ------
    InputError
        If the file is missing, of another format or does not decode, its rate lies outside 1 kHz to 1 MHz, or it is
        shorter than its header says.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} is missing; {remedy}")
        n_bytes = path.stat().st_size
        with soundfile.SoundFile(path) as file:
            _check(file, path, n_bytes, remedy=remedy)
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path} does not decode as audio ({error}); {remedy}") from error


def read_channels(path: Path, *, remedy: str) -> tuple[NDArray[np.float64], int]:
    """Read a whole audio file.

    Parameters
    ----------
    path, remedy
        As in `open_sound`.

    Returns
    -------
    channels
        Full scale at 1, `[N, n_channels]`.
    sample_rate
        In Hz.

    Raises
    ------
    InputError
        As in `open_sound`, and if fewer samples decode than the header says.
    """
    with open_sound(path, remedy=remedy) as file:
        most = SAMPLES_PER_BYTE * path.stat().st_size // file.channels
        blocks, n_read = [], 0
        while block := _next_block(file):
            blocks.append(block[0])
            n_read += len(block[0])
            if n_read > most:  # only where the header does not say; memory grows by what was decoded, no faster
                raise InputError(f"{path} decodes to more audio than its size allows for; {remedy}")
        if n_read < file.frames != UNKNOWN_FRAMES:
            raise InputError(f"{path} is cut short: {n_read} of {file.frames} samples are there; {remedy}")
        channels = np.concatenate(blocks) if blocks else np.zeros((0, file.channels))
        return channels, int(file.samplerate)


def _next_block(file: soundfile.SoundFile) -> list[NDArray[np.float64]]:
    """Decode the next frames, [n, n_channels]; nothing at the end."""
    block = file.read(max(1, _BLOCK_SAMPLES // file.channels), dtype="float64", always_2d=True)
    return [block] if len(block) else []


def _check(file: soundfile.SoundFile, path: Path, n_bytes: int, *, remedy: str) -> None:
    """Refuse a format, a rate or a length that cannot be."""
    if file.format not in FORMATS:
        raise InputError(f"{path} is of format {file.format}, which is none of {', '.join(FORMATS)}; {remedy}")
    if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
        raise InputError(f"{path} claims a sample rate of {file.samplerate} Hz, outside {RATES_HZ} Hz; {remedy}")
    n_samples = file.frames * file.channels
    if file.frames != UNKNOWN_FRAMES and n_samples > SAMPLES_PER_BYTE * n_bytes:
        raise InputError(f"{path} claims {n_samples} samples, more than {n_bytes} bytes can hold; {remedy}")
    with path.open("rb") as raw:
        missing = _missing_bytes(raw, n_bytes)
    if missing:
        raise InputError(f"{path} is cut short: {missing} bytes of its audio are not there; {remedy}")


def _missing_bytes(raw: BinaryIO, n_bytes: int) -> int:
    """How many bytes fewer than announced follow in a WAV or AIFF file; 0 in every other.

    References
    ----------
    IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF, RIFX); EBU Tech 3306
    (RF64); Apple, "Audio Interchange File Format: AIFF".
    """
    kind = raw.read(12)[:4]
    if kind not in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
        return 0
    header = struct.Struct("<4sI" if kind in (b"RIFF", b"RF64") else ">4sI")
    wide_size = None
    for _ in range(_MOST_CHUNKS):
        chunk = raw.read(header.size)
        if len(chunk) < header.size:
            return 0  # no audio at all: the decoder has said what it thinks of that
        name, size = header.unpack(chunk)
        if name == b"ds64":
            wide = raw.read(16)
            wide_size = struct.unpack("<Q", wide[8:])[0] if len(wide) == 16 else None
            size -= len(wide)
        elif name in (b"data", b"SSND"):
            if size in _UNKNOWN_BYTES and wide_size is None:
                return 0
            announced = size if wide_size is None or size not in _UNKNOWN_BYTES else wide_size
            return max(0, int(announced) - (n_bytes - raw.tell()))
        raw.seek(size + size % 2, 1)
    return 0
