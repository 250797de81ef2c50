"""The corpora behind the paper's tiers, found by their published layouts.

===========  ===============================================================================================
LibriSpeech  ``SPEAKERS.TXT`` and ``SUBSET/SPEAKER/CHAPTER/*.flac``; the folder itself or a subset of it
ESC-50       ``meta/esc50.csv`` and ``audio/*.wav``
FSD50K       ``FSD50K.ground_truth/{dev,eval}.csv`` and ``FSD50K.{dev,eval}_audio/*.wav``
===========  ===============================================================================================

Labels become prompts as they stand, in lower case and without underscores.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from sam_lsac.errors import InputError

__all__ = ["Clip", "find_clips"]

SPEAKERS = "SPEAKERS.TXT"
PROMPTS = {"M": "man speaking", "F": "woman speaking"}
#: Labels of people talking: beside a speaker, the prompt would fit both sources.
VOICES = ("speech", "speaking", "conversation", "human voice", "singing", "chatter", "shout", "whisper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording of a corpus.

    Parameters
    ----------
    path : Path
        The file.
    group : str
        Speaker or label.
    prompt : str
        What names it.
    credit : str
        Whom to name.
    is_voice : bool
        Whether somebody speaks or sings in it.
    """

    path: Path
    group: str
    prompt: str
    credit: str
    is_voice: bool


def find_clips(folder: Path) -> list[Clip] | None:
    """List the recordings of a corpus.

    Parameters
    ----------
    folder : Path
        Folder of one corpus.

    Returns
    -------
    list of Clip or None
        In a fixed order; None where the folder has none of the layouts.

    Raises
    ------
    InputError
        If the layout is there but a table is missing, lacks a column or a reader, or there is no audio.
    """
    if (folder / "meta" / "esc50.csv").is_file():
        clips = _esc50(folder)
    elif (folder / "FSD50K.ground_truth").is_dir():
        clips = _fsd50k(folder)
    elif (speakers := _find_speakers(folder)) is not None:
        clips = _librispeech(folder, speakers)
    else:
        return None
    if not clips:
        raise InputError(f"{folder} has the layout of a corpus, but none of the recordings; unpack its audio there")
    return clips


def _esc50(folder: Path) -> list[Clip]:
    """ESC-50: one label for every clip; the credit is the Freesound number."""
    table = folder / "meta" / "esc50.csv"
    clips = []
    for row in _read_table(table, ("filename", "category", "src_file")):
        prompt = _as_prompt(row["category"])
        credit = f"freesound.org/s/{row['src_file']}, by ESC-50 (CC-BY-NC)"
        clips.append(_sound(folder / "audio" / row["filename"], prompt, credit))
    return clips


def _fsd50k(folder: Path) -> list[Clip]:
    """FSD50K: the first of a clip's labels names it; the file name is the Freesound number."""
    clips = []
    for part in ("dev", "eval"):
        table = folder / "FSD50K.ground_truth" / f"{part}.csv"
        if not (folder / f"FSD50K.{part}_audio").is_dir():  # often only one part has been downloaded
            continue
        for row in _read_table(table, ("fname", "labels")):
            path = folder / f"FSD50K.{part}_audio" / f"{row['fname']}.wav"
            credit = f"freesound.org/s/{row['fname']}, by FSD50K (CC-BY, per clip)"
            clips.append(_sound(path, _as_prompt(row["labels"].split(",")[0]), credit))
    return clips


def _librispeech(folder: Path, speakers: Path) -> list[Clip]:
    """LibriSpeech: sex and name of every reader stand in SPEAKERS.TXT."""
    readers = {}
    for line in speakers.read_text(encoding="utf-8", errors="replace").splitlines():
        columns = [column.strip() for column in line.split("|")]
        if not line.startswith(";") and len(columns) >= 5:
            readers[columns[0]] = (columns[1].upper(), columns[4])
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


def _find_speakers(folder: Path) -> Path | None:
    """Find SPEAKERS.TXT in the folder, or above it where the folder is one subset."""
    has_audio = any(folder.glob("*/*/*.flac")) or any(folder.glob("*/*/*/*.flac"))
    candidates = (folder / SPEAKERS, folder.parent / SPEAKERS) if has_audio else (folder / SPEAKERS,)
    return next((path for path in candidates if path.is_file()), None)


def _read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file that has at least these columns."""
    if not path.is_file():
        raise InputError(f"{path} is missing; put the corpus's own table there")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}; replace it by the corpus's own table")
        return list(reader)


def _sound(path: Path, prompt: str, credit: str) -> Clip:
    """Describe one labelled sound."""
    return Clip(
        path=path, group=prompt, prompt=prompt, credit=credit, is_voice=any(voice in prompt for voice in VOICES)
    )


def _as_prompt(label: str) -> str:
    """Turn ``Bark`` or ``pouring_water`` into a phrase."""
    return " ".join(label.replace("_", " ").replace("(", " ").replace(")", " ").lower().split())
