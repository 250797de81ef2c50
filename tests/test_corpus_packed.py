"""A corpus as one file: the same to the bit after the way there and back, and nothing of a damaged one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from fixtures.corpus.build import AUDIO, INDEX, SUMMARY, Corpus, CorpusError
from fixtures.corpus.packed import main, pack, unpack

RATE = 8_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus with the extremes of 16 bits in it."""
    made = tmp_path / "corpus"
    made.mkdir()
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 5_000).astype("<i2")
    samples[:4] = -(2**15), 2**15 - 1, 0, -1
    samples.tofile(made / AUDIO)
    (made / INDEX).write_text(
        "path\tkind\tgroup\tsplit\tlicence\tpackage\toffset\tn_samples\n"
        "env/rain/a.wav\tenv\train\ttrain\tCC0\tpackage 1\t0\t5000\n"
    )
    digest = sha256(samples.tobytes()).hexdigest()
    (made / SUMMARY).write_text(json.dumps({"sample_rate": RATE, "n_samples": 5_000, "sha256": digest}))
    return made


def test_there_and_back_a_corpus_is_the_same_to_the_bit(folder: Path, tmp_path: Path) -> None:
    assert main(["pack", str(folder), str(tmp_path / "one.tar")]) == 0
    assert main(["unpack", str(tmp_path / "one.tar"), str(tmp_path / "again")]) == 0
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == sorted([AUDIO, INDEX, SUMMARY])
    for name in (AUDIO, INDEX, SUMMARY):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert Corpus.open(tmp_path / "again").clips == Corpus.open(folder).clips


def test_speech_takes_less_than_its_samples(folder: Path, tmp_path: Path) -> None:
    tone = np.round(9_000 * np.sin(np.arange(5_000) / 9)).astype("<i2")
    tone.tofile(folder / AUDIO)
    pack(folder, tmp_path / "one.tar")
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert archive.getmember("audio.flac").size < 0.8 * tone.nbytes


def test_other_audio_than_was_packed_is_refused_and_leaves_no_corpus(folder: Path, tmp_path: Path) -> None:
    np.ones(5_000, "<i2").tofile(folder / AUDIO)
    pack(folder, tmp_path / "one.tar")
    with pytest.raises(CorpusError, match=r"SHA-256 .* pack it anew"):
        unpack(tmp_path / "one.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_holds_no_corpus_is_refused(tmp_path: Path, content: bytes | None, capsys) -> None:
    file = tmp_path / "one.tar"
    if content is None:
        with tarfile.open(file, "w") as archive:
            member = tarfile.TarInfo("../outside")
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    else:
        file.write_bytes(content)
    assert main(["unpack", str(file), str(tmp_path / "again")]) == 2
    assert "holds no packed corpus" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["one.tar"]


def test_no_decoder_of_packages_is_needed(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "one.tar")
    code = "import sys; sys.modules['av'] = None; from fixtures.corpus.packed import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "unpack", str(tmp_path / "one.tar"), str(tmp_path / "again")]
    subprocess.run(command, check=True)
    assert (tmp_path / "again" / AUDIO).read_bytes() == (folder / AUDIO).read_bytes()
