"""The mixtures that come with the repository: recordings and two manifests below ``fixtures/mixtures``.

``manifest.toml`` holds what may be used under CC-BY, ``cc-by-sa/manifest.toml`` every mixture with the one speaker
whose recordings are CC-BY-SA. Both name their recordings with SHA-256, and every mixture with its own digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sam_lsac.bundled import bundled
from sam_lsac.errors import InputError
from sam_lsac.mixtures.audio import read_wave
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.mixture import Mixture
from sam_lsac.mixtures.scene import Scene, mix
from sam_lsac.mixtures.tables import read_toml
from sam_lsac.records import STRICT, read

__all__ = ["MIXTURES_FOLDER", "Entry", "Source", "load_fixture", "read_manifests"]

MIXTURES_FOLDER = bundled("mixtures")
RESTORE = "restore it with git checkout, or install the package anew"
FINITE = STRICT | {"allow_inf_nan": False}
MOST_DB = 200.0  # beyond what any sound or silence is apart
LONGEST_S = 3600.0
MANIFESTS = ("manifest.toml", "cc-by-sa/manifest.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One recording of 5 s.

    Parameters
    ----------
    file
        Path below ``fixtures/mixtures``.
    sha256
        Of the file.
    group
        Speaker or label.
    prompt
        What names it.
    licence, credit, package
        Terms, whom to name, and the Debian package and version.
    clips
        The files of the package that it was made of.
    """

    __pydantic_config__: ClassVar[Any] = FINITE

    file: str
    sha256: str
    group: str
    prompt: str
    licence: str
    credit: str
    package: str
    clips: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One mixture of a manifest.

    Parameters
    ----------
    id, tier, excerpt_start_s
        As in `Mixture`.
    subset
        ``claims`` or ``calibration``.
    target, residual
        Files of the two sources.
    level_difference_db
        Level of the target over that of the residual before noise, in dB.
    gains_db
        Gains of target and residual that make it so, in dB.
    snr_db
        Of the Noisy tier; None in the others.
    noise_seed
        Of the Noisy tier.
    spans
        Where the target is active: (start, end) in seconds.
    sha256
        Digest of the whole mixture at the recordings' rate.

    Raises
    ------
    InputError
        If a level, the seed or the start of the excerpt is out of range.
    """

    __pydantic_config__: ClassVar[Any] = FINITE

    id: str
    tier: str
    subset: str
    target: str
    residual: str
    level_difference_db: float
    gains_db: tuple[float, float]
    snr_db: float | None = None
    noise_seed: int = 0
    spans: tuple[tuple[float, float], ...]
    excerpt_start_s: float
    sha256: str

    def __post_init__(self) -> None:
        if max(map(abs, (*self.gains_db, self.level_difference_db, self.snr_db or 0.0))) > MOST_DB:
            raise InputError(f"mixture {self.id} has a level beyond {MOST_DB:g} dB; {RESTORE}")
        if not 0 <= self.noise_seed < 2**32 or not 0.0 <= self.excerpt_start_s <= LONGEST_S:
            raise InputError(f"mixture {self.id} has a seed or a start of its excerpt out of range; {RESTORE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A ``manifest.toml``.

    Parameters
    ----------
    source
        The recordings.
    mixture
        What is mixed of them.
    """

    __pydantic_config__: ClassVar[Any] = FINITE

    source: tuple[Source, ...]
    mixture: tuple[Entry, ...]


def read_manifests(folder: Path = MIXTURES_FOLDER) -> tuple[dict[str, Source], list[Entry]]:
    """Read both manifests.

    Parameters
    ----------
    folder
        A folder like ``fixtures/mixtures``.

    Returns
    -------
    sources
        By file.
    entries
        Sorted by name, so by tier and number.

    Raises
    ------
    InputError
        If a manifest is missing or is not one.
    """
    sources: dict[str, Source] = {}
    entries: list[Entry] = []
    for name in MANIFESTS:
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing; {RESTORE}, or give a folder of your own")
        tables = read_toml(path, remedy=RESTORE)
        found = read(Manifest, tables, where=str(path), error=InputError, remedy=RESTORE)
        entries += found.mixture
        sources |= {source.file: source for source in found.source}
    return sources, sorted(entries, key=lambda entry: entry.id)


def load_fixture(
    tier: str,
    subset: str,
    *,
    n_mixtures: int,
    sample_rate: int | None,
    duration_s: float | None,
    follow_outside: bool = False,
) -> list[Mixture]:
    """Load the first mixtures of one tier, checked against their digests.

    Parameters
    ----------
    tier
        ``clean``, ``noisy`` or ``env``.
    subset
        ``claims`` or ``calibration``.
    n_mixtures
        How many.
    sample_rate, duration_s
        As in `sam_lsac.mixtures.scene.mix`; None for the recordings' own rate and whole length.
    follow_outside
        As in `load_mixtures`.

    Returns
    -------
    list of Mixture
        In the order of their names.

    Raises
    ------
    InputError
        If there are fewer, or a file or a mixture is not the one that the manifest names.
    """
    sources, entries = read_manifests(MIXTURES_FOLDER)
    chosen = [entry for entry in entries if entry.tier == tier and entry.subset == subset]
    if n_mixtures > len(chosen):
        raise InputError(f"the {tier} tier has {len(chosen)} {subset} mixtures, not {n_mixtures}; ask for fewer")
    boundary = Boundary(folder=MIXTURES_FOLDER, follow_outside=follow_outside)
    mixtures = []
    for entry in chosen[:n_mixtures]:
        scene = _stage(entry, sources, boundary)
        whole = mix(scene)
        if whole.digest != entry.sha256:
            raise InputError(
                f"mixture {entry.id} is not the one of its manifest, though its recordings are; restore the manifests "
                f"in {MIXTURES_FOLDER} with git checkout, or build them anew with python -m fixtures.mixing.build"
            )
        plain = sample_rate is None and duration_s is None
        mixtures.append(whole if plain else mix(scene, sample_rate=sample_rate, duration_s=duration_s))
    return mixtures


def _stage(entry: Entry, sources: Mapping[str, Source], boundary: Boundary) -> Scene:
    """Turn a manifest's mixture into a scene, with its recordings read and checked."""
    missing = [file for file in (entry.target, entry.residual) if file not in sources]
    if missing:
        raise InputError(f"no manifest in {MIXTURES_FOLDER} describes {missing[0]}; restore them with git checkout")
    target, residual = sources[entry.target], sources[entry.residual]
    waves = (_read_source(target, boundary), _read_source(residual, boundary))
    return Scene(
        id=entry.id,
        tier=entry.tier,
        target=waves[0][0],
        residual=waves[1][0],
        sample_rate=waves[0][1],
        prompt=target.prompt,
        residual_prompt=residual.prompt,
        group=target.group,
        residual_group=residual.group,
        credits=tuple(f"{source.credit} ({source.licence})" for source in (target, residual)),
        gains_db=entry.gains_db,
        snr_db=entry.snr_db,
        noise_seed=entry.noise_seed,
        spans=entry.spans,
        excerpt_start_s=entry.excerpt_start_s,
    )


def _read_source(source: Source, boundary: Boundary) -> tuple[NDArray[np.float64], int]:
    """Read a recording after comparing it with its digest."""
    path = boundary.admit(boundary.folder / source.file)
    remedy = f"restore it with: git checkout -- {path}"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        raise InputError(f"{path} is not the file that its manifest names (SHA-256 differs); {remedy}")
    return read_wave(path, remedy=remedy)
