"""By how much scores differ between two decodes of the same latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.metrics import DEFAULT_METRICS, Score, measure
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.separate import decode

__all__ = ["decoder_noise"]


def decoder_noise(
    model: SAMAudio,
    latents: Sequence[NDArray[np.floating]],
    mixtures: Sequence[Mixture],
    *,
    seeds: tuple[int, int] = (0, 1),
    metrics: Sequence[str] = DEFAULT_METRICS,
    scores: Sequence[Mapping[str, Score]] = (),
) -> dict[str, NDArray[np.float64]]:
    """Decode each example twice, with two watermark messages, and take how far each score moves.

    A difference between two arms that is smaller than this says nothing, where their messages differ.

    Parameters
    ----------
    model
        Whose codec; one without a watermark decodes to the same samples twice.
    latents
        Of target and residual side by side, one array [T, 2 C] a mixture.
    mixtures
        At any rate, in the order of the latents.
    seeds
        Of the two messages.
    metrics
        Names of ``sam_lsac.metrics.METRICS``.
    scores
        Of the same latents, by metric, one mapping a mixture, where they are known. Of two decodes that are equal to
        the sample they say which metrics have a score, and so no difference; nothing is then measured again.

    Returns
    -------
    dict of str to NDArray
        Magnitudes of the differences by metric, one a mixture; those without a score in both decodes are left out.

    Raises
    ------
    InputError
        If there are not as many latents, or known scores, as mixtures, or none, or the seeds are equal.
    """
    if not mixtures or len(latents) != len(mixtures):
        raise InputError(f"{len(latents)} latents and {len(mixtures)} mixtures; give one of each for every example.")
    if scores and len(scores) != len(mixtures):
        raise InputError(f"{len(scores)} mixtures have known scores, of {len(mixtures)}; give those of each or none.")
    if seeds[0] == seeds[1]:
        raise InputError(f"Both decodes would carry the message of seed {seeds[0]}; give two different seeds.")
    moved: dict[str, list[float]] = {metric: [] for metric in metrics}
    for place, (latent, mixture) in enumerate(zip(latents, mixtures, strict=True)):
        state = torch.from_numpy(np.asarray(latent, dtype=np.float32))[None].to(model.proj.weight.device)
        waves = tuple(decode(model, state, seeds=[seed])[0][0].cpu().numpy() for seed in seeds)
        known = scores[place] if scores else {}
        if known.keys() >= set(metrics) and np.array_equal(waves[0], waves[1]):
            first = second = {metric: known[metric].value for metric in metrics}
        else:
            first, second = (_score(wave, mixture.at(model.sample_rate), metrics=metrics) for wave in waves)
        for metric in metrics:
            difference = abs(first[metric] - second[metric])
            if np.isfinite(difference):
                moved[metric].append(difference)
    return {metric: np.asarray(values, dtype=np.float64) for metric, values in moved.items()}


def _score(wave: NDArray[np.float32], mixture: Mixture, *, metrics: Sequence[str]) -> dict[str, float]:
    scores = measure(
        wave[: mixture.target.size],
        target=mixture.target,
        residual=mixture.residual,
        wave=mixture.wave,
        sample_rate=mixture.sample_rate,
        metrics=metrics,
    )
    return {name: score.value for name, score in scores.items()}
