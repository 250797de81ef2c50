"""SAR of BSS-eval, by fast_bss_eval and, as a second opinion, by museval.

fast_bss_eval's only dependencies are NumPy and SciPy. museval, a second implementation, gives the same figures
(tests/test_bss_eval.py: to 1e-4 dB on hard signals, but 1e-3 where the sources are nearly equal and 1e-2 where they are
band-limited), takes twice as long and pulls in decoders and readers of data sets, so it is there for those who ask. The
pairwise path of fast_bss_eval is used, in float64: the other path raises with NumPy 2, and float32 loses the system of
1,024 equations to rounding. Band-limited waves make that system nearly singular even in float64 (about 0.01 dB of
noise), so 1e-10 of each source's power is added to its diagonal: the figures then repeat to 1e-6 dB, at a cost below
that noise. An SAR above 90 dB is out of reach and counts as unbounded.

References
----------
Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 2006.
Scheibler, "SDR - medium rare with fast computations", ICASSP 2022.
"""

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fast_bss_eval.numpy as bss
import numpy as np
from numpy.typing import ArrayLike

from sam_lsac.errors import InputError
from sam_lsac.metrics._waves import Wave, decibel, peak, scored, unscored, waves_of
from sam_lsac.metrics.score import Score

__all__ = ["sar", "sar_museval"]

FILTER_TAPS = 512
DIAGONAL_LOAD = 1e-10  # of each source's power
HIGHEST_SAR_DB = 90.0  # ten times that load
UNBOUNDED_SAR = "SAR is unbounded: the estimate is a filtered mixture of the true sources"


def sar(estimate: ArrayLike, target: ArrayLike, *, residual: ArrayLike) -> Score:
    """Return the signal-to-artefacts ratio: what no 512-tap filtering of the two true sources explains.

    Parameters
    ----------
    estimate, target, residual
        [N] each, the estimate of the target, and both true sources.

    Returns
    -------
    Score
        In dB. NaN with the reason where a wave is silent, not finite or shorter than 1,024 samples, or where the
        estimate is a filtered mixture of the sources to within 90 dB.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.
    """
    waves = waves_of(estimate=estimate, target=target, residual=residual)
    if none := unscored(waves) or _too_short(waves):
        return none
    estimate_, target_, residual_ = (peak(wave) for wave in waves.values())
    _, explained = bss.square_cosine_metrics(
        np.stack([target_, residual_]),
        estimate_[None],
        filter_length=FILTER_TAPS,
        pairwise=True,
        load_diag=DIAGONAL_LOAD,
    )
    share = float(explained[0, 0])
    if 1.0 - share < 10 ** (-HIGHEST_SAR_DB / 10):
        return Score(math.nan, UNBOUNDED_SAR)
    return scored(decibel(share, 1.0 - share), "SAR")


def sar_museval(estimate: ArrayLike, target: ArrayLike, *, residual: ArrayLike) -> Score:
    """Return `sar` as museval's BSS Eval v4 computes it, as a second opinion; arguments and NaN as there.

    Raises
    ------
    InputError
        Also if museval is not installed.
    """
    bss_eval = _museval()
    waves = waves_of(estimate=estimate, target=target, residual=residual)
    if none := unscored(waves) or _too_short(waves):
        return none
    estimate_, target_, residual_ = (peak(wave) for wave in waves.values())
    sources, estimates = np.stack([target_, residual_]), np.stack([estimate_, estimate_])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2, where the system is singular
        *_, ratios, _ = bss_eval(sources[..., None], estimates[..., None], window=math.inf, hop=math.inf)
    value = float(ratios[0, 0])
    return Score(math.nan, UNBOUNDED_SAR) if value > HIGHEST_SAR_DB else scored(value, "SAR")


def _museval() -> Callable[..., Any]:
    """Load museval's arithmetic alone: its package imports a decoder that stops without an ffmpeg on the system."""
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        raise InputError("sar_museval needs museval, which is not installed: pip install 'sam-lsac[museval]'")
    path = Path(package.submodule_search_locations[0]) / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"sar_museval finds no {path}: pip install 'museval>=0.4.1'")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] = module.bss_eval
    return found


def _too_short(waves: Mapping[str, Wave]) -> Score | None:
    """Return the score of waves that are too short for SAR, else None."""
    n_samples = waves["target"].size
    if n_samples >= 2 * FILTER_TAPS:
        return None
    return Score(math.nan, f"too short for SAR: {n_samples} samples, needs {2 * FILTER_TAPS}")
