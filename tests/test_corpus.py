"""Laws of the corpus: every archive format, fetching, decoding, cleaning, and a build that is whole or absent.

Nothing here touches the network: archives and packages are put together by hand.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import subprocess
import tarfile
import wave as wave_file
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.signal import butter, periodogram, sosfiltfilt

from fixtures.corpus import build as corpus_module
from fixtures.corpus.archives import ArchiveError, read_member
from fixtures.corpus.build import Clip, Corpus, CorpusError, build, clean, main
from fixtures.corpus.packages import PackageError, Row, decode, fetch, read_manifest
from fixtures.training.data import VALIDATION_SPEAKERS
from sam_lsac.errors import InputError

MANIFEST = Path(corpus_module.__file__).with_name("packages.tsv")
SAMPLE_RATE = 8000
PACKAGE, VERSION = "some-sounds", "1:1.0-1"
LICENCES = {
    "BSD-like",
    "BSD-like (Edinburgh)",
    "CC-BY-3.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-3.0-IT",
    "CC0",
    "CC0-1.0",
    "Free-Art-Licence-1.2",
    "GFDL-1.3 (Sounds/*)",
    "GPL-2",
    "GPL-2 (package default)",
    "GPL-2 (package-wide; single stamps came in as GFDL/CC-BY-SA/PD, see changelog)",
    "GPL-2+",
    "GPL-2+ or CC-BY-SA-2.0 (sound effects)",
    "GPL-3",
    "GPL-3+",
    "GPL-3+ (package default)",
    "GPL-3+ with EA terms",
    "LGPL-3.0+",
    "MIT",
    "public-domain",
}


def sine(frequency_hz: float, *, duration_s: float = 1.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    """A sine of amplitude 0.5."""
    time_s = np.arange(round(duration_s * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def wav_bytes(*channels: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """A 16-bit WAV file."""
    content = io.BytesIO()
    with wave_file.open(content, "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.stack(channels, axis=1) * 32767).astype("<i2").tobytes())
    return content.getvalue()


def encoded_bytes(samples: np.ndarray, *, container: str, codec: str, rate: int) -> bytes:
    """An audio file as PyAV writes it."""
    content = io.BytesIO()
    with av.open(content, mode="w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        integers = np.round(samples * 32767).astype(np.int16)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(integers, format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return content.getvalue()


def tone_hz(samples: np.ndarray, rate: int) -> float:
    """Frequency of the strongest component."""
    frequencies, power = periodogram(samples, rate, window="hann", nfft=8 * samples.size)
    return float(frequencies[np.argmax(power)])


def level_db(samples: np.ndarray) -> float:
    """Root mean square in dB of full scale."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


# --- archives, written from the formats' descriptions -----------------------------------------------------------


def group_bytes(entries: dict[str, bytes]) -> bytes:
    """An OpenClonk group that is not packed."""
    header = bytearray(204)
    header[:24] = b"RedWolf Design GrpFolder"
    struct.pack_into("<i", header, 36, len(entries))
    for first in range(0, 202, 3):
        header[first], header[first + 2] = header[first + 2], header[first]
    table, data = b"", b""
    for name, content in entries.items():
        table += struct.pack("<260s5i36x", name.encode(), 0, content.startswith(b"\x9f"), len(content), 0, len(data))
        data += content
    return bytes(byte ^ 237 for byte in header) + table + data


def write_group(path: Path, files: dict[str, bytes]) -> Path:
    """Members below ``inner.ocg/`` go into a group within the group."""
    inner = {name.removeprefix("inner.ocg/"): content for name, content in files.items() if name.startswith("inner.")}
    outer = {name: content for name, content in files.items() if not name.startswith("inner.")}
    packed = gzip.compress(group_bytes({**outer, "inner.ocg": group_bytes(inner)}), mtime=0)
    path.write_bytes(b"\x1e\x8c" + packed[2:])
    return path


