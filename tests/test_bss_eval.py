"""SAR and SDR by two implementations, fast_bss_eval and museval, on signals that are hard for either.

They agree to 1e-4 dB, but for sources that are nearly equal (1e-3 dB) or band-limited (1e-2 dB): there the system of
equations is nearly singular, and the load on its diagonal (ours 1e-10 of the sources' power, museval's 2e-16) decides.
"""

from __future__ import annotations

import importlib.util
import math

import fast_bss_eval.numpy as fast
import numpy as np
import pytest

from sam_lsac.errors import InputError
from sam_lsac.metrics import DEFAULT_METRICS, METRICS, measure, sar, si_snr
from sam_lsac.metrics.bss import DIAGONAL_LOAD, FILTER_TAPS, _museval

RATE = 8000
N = RATE
rng = np.random.default_rng(0)
NOISE = rng.standard_normal(N)
ECHOES = rng.standard_normal(400) * np.exp(-np.arange(400) / 80)


def voice(seed: int) -> np.ndarray:
    """Noise with a syllable rhythm of 4 Hz."""
    noise = np.random.default_rng(seed).standard_normal(N)
    return 0.1 * noise * (0.05 + np.clip(np.sin(8 * np.pi * np.arange(N) / RATE + seed), 0, None))


def low(wave: np.ndarray) -> np.ndarray:
    """The lowest quarter of the band alone."""
    spectrum = np.fft.rfft(wave)
    spectrum[spectrum.size // 4 :] = 0.0
    return np.fft.irfft(spectrum, wave.size)


T, R = voice(1), voice(2)
PLAIN = T + 0.2 * R + 0.005 * NOISE
#: Estimate, target and residual, and to how many dB both implementations agree.
CASES = {
    "plain": (PLAIN, T, R, 1e-4),
    "filtered copy": (np.convolve(T, ECHOES)[:N] + 0.001 * NOISE, T, R, 1e-4),
    "copy later than the filters reach": (np.r_[np.zeros(600), T[:-600]], T, R, 1e-4),
    "swapped sources": (R + 0.1 * T + 0.001 * NOISE, T, R, 1e-4),
    "near-silent estimate": (1e-6 * PLAIN, T, R, 1e-4),
    "near-silent residual": (T + 0.01 * NOISE, T, 1e-6 * R, 1e-4),
    "correlated sources": (PLAIN, T, 0.99 * T + 0.14 * R, 1e-4),
    "nearly equal sources": (T + 0.005 * NOISE, T, T + 1e-3 * R, 1e-3),
    "band-limited sources": (low(PLAIN), low(T), low(R), 1e-2),
    "clipped": (np.clip(PLAIN, -0.1, 0.1), T, R, 1e-4),
    "turned over": (-PLAIN, T, R, 1e-4),
    "artefacts alone": (NOISE, T, R, 1e-4),
}


def museval_sdr(estimate: np.ndarray, target: np.ndarray, residual: np.ndarray, *, taps: int = FILTER_TAPS) -> float:
    sources, estimates = np.stack([target, residual]), np.stack([estimate, estimate])
    found = _museval()(
        sources[..., None],
        estimates[..., None],
        window=math.inf,
        hop=math.inf,
        filters_len=taps,
        bsseval_sources_version=True,
    )
    return float(found[0][0, 0])


@pytest.mark.parametrize("case", CASES)
def test_sar_is_that_of_museval(case: str) -> None:
    estimate, target, residual, within_db = CASES[case]

    ours = sar(estimate, target, residual=residual).value
    theirs = measure(estimate, target=target, residual=residual, sample_rate=RATE, metrics=["sar_museval"])

    assert theirs["sar_museval"].value == pytest.approx(ours, abs=within_db)


@pytest.mark.parametrize("case", CASES)
def test_sdr_of_both_libraries_agrees(case: str) -> None:
    estimate, target, residual, within_db = CASES[case]
    sources, scaled = np.stack([target, residual]), estimate / np.abs(estimate).max()

    explained, _ = fast.square_cosine_metrics(
        sources / np.abs(sources).max(axis=1, keepdims=True),
        scaled[None],
        filter_length=FILTER_TAPS,
        pairwise=True,
        load_diag=DIAGONAL_LOAD,
    )

    share = float(explained[0, 0])
    assert 10 * np.log10(share / (1 - share)) == pytest.approx(
        museval_sdr(scaled, target / np.abs(target).max(), residual / np.abs(residual).max()), abs=within_db
    )


@pytest.mark.parametrize("case", CASES)
def test_si_snr_is_the_sdr_of_one_tap(case: str) -> None:
    estimate, target, residual, _ = CASES[case]
    centred = [wave - wave.mean() for wave in (estimate, target, residual)]
    centred = [wave / np.abs(wave).max() for wave in centred]

    assert si_snr(estimate, target).value == pytest.approx(museval_sdr(*centred, taps=1), abs=1e-6)


def test_it_is_taken_only_where_it_is_asked_for() -> None:
    assert "sar_museval" in METRICS
    assert "sar_museval" not in DEFAULT_METRICS


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(InputError, match=r"museval, which is not installed: pip install 'sam-lsac\[museval\]'"):
        measure(PLAIN, target=T, residual=R, sample_rate=RATE, metrics=["sar_museval"])
