"""A folder of a user's own stems: one subfolder for every mixture.

::

    FOLDER/a-name/target.wav       the wanted source (or .flac, .ogg, .mp3)
                  residual.wav     the rest; any other stems beside the target are summed to the same effect
                  prompt.txt       what names the target, such as: dog barking

Instead of ``prompt.txt`` there may be a ``mixture.json`` with ``prompt`` and, as needed, ``target`` (name of the
target's file), ``residual_prompt``, ``spans`` (list of [start, end] in seconds), ``group``,
``residual_group``, ``credits``, ``tier`` and ``subset``.
A stem called ``mixture`` is taken for the sum and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from sam_lsac.errors import InputError
from sam_lsac.mixtures.audio import read_wave
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.scene import Scene
from sam_lsac.mixtures.tables import read_json, read_text
from sam_lsac.records import STRICT, read

__all__ = ["AUDIO_SUFFIXES", "has_stems", "stem_scenes"]

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
NOTES = ("mixture.json", "prompt.txt")

_MOST_BYTES = 2**16  # of notes about one mixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What stands in ``mixture.json``.

    Parameters
    ----------
    prompt, residual_prompt, group, residual_group, credits
        As in `Mixture`; a group is the prompt of its source when None.
    target
        Name of the target's file, or of it without its suffix.
    spans
        As (start, end), in seconds; found by the energy detector when None.
    tier, subset
        What the mixture is for.
    """

    __pydantic_config__: ClassVar[Any] = STRICT | {"allow_inf_nan": False}

    prompt: str
    target: str = "target"
    residual_prompt: str | None = None
    spans: tuple[tuple[float, float], ...] | None = None
    group: str | None = None
    residual_group: str | None = None
    credits: tuple[str, ...] = ()
    tier: Literal["clean", "noisy", "env", "user"] = "user"
    subset: Literal["claims", "calibration"] = "claims"


def has_stems(folder: Path) -> bool:
    """Tell whether a folder's subfolders look like mixtures of stems."""
    return any((child / name).is_file() for child in _subfolders(folder) for name in NOTES)


def stem_scenes(folder: Path, *, tiers: Sequence[str], per_tier: int, subset: str, boundary: Boundary) -> list[Scene]:
    """Read the mixtures of a folder of stems.

    Parameters
    ----------
    folder
        With one subfolder for every mixture; subfolders with neither audio nor notes are passed over.
    tiers
        Tiers that are wanted; mixtures of tier ``user``, which is the default, are wanted always.
    per_tier
        At most so many of each tier, by name.
    subset
        ``claims``, which is the default, or ``calibration``.
    boundary
        Where files may lie.

    Returns
    -------
    list of Scene
        Sorted by name.

    Raises
    ------
    InputError
        If a mixture lacks a stem or its prompt, or its stems differ in rate or length or cannot be read.
    """
    taken: Counter[str] = Counter()
    scenes = []
    for child in _subfolders(folder):
        if not _stems(child) and not any((child / name).exists() for name in NOTES):
            continue
        notes = _read_notes(child, boundary)
        tier = notes.tier
        if notes.subset == subset and tier in (*tiers, "user") and taken[tier] < per_tier:
            taken[tier] += 1
            scenes.append(_read_scene(child, notes, boundary))
    return scenes


def _read_scene(folder: Path, notes: Notes, boundary: Boundary) -> Scene:
    """Read one mixture's stems: the target, and the sum of the others."""
    stems = _stems(folder)
    targets = [stem for stem in stems if notes.target in (stem.name, stem.stem)]
    others = [stem for stem in stems if stem not in targets and stem.stem != "mixture"]
    if len(targets) != 1 or not others:
        raise InputError(
            f"{folder} needs one target (named {notes.target}) and another stem, "
            f"as {', '.join(sorted(AUDIO_SUFFIXES))}; "
            "add target.wav and residual.wav, or name the target's file in mixture.json"
        )
    target, sample_rate = read_wave(boundary.admit(targets[0]))
    residual = np.zeros_like(target)
    for path in others:
        wave, other_rate = read_wave(boundary.admit(path))
        if other_rate != sample_rate or wave.size != target.size:
            raise InputError(
                f"{path} has {wave.size} samples at {other_rate} Hz, {targets[0].name} {target.size} at {sample_rate} "
                "Hz; export all stems of a mixture with one rate and length"
            )
        residual += wave
    return Scene(
        id=folder.name,
        tier=notes.tier,
        target=target,
        residual=residual,
        sample_rate=sample_rate,
        prompt=notes.prompt,
        residual_prompt=notes.residual_prompt,
        group=notes.group or notes.prompt,
        residual_group=notes.residual_group or notes.residual_prompt or "",
        credits=notes.credits,
        spans=notes.spans,
    )


def _read_notes(folder: Path, boundary: Boundary) -> Notes:
    """Read ``mixture.json`` or ``prompt.txt``."""
    path = next((folder / name for name in NOTES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            f"{folder} has neither mixture.json nor prompt.txt; write what names the target into prompt.txt"
        )
    keys = f"its keys are {', '.join(item.name for item in fields(Notes))}"
    boundary.admit(path)
    if path.suffix == ".json":
        described = read_json(path, remedy=keys, most_bytes=_MOST_BYTES)
        notes = read(Notes, described, where=str(path), error=InputError, remedy=keys)
    else:
        notes = Notes(prompt=read_text(path, remedy="write the prompt anew", most_bytes=_MOST_BYTES).strip())
    if not notes.prompt.strip():
        raise InputError(f"{path} has no prompt; name the target, such as: dog barking")
    return notes


def _stems(folder: Path) -> list[Path]:
    """List a mixture's audio files."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES)


def _subfolders(folder: Path) -> list[Path]:
    """List the folders inside a folder, without hidden ones."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