def write_resource(path: Path, files: dict[str, bytes], *, version: int = 3) -> Path:
    """A Qt resource with one folder ``sounds``; ``.z`` is compressed by zlib, ``.zst`` marked as Zstandard."""
    names, name_offsets = b"", []
    for name in ("root", "sounds", *files):
        name_offsets.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    stamp = b"" if version < 2 else bytes(8)
    tree = struct.pack(">IHII", 0, 2, 1, 1) + stamp + struct.pack(">IHII", name_offsets[1], 2, len(files), 2) + stamp
    data = b""
    for (name, content), name_offset in zip(files.items(), name_offsets[2:], strict=True):
        flags = {".z": 1, ".zst": 4}.get(Path(name).suffix, 0)
        payload = struct.pack(">I", len(content)) + zlib.compress(content) if flags == 1 else content
        tree += struct.pack(">IHHHI", name_offset, flags, 0, 0, len(data)) + stamp
        data += struct.pack(">I", len(payload)) + payload
    starts = [24, 24 + len(tree), 24 + len(tree) + len(data)]
    path.write_bytes(struct.pack(">4s5I", b"qres", version, *starts, 0) + tree + data + names)
    return path


def write_bank(path: Path, sounds: list[bytes]) -> Path:
    """An OpenTTD bank of the newer format."""
    start = 8 * len(sounds)
    table, data = b"", b""
    for index, sound in enumerate(sounds):
        name = f"sound {index}".encode() + b"\0"
        offset = start + len(data)
        table += struct.pack("<II", offset | (0x8000_0000 if index == 0 else 0), len(sound))
        data += struct.pack("<B", len(name)) + name + sound + b"credit\0"
    path.write_bytes(table + data)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """A zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("suffix", [".wz", ".pk3", ".zip"])
def test_zip_members_come_back(tmp_path: Path, suffix: str) -> None:
    archive = write_zip(tmp_path / f"data{suffix}", {"audio/a.ogg": b"first", "audio/b.ogg": b"second"})
    assert read_member(archive, "audio/b.ogg") == b"second"


def test_group_members_come_back_from_both_levels(tmp_path: Path) -> None:
    archive = write_group(
        tmp_path / "Sound.ocg", {"a.ogg": b"first", "inner.ocg/b.ogg": b"second", "inner.ocg/c.ogg": b"third"}
    )
    assert read_member(archive, "a.ogg") == b"first"
    assert read_member(archive, "inner.ocg/c.ogg") == b"third"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_resource_members_come_back(tmp_path: Path, version: int) -> None:
    files = {"a.ogg": b"first", "b.z": b"second" * 99, "c.ogg": b"third"}
    archive = write_resource(tmp_path / "a.rcc", files, version=version)
    assert {name: read_member(archive, f"sounds/{name}") for name in files} == files


def test_bank_sounds_come_back_by_index(tmp_path: Path) -> None:
    sounds = [wav_bytes(sine(100.0 * (index + 1), duration_s=0.1 * (index + 1))) for index in range(3)]
    archive = write_bank(tmp_path / "opensfx.cat", sounds)
    assert [read_member(archive, str(index)) for index in range(3)] == sounds


def test_member_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    archives = {
        write_zip(tmp_path / "a.wz", {"a.ogg": b""}): "b.ogg",
        write_group(tmp_path / "a.ocg", {"inner.ocg/a.ogg": b""}): "inner.ocg/b.ogg",
        write_resource(tmp_path / "a.rcc", {"a.ogg": b""}): "sounds/b.ogg",
        write_resource(tmp_path / "b.rcc", {"a.ogg": b""}): "sounds",
        write_resource(tmp_path / "c.rcc", {"a.ogg": b""}): "sounds/a.ogg/c.ogg",
        write_bank(tmp_path / "a.cat", [wav_bytes(sine(100))]): "1",
    }
    for archive, member in archives.items():
        with pytest.raises(ArchiveError, match="has no member"):
            read_member(archive, member)


@pytest.mark.parametrize("suffix", [".wz", ".cat", ".rcc", ".ocg"])
def test_damaged_archive_is_an_error(tmp_path: Path, suffix: str) -> None:
    for content in (b"", b"qres\0\0", bytes(range(256)) * 4):
        archive = tmp_path / f"a{suffix}"
        archive.write_bytes(content)
        with pytest.raises(ArchiveError):
            read_member(archive, "0")


def test_unknown_formats_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.pak").write_bytes(b"PACK")
    with pytest.raises(ArchiveError, match="add a reader"):
        read_member(tmp_path / "a.pak", "a.ogg")
    with pytest.raises(ArchiveError, match="Zstandard"):
        read_member(write_resource(tmp_path / "a.rcc", {"a.zst": b"frame"}), "sounds/a.zst")
    with pytest.raises(ArchiveError, match="newer format"):
        read_member(write_bank(tmp_path / "a.cat", [b"raw samples"]), "0")


# --- packages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache whose one package has been unpacked; its .deb is empty and must not be looked at again."""
    directory = tmp_path / "cache"
    name = f"{PACKAGE}_{VERSION.replace(':', '%3a')}_all"
    sounds = directory / "unpacked" / name / "usr" / "share" / "sounds"
    sounds.mkdir(parents=True)
    (directory / f"{name}.deb").touch()
    (sounds / "low.wav").write_bytes(wav_bytes(sine(200.0)))
    (sounds / "high.wav").write_bytes(wav_bytes(sine(900.0, rate=44100), rate=44100))
    (sounds / "opposed.wav").write_bytes(wav_bytes(sine(300.0), -sine(300.0)))
    (sounds / "short.wav").write_bytes(wav_bytes(sine(300.0, duration_s=0.3)))
    (sounds / "long.wav").write_bytes(wav_bytes(np.concatenate([0 * sine(300.0), *[sine(300.0)] * 124])))
    (sounds / "broken.ogg").write_bytes(b"OggS but no more")
    write_zip(sounds / "data.pk3", {"inside/deep.wav": wav_bytes(sine(500.0))})
    return directory


