"""One function for all mixtures: those that come with the repository, and folders of a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sam_lsac.errors import InputError
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.corpora import Clip, find_clips
from sam_lsac.mixtures.fixture import load_fixture
from sam_lsac.mixtures.mixture import Mixture
from sam_lsac.mixtures.pairing import pair_scenes
from sam_lsac.mixtures.scene import Scene, mix
from sam_lsac.mixtures.sound_file import RATES_HZ
from sam_lsac.mixtures.stems import has_stems, stem_scenes

__all__ = ["TIERS", "load_mixtures"]

TIERS = ("clean", "noisy", "env")
SUBSETS = ("claims", "calibration")
LAYOUTS = (
    "stems (one subfolder a mixture, with target.wav, residual.wav and prompt.txt or mixture.json), "
    "LibriSpeech (SPEAKERS.TXT and SUBSET/SPEAKER/CHAPTER/*.flac), ESC-50 (meta/esc50.csv and audio/), "
    "FSD50K (FSD50K.ground_truth/ and FSD50K.dev_audio/ or FSD50K.eval_audio/), or a folder of several corpora"
)


def load_mixtures(
    source: str | Path = "embedded",
    *,
    tiers: Sequence[str] = TIERS,
    per_tier: int = 24,
    subset: str = "claims",
    sample_rate: int | None = None,
    duration_s: float | None = None,
    seed: int = 0,
    follow_outside: bool = False,
) -> list[Mixture]:
    """Load mixtures, tier by tier.

    The first n mixtures are the same however many are asked for. No recording is used for both subsets.

    Parameters
    ----------
    source
        ``"embedded"`` for the mixtures that come with the repository; else a folder: of stems, with LibriSpeech (Clean
        and Noisy), with ESC-50 or FSD50K (Env), or with several of these corpora (Env then also mixes speech with
        sounds).
    tiers
        Of ``clean``, ``noisy`` and ``env``; stems that name no tier come in any case, as tier ``user``.
    per_tier
        So many mixtures of every tier; a folder may hold fewer.
    subset
        ``claims`` (48 a tier of the repository's) or ``calibration`` (8, of other recordings).
    sample_rate
        In Hz; the recordings' own when None (16 kHz for the repository's). The Noisy tier has its SNR at the lower of
        this rate and the recordings' own.
    duration_s
        In seconds: an excerpt in which both sources are active; the whole (5 s) when None.
    seed
        Of the pairs made from a corpus; the repository's mixtures are fixed.
    follow_outside
        Read also files that a table, a manifest or a link in the folder leads out of it to. Leave it False for what
        comes from elsewhere.

    Returns
    -------
    list of Mixture
        In the order of ``tiers``, then by number.

    Raises
    ------
    InputError
        If an argument is out of range, the folder has none of the layouts or cannot give a tier, a file is damaged or
        a name leads out of the folder.
    """
    _validate_selection(tiers, per_tier, subset=subset, seed=seed)
    _validate_form(sample_rate, duration_s)
    if source == "embedded":
        fixed = [
            load_fixture(
                tier,
                subset,
                n_mixtures=per_tier,
                sample_rate=sample_rate,
                duration_s=duration_s,
                follow_outside=follow_outside,
            )
            for tier in tiers
        ]
        return [mixture for mixtures in fixed for mixture in mixtures]
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give 'embedded' or a folder with {LAYOUTS}")
    boundary = Boundary(folder=folder, follow_outside=follow_outside)
    scenes = _read_folder(boundary, tiers, per_tier=per_tier, subset=subset, seed=seed)
    return [mix(scene, sample_rate=sample_rate, duration_s=duration_s) for scene in scenes]


def _read_folder(boundary: Boundary, tiers: Sequence[str], *, per_tier: int, subset: str, seed: int) -> list[Scene]:
    """Recognise the layout of a folder and read it."""
    folder = boundary.folder
    if has_stems(folder):
        scenes = stem_scenes(folder, tiers=tiers, per_tier=per_tier, subset=subset, boundary=boundary)
        if not scenes and per_tier > 0:
            raise InputError(
                f'{folder} has no mixture for {subset}; mark some with "subset": "{subset}" in mixture.json'
            )
        return scenes
    clips = _find_corpora(boundary)
    pick = partial(pair_scenes, clips, per_tier=per_tier, subset=subset, seed=seed, boundary=boundary)
    tiered = [pick(tier) for tier in tiers]
    return [scene for scenes in tiered for scene in scenes]


def _find_corpora(boundary: Boundary) -> list[Clip]:
    """List the recordings of the corpus in this folder, or of all corpora in its subfolders."""
    folder = boundary.folder
    clips = find_clips(folder, boundary)
    if clips is None:
        children = sorted(child for child in folder.iterdir() if child.is_dir())
        found = [inside for child in children if (inside := find_clips(child, boundary)) is not None]
        if not found:
            raise InputError(f"{folder} has no known layout; accepted are {LAYOUTS}")
        clips = [clip for inside in found for clip in inside]
    return clips


def _validate_selection(tiers: Sequence[str], per_tier: int, *, subset: str, seed: int) -> None:
    """Refuse a selection that cannot be."""
    if isinstance(tiers, str) or any(tier not in TIERS for tier in tiers):
        raise InputError(f"tiers must be a sequence of {', '.join(TIERS)}, not {tiers!r}; correct it")
    if per_tier < 1:
        raise InputError(f"per_tier must be at least 1, not {per_tier}; ask for more")
    if subset not in SUBSETS:
        raise InputError(f"subset must be 'claims' or 'calibration', not {subset!r}; choose one")
    if not 0 <= seed < 2**31:
        raise InputError(f"the seed must lie between 0 and {2**31 - 1}, not {seed}; give another")


def _validate_form(sample_rate: int | None, duration_s: float | None) -> None:
    """Refuse a rate or a duration that cannot be."""
    if sample_rate is not None and not RATES_HZ[0] <= sample_rate <= RATES_HZ[1]:
        raise InputError(f"a sample rate of {sample_rate} Hz cannot be; give one of {RATES_HZ} Hz, such as 16000")
    if duration_s is not None and not 0.0 < duration_s < float("inf"):
        raise InputError(f"a duration of {duration_s} s cannot be; give a positive number, such as 2.0")
