"""The corpora behind the paper's tiers, found by their published layouts.

===========  ===============================================================================================
LibriSpeech  ``SPEAKERS.TXT`` and ``SUBSET/SPEAKER/CHAPTER/*.flac``; the folder itself or a subset of it
ESC-50       ``meta/esc50.csv`` and ``audio/*.wav``
FSD50K       ``FSD50K.ground_truth/{dev,eval}.csv`` and ``FSD50K.{dev,eval}_audio/*.wav``
===========  ===============================================================================================

Labels become prompts as they stand, in lower case and without underscores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sam_lsac.errors import InputError
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.tables import LONGEST_CELL, read_table, read_text

__all__ = ["Clip", "find_clips"]

_REMEDY = "put the corpus's own table there"
SPEAKERS = "SPEAKERS.TXT"
PROMPTS = {"M": "man speaking", "F": "woman speaking"}
#: Labels of people talking: beside a speaker, the prompt would fit both sources.
VOICES = ("speech", "speaking", "conversation", "human voice", "singing", "chatter", "shout", "whisper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording of a corpus.

    Parameters
    ----------
    path
        The file.
    group
        Speaker or label.
    prompt
        What names it.
    credit
        Whom to name.
    is_voice
        Whether somebody speaks or sings in it.
    """

    path: Path
    group: str
    prompt: str
    credit: str
    is_voice: bool


def find_clips(folder: Path, boundary: Boundary) -> list[Clip] | None:
    """List the recordings of a corpus.

    Parameters
    ----------
    folder
        Folder of one corpus.
    boundary
        Where files may lie. Tables are checked here, recordings when they are read: there may be 50,000.

    Returns
    -------
    list of Clip or None
        In a fixed order; None where the folder has none of the layouts.

    Raises
    ------
    InputError
        If the layout is there but a table is missing, damaged or lacks a column or a reader, names a file elsewhere,
        or there is no audio.
    """
    if (folder / "meta" / "esc50.csv").is_file():
        clips = _esc50(folder, boundary)
    elif (folder / "FSD50K.ground_truth").is_dir():
        clips = _fsd50k(folder, boundary)
    elif (speakers := _find_speakers(folder)) is not None:
        clips = _librispeech(folder, speakers, boundary)
    else:
        return None
    if not clips:
        raise InputError(f"{folder} has the layout of a corpus, but none of the recordings; unpack its audio there")
    return clips


def _esc50(folder: Path, boundary: Boundary) -> list[Clip]:
    """ESC-50: one label for every clip; the credit is the Freesound number."""
    table = boundary.admit(folder / "meta" / "esc50.csv")
    clips = []
    for line, row in read_table(table, ("filename", "category", "src_file"), remedy=_REMEDY):
        where = f"{table}, line {line}"
        path = folder / "audio" / _file_name(row["filename"], where, boundary)
        credit = f"freesound.org/s/{row['src_file']}, by ESC-50 (CC-BY-NC)"
        clips.append(_sound(path, row["category"], credit=credit, where=where))
    return clips


def _fsd50k(folder: Path, boundary: Boundary) -> list[Clip]:
    """FSD50K: the first of a clip's labels names it; the file name is the Freesound number."""
    clips = []
    for part in ("dev", "eval"):
        if not (folder / f"FSD50K.{part}_audio").is_dir():  # often only one part has been downloaded
            continue
        table = boundary.admit(folder / "FSD50K.ground_truth" / f"{part}.csv")
        for line, row in read_table(table, ("fname", "labels"), remedy=_REMEDY):
            where = f"{table}, line {line}"
            path = folder / f"FSD50K.{part}_audio" / f"{_file_name(row['fname'], where, boundary)}.wav"
            credit = f"freesound.org/s/{row['fname']}, by FSD50K (CC-BY, per clip)"
            clips.append(_sound(path, row["labels"].split(",")[0], credit=credit, where=where))
    return clips


def _librispeech(folder: Path, speakers: Path, boundary: Boundary) -> list[Clip]:
    """LibriSpeech: sex and name of every reader stand in SPEAKERS.TXT."""
    if speakers.parent != folder:  # the layout has the table above a subset
        boundary = replace(boundary, folder=folder.parent)
    readers = _read_speakers(speakers, boundary)
    clips = []
    for path in sorted(folder.rglob("*.flac")):
        speaker = path.parent.parent.name
        sex, name = readers.get(speaker, ("", ""))
        if sex not in PROMPTS:
            raise InputError(
                f"{speakers} does not tell the sex (M or F) of the reader of {path}; add a row for {speaker!r}"
            )
        credit = f"{name}, LibriSpeech reader {speaker} (CC-BY-4.0)"
        clips.append(Clip(path=path, group=speaker, prompt=PROMPTS[sex], credit=credit, is_voice=True))
    return clips


def _read_speakers(path: Path, boundary: Boundary) -> dict[str, tuple[str, str]]:
    """Sex and name by reader, from ``ID | SEX | SUBSET | MINUTES | NAME``; a name may hold the separator itself."""
    readers = {}
    for number, line in enumerate(read_text(boundary.admit(path), remedy=_REMEDY).splitlines(), start=1):
        if line.startswith(";") or not line.strip():
            continue
        columns = [column.strip() for column in line.split("|", 4)]
        if len(columns) < 5 or len(line) > LONGEST_CELL:
            raise InputError(f"{path}, line {number}: not ID | SEX | SUBSET | MINUTES | NAME; {_REMEDY}")
        readers[columns[0]] = (columns[1].upper(), columns[4])
    return readers


def _find_speakers(folder: Path) -> Path | None:
    """Find SPEAKERS.TXT in the folder, or above it where the folder is one subset."""
    has_audio = any(folder.glob("*/*/*.flac")) or any(folder.glob("*/*/*/*.flac"))
    candidates = (folder / SPEAKERS, folder.parent / SPEAKERS) if has_audio else (folder / SPEAKERS,)
    return next((path for path in candidates if path.is_file()), None)


def _file_name(name: str, where: str, boundary: Boundary) -> str:
    """Refuse what is no plain name of a file: the tables of these corpora hold no paths."""
    plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    if not plain and not boundary.follow_outside:
        raise InputError(f"{where}: {name[:60]!r} is no name of a file in the corpus; {_REMEDY}")
    return name


def _sound(path: Path, label: str, *, credit: str, where: str) -> Clip:
    """Describe one labelled sound."""
    prompt = _as_prompt(label)
    if not prompt:
        raise InputError(f"{where}: {label[:60]!r} names no sound; {_REMEDY}")
    return Clip(
        path=path, group=prompt, prompt=prompt, credit=credit, is_voice=any(voice in prompt for voice in VOICES)
    )


def _as_prompt(label: str) -> str:
    """Turn ``Bark`` or ``pouring_water`` into a phrase."""
    return " ".join(label.replace("_", " ").replace("(", " ").replace(")", " ").lower().split())
