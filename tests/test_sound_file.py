"""Audio files from elsewhere: no header is believed that claims too much, and a file that is cut short is refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_lsac.errors import InputError
from sam_lsac.mixtures.audio import read_wave
from sam_lsac.mixtures.sound_file import SAMPLES_PER_BYTE, open_sound

RATE = 16_000
WAVE = np.random.default_rng(0).normal(0.0, 0.05, RATE)
#: Suffix, container and sample format of every kind of file that is read.
KINDS = [
    (".wav", "WAV", "PCM_16"),
    (".wav", "WAV", "PCM_U8"),
    (".wav", "WAV", "FLOAT"),
    (".wav", "WAVEX", "PCM_24"),
    (".wav", "RF64", "PCM_16"),
    (".aiff", "AIFF", "PCM_16"),
    (".flac", "FLAC", "PCM_16"),
    (".ogg", "OGG", "VORBIS"),
    (".mp3", "MP3", "MPEG_LAYER_III"),
]
#: Where the container says how long it is.
MEASURED = [kind for kind in KINDS if kind[1] != "OGG"]


def encoded(container: str, subtype: str, *, wave: np.ndarray = WAVE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def with_total_samples(flac: bytes, total: int) -> bytes:
    """A FLAC whose STREAMINFO says how many samples there are: the low 36 of the 64 bits from byte 18."""
    packed = int.from_bytes(flac[18:26], "big") >> 36 << 36 | total
    return flac[:18] + packed.to_bytes(8, "big") + flac[26:]


@pytest.mark.parametrize(("suffix", "container", "subtype"), KINDS)
def test_a_whole_file_is_read(tmp_path: Path, suffix: str, container: str, subtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(container, subtype))

    wave, rate = read_wave(path)

    assert rate == RATE
    assert wave.size == soundfile.info(path).frames
    assert np.array_equal(wave, soundfile.read(path)[0])


@pytest.mark.parametrize(("suffix", "container", "subtype"), MEASURED)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, container: str, subtype: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    whole = encoded(container, subtype)
    path.write_bytes(whole[: round(share * len(whole))])

    with pytest.raises(InputError, match=r"(cut short|does not decode).*; put it back"):
        read_wave(path, remedy="put it back")


@pytest.mark.parametrize("order", ["<", ">"])
def test_one_missing_sample_is_noticed(tmp_path: Path, order: str) -> None:
    samples = np.round(WAVE * 32767).astype(f"{order}i2").tobytes()
    kind = b"RIFF" if order == "<" else b"RIFX"
    form = struct.pack(f"{order}4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + form + struct.pack(f"{order}4sI", b"data", len(samples)) + samples
    whole = kind + struct.pack(f"{order}I", len(body)) + body
    (tmp_path / "whole.wav").write_bytes(whole)
    (tmp_path / "short.wav").write_bytes(whole[:-2])

    assert read_wave(tmp_path / "whole.wav")[0].size == RATE
    with pytest.raises(InputError, match="cut short: 2 bytes"):
        read_wave(tmp_path / "short.wav")


@pytest.mark.parametrize("unknown", [0xFFFF_FFFF])
def test_a_wav_from_a_pipe_is_read(tmp_path: Path, unknown: int) -> None:
    whole = encoded("WAV", "PCM_16")
    place = whole.index(b"data") + 4
    path = tmp_path / "piped.wav"
    path.write_bytes(whole[:place] + struct.pack("<I", unknown) + whole[place + 4 :])

    assert read_wave(path)[0].size == RATE


def test_chunks_around_the_audio_are_passed_over(tmp_path: Path) -> None:
    whole = encoded("WAV", "PCM_16")
    place = whole.index(b"data")
    note = struct.pack("<4sI", b"note", 3) + b"abc\0"  # an odd size is filled up to an even one
    path = tmp_path / "noted.wav"
    path.write_bytes(whole[:place] + note + whole[place:] + note)

    assert read_wave(path)[0].size == RATE
    path.write_bytes((whole[:place] + note + whole[place:])[:-2])
    with pytest.raises(InputError, match="cut short: 2 bytes"):
        read_wave(path)


@pytest.mark.parametrize("total", [2**36 - 1, 2**33, 10**9])
def test_a_small_file_that_claims_much_is_refused_before_memory_is_asked_for(tmp_path: Path, total: int) -> None:
    path = tmp_path / "small.flac"
    path.write_bytes(with_total_samples(encoded("FLAC", "PCM_16", wave=WAVE[:4000]), total))
    assert path.stat().st_size < 9000

    tracemalloc.start()
    with pytest.raises(InputError, match=rf"claims {total} samples, more than \d+ bytes can hold; replace"):
        read_wave(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10e6


def test_a_claim_within_the_bound_costs_what_decodes(tmp_path: Path) -> None:
    flac = encoded("FLAC", "PCM_16", wave=WAVE[:4000])
    path = tmp_path / "small.flac"
    path.write_bytes(with_total_samples(flac, len(flac) * (SAMPLES_PER_BYTE - 1)))

    tracemalloc.start()
    with pytest.raises(InputError, match=r"cut short|does not decode"):
        read_wave(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 8 * 1.1 * SAMPLES_PER_BYTE * len(flac)  # a hundred MB at most, of float64


def test_a_flac_that_does_not_say_its_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "piped.flac"
    path.write_bytes(with_total_samples(encoded("FLAC", "PCM_16"), 0))

    with pytest.raises(InputError, match=r"more than \d+ bytes can hold"):
        read_wave(path)


def test_the_densest_silence_of_an_encoder_stays_within_the_bound(tmp_path: Path) -> None:
    quiet = np.zeros(60 * 48_000)
    quiet[:4800] = 0.1 * np.sin(np.arange(4800))
    path = tmp_path / "quiet.flac"
    soundfile.write(path, quiet, 48_000, compression_level=1.0)

    assert read_wave(path)[0].size == quiet.size


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_rate_of_no_recording_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, rate)

    with pytest.raises(InputError, match=rf"claims a sample rate of {rate} Hz"):
        read_wave(path)


def test_samples_far_beyond_full_scale_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, 1e30 * WAVE, RATE, subtype="FLOAT")

    with pytest.raises(InputError, match="above 16 times full scale"):
        read_wave(path)


@pytest.mark.parametrize(("container", "subtype"), [("AU", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16")])
def test_formats_of_no_corpus_are_refused(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(container, subtype))

    with pytest.raises(InputError, match=rf"format {container}, which is none of WAV"):
        read_wave(path)


@pytest.mark.parametrize("name", ["x\0y.wav", "a" * 5000 + ".wav", ".", "nothing.wav"])
def test_names_of_no_file_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="replace"):
        read_wave(tmp_path / name)


def test_a_file_can_be_opened_and_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV", "PCM_16"))

    with open_sound(path, remedy="replace it") as file:
        parts = list(file.blocks(1000))

    assert sum(map(len, parts)) == RATE


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    suffix, container, subtype = data.draw(st.sampled_from(KINDS))
    content = bytearray(encoded(container, subtype, wave=WAVE[:3000]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(200, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))

    try:
        wave, _ = read_wave(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert np.isfinite(wave).all()
