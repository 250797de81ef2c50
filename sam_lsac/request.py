"""What a separation is asked for: wave, rate, prompt, spans, seed or noise, each refused where it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.mixtures.mixture import is_prompt

__all__ = ["check_request", "check_seed", "checked_noise", "checked_rate", "checked_wave"]

SHORTEST_S = 0.1
LOWEST_RATE_HZ = 1000  # below it, what was given is most likely in kilohertz
LOUDEST = float(np.finfo(np.float32).max)  # of what the model can be given at all
SILENCE_RMS = 1e-8  # of full scale; the metrics' own threshold

Span = tuple[str, float, float]


def checked_rate(sample_rate: int) -> int:
    """Return a rate as Python's own number; InputError where it is no whole number of hertz, from `LOWEST_RATE_HZ`."""
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer) or sample_rate < LOWEST_RATE_HZ:
        raise InputError(
            f"sample_rate = {sample_rate!r} is not a rate of audio; give the wave's own in hertz, a whole number such "
            "as 16000."
        )
    return int(sample_rate)


def checked_wave(wave: ArrayLike | Tensor, sample_rate: int) -> NDArray[np.float64]:
    """Return the samples of a wave, [N]; InputError where it is not one channel in which something sounds."""
    try:
        if isinstance(wave, Tensor):
            given = (wave.double() if wave.is_floating_point() else wave).detach().cpu().numpy()
        else:
            given = np.asarray(wave)
    except (TypeError, ValueError, RuntimeError) as error:  # sparse, ragged, of a type that NumPy does not have
        raise InputError(f"The wave cannot be read as an array ({error}); give one channel of numbers, [N].") from error
    if given.ndim != 1:
        raise InputError(
            f"The wave must be one channel, [N], but has the shape {list(given.shape)}; select a channel or average "
            "them."
        )
    if given.dtype.kind != "f":
        raise InputError(f"The wave holds {given.dtype}; give floating point with full scale at 1 (int16: / 32768).")
    samples = given.astype(np.float64)
    if not samples.size:
        raise InputError("The wave is empty; give at least 0.1 s of audio.")
    if samples.size < SHORTEST_S * sample_rate:
        raise InputError(
            f"The wave lasts {samples.size / sample_rate:.3g} s; give at least {SHORTEST_S} s, and the wave's own rate "
            f"in hertz ({sample_rate} was given)."
        )
    if not np.isfinite(samples).all():
        raise InputError("The wave holds NaN or infinite samples; repair them or cut them out.")
    if np.abs(samples).max() > LOUDEST:
        raise InputError("The wave is far too loud: full scale is 1; divide the samples by their largest magnitude.")
    if samples.std() < SILENCE_RMS:
        raise InputError("The wave is silent; there is nothing to separate. Give one in which something sounds.")
    return samples


def checked_noise(noise: Tensor | NDArray[np.floating[Any]]) -> Tensor:
    """Return noise as a tensor of 32 bits; InputError where it is no dense floating-point one."""
    if isinstance(noise, np.ndarray) and noise.dtype.kind == "f":
        noise = torch.from_numpy(noise.astype(np.float32))
    if not isinstance(noise, Tensor) or not noise.is_floating_point() or noise.layout != torch.strided:
        raise InputError(
            f"noise is a {getattr(noise, 'dtype', type(noise).__name__)}, and must be a dense floating-point tensor or "
            "array; give one as draw_noise does."
        )
    return noise.detach().float()


def check_request(prompt: str, spans: Sequence[Span] | None, *, duration_s: float) -> None:
    """Raise InputError where the prompt names nothing or a span does not lie within the wave."""
    if not is_prompt(prompt):
        raise InputError(
            f"The prompt {prompt!r:.80} names nothing, or holds what is no letter; give a lower-case noun and verb, "
            "such as 'man speaking'."
        )
    if spans is not None and not isinstance(spans, Sequence):
        raise InputError(f'spans = {spans!r:.80} is no list; give one such as [("+", 0.5, 1.2)].')
    for span in spans or ():
        try:
            sign, start_s, end_s = span
            valid = sign in ("+", "-") and 0 <= start_s < end_s <= duration_s + 1e-6
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise InputError(
                f'Span {span!r} must be ("+" or "-", start, end) in seconds, 0 <= start < end <= {duration_s:.3f}, the '
                "end of the wave; correct it or leave it out."
            )


def check_seed(seed: int | np.integer[Any]) -> int:
    """Return a seed as Python's own number; InputError where it is no whole number from 0 to 2 ** 63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"A seed is a whole number from 0 to 2 ** 63 - 1, not {seed!r}; give one such as 0.")
    return int(seed)