def row(file: str, *, kind: str = "speech", split: str = "train") -> Row:
    """A row of a manifest for a file of the cache."""
    return Row(
        path=f"{kind}/somebody__f/{Path(file).stem}.wav",
        split=split,
        seconds=1.0,
        orig_hz=SAMPLE_RATE,
        package=f"{PACKAGE} {VERSION}",
        licence="MIT",
        credit="Somebody",
        origin=f"{PACKAGE}/usr/share/sounds/{file}",
    )


def write_deb(path: Path, files: dict[str, bytes]) -> None:
    """A Debian package as deb(5) describes it."""

    def tar(members: dict[str, bytes]) -> bytes:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return content.getvalue()

    control = f"Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: d\n"
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar({"control": control.encode()}),
        "data.tar.gz": tar(files),
    }
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, data in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
            file.write(data + b"\n" * (len(data) % 2))


def fake_apt(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an apt-get of our own before the system's programs."""
    directory.mkdir()
    (directory / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg unpacks the packages")


@needs_dpkg
def test_fetch_downloads_and_unpacks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deb(tmp_path / "made.deb", {"usr/share/a.txt": b"content"})
    log = tmp_path / "log"
    fake_apt(tmp_path / "bin", monkeypatch, f'echo "$2" >> {log}; cp {tmp_path}/made.deb {PACKAGE}_1%3a1.0-1_all.deb')
    folders = [fetch(PACKAGE, tmp_path / "cache", version=VERSION) for _ in range(2)]
    assert folders[0] == folders[1]
    assert (folders[0] / "usr/share/a.txt").read_bytes() == b"content"
    assert log.read_text() == f"{PACKAGE}={VERSION}\n"
    assert not list((tmp_path / "cache").rglob(".partial*"))


@needs_dpkg
def test_damaged_package_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / f"{PACKAGE}_1.0_all.deb").write_bytes(b"cut off")
    with pytest.raises(PackageError, match="fetch some-sounds again"):
        fetch(PACKAGE, tmp_path)
    assert not list((tmp_path / "unpacked").iterdir())


def test_fetch_says_what_apt_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apt(tmp_path / "bin", monkeypatch, "echo E: no such package >&2; exit 100")
    with pytest.raises(PackageError, match=r"no such package.*run apt-get update"):
        fetch(PACKAGE, tmp_path / "cache")


def test_fetch_without_apt_names_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"apt-get is not on this system.*Debian 12"):
        fetch(PACKAGE, tmp_path / "cache")


def test_fetch_does_not_take_another_package_or_version(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))  # so that what is not in the cache cannot be had
    assert fetch(PACKAGE, cache) == fetch(PACKAGE, cache, version=VERSION)
    for package, version in (("some", None), (PACKAGE, "1.0-1"), (PACKAGE, "1:1.0")):
        with pytest.raises(PackageError):
            fetch(package, cache, version=version)


