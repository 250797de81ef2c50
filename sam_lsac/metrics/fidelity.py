"""How far an output is from another one, the full solve's: in samples and in spectra.

References
----------
.. [1] Gray and Markel, "Distance measures for speech processing", IEEE TASSP 1976, eq. 4 (the log-spectral distance).
.. [2] Yamamoto, Song and Kim, "Parallel WaveGAN", ICASSP 2020, section 2.2: spectra of several resolutions, of 512,
   1,024 and 2,048 points, so that neither transients nor tones are missed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_lsac.metrics._waves import Wave, unscored, waves_of
from sam_lsac.metrics.score import Score
from sam_lsac.metrics.snr import si_snr

__all__ = ["fidelity", "log_spectral_distance"]

FFT_SIZES = (512, 1024, 2048)
OVERLAP = 4  # windows over each sample
#: Power of a bin, for a reference of peak 1, below which it counts as empty, as in [2]_'s own loss: about what the
#: rounding of 16-bit samples leaves there (2 ** -30 / 12 a sample, times the window's 384 at 1,024 points).
EMPTY = 1e-7


def fidelity(estimate: ArrayLike, reference: ArrayLike) -> Score:
    """Return the SI-SNR of an output against another one of the same mixture and noise.

    Parameters
    ----------
    estimate, reference
        [N], the output in question, and the full solve's.

    Returns
    -------
    Score
        In dB, see `si_snr`; unbounded, with the reason, where the outputs are equal.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.
    """
    return si_snr(estimate, reference)


def log_spectral_distance(estimate: ArrayLike, reference: ArrayLike) -> Score:
    """Return the log-spectral distance of an output from another one, at several resolutions.

    1. Scale both by the peak of the reference: a difference of level counts, and g dB of it are a distance of g.
    2. At each resolution take power spectra under Hann windows that overlap by three quarters, with the ends padded.
    3. Take the root mean square over frequencies of the difference in dB, and average it over frames.
    4. Average over resolutions.

    Parameters
    ----------
    estimate, reference
        [N], the output in question, and the full solve's.

    Returns
    -------
    Score
        In dB; 0 for equal waves. NaN with the reason where either is silent or not finite.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.

    References
    ----------
    [1]_ for the distance, [2]_ for the resolutions and for what counts as an empty bin.
    """
    waves = waves_of(estimate=estimate, reference=reference)
    if none := unscored(waves):
        return none
    scale = np.abs(waves["reference"]).max()
    ours, theirs = (wave / scale for wave in waves.values())
    distances = [
        np.sqrt(np.square(_levels(ours, size) - _levels(theirs, size)).mean(axis=1)).mean() for size in FFT_SIZES
    ]
    return Score(float(np.mean(distances)))


def _levels(wave: Wave, size: int) -> NDArray[np.float64]:
    """Return the spectra in dB, [frames, size // 2 + 1], of windows centred on every ``size // OVERLAP``-th sample."""
    hop = size // OVERLAP
    padded = np.pad(wave, (size // 2, size // 2 + -wave.size % hop))
    window = np.hanning(size + 1)[:-1]  # periodic
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    power = np.square(np.abs(np.fft.rfft(frames)))
    levels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, EMPTY))
    return levels
