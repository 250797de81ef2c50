"""One mixture: two sources whose sum a model is to take apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError
from sam_lsac.mixtures.audio import on_grid, resample

__all__ = ["Mixture", "is_prompt"]

Span = tuple[str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """A target and the rest, with everything that a run needs to know about them.

    Both waves are kept read-only. Mixtures made by this library lie on a grid of 2 ** -20, on which ``target +
    residual`` is exact in float32.

    Parameters
    ----------
    id
        Name within its source, such as ``clean-000``.
    tier
        ``clean``, ``noisy``, ``env``, or ``user`` for stems of the user's own.
    target, residual
        [N] each, the wanted source, and everything else, with the noise of the Noisy tier.
    sample_rate
        In Hz.
    prompt
        Lower-case noun and verb that name the target.
    residual_prompt
        The same for the other source; None where there is none to name.
    spans
        Where the target is active: ("+", start, end), in seconds.
    group
        The target's speaker or label.
    credits
        Whom to name for the recordings.
    excerpt_start_s
        Where `excerpt` starts unless told otherwise, in seconds; both sources are active there.
    residual_group
        The residual's speaker or label; empty where it is not known.

    Raises
    ------
    InputError
        If the waves differ in shape, are not finite float32, or the rate, prompt or spans cannot be used.
    """

    id: str
    tier: str
    target: NDArray[np.float32]
    residual: NDArray[np.float32]
    sample_rate: int
    prompt: str
    residual_prompt: str | None
    spans: tuple[Span, ...]
    group: str
    credits: tuple[str, ...]
    excerpt_start_s: float = 0.0
    residual_group: str = ""

    def __post_init__(self) -> None:
        _validate(self)
        for name in ("target", "residual"):
            frozen = getattr(self, name).view()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    @property
    def wave(self) -> NDArray[np.float32]:
        """The mixture, target + residual, shape [N]."""
        mixed: NDArray[np.float32] = self.target + self.residual
        return mixed

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.target.size / self.sample_rate

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that a run's outcome can depend on.

        These are the samples of both sources, the sample rate, both prompts and the spans. Names and credits are left
        out: the same audio under another name is the same mixture.
        """
        described = [self.sample_rate, self.prompt, self.residual_prompt, self.spans]
        hashed = hashlib.sha256(json.dumps(described).encode("ascii"))
        for wave in (self.target, self.residual):
            hashed.update(b"\n" + wave.astype("<f4").tobytes())
        return hashed.hexdigest()

    def excerpt(self, start_s: float | None = None, duration_s: float = 2.0) -> Mixture:
        """Cut a piece out; spans are cut and moved with it.

        Parameters
        ----------
        start_s
            In seconds; where both sources are active (`excerpt_start_s`) when None.
        duration_s
            In seconds.

        Returns
        -------
        Mixture
            ``round(duration_s * sample_rate)`` samples.

        Raises
        ------
        InputError
            If the piece does not lie within the mixture.
        """
        start_s = self.excerpt_start_s if start_s is None else start_s
        first, n_samples = round(start_s * self.sample_rate), round(duration_s * self.sample_rate)
        if start_s < 0 or n_samples < 1 or first + n_samples > self.target.size:
            raise InputError(
                f"{self.id} lasts {self.duration_s} s, so {start_s} to {start_s + duration_s} s is no part of it; "
                "choose an excerpt inside it"
            )
        cut = [wave[first : first + n_samples] for wave in (self.target, self.residual)]
        spans = _move_spans(self.spans, by_s=-first / self.sample_rate, until_s=n_samples / self.sample_rate)
        return replace(self, target=cut[0], residual=cut[1], spans=spans, excerpt_start_s=0.0)

    def at(self, sample_rate: int) -> Mixture:
        """Resample both sources; spans stay, cut to the new duration.

        Going down removes the noise above the new half rate, so the SNR of a Noisy mixture rises (by about 3 dB from
        16 to 8 kHz). Ask `load_mixtures` for the rate to have 5 dB at that rate.

        Parameters
        ----------
        sample_rate
            In Hz.

        Returns
        -------
        Mixture
            ``round(N * sample_rate / self.sample_rate)`` samples; itself where the rate is the same.

        Raises
        ------
        InputError
            If the rate is not positive.
        """
        if sample_rate < 1:
            raise InputError(f"a sample rate of {sample_rate} Hz cannot be; give a positive number, such as 16000")
        if sample_rate == self.sample_rate:
            return self
        resampled = [
            on_grid(resample(wave.astype(np.float64), self.sample_rate, sample_rate))
            for wave in (self.target, self.residual)
        ]
        spans = _move_spans(self.spans, by_s=0.0, until_s=resampled[0].size / sample_rate)
        return replace(self, target=resampled[0], residual=resampled[1], sample_rate=sample_rate, spans=spans)


def _move_spans(spans: tuple[Span, ...], *, by_s: float, until_s: float) -> tuple[Span, ...]:
    """Move spans and cut them to 0..until_s; drop those that fall outside."""
    moved = ((sign, max(0.0, round(start + by_s, 6)), min(until_s, round(end + by_s, 6))) for sign, start, end in spans)
    return tuple((sign, start, end) for sign, start, end in moved if start < end)


def is_prompt(given: object) -> bool:
    """Whether something is a text that names a sound: not empty, and without NUL and halves of surrogate pairs."""
    return isinstance(given, str) and bool(given.strip()) and _is_text(given)


def _is_text(given: str) -> bool:
    """Whether a text can be written as UTF-8 and read back by everybody."""
    return "\0" not in given and not any("\ud800" <= letter <= "\udfff" for letter in given)


def _validate(mixture: Mixture) -> None:
    """Refuse what no run could use."""
    name = mixture.id
    for wave in (mixture.target, mixture.residual):
        if (
            not isinstance(wave, np.ndarray)
            or wave.dtype != np.float32
            or wave.ndim != 1
            or wave.size == 0
            or wave.shape != mixture.target.shape
        ):
            raise InputError(
                f"{name}: target and residual must be float32 arrays of one shape [N], N > 0; convert them"
            )
        if not np.isfinite(wave).all():
            raise InputError(f"{name}: a source holds NaN or infinite samples; repair it or leave it out")
    if not 0.0 <= mixture.excerpt_start_s < float("inf"):
        raise InputError(f"{name}: an excerpt cannot start at {mixture.excerpt_start_s} s; give seconds from the start")
    if not isinstance(mixture.sample_rate, int) or mixture.sample_rate < 1:
        raise InputError(f"{name}: a sample rate of {mixture.sample_rate} Hz cannot be; give a positive number")
    texts = (mixture.id, mixture.tier, mixture.group, mixture.residual_group, *mixture.credits)
    if isinstance(mixture.credits, str) or not all(isinstance(text, str) and _is_text(text) for text in texts):
        raise InputError(f"{name}: names, groups and credits must be text, credits a tuple of it; convert them")
    for prompt in (mixture.prompt, mixture.residual_prompt):
        if prompt is not None and not is_prompt(prompt):
            raise InputError(f"{name}: a prompt is empty or no text; name the source, such as 'man speaking'")
    for span in mixture.spans if isinstance(mixture.spans, tuple) else (None,):
        sign, start, end = span if isinstance(span, tuple) and len(span) == 3 else ("", nan, nan)
        if sign not in ("+", "-") or not 0.0 <= start < end <= mixture.duration_s + 1e-6:
            raise InputError(
                f"{name}: span {span!r} is not ('+', start, end) within 0 to {mixture.duration_s} s; "
                "give seconds from the start, in order"
            )
