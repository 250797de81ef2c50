"""Scores of one separated source, as pure functions of (estimate, reference).

One rule holds for every metric: a score is either a finite number, or NaN together with the reason. Nothing is
clipped, replaced by a constant or left out, so that pairs are dropped in one later place, where they are counted.

===========  ====  ==============================================================================================
column       unit  meaning
===========  ====  ==============================================================================================
si_snr       dB    scale-invariant signal-to-noise ratio [1]_, both signals with zero mean
si_snri      dB    the same, less the SI-SNR of the unprocessed mixture
sar          dB    signal-to-artefacts ratio of BSS-eval [2]_ with the two true sources and 512-tap filters
stoi         1     short-time objective intelligibility [3]_, computed by pystoi
pesq         MOS   PESQ [4]_, computed by pesq: narrow-band at 8 kHz, wide-band (after resampling) at any other rate
sar_museval  dB    SAR as museval computes it; taken only where a claim names it
===========  ====  ==============================================================================================

SAR comes from fast_bss_eval, whose only dependencies are NumPy and SciPy. museval, a second implementation, gives the
same figures (tests/test_bss_eval.py: to 1e-4 dB on hard signals, but 1e-3 where the sources are nearly equal and 1e-2
where they are band-limited), takes twice as long and pulls in decoders and readers of data sets, so it is there for
those who ask. The pairwise path of fast_bss_eval is used, in float64: the other path raises with NumPy 2, and float32
loses the system of 1,024 equations to rounding. Band-limited waves make that system nearly singular even in float64
(about 0.01 dB of noise), so 1e-10 of each source's power is added to its diagonal: the figures then repeat to 1e-6 dB,
at a cost below that noise. An SAR above 90 dB is out of reach and counts as unbounded.

References
----------
.. [1] Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, eq. 4 (with the means removed).
.. [2] Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 2006;
   Scheibler, "SDR - medium rare with fast computations", ICASSP 2022.
.. [3] Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech", 2011.
.. [4] ITU-T P.862 (narrow-band) and P.862.2 (wide-band).
"""

import importlib.util
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fast_bss_eval.numpy as bss
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import resample_poly

from sam_lsac.errors import InputError
from sam_lsac.records import unknown

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "Score", "column", "measure", "sar", "si_snr"]

FILTER_TAPS = 512
DIAGONAL_LOAD = 1e-10  # of each source's power
HIGHEST_SAR_DB = 90.0  # ten times that load
UNBOUNDED_SAR = "SAR is unbounded: the estimate is a filtered mixture of the true sources"
SILENCE_RMS = 1e-8  # of full scale, after removal of the mean: -160 dB, far below any recording or codec

Wave = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one estimate.

    Parameters
    ----------
    value
        Finite, or NaN.
    reason
        Why `value` is NaN; None where it is finite.

    Raises
    ------
    InputError
        If `value` is infinite, NaN without a reason, or finite with one.
    """

    value: float
    reason: str | None = None

    def __post_init__(self) -> None:
        if math.isinf(self.value) or math.isnan(self.value) != bool(self.reason):
            raise InputError(
                f"a score is finite, or NaN with a reason; got {self.value!r} with reason {self.reason!r}: "
                "use Score(math.nan, 'why')"
            )


def si_snr(estimate: ArrayLike, reference: ArrayLike) -> Score:
    """Return the scale-invariant signal-to-noise ratio of an estimate.

    Parameters
    ----------
    estimate, reference
        [N], waves of equal length; any scale.

    Returns
    -------
    Score
        In dB. NaN with the reason where either is silent or not finite, or the ratio is unbounded.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.
    """
    waves = _waves(estimate=estimate, reference=reference)
    if reason := _unusable(waves):
        return Score(math.nan, reason)
    s_hat, s = (_unit(wave) for wave in waves.values())
    projection = (s_hat @ s) * s
    error = s_hat - projection
    return _score(_decibel(float(projection @ projection), float(error @ error)), "SI-SNR")


def si_snr_improvement(estimate: ArrayLike, reference: ArrayLike, *, mixture: ArrayLike) -> Score:
    """Return the SI-SNR in dB of `estimate` [N] less that of the unprocessed `mixture` [N]; see `si_snr`."""
    after, before = si_snr(estimate, reference), si_snr(mixture, reference)
    if after.reason:
        return after
    if before.reason:
        return Score(math.nan, f"of the mixture: {before.reason}")
    return Score(after.value - before.value)


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
    waves = _waves(estimate=estimate, target=target, residual=residual)
    if reason := _unusable(waves) or _too_short(waves):
        return Score(math.nan, reason)
    estimate_, target_, residual_ = (_peak(wave) for wave in waves.values())
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
    return _score(_decibel(share, 1.0 - share), "SAR")


def sar_museval(estimate: ArrayLike, target: ArrayLike, *, residual: ArrayLike) -> Score:
    """Return `sar` as museval's BSS Eval v4 computes it, as a second opinion; arguments and NaN as there.

    Raises
    ------
    InputError
        Also if museval is not installed.
    """
    bss_eval = _museval()
    waves = _waves(estimate=estimate, target=target, residual=residual)
    if reason := _unusable(waves) or _too_short(waves):
        return Score(math.nan, reason)
    estimate_, target_, residual_ = (_peak(wave) for wave in waves.values())
    sources, estimates = np.stack([target_, residual_]), np.stack([estimate_, estimate_])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2, where the system is singular
        *_, ratios, _ = bss_eval(sources[..., None], estimates[..., None], window=math.inf, hop=math.inf)
    value = float(ratios[0, 0])
    return Score(math.nan, UNBOUNDED_SAR) if value > HIGHEST_SAR_DB else _score(value, "SAR")


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


def stoi(estimate: ArrayLike, reference: ArrayLike, *, sample_rate: int) -> Score:
    """Return STOI (about 0 to 1) of `estimate` [N] at `sample_rate` Hz; NaN with pystoi's words where it warns."""
    from pystoi import stoi as pystoi_stoi

    waves = _waves(estimate=estimate, reference=reference)
    rate = _rate(sample_rate)
    if reason := _unusable(waves):
        return Score(math.nan, reason)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = _call(pystoi_stoi, _peak(waves["reference"]), _peak(waves["estimate"]), rate)
    if isinstance(value, str):
        return Score(math.nan, f"pystoi: {value}")
    if caught:
        return Score(math.nan, f"pystoi: {_first_sentence(caught[0].message)}")
    return _score(value, "STOI")


