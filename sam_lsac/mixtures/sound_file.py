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

_UNKNOWN_BYTES = (0, 2**32 - 1)  # as writers to a pipe leave it, who cannot go back
_MOST_CHUNKS = 1000


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
        At its first frame.

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
        if file.seekable():
            file.seek(0)  # as soundfile.read does: it changes the last bits of what an MP3 decodes to
        channels: NDArray[np.float64] = file.read(dtype="float64", always_2d=True)
        if len(channels) < file.frames:
            raise InputError(f"{path} is cut short: {len(channels)} of {file.frames} samples are there; {remedy}")
        return channels, int(file.samplerate)


def _check(file: soundfile.SoundFile, path: Path, n_bytes: int, *, remedy: str) -> None:
    """Refuse a format, a rate or a length that cannot be."""
    if file.format not in FORMATS:
        raise InputError(f"{path} is of format {file.format}, which is none of {', '.join(FORMATS)}; {remedy}")
    if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
        raise InputError(f"{path} claims a sample rate of {file.samplerate} Hz, outside {RATES_HZ} Hz; {remedy}")
    n_samples = file.frames * file.channels
    if n_samples > SAMPLES_PER_BYTE * n_bytes:  # as also where a FLAC from a pipe does not say, and 2**63 - 1 is given
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
