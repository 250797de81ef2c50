"""STOI and PESQ, by their libraries.

References
----------
Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech", 2011.
ITU-T P.862 (narrow-band) and P.862.2 (wide-band).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from scipy.signal import resample_poly

from sam_lsac.metrics._waves import checked_rate, peak, scored, unscored, waves_of
from sam_lsac.metrics.score import Score

__all__ = ["pesq", "stoi"]


def stoi(estimate: ArrayLike, reference: ArrayLike, *, sample_rate: int) -> Score:
    """Return STOI (about 0 to 1) of `estimate` [N] at `sample_rate` Hz; NaN with pystoi's words where it warns."""
    from pystoi import stoi as pystoi_stoi

    waves = waves_of(estimate=estimate, reference=reference)
    rate = checked_rate(sample_rate)
    if none := unscored(waves):
        return none
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = _call(pystoi_stoi, peak(waves["reference"]), peak(waves["estimate"]), rate)
    if isinstance(value, str):
        return Score(math.nan, f"pystoi: {value}")
    if caught:
        return Score(math.nan, f"pystoi: {_first_sentence(caught[0].message)}")
    return scored(value, "STOI")


def pesq(estimate: ArrayLike, reference: ArrayLike, *, sample_rate: int) -> Score:
    """Return PESQ (MOS-LQO) of `estimate` [N]: narrow-band at 8 kHz, else wide-band at 16 kHz after resampling."""
    from pesq import pesq as itu_pesq

    waves = waves_of(estimate=estimate, reference=reference)
    rate = checked_rate(sample_rate)
    if none := unscored(waves):
        return none
    estimate_, reference_ = peak(waves["estimate"]), peak(waves["reference"])
    if rate not in (8000, 16000):
        common = math.gcd(rate, 16000)
        estimate_, reference_ = (resample_poly(w, 16000 // common, rate // common) for w in (estimate_, reference_))
        rate = 16000
    value = _call(itu_pesq, rate, reference_, estimate_, "nb" if rate == 8000 else "wb")
    if isinstance(value, str):
        return Score(math.nan, f"pesq: {value}")
    return scored(value, "PESQ") if value >= 0 else Score(math.nan, f"pesq: returned its error value {value:g}")


def _call(function: Callable[..., Any], *arguments: Any) -> float | str:
    """Return the library's figure, or its complaint as text: these libraries raise on speech that they cannot use."""
    try:
        return float(function(*arguments))
    except (ValueError, RuntimeError, ArithmeticError, IndexError) as error:  # pesq: RuntimeError, and bare ValueError
        return _first_sentence(error)


def _first_sentence(complaint: object) -> str:
    text = complaint.args[0] if isinstance(complaint, BaseException) and complaint.args else complaint
    words = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"{words.split('.')[0].strip()} ({type(complaint).__name__})"