def pesq(estimate: ArrayLike, reference: ArrayLike, *, sample_rate: int) -> Score:
    """Return PESQ (MOS-LQO) of `estimate` [N]: narrow-band at 8 kHz, else wide-band at 16 kHz after resampling."""
    from pesq import pesq as itu_pesq

    waves = _waves(estimate=estimate, reference=reference)
    rate = _rate(sample_rate)
    if reason := _unusable(waves):
        return Score(math.nan, reason)
    estimate_, reference_ = _peak(waves["estimate"]), _peak(waves["reference"])
    if rate not in (8000, 16000):
        common = math.gcd(rate, 16000)
        estimate_, reference_ = (resample_poly(w, 16000 // common, rate // common) for w in (estimate_, reference_))
        rate = 16000
    value = _call(itu_pesq, rate, reference_, estimate_, "nb" if rate == 8000 else "wb")
    if isinstance(value, str):
        return Score(math.nan, f"pesq: {value}")
    return _score(value, "PESQ") if value >= 0 else Score(math.nan, f"pesq: returned its error value {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column of figures is, and how its figures are written.

    Parameters
    ----------
    name
        In ledgers and claims files.
    label
        As it is written in the field.
    unit
        Empty where it has none.
    higher_is_better
        Which direction is better; a loss is what goes the other way.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = True

    def text(self, value: float, *, digits: str = ".3g") -> str:
        """Return a figure with its unit."""
        return f"{value:{digits}} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Column):
    """A score of one estimate: one row of `METRICS` is all that there is to a metric.

    Parameters
    ----------
    score
        From "estimate", "target", "residual", "wave" [N] and "sample_rate" to a `Score`.
    default
        Whether it is taken of every run, or only where a claim names it.
    """

    score: Callable[[Mapping[str, Any]], Score]
    default: bool = True


def _rows(*rows: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({row.name: row for row in rows})


METRICS = _rows(
    Metric(name="si_snr", label="SI-SNR", unit="dB", score=lambda w: si_snr(w["estimate"], w["target"])),
    Metric(
        name="si_snri",
        label="SI-SNRi",
        unit="dB",
        score=lambda w: si_snr_improvement(w["estimate"], w["target"], mixture=w["wave"]),
    ),
    Metric(name="sar", label="SAR", unit="dB", score=lambda w: sar(w["estimate"], w["target"], residual=w["residual"])),
    Metric(
        name="stoi",
        label="STOI",
        score=lambda w: stoi(w["estimate"], w["target"], sample_rate=w["sample_rate"]),
    ),
    Metric(
        name="pesq",
        label="PESQ",
        unit="MOS",
        score=lambda w: pesq(w["estimate"], w["target"], sample_rate=w["sample_rate"]),
    ),
    Metric(
        name="sar_museval",
        label="SAR (museval)",
        unit="dB",
        score=lambda w: sar_museval(w["estimate"], w["target"], residual=w["residual"]),
        default=False,
    ),
)
"""The registry of metrics, by column name."""

DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.default)
"""Names of the metrics that are taken of every run."""

_PROBE = re.compile(r"(block_ratio|block_ratio_sum)/(mean|L\d\d)")
_PROBE_LABELS = {"block_ratio": "Block Ratio", "block_ratio_sum": "Block Ratio (sums)"}


def column(name: str) -> Column:
    """Return what a column of a ledger is: a metric, or a probe such as "block_ratio/L06".

    Raises
    ------
    InputError
        If there is no such column.
    """
    if name in METRICS:
        return METRICS[name]
    if found := _PROBE.fullmatch(name):
        return Column(name=name, label=f"{_PROBE_LABELS[found.group(1)]} {found.group(2)}")
    raise InputError(unknown("metric", name, (*METRICS, "block_ratio/mean", "block_ratio/L06")))


def measure(
    estimate: ArrayLike,
    *,
    target: ArrayLike,
    residual: ArrayLike,
    sample_rate: int,
    wave: ArrayLike | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Score]:
    """Return every named metric of one estimate of the target.

    Parameters
    ----------
    estimate, target, residual
        [N] each, the separated target and both true sources.
    sample_rate
        Hz.
    wave
        [N], the mixture that was separated; target + residual when None.
    metrics
        Column names, keys of `METRICS`.

    Returns
    -------
    dict of str to Score
        In the order of `metrics`.

    Raises
    ------
    InputError
        If a name is not in `METRICS`, the waves do not match, or the rate is not a positive integer.
    """
    if strangers := [name for name in metrics if name not in METRICS]:
        raise InputError(unknown("metric", strangers[0], METRICS))
    waves: dict[str, Any] = dict(_waves(estimate=estimate, target=target, residual=residual))
    waves["wave"] = waves["target"] + waves["residual"] if wave is None else wave
    waves["sample_rate"] = _rate(sample_rate)
    return {name: METRICS[name].score(waves) for name in metrics}


def _waves(**named: ArrayLike) -> dict[str, Wave]:
    """Return the waves as float64 [N], all of one length."""
    waves: dict[str, Wave] = {}
    for name, given in named.items():
        array = np.asarray(given)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu":
            raise InputError(
                f"{name} must be one channel of real samples [N], got shape {array.shape} and dtype {array.dtype}: "
                "select a channel or average them"
            )
        waves[name] = array.astype(np.float64)
    if len({wave.size for wave in waves.values()}) > 1:
        lengths = ", ".join(f"{name} {wave.size}" for name, wave in waves.items())
        raise InputError(f"waves must have one length, got {lengths} samples: cut or pad them first")
    return waves


def _rate(sample_rate: int) -> int:
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)) or sample_rate <= 0:
        raise InputError(f"sample_rate must be a positive integer in Hz, got {sample_rate!r}: round or resample first")
    return int(sample_rate)


def _unusable(waves: Mapping[str, Wave]) -> str | None:
    """Return why these waves have no score at all, or None."""
    for name, wave in waves.items():
        if not np.isfinite(wave).all():
            return f"{name} has samples that are NaN or infinite"
        if wave.std() < SILENCE_RMS:
            return f"{name} is silent"
    return None


def _too_short(waves: Mapping[str, Wave]) -> str | None:
    """Return why these waves have no SAR, or None."""
    n_samples = waves["target"].size
    return f"too short for SAR: {n_samples} samples, needs {2 * FILTER_TAPS}" if n_samples < 2 * FILTER_TAPS else None


def _unit(wave: Wave) -> Wave:
    centred: Wave = _peak(wave) - _peak(wave).mean()
    return centred / np.linalg.norm(centred)


def _peak(wave: Wave) -> Wave:
    """Scale to a peak of 1: pesq expects full scale, and no metric here depends on the level."""
    scaled: Wave = wave / np.abs(wave).max()
    return scaled


def _decibel(power: float, error_power: float) -> float:
    """Return 10 log10(power / error_power), infinite where rounding is all that is left of one of them."""
    eps = float(np.finfo(np.float64).eps)
    if error_power <= eps**2 * power:
        return math.inf
    return 10.0 * math.log10(power / error_power) if power > eps**2 * error_power else -math.inf


def _score(value: float, name: str) -> Score:
    if math.isfinite(value):
        return Score(float(value))
    what = {math.inf: "the estimate equals the reference", -math.inf: "nothing of the reference is left"}
    return Score(math.nan, f"{name} is unbounded: {what[value]}" if value in what else f"{name} is not a number")


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
