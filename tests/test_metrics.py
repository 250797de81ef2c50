"""Laws of the metrics: known ratios, invariances, the true projection, and one rule for what cannot be scored."""

import math

import numpy as np
import pesq as pesq_package
import pystoi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from sam_lsac.errors import InputError
from sam_lsac.metrics import (
    METRICS,
    Score,
    column,
    compare,
    fidelity,
    log_spectral_distance,
    measure,
    sar,
    si_snr,
)
from sam_lsac.metrics._waves import decibel
from sam_lsac.metrics.bss import FILTER_TAPS

RATE = 8000
N = 2 * RATE


def voice(seed, *, n=N):
    """Return noise with a syllable rhythm of 4 Hz and silent pauses: enough of speech for PESQ and STOI."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) / RATE
    return 0.1 * rng.standard_normal(n) * (0.05 + np.clip(np.sin(2 * np.pi * 4 * time + seed), 0, None))


def orthogonal(noise, *signals):
    """Return `noise` with zero mean and no component along the zero-mean signals."""
    basis, _ = np.linalg.qr(np.stack([np.ones_like(noise), *signals], axis=1))
    return noise - basis @ (basis.T @ noise)


def at_ratio(signal, noise, ratio_db):
    """Return the noise scaled to `ratio_db` below the zero-mean signal."""
    centred = signal - signal.mean()
    return noise * np.linalg.norm(centred) / np.linalg.norm(noise) * 10 ** (-ratio_db / 20)


@pytest.fixture(scope="module")
def sources():
    return voice(1), voice(2)


# ------------------------------------------------------------------------------------------------------------ SI-SNR


@pytest.mark.parametrize("ratio_db", [-20.0, -3.0, 0.0, 7.5, 30.0, 60.0])
def test_si_snr_of_orthogonal_noise_is_the_ratio_it_was_mixed_at(sources, ratio_db):
    target, _ = sources
    noise = at_ratio(target, orthogonal(np.random.default_rng(0).standard_normal(N), target), ratio_db)
    assert si_snr(target + noise, target).value == pytest.approx(ratio_db, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(1e-4, 1e4),
    other=st.floats(1e-4, 1e4),
    sign=st.sampled_from([-1.0, 1.0]),
    offset=st.floats(-1.0, 1.0),
)
def test_si_snr_ignores_scale_sign_and_offset(scale, other, sign, offset):
    target, noise = voice(3, n=2000), voice(4, n=2000)
    plain = si_snr(target + 0.3 * noise, target).value
    changed = si_snr(sign * scale * (target + 0.3 * noise) + scale * offset * 0.1, other * target).value
    assert changed == pytest.approx(plain, abs=1e-5)


def test_si_snr_falls_with_noise_and_rises_with_separation(sources):
    target, residual = sources
    values = [si_snr(target + level * residual, target).value for level in (0.01, 0.1, 1.0, 10.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[1] == pytest.approx(20.0, abs=0.5)


def test_si_snr_is_not_symmetric_in_its_arguments_only_by_rounding(sources):
    """SI-SNR depends on the angle alone, so exchanging the arguments changes nothing: the order is checked by SAR."""
    target, residual = sources
    assert si_snr(target + residual, target).value == pytest.approx(si_snr(target, target + residual).value, abs=1e-9)


def test_improvement_is_zero_for_the_mixture_and_positive_for_a_better_estimate(sources):
    target, residual = sources
    wave = target + residual
    scores = {
        level: measure(
            target + level * residual, target=target, residual=residual, sample_rate=RATE, metrics=["si_snri"]
        )
        for level in (0.1, 1.0, 3.0)
    }
    assert scores[1.0]["si_snri"].value == pytest.approx(0.0, abs=1e-9)
    assert scores[0.1]["si_snri"].value > 15 > 0 > scores[3.0]["si_snri"].value
    given_wave = measure(wave, target=target, residual=residual, wave=0.5 * wave, sample_rate=RATE, metrics=["si_snri"])
    assert given_wave["si_snri"].value == pytest.approx(0.0, abs=1e-9)


def test_exchanged_sources_exchange_the_scores(sources):
    """Scoring is per target, without a search for the best permutation: a swapped output scores badly."""
    target, residual = sources
    good, swapped = target + 0.1 * residual, residual + 0.1 * target
    assert si_snr(good, target).value > 15 > -15 > si_snr(swapped, target).value
    assert si_snr(swapped, residual).value > 15


@pytest.mark.parametrize("power", [1e-6, 1.0, 300.0])
def test_a_ratio_is_unbounded_where_one_side_is_rounding(power):
    """In double precision, whatever the level."""
    eps = np.finfo(np.float64).eps
    assert (decibel(power, 0.9 * eps**2 * power), decibel(0.9 * eps**2 * power, power)) == (math.inf, -math.inf)
    below = decibel(power, 1.1 * eps**2 * power)
    assert below == pytest.approx(-10 * math.log10(1.1 * eps**2)) == -decibel(1.1 * eps**2 * power, power)


# --------------------------------------------------------------------------------------------------- a scaled copy


def tones():
    """Two tones: few mantissas, so that rounding is not spread evenly."""
    time = np.arange(N) / RATE
    return 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 1234.5 * time)


SIGNALS = {
    "voice": voice(1),
    "tones": tones(),
    "voice with an offset": voice(1) + 0.5,
    "impulses": np.where(np.arange(N) % 97 == 0, 0.7, 0.0) * voice(3),
    "quiet voice": 1e-4 * voice(4),
    "square wave": np.where(np.arange(N) % 100 < 50, 1 / 3, -1 / 7),
    "short": voice(5, n=40),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_scaled_copy_is_unbounded_at_any_scale(name):
    """Whatever is rounded to float32: the copy alone, or the reference too."""
    wave = SIGNALS[name]
    reference = wave.astype(np.float32)
    for scale in (*np.geomspace(1e-2, 1e3, 41), 1.0, -1.0, 2.0, 1 / 3):
        for copy in (scale * reference.astype(np.float64), np.float32(scale) * reference, (scale * wave).astype("f4")):
            for score in (si_snr(copy, reference), si_snr(reference, copy)):
                assert math.isnan(score.value), (scale, score)
                assert str(score.reason).startswith("SI-SNR is unbounded")
                assert not score.failed


def test_a_wave_is_rounded_with_its_mean_whichever_of_the_two_has_it():
    """Beside an offset of 8 the rounding of float32 is 100 dB below the voice, and still no error."""
    plain = voice(1) - voice(1).mean()
    raised = (plain + 8.0).astype(np.float32)
    for score in (si_snr(raised, plain), si_snr(plain, raised)):
        assert str(score.reason).startswith("SI-SNR is unbounded")


@pytest.mark.parametrize("ratio_db", [100.0, 120.0, 130.0, 140.0, 143.0])
@pytest.mark.parametrize("name", ["voice", "tones", "quiet voice"])
def test_an_error_above_rounding_has_its_figure(name, ratio_db):
    wave = SIGNALS[name] - SIGNALS[name].mean()
    noise = at_ratio(wave, orthogonal(np.random.default_rng(12).standard_normal(N), wave), ratio_db)
    for scale in (0.1, 1.0, -7.7):
        assert si_snr(scale * (wave + noise), wave).value == pytest.approx(ratio_db, abs=1e-3)


def test_one_bit_of_one_sample_of_16_bits_has_its_figure():
    """The least that a recording can differ by is no rounding of float32."""
    whole = np.round(voice(1) * 2**15)
    changed = whole.copy()
    changed[100] += 1
    assert si_snr(changed / 2**15, whole / 2**15).value == pytest.approx(10 * math.log10(np.sum(whole**2)), abs=0.01)


# ------------------------------------------------------------------------------------------- against another output


def test_fidelity_is_the_si_snr_against_the_other_output(sources):
    target, residual = sources
    noise = at_ratio(target, orthogonal(residual, target), 42.0)
    assert fidelity(0.5 * (target + noise), target).value == pytest.approx(42.0, abs=1e-6)
    equal = fidelity(target, target)
    assert math.isnan(equal.value)
    assert "unbounded" in equal.reason
    assert not equal.failed


@pytest.mark.parametrize("gain_db", [-20.0, -3.0, 0.0, 6.0])
def test_a_difference_of_level_is_a_spectral_distance_of_as_many_decibels(gain_db):
    wave = np.random.default_rng(13).standard_normal(N)
    found = log_spectral_distance(10 ** (gain_db / 20) * wave, wave).value
    assert found == pytest.approx(abs(gain_db), abs=0.02)  # the last frames are mostly padding


def test_spectral_distance_of_bands_is_the_root_of_their_mean_square():
    """Half of the band is 6 dB louder: the root of the mean of 0 and 6 dB squared."""
    wave = np.random.default_rng(14).standard_normal(N)
    louder = np.fft.irfft(np.fft.rfft(wave) * np.where(np.arange(N // 2 + 1) < N // 4, 2.0, 1.0), N)
    assert log_spectral_distance(louder, wave).value == pytest.approx(20 * math.log10(2) / math.sqrt(2), rel=0.02)


def test_spectral_distance_looks_at_every_sample_and_at_the_three_resolutions(sources):
    target, _ = sources
    for place in (3, N // 2, N - 3):
        changed = target.copy()
        changed[place] += 0.5
        assert log_spectral_distance(changed, target).value > 0.01
    assert log_spectral_distance(target, target).value == 0.0
    by_hand = []
    for size in (512, 1024, 2048):
        levels = []
        for wave in (sources[1], target):
            padded = np.pad(wave / np.abs(target).max(), size)
            *_, spectra = signal.stft(padded, window="hann", nperseg=size, noverlap=3 * size // 4, boundary=None)
            power = np.abs(spectra * signal.get_window("hann", size).sum()) ** 2
            levels.append(10 * np.log10(np.maximum(power, 1e-7)))
        first = 2  # frames of padding alone
        inner = slice(first, first + 1 + -(-N * 4 // size))
        by_hand.append(np.sqrt(((levels[0] - levels[1]) ** 2).mean(axis=0))[inner].mean())
    assert log_spectral_distance(sources[1], target).value == pytest.approx(np.mean(by_hand), rel=1e-9)


def test_spectral_distance_of_silence_between_sounds_is_finite_and_small():
    """Bins in which both are empty are no distance, whatever the rounding."""
    wave = np.where(np.arange(N) < N // 2, voice(1), 0.0)
    assert log_spectral_distance(wave + 1e-9 * voice(2), wave).value < 0.01


def test_columns_of_comparisons_are_named_by_the_arm():
    shown = column("fidelity/baseline")
    assert (shown.label, shown.unit, shown.higher_is_better) == ("Fidelity to baseline", "dB", True)
    shown = column("log_spectral_distance/baseline-midpoint")
    assert (shown.unit, shown.higher_is_better) == ("dB", False)
    for wrong in ("fidelity", "fidelity/", "fidelty/baseline"):
        with pytest.raises(InputError, match="did you mean"):
            column(wrong)


# ---------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(("bad", "failed"), [("estimate", True), ("target", False)])
@pytest.mark.parametrize("how", [0.0, math.nan, math.inf])
def test_an_estimate_without_a_figure_has_failed_and_a_reference_without_one_has_not(sources, bad, failed, how):
    waves = {"estimate": sources[0] + sources[1], "target": sources[0], "residual": sources[1]}
    waves[bad] = how * np.ones(N) if how == 0.0 else np.where(np.arange(N) == 9, how, waves[bad])
    found = measure(waves.pop("estimate"), **waves, sample_rate=RATE, metrics=tuple(METRICS))
    assert {name: (math.isnan(one.value), one.failed) for name, one in found.items()} == dict.fromkeys(
        METRICS, (True, failed)
    )


@pytest.mark.parametrize("how", [0.0, math.nan, math.inf])
def test_a_failed_output_has_failed_in_every_comparison(sources, how):
    bad = how * np.ones(N) if how == 0.0 else np.where(np.arange(N) == 9, how, sources[0])
    assert [one.failed for one in compare(bad, sources[0]).values()] == [True, True]
    assert [(math.isnan(one.value), one.failed) for one in compare(sources[0], bad).values()] == [(True, False)] * 2


def test_what_is_too_short_unbounded_or_without_speech_has_not_failed(sources):
    target, residual = sources
    cases = [(target, target, residual), (target[:400], target[:400] + residual[:400], residual[:400])]
    for estimate, true, rest in cases:
        found = measure(estimate, target=true, residual=rest, sample_rate=RATE, metrics=tuple(METRICS))
        assert any(math.isnan(one.value) for one in found.values())
        assert not any(one.failed for one in found.values())


def test_a_silent_mixture_is_no_failure_of_the_estimate(sources):
    target, residual = sources
    found = measure(
        target + 0.1 * residual,
        target=target,
        residual=residual,
        wave=0 * target,
        sample_rate=RATE,
        metrics=["si_snri"],
    )["si_snri"]
    assert (math.isnan(found.value), found.failed) == (True, False)


# --------------------------------------------------------------------------------------------------------------- SAR


def projected_sar(estimate, target, residual):
    """Return SAR by writing the projection on all delayed copies of both sources out as a least-squares problem."""
    n = estimate.size + FILTER_TAPS - 1
    copies = [np.pad(source, (d, n - d - source.size)) for source in (target, residual) for d in range(FILTER_TAPS)]
    columns = np.stack(copies, axis=1)
    padded = np.pad(estimate, (0, FILTER_TAPS - 1))
    explained = columns @ np.linalg.lstsq(columns, padded, rcond=None)[0]
    return 10 * np.log10(np.sum(explained**2) / np.sum((padded - explained) ** 2))


def test_sar_is_the_projection_on_both_true_sources():
    rng = np.random.default_rng(5)
    target, residual, noise = rng.standard_normal((3, 3000))
    estimate = np.convolve(target, [0.9, 0.3, -0.2])[:3000] + 0.4 * residual + 0.2 * noise
    assert sar(estimate, target, residual=residual).value == pytest.approx(
        projected_sar(estimate, target, residual), abs=1e-4
    )


def test_sar_is_near_the_ratio_of_artefacts_and_ignores_interference():
    rng = np.random.default_rng(6)
    target, residual, noise = rng.standard_normal((3, 4 * N))
    expected = -10 * math.log10(1 - 2 * FILTER_TAPS / (4 * N))  # the share of white artefacts that the filters explain
    for leak in (0.0, 0.5, 5.0):
        estimate = target + leak * residual
        estimate = estimate + at_ratio(estimate, noise, 20.0)
        assert sar(estimate, target, residual=residual).value == pytest.approx(20.0 + expected, abs=0.15)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1.0, 1.0]))
def test_sar_ignores_scale_sign_and_the_order_of_the_sources(scale, sign):
    target, residual, noise = voice(7, n=3000), voice(8, n=3000), voice(9, n=3000)
    estimate = target + 0.2 * residual + 0.05 * noise
    plain = sar(estimate, target, residual=residual).value
    assert sar(sign * scale * estimate, residual, residual=scale * target).value == pytest.approx(plain, abs=1e-4)


def test_sar_repeats_on_band_limited_waves():
    """A nearly singular system must not turn rounding into decibels."""
    rng = np.random.default_rng(10)

    def low(wave):
        spectrum = np.fft.rfft(wave)
        spectrum[spectrum.size // 4 :] = 0.0
        return np.fft.irfft(spectrum, wave.size)

    target, residual, noise = (low(wave) for wave in rng.standard_normal((3, N)))
    estimate = target + 0.1 * residual + 0.05 * noise
    first = sar(estimate, target, residual=residual).value
    again = sar(estimate, target * (1 + 1e-12 * rng.standard_normal(N)), residual=residual).value
    assert again == pytest.approx(first, abs=1e-4)
    assert sar(estimate, target, residual=residual).value == first


# -------------------------------------------------------------------------------------------------------- STOI, PESQ


def score(name, estimate, sources, *, rate=RATE):
    target, residual = sources
    return measure(estimate, target=target, residual=residual, sample_rate=rate, metrics=[name])[name]


def test_stoi_is_pystoi_with_the_clean_signal_first(sources):
    target, residual = sources
    estimate = target + 0.5 * residual
    assert score("stoi", estimate, sources).value == pytest.approx(pystoi.stoi(target, estimate, RATE), abs=1e-9)
    assert score("stoi", target, sources).value == pytest.approx(1.0)
    assert score("stoi", estimate, sources).value != pytest.approx(pystoi.stoi(estimate, target, RATE), abs=1e-4)


@pytest.mark.parametrize(("rate", "mode", "best"), [(8000, "nb", 4.549), (16000, "wb", 4.644)])
def test_pesq_is_narrow_band_at_8_khz_and_wide_band_at_16_khz(sources, rate, mode, best):
    target, residual = sources
    estimate = target + 0.2 * residual
    direct = pesq_package.pesq(rate, target / np.abs(target).max(), estimate / np.abs(estimate).max(), mode)
    assert score("pesq", estimate, sources, rate=rate).value == pytest.approx(direct, abs=1e-6)
    assert score("pesq", target, sources, rate=rate).value == pytest.approx(best, abs=2e-3)
    swapped = pesq_package.pesq(rate, estimate / np.abs(estimate).max(), target / np.abs(target).max(), mode)
    assert swapped != pytest.approx(direct, abs=1e-3)


def test_pesq_of_another_rate_is_wide_band_after_resampling(sources):
    target, residual = (np.repeat(wave, 4) for wave in sources)
    value = score("pesq", target + 0.01 * residual, (target, residual), rate=32000).value
    assert 3.0 < value < 4.7


@pytest.mark.parametrize("name", ["stoi", "pesq"])
def test_semantic_metrics_fall_with_noise(sources, name):
    noise = 0.05 * np.random.default_rng(11).standard_normal(N)
    values = [score(name, sources[0] + level * noise, sources).value for level in (0.0, 0.1, 3.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.1


def test_pesq_error_value_becomes_nan_with_a_reason(sources, monkeypatch):
    monkeypatch.setattr(pesq_package, "pesq", lambda *arguments: -1)
    result = score("pesq", sources[0], sources)
    assert math.isnan(result.value)
    assert "error value -1" in str(result.reason)


# ----------------------------------------------------------------------------------------- one rule for what has none

UNUSABLE = {
    "silent estimate": (lambda t, r: (0 * t, t, r), set(METRICS)),
    "constant estimate": (lambda t, r: (0 * t + 0.5, t, r), set(METRICS)),
    "silent target": (lambda t, r: (t, 0 * t, r), set(METRICS)),
    "silent residual": (lambda t, r: (t + r, t, 0 * r), {"sar", "sar_museval", "si_snri"}),
    "NaN in the estimate": (lambda t, r: (np.where(np.arange(t.size) == 7, np.nan, t), t, r), set(METRICS)),
    "infinite target": (lambda t, r: (t, np.where(np.arange(t.size) == 7, np.inf, t), r), set(METRICS)),
    "perfect estimate": (lambda t, r: (t, t, r), {"si_snr", "si_snri", "sar", "sar_museval"}),
    "scaled perfect estimate": (lambda t, r: (-3.7 * t, t, r), {"si_snr", "si_snri", "sar", "sar_museval"}),
    "too short": (lambda t, r: (t[:400] + r[:400], t[:400], r[:400]), {"sar", "sar_museval", "stoi", "pesq"}),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_scored_is_nan_with_a_reason_and_the_rest_is_finite(sources, case):
    make, without = UNUSABLE[case]
    estimate, target, residual = make(*sources)
    result = measure(estimate, target=target, residual=residual, sample_rate=RATE, metrics=tuple(METRICS))
    assert list(result) == list(METRICS)
    for name, one in result.items():
        assert math.isnan(one.value) == (name in without), (name, one)
        assert bool(one.reason) == (name in without), (name, one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"estimate": np.ones((2, N))}, "select a channel"),
        ({"estimate": np.ones(0)}, "select a channel"),
        ({"estimate": np.ones(N, dtype=complex)}, "real samples"),
        ({"estimate": np.ones(N - 1)}, "cut or pad"),
        ({"wave": np.ones(N - 1)}, "cut or pad"),
        ({"sample_rate": 0}, "positive integer in Hz"),
        ({"sample_rate": 8000.0}, "positive integer in Hz"),
        ({"sample_rate": True}, "positive integer in Hz"),
        ({"metrics": ["si_sdr"]}, "did you mean 'si_snr'"),
    ],
)
def test_wrong_input_is_an_error_that_names_the_remedy(sources, change, words):
    target, residual = sources
    arguments = {"estimate": target, "target": target, "residual": residual, "sample_rate": RATE} | change
    with pytest.raises(InputError, match=words):
        measure(arguments.pop("estimate"), **arguments)


@pytest.mark.parametrize(
    "wrong",
    [(math.nan, None), (math.nan, ""), (1.0, "why"), (math.inf, None), (-math.inf, "x"), (1.0, None, True)],
)
def test_a_score_is_finite_or_nan_with_a_reason(wrong):
    with pytest.raises(InputError):
        Score(*wrong)


def test_float32_and_lists_are_scored_in_float64(sources):
    target, residual = sources
    estimate = (target + 0.1 * residual).astype(np.float32)
    assert si_snr(estimate, target).value == si_snr(estimate.astype(float), target).value
    assert si_snr([1.0, 2.0, 3.5], [1, 2, 3]).value == pytest.approx(10 * math.log10(75))
