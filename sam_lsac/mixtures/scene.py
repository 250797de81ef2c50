"""How a mixture is made: two recordings, their gains, a noise level and its seed.

Mixing happens on load, so that what is stored are recordings, and SNR and seed can be read beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.mixtures.activity import active_level_db, active_spans, choose_excerpt
from sam_lsac.mixtures.audio import on_grid, resample
from sam_lsac.mixtures.mixture import Mixture

__all__ = ["Scene", "balance", "mix"]

NOISY_SNR_DB = 5.0
EXCERPT_S = 2.0
PEAK = 0.99

Wave = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """All that defines a mixture, before it is mixed.

    Parameters
    ----------
    id, tier, prompt, residual_prompt, group, residual_group, credits
        As in `Mixture`.
    target, residual
        [N] each, the recordings.
    sample_rate
        In Hz.
    gains_db
        Gain of target and of residual in dB.
    snr_db
        Power of target and residual together over that of added white noise, in dB; None for no noise.
    noise_seed
        Seed of that noise.
    spans
        Where the target is active: (start, end) in seconds; found by the energy detector when None.
    excerpt_start_s
        Where a shorter mixture is cut out; chosen by `choose_excerpt` when None.
    """

    id: str
    tier: str
    target: Wave
    residual: Wave
    sample_rate: int
    prompt: str
    residual_prompt: str | None
    group: str
    credits: tuple[str, ...]
    gains_db: tuple[float, float] = (0.0, 0.0)
    snr_db: float | None = None
    noise_seed: int = 0
    spans: tuple[tuple[float, float], ...] | None = None
    excerpt_start_s: float | None = None
    residual_group: str = ""


def mix(scene: Scene, *, sample_rate: int | None = None, duration_s: float | None = None) -> Mixture:
    """Mix a scene.

    1. Resample the recordings where a lower rate is wanted.
    2. Apply the gains.
    3. Cut out ``duration_s`` seconds from the excerpt's start, where a duration is given.
    4. Add white noise to the residual, at the scene's SNR over exactly these samples: so that a model which hears
       8 kHz for 2 s hears this SNR, and not that of a wider band or a longer wave.
    5. Resample where a higher rate is wanted.

    Parameters
    ----------
    scene
        What to mix.
    sample_rate
        In Hz; the recordings' own when None.
    duration_s
        In seconds; all there is when None.

    Returns
    -------
    Mixture
        On the grid on which sums are exact.

    Raises
    ------
    InputError
        If a recording cannot be used, or is shorter than the duration.
    """
    spans = active_spans(scene.target, scene.sample_rate) if scene.spans is None else scene.spans
    start_s = scene.excerpt_start_s
    if start_s is None:
        waves = scene.target, scene.residual
        start_s = choose_excerpt(
            *waves, sample_rate=scene.sample_rate, duration_s=EXCERPT_S if duration_s is None else duration_s
        )
    if duration_s is not None:
        start_s = max(0.0, min(start_s, scene.target.size / scene.sample_rate - duration_s))
    wanted_hz = scene.sample_rate if sample_rate is None else sample_rate
    mixing_hz = min(wanted_hz, scene.sample_rate)
    sources = [
        10.0 ** (gain / 20.0) * resample(wave, scene.sample_rate, mixing_hz)
        for gain, wave in zip(scene.gains_db, (scene.target, scene.residual), strict=True)
    ]
    mixture = Mixture(
        id=scene.id,
        tier=scene.tier,
        target=on_grid(sources[0]),
        residual=on_grid(sources[1]),
        sample_rate=mixing_hz,
        prompt=scene.prompt,
        residual_prompt=scene.residual_prompt,
        spans=tuple(("+", start, end) for start, end in spans),
        group=scene.group,
        residual_group=scene.residual_group,
        credits=scene.credits,
        excerpt_start_s=start_s,
    )
    if duration_s is not None:
        mixture = mixture.excerpt(duration_s=duration_s)
    return _add_noise(mixture, scene.snr_db, scene.noise_seed).at(wanted_hz)


def balance(target: Wave, residual: Wave, *, sample_rate: int, level_difference_db: float) -> tuple[float, float]:
    """Find the gains that set the level difference of two sources.

    Levels are root mean squares over the active frames. The difference is split between both sources, and both are
    turned down together where their sum would pass 0.99 of full scale.

    Parameters
    ----------
    target, residual
        [N] each, the two sources.
    sample_rate
        In Hz.
    level_difference_db
        Wanted level of the target over that of the residual, in dB.

    Returns
    -------
    tuple of float
        Gain of target and of residual in dB, to 0.001 dB.

    Raises
    ------
    InputError
        If a source is silent or shorter than 20 ms.
    """
    difference_db = active_level_db(target, sample_rate) - active_level_db(residual, sample_rate)
    half_db = (level_difference_db - difference_db) / 2.0
    peak = np.max(np.abs(10.0 ** (half_db / 20.0) * target + 10.0 ** (-half_db / 20.0) * residual))
    headroom_db = min(0.0, 20.0 * float(np.log10(PEAK / peak)))
    return round(headroom_db + half_db, 3), round(headroom_db - half_db, 3)


def _add_noise(mixture: Mixture, snr_db: float | None, seed: int) -> Mixture:
    """Add white Gaussian noise to the residual.

    The generator is NumPy's legacy one, as an object of its own: it alone promises the same stream in every version
    (NEP 19).
    """
    if snr_db is None:
        return mixture
    clean = mixture.wave.astype(np.float64)
    if not clean.any():
        raise InputError(f"{mixture.id} is silent, so no noise has an SNR to it; choose another excerpt or recording")
    noise = np.random.RandomState(seed).standard_normal(clean.size)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10.0 ** (-snr_db / 20.0)
    return replace(mixture, residual=on_grid(mixture.residual.astype(np.float64) + noise))
