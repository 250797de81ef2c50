"""SI-SNR and its improvement over the mixture.

References
----------
Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, eq. 4 (with the means removed).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from sam_lsac.metrics._waves import Wave, decibel, peak, scored, unit, unscored, waves_of
from sam_lsac.metrics.score import Score

__all__ = ["UNBOUNDED_SI_SNR", "si_snr", "si_snr_improvement"]

UNBOUNDED_SI_SNR = "SI-SNR is unbounded: the estimate is the reference at some level, to the rounding of float32"
#: Power of the rounding of a scaled copy, over the power of the copy, its mean included. A sample that is rounded to
#: the 24 bits of float32 moves by at most 2 ** -24 of itself, so the error's power is at most 2 ** -48 (-144.5 dB) of
#: the wave's, for any wave, scale and length, and removing the mean and projecting only take off more. Noise and speech
#: stay 8 dB below that (the mean square of rounding, 2 ** -46 / 12, over that of a mantissa), and 5 dB where estimate
#: and reference are both rounded. So no scaled copy has a figure, and an error above rounding, up to 144 dB, has one.
COPY_ERROR = 2.0**-48


def si_snr(estimate: ArrayLike, reference: ArrayLike) -> Score:
    """Return the scale-invariant signal-to-noise ratio of an estimate.

    Parameters
    ----------
    estimate, reference
        [N], waves of equal length; any scale.

    Returns
    -------
    Score
        In dB. NaN with the reason where either is silent or not finite, or the ratio is unbounded: what differs is no
        more than what rounding a scaled copy to float32 gives.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.
    """
    waves = waves_of(estimate=estimate, reference=reference)
    if none := unscored(waves):
        return none
    s_hat, s = (unit(wave) for wave in waves.values())
    projection = (s_hat @ s) * s
    error = s_hat - projection
    if error @ error <= COPY_ERROR * max(_power_over_variance(wave) for wave in waves.values()):
        return Score(math.nan, UNBOUNDED_SI_SNR)
    return scored(decibel(float(projection @ projection), float(error @ error)), "SI-SNR")


def si_snr_improvement(estimate: ArrayLike, reference: ArrayLike, *, mixture: ArrayLike) -> Score:
    """Return the SI-SNR in dB of `estimate` [N] less that of the unprocessed `mixture` [N]; see `si_snr`."""
    after, before = si_snr(estimate, reference), si_snr(mixture, reference)
    if after.reason:
        return after
    if before.reason:
        return Score(math.nan, f"of the mixture: {before.reason}")
    return Score(after.value - before.value)


def _power_over_variance(wave: Wave) -> float:
    """Return by how much the mean adds to a wave's power: rounding sees it, and SI-SNR does not."""
    return float(np.mean(np.square(peak(wave))) / np.var(peak(wave)))
