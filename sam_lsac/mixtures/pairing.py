"""Pairs of recordings of a user's corpora, tier by tier and made from a seed.

Recordings take turns: one of each speaker or label, in an order shuffled by the seed, before any gives its second; none
is used twice before all have been used once, and no pair occurs twice. Every seventh recording is kept for calibration.
Mixture number i does not depend on how many are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.mixtures.activity import active_spans
from sam_lsac.mixtures.audio import read_wave, resample
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.corpora import PROMPTS, Clip
from sam_lsac.mixtures.scene import NOISY_SNR_DB, Scene, balance

__all__ = ["LONGEST_S", "MAXIMUM_DIFFERENCE_DB", "pair_scenes"]

LONGEST_S = 5.0
MAXIMUM_DIFFERENCE_DB = 5.0
CALIBRATION_PERIOD = 7

Pair = tuple[Clip, Clip]  # target, residual


def pair_scenes(
    clips: Sequence[Clip], tier: str, *, per_tier: int, subset: str, seed: int, boundary: Boundary
) -> list[Scene]:
    """Pair recordings for one tier.

    Parameters
    ----------
    clips
        Of all corpora that there are.
    tier
        ``clean``, ``noisy`` or ``env``.
    per_tier
        At most so many.
    subset
        ``claims`` or ``calibration``.
    seed
        Of the order, the level differences and the noise.
    boundary
        Where the recordings may lie.

    Returns
    -------
    list of Scene
        Up to 5 s long; the level of the target lies up to 5 dB above or below that of the residual.

    Raises
    ------
    InputError
        If the corpora cannot give this tier or subset, or a recording cannot be used.
    """
    turns = _take_turns(clips, seed)
    chosen = [
        clip
        for i, clip in enumerate(turns)
        if (i % CALIBRATION_PERIOD == CALIBRATION_PERIOD - 1) == (subset == "calibration")
    ]
    pairs = list(islice(_env_pairs(chosen) if tier == "env" else _speaker_pairs(chosen), per_tier))
    if not pairs and per_tier > 0:
        needs = "sounds, such as ESC-50 or FSD50K" if tier == "env" else "a man and a woman, such as LibriSpeech"
        raise InputError(f"these recordings give no {tier} mixture for {subset}; add {needs}, or ask for other tiers")
    return [_stage(pair, tier, number=number, seed=seed, boundary=boundary) for number, pair in enumerate(pairs)]


def _take_turns(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Shuffle within every kind and group, then take one of each group in turn; kinds follow one another."""
    order = np.random.RandomState(seed).permutation(len(clips))
    rounds: dict[tuple[str, str], int] = {}
    keyed = []
    for position, index in enumerate(order):
        clip = clips[index]
        key = (clip.prompt if clip.prompt in PROMPTS.values() else "", clip.group)
        rounds[key] = rounds.get(key, -1) + 1
        keyed.append((rounds[key], position, clip))
    return [clip for _, _, clip in sorted(keyed, key=lambda entry: entry[:2])]


def _speaker_pairs(clips: Sequence[Clip]) -> Iterator[Pair]:
    """Pair men with women; the target is one and the other by turns."""
    men, women = ([clip for clip in clips if clip.prompt == prompt] for prompt in PROMPTS.values())
    for number, (man, woman) in enumerate(_all_pairs(men, women)):
        yield (man, woman) if number % 2 == 0 else (woman, man)


def _env_pairs(clips: Sequence[Clip]) -> Iterator[Pair]:
    """Pair across domains: where there are speakers, out of four pairs three are a speaker with a sound."""
    speakers = [clip for clip in clips if clip.prompt in PROMPTS.values()]
    sounds = [clip for clip in clips if clip.prompt not in PROMPTS.values()]
    with_speech = _all_pairs(speakers, [clip for clip in sounds if not clip.is_voice])
    alone = _sound_pairs(sounds)
    for number in range(len(clips) ** 2):
        is_speech = bool(speakers) and number % 4 != 3
        pair = next(with_speech if is_speech else alone, None)
        if pair is None:
            continue
        yield pair if not is_speech or number % 2 == 0 else pair[::-1]


def _sound_pairs(sounds: Sequence[Clip]) -> Iterator[Pair]:
    """Pair sounds with other prompts: neighbours first, then those two apart, and so on."""
    n = len(sounds)
    for distance in range(1, n):
        for index in range(n):
            target, residual = sounds[index], sounds[(index + distance) % n]
            if target.prompt != residual.prompt:
                yield target, residual


def _all_pairs(first: Sequence[Clip], second: Sequence[Clip]) -> Iterator[Pair]:
    """Give every pair once, each element taking its turn."""
    if not first or not second:
        return
    period = math.lcm(len(first), len(second))  # after so many pairs the turns would repeat, so they are shifted
    for number in range(len(first) * len(second)):
        yield first[number % len(first)], second[(number + number // period) % len(second)]


def _stage(pair: Pair, tier: str, *, number: int, seed: int, boundary: Boundary) -> Scene:
    """Read a pair, bring it to one rate and length, and draw the level difference."""
    recordings = [read_wave(boundary.admit(clip.path)) for clip in pair]
    sample_rate = min(rate for _, rate in recordings)
    waves = [_trim(resample(wave, rate, sample_rate), sample_rate) for wave, rate in recordings]
    n_samples = max(wave.size for wave in waves)
    target, residual = (np.pad(wave, (0, n_samples - wave.size)) for wave in waves)
    difference_db = np.random.RandomState([seed, number]).uniform(-MAXIMUM_DIFFERENCE_DB, MAXIMUM_DIFFERENCE_DB)
    return Scene(
        id=f"{tier}-{number:03d}",
        tier=tier,
        target=target,
        residual=residual,
        sample_rate=sample_rate,
        prompt=pair[0].prompt,
        residual_prompt=pair[1].prompt,
        group=pair[0].group,
        residual_group=pair[1].group,
        credits=tuple(clip.credit for clip in pair),
        gains_db=balance(target, residual, sample_rate=sample_rate, level_difference_db=difference_db),
        snr_db=NOISY_SNR_DB if tier == "noisy" else None,
        noise_seed=seed + number,
    )


def _trim(wave: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Drop silence before the first activity, and what lies beyond 5 s."""
    first = round(active_spans(wave, sample_rate)[0][0] * sample_rate)
    return wave[first : first + round(LONGEST_S * sample_rate)]