COMMIT_OF_NOTHING = "0" * 40


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository where GitHub's are looked for, with two commits; returns the first."""
    folder = tmp_path / "hub" / "owner" / "name"
    folder.mkdir(parents=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    for content in (wav_bytes(sine(440.0)), b"later"):
        (folder / "voice.wav").write_bytes(content)
        git("add", ".")
        git(*identity, "commit", "--quiet", "-m", "a")
    monkeypatch.setattr("fixtures.corpus.packages._REPOSITORIES", (tmp_path / "hub").as_uri())
    return git("rev-parse", "HEAD~1").strip()


def test_a_repository_is_had_at_its_commit_once(
    tmp_path: Path, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(row("voice.wav"), package=f"owner/name {repository}", origin="owner/name/voice.wav")
    assert tone_hz(decode(entry, tmp_path / "cache", SAMPLE_RATE), SAMPLE_RATE) == pytest.approx(440, abs=1)
    shutil.rmtree(tmp_path / "hub")
    assert decode(entry, tmp_path / "cache", SAMPLE_RATE).size == SAMPLE_RATE
    assert not list((tmp_path / "cache").rglob(".partial*"))


def test_a_commit_that_cannot_be_had_names_the_folder_for_its_files(tmp_path: Path, repository: str) -> None:
    with pytest.raises(PackageError, match=rf"put the files of that commit into .*owner\+name_{COMMIT_OF_NOTHING}"):
        fetch("owner/name", tmp_path / "cache", version=COMMIT_OF_NOTHING)
    assert not list((tmp_path / "cache" / "unpacked").iterdir())
    with pytest.raises(PackageError, match="name the commit"):
        fetch("owner/name", tmp_path / "cache")


# --- decoding ---------------------------------------------------------------------------------------------------


def test_decode_gives_the_recording_at_the_wanted_rate(cache: Path) -> None:
    for file, frequency_hz in {"low.wav": 200, "high.wav": 900, "data.pk3/inside/deep.wav": 500}.items():
        samples = decode(row(file), cache, SAMPLE_RATE)
        assert samples.dtype == np.float32
        assert samples.shape == (SAMPLE_RATE,)
        assert tone_hz(samples, SAMPLE_RATE) == pytest.approx(frequency_hz, abs=0.5)
        assert level_db(samples) == pytest.approx(level_db(sine(frequency_hz)), abs=0.05)


def test_decode_is_exact_where_the_rate_stays(cache: Path) -> None:
    expected = np.round(sine(200.0) * 32767) / 32768
    np.testing.assert_allclose(decode(row("low.wav"), cache, SAMPLE_RATE), expected, atol=1e-7)


def test_decode_repeats_bit_by_bit(cache: Path) -> None:
    first, second = (decode(row("high.wav"), cache, SAMPLE_RATE) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_decode_lets_nothing_through_from_above_the_band(cache: Path) -> None:
    (folder,) = (cache / "unpacked").iterdir()
    (folder / "usr/share/sounds/above.wav").write_bytes(wav_bytes(sine(5500.0, rate=44100), rate=44100))
    inner = decode(row("above.wav"), cache, SAMPLE_RATE)[800:-800]
    assert level_db(inner) < -80


def test_decode_averages_channels(cache: Path) -> None:
    assert np.max(np.abs(decode(row("opposed.wav"), cache, SAMPLE_RATE))) == 0.0


def test_decode_stops_at_the_maximum(cache: Path) -> None:
    whole = decode(row("low.wav"), cache, SAMPLE_RATE)
    np.testing.assert_array_equal(decode(row("low.wav"), cache, SAMPLE_RATE, maximum_s=0.25), whole[:2000])
    np.testing.assert_array_equal(decode(row("low.wav"), cache, SAMPLE_RATE, maximum_s=5.0), whole)


@pytest.mark.parametrize(
    ("suffix", "container", "codec", "rate"),
    [(".g722", "g722", "g722", 16000), (".flac", "flac", "flac", 44100), (".mp3", "mp3", "libmp3lame", 44100)],
)
def test_decode_reads_the_manifest_s_codecs(cache: Path, suffix: str, container: str, codec: str, rate: int) -> None:
    (folder,) = (cache / "unpacked").iterdir()
    content = encoded_bytes(sine(440.0, rate=rate), container=container, codec=codec, rate=rate)
    (folder / f"usr/share/sounds/coded{suffix}").write_bytes(content)
    samples = decode(row(f"coded{suffix}"), cache, SAMPLE_RATE)
    assert samples.size == pytest.approx(SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    assert tone_hz(samples, SAMPLE_RATE) == pytest.approx(440, abs=1)


def test_decode_reads_headerless_gsm(cache: Path) -> None:
    (folder,) = (cache / "unpacked").iterdir()
    (folder / "usr/share/sounds/coded.gsm").write_bytes((b"\xd0" + bytes(32)) * 50)  # 20 ms each
    assert decode(row("coded.gsm"), cache, SAMPLE_RATE).size == 50 * 160


def test_decode_errors_name_the_remedy(cache: Path) -> None:
    for file, remedy in {"missing.wav": "unpacked again", "broken.ogg": "fetch its package again"}.items():
        with pytest.raises(PackageError, match=remedy):
            decode(row(file), cache, SAMPLE_RATE)


# --- cleaning ---------------------------------------------------------------------------------------------------


def test_clean_removes_rumble_and_keeps_speech_frequencies() -> None:
    speech = sine(200.0)
    for rumble in (np.float32(0.3), sine(15.0), sine(25.0)):
        cleaned = clean(speech + rumble, SAMPLE_RATE, trim=False)
        frequencies, power = periodogram(cleaned, SAMPLE_RATE, window="hann")
        below, above = power[frequencies < 40].sum(), power[frequencies >= 100].sum()
        assert 10 * np.log10(below / above) < -40
        assert tone_hz(cleaned, SAMPLE_RATE) == pytest.approx(200, abs=0.5)


def test_clean_has_no_phase_shift() -> None:
    speech = sine(100.0)
    cleaned = clean(speech, SAMPLE_RATE, trim=False)
    inner = slice(2000, 6000)
    assert np.corrcoef(speech[inner], cleaned[inner])[0, 1] > 0.99999


@pytest.mark.parametrize("gain_db", [-60.0, -20.0, 0.0, 12.0])
def test_clean_reaches_the_common_level_from_any_level(gain_db: float) -> None:
    cleaned = clean(sine(200.0) * np.float32(10 ** (gain_db / 20)), SAMPLE_RATE)
    assert level_db(cleaned) == pytest.approx(-25, abs=0.05)


def test_clean_measures_the_level_without_the_pauses() -> None:
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    cleaned = clean(np.concatenate([sine(200.0), silence, sine(200.0)]), SAMPLE_RATE)
    assert level_db(cleaned[: SAMPLE_RATE - 400]) == pytest.approx(-25, abs=0.2)


def test_clean_never_clips() -> None:
    clicks = sine(400.0) * np.float32(0.02)
    clicks[::4000] = 1.0
    cleaned = clean(clicks, SAMPLE_RATE)
    assert np.max(np.abs(cleaned)) == pytest.approx(0.99, abs=1e-6)
    assert level_db(cleaned) < -25
    filtered = sosfiltfilt(butter(4, 60.0, btype="highpass", fs=SAMPLE_RATE, output="sos"), clicks)
    gains = cleaned / filtered
    assert np.ptp(gains[np.abs(filtered) > 1e-3]) < 1e-5  # one gain for the whole clip, so scaled and not limited


def test_clean_trims_silence_at_both_ends_and_not_inside() -> None:
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    speech = np.concatenate([sine(200.0), silence, sine(200.0)])
    padded = np.concatenate([silence, speech, silence])
    assert clean(padded, SAMPLE_RATE).size == pytest.approx(speech.size, abs=0.1 * SAMPLE_RATE)
    assert clean(padded, SAMPLE_RATE, trim=False).size == padded.size


def test_clean_trims_by_the_level_relative_to_the_loudest_frame() -> None:
    for level, kept_s in ((-40.0, 2.0), (-50.0, 1.0)):
        quiet = sine(200.0) * np.float32(10 ** (level / 20))
        cleaned = clean(np.concatenate([sine(200.0), quiet]), SAMPLE_RATE)
        assert cleaned.size == pytest.approx(kept_s * SAMPLE_RATE, abs=0.05 * SAMPLE_RATE)


def test_clean_leaves_out_what_is_too_short_or_silent() -> None:
    assert clean(sine(200.0, duration_s=0.39), SAMPLE_RATE) is None
    assert clean(sine(200.0, duration_s=0.4), SAMPLE_RATE) is not None
    assert clean(np.zeros(SAMPLE_RATE, dtype=np.float32), SAMPLE_RATE) is None
    blip = np.zeros(SAMPLE_RATE, dtype=np.float32)
    blip[4000:4800] = sine(400.0, duration_s=0.1)
    assert clean(blip, SAMPLE_RATE) is None


# --- building and opening ---------------------------------------------------------------------------------------


def test_corpus_holds_the_cleaned_clips(tmp_path: Path, cache: Path) -> None:
    rows = [row("low.wav"), row("short.wav"), row("high.wav", kind="env"), row("data.pk3/inside/deep.wav")]
    n_left_out = build(rows, tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    opened = Corpus.open(tmp_path / "out")
    assert n_left_out == 1
    assert opened.sample_rate == SAMPLE_RATE
    assert isinstance(opened.audio, np.memmap)
    assert [clip.path for clip in opened.clips] == [rows[index].path for index in (0, 2, 3)]
    assert [clip.kind for clip in opened.clips] == ["speech", "env", "speech"]
    assert {(clip.group, clip.split, clip.licence) for clip in opened.clips} == {("somebody__f", "train", "MIT")}
    for clip in opened.clips:
        source = next(entry for entry in rows if entry.path == clip.path)
        samples = opened.read(clip)
        assert samples.dtype == np.float32
        expected = clean(decode(source, cache, SAMPLE_RATE), SAMPLE_RATE)
        np.testing.assert_allclose(samples, expected, atol=0.5 / 32767 + 1e-7)


def test_corpus_does_not_depend_on_the_number_of_processes(tmp_path: Path, cache: Path) -> None:
    rows = [row(file) for file in ("low.wav", "short.wav", "high.wav", "opposed.wav", "data.pk3/inside/deep.wav")] * 3
    for processes in (1, 2):
        build(rows, tmp_path / str(processes), cache=cache, sample_rate=SAMPLE_RATE, processes=processes)
    for name in ("audio.i16", "index.tsv", "corpus.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_music_is_cut_at_two_minutes_and_not_trimmed(tmp_path: Path, cache: Path) -> None:
    build([row("long.wav", kind="music")], tmp_path, cache=cache, sample_rate=SAMPLE_RATE)
    assert [clip.n_samples for clip in Corpus.open(tmp_path).clips] == [120 * SAMPLE_RATE]


def test_read_returns_a_copy(tmp_path: Path, cache: Path) -> None:
    build([row("low.wav")], tmp_path, cache=cache, sample_rate=SAMPLE_RATE)
    opened = Corpus.open(tmp_path)
    before = opened.read(opened.clips[0])
    opened.read(opened.clips[0])[:] = 0
    np.testing.assert_array_equal(opened.read(opened.clips[0]), before)


def test_interrupted_first_run_leaves_no_corpus(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(PackageError):
        build([row("low.wav"), row("broken.ogg")], tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    with pytest.raises(CorpusError, match=r"no complete corpus.*python -m fixtures.corpus.build"):
        Corpus.open(tmp_path / "out")


def test_interrupted_later_run_leaves_the_former_corpus(tmp_path: Path, cache: Path) -> None:
    build([row("low.wav")], tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    with pytest.raises(PackageError):
        build([row("high.wav"), row("broken.ogg")], tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    assert [clip.path for clip in Corpus.open(tmp_path / "out").clips] == [row("low.wav").path]


@pytest.mark.parametrize("n_renames", [0, 1, 2])
def test_interruption_between_renames_never_mixes_two_corpora(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, n_renames: int
) -> None:
    build([row("low.wav")], tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    done: list[Path] = []
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if len(done) == n_renames:
            raise KeyboardInterrupt
        done.append(target)
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        build([row("high.wav")], tmp_path / "out", cache=cache, sample_rate=SAMPLE_RATE)
    with pytest.raises(CorpusError, match="no complete corpus"):
        Corpus.open(tmp_path / "out")


def test_truncated_audio_is_an_error(tmp_path: Path, cache: Path) -> None:
    build([row("low.wav")], tmp_path, cache=cache, sample_rate=SAMPLE_RATE)
    audio = tmp_path / "audio.i16"
    audio.write_bytes(audio.read_bytes()[:-2])
    with pytest.raises(CorpusError, match="do not belong together"):
        Corpus.open(tmp_path)


def test_clip_of_another_corpus_is_an_error(tmp_path: Path, cache: Path) -> None:
    build([row("low.wav")], tmp_path, cache=cache, sample_rate=SAMPLE_RATE)
    opened = Corpus.open(tmp_path)
    fields = {name: getattr(opened.clips[0], name) for name in Clip.__slots__}
    with pytest.raises(CorpusError, match="lies outside"):
        opened.read(Clip(**{**fields, "offset": fields["n_samples"]}))


def test_nothing_left_is_an_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CorpusError, match="no clip was left"):
        build([row("short.wav")], tmp_path, cache=cache, sample_rate=SAMPLE_RATE)


def test_command_line_says_how_long_each_kind_is_and_of_how_many_groups(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = row("low.wav"), replace(row("low.wav"), path="speech/another__m/low.wav")
    rows = [*[row("high.wav", kind="env")] * 30, *[one] * 90, other]
    monkeypatch.setattr(corpus_module, "read_manifest", lambda path: rows)
    main(["--cache", str(cache), "--out", str(tmp_path), "--sample-rate", str(SAMPLE_RATE)])
    clips = Corpus.open(tmp_path).clips
    minutes = sum(clip.n_samples for clip in clips if clip.kind == "speech") / SAMPLE_RATE / 60
    assert minutes > 1
    said = capsys.readouterr().err
    assert f"\nspeech: {minutes:.1f} minutes, 2 groups\n" in said
    assert "minutes, 1 groups\n" in said.partition("\nenv: ")[2]


def test_command_line_takes_the_split_and_the_kinds(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = (row("high.wav", kind="env"), row("low.wav"), row("opposed.wav", split="test"))
    monkeypatch.setattr(corpus_module, "read_manifest", lambda path: manifest)
    main(["--cache", str(cache), "--out", str(tmp_path / "a")])
    main(["--cache", str(cache), "--out", str(tmp_path / "b"), "--kinds", "env"])
    assert [clip.kind for clip in Corpus.open(tmp_path / "a").clips] == ["speech", "env"]
    assert [clip.kind for clip in Corpus.open(tmp_path / "b").clips] == ["env"]
    asked: list[Path] = []
    monkeypatch.setattr(corpus_module, "read_manifest", lambda path: (asked.append(path), [row(f"{path.stem}.wav")])[1])
    more = ["--manifest", "high.tsv", "--manifest", "low.tsv"]
    main(["--cache", str(cache), "--out", str(tmp_path / "d"), *more])
    assert asked == [Path("high.tsv"), Path("low.tsv")]
    assert len(Corpus.open(tmp_path / "d").clips) == 2
    with pytest.raises(SystemExit):
        main(["--cache", str(cache), "--out", str(tmp_path / "c"), "--kinds", "speech,noise"])
    assert "'noise' is none of speech, env, music" in capsys.readouterr().err


# --- the project's manifest -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifest() -> tuple[Row, ...]:
    return read_manifest(MANIFEST)


def test_manifest_names_every_clip_once(manifest: tuple[Row, ...]) -> None:
    assert len({entry.path for entry in manifest}) == len({entry.origin for entry in manifest}) == len(manifest)
    assert all(len(entry.path.split("/")) == 3 for entry in manifest)
    assert {entry.kind for entry in manifest} == set(corpus_module.KINDS)
    assert {entry.split for entry in manifest} == {"train", "test"}


def test_manifest_keeps_test_voices_and_packages_out_of_training(manifest: tuple[Row, ...]) -> None:
    by_split = {split: [entry for entry in manifest if entry.split == split] for split in ("train", "test")}
    speakers = [{entry.group for entry in rows if entry.kind == "speech"} for rows in by_split.values()]
    packages = [{entry.package for entry in rows} for rows in by_split.values()]
    assert speakers[0].isdisjoint(speakers[1])
    assert packages[0].isdisjoint(packages[1])
    assert [len(names) for names in speakers] == [18, 4]


def test_manifest_states_known_licences_and_credits(manifest: tuple[Row, ...]) -> None:
    assert {entry.licence for entry in manifest} == LICENCES
    assert all(entry.credit for entry in manifest)


def test_manifest_leaves_out_what_must_not_be_used(manifest: tuple[Row, ...]) -> None:
    for forbidden in (
        "amazon-queen",
        "queen.1c",
        "loop_amen",
        "instruments/resource/drum_kit",
        "assembled",
        "klettres",
    ):
        assert not [entry for entry in manifest if forbidden in f"{entry.package} {entry.origin} {entry.path}"]


def test_manifest_origins_begin_with_their_package(manifest: tuple[Row, ...]) -> None:
    for entry in manifest:
        package, version = entry.package.split(" ")
        assert entry.origin.startswith(f"{package}/usr/share/"), entry.origin
        assert version


def test_manifest_is_small_enough_to_commit() -> None:
    assert MANIFEST.stat().st_size < 3_000_000


def test_manifest_of_repositories_names_every_clip_once_and_only_for_training(manifest: tuple[Row, ...]) -> None:
    entries = read_manifest(MANIFEST.with_name("repositories.tsv"))
    assert len({entry.path for entry in entries}) == len({entry.origin for entry in entries}) == len(entries)
    assert {entry.split for entry in entries} == {"train"}
    assert {entry.licence for entry in entries} == {"CC-BY-4.0", "CC-BY-3.0", "CC-BY", "CC0", "public-domain"}
    for entry in entries:
        name, commit = entry.package.split(" ")
        assert entry.credit
        assert entry.origin.startswith(f"{name}/")
        assert len(commit) == 40
    labels = {entry.group for entry in manifest if entry.kind == "env"} | {"baby_cry", "sneeze"}
    assert {entry.group for entry in entries if entry.kind == "env"} < labels


def test_no_recordist_of_a_repository_s_sounds_is_credited_for_a_test_sound(manifest: tuple[Row, ...]) -> None:
    # Both ESC-10 and the games took recordings of one site, among them the same chainsaw.
    tested = {entry.credit.casefold() for entry in manifest if entry.kind == "env" and entry.split == "test"}
    for entry in read_manifest(MANIFEST.with_name("repositories.tsv")):
        if "ESC-10" in entry.package:
            recordist = entry.credit.split(";")[0].casefold()
            assert not [credit for credit in tested if recordist in credit], entry.path


def test_readers_are_many_of_either_sex_and_each_clip_is_of_its_reader() -> None:
    entries = [entry for entry in read_manifest(MANIFEST.with_name("repositories.tsv")) if entry.kind == "speech"]
    voices = {entry.group for entry in entries}
    assert [sum(voice.endswith(sex) for voice in voices) for sex in ("_en__m", "_en__f")] == [131, 130]
    for entry in entries:
        reader = entry.group.removeprefix("librivox").split("_")[0]
        assert entry.origin.split("/")[-1].split("-")[0] == reader
        assert entry.credit.endswith("; LibriSpeech, Vassil Panayotov")
    assert set(VALIDATION_SPEAKERS[2:]) < voices


def test_manifest_with_other_columns_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "packages.tsv").write_text("path\tsplit\nspeech/a/b.wav\ttrain\n")
    with pytest.raises(InputError, match="no column 'seconds'; restore the file from git"):
        read_manifest(tmp_path / "packages.tsv")


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("split", "both", "line 2: unknown split 'both'"),
        ("seconds", "long", "line 2: could not convert"),
        ("seconds", "nan", "line 2: seconds: must be a finite number"),
        ("orig_hz", "8e3", "line 2: invalid literal"),
        ("path", "speech/a", "'speech/a' of .* is no clip"),
        ("package", "nameless", "'nameless'.* is no clip"),
        ("origin", "a/../../b.wav", "is no clip"),
    ],
)
def test_a_row_that_is_no_clip_is_named(tmp_path: Path, column: str, cell: str, message: str) -> None:
    columns = ["path", "split", "seconds", "orig_hz", "package", "licence", "credit", "origin"]
    cells = ["speech/a/b.wav", "train", "1.0", "8000", "p 1", "CC0", "Somebody", "p/b.wav"]
    row = dict(zip(columns, cells, strict=True)) | {column: cell}
    (tmp_path / "packages.tsv").write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "packages.tsv")
