"""The reader of LibriSpeech finds what torchaudio, which knows the published layout, finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchaudio

from sam_lsac.mixtures.audio import read_wave
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.corpora import find_clips
from tests.test_readers import make_librispeech


def theirs(folder: Path) -> list[tuple[str, int, str, int, int, int]]:
    """What torchaudio says of every utterance: file, rate, words, speaker, chapter, number."""
    data = torchaudio.datasets.LIBRISPEECH(str(folder.parent), url="test-clean", folder_in_archive=folder.name)
    return [data.get_metadata(index) for index in range(len(data))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_librispeech(tmp_path / "LibriSpeech", n_utterances=3)
    for path in made.rglob("*.trans.txt"):
        names = sorted(flac.stem for flac in path.parent.glob("*.flac"))
        path.write_text("".join(f"{name} SOME WORDS\n" for name in names))
    return made


def test_the_same_utterances_of_the_same_readers(folder: Path) -> None:
    clips = find_clips(folder, Boundary(folder=folder))
    assert clips is not None

    ours = {(clip.path.relative_to(folder).as_posix(), clip.group) for clip in clips}

    assert ours == {(file, str(speaker)) for file, _, _, speaker, _, _ in theirs(folder)}
    assert len(ours) == len(clips) == 12


def test_the_same_rate_and_words_stand_beside_them(folder: Path) -> None:
    for file, rate, words, *_ in theirs(folder):
        wave, our_rate = read_wave(folder / file)
        assert our_rate == rate
        assert wave.size > 0
        assert words == "SOME WORDS"
