"""Windows: how a wave is cut, that joining loses nothing, and that what overlaps agrees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_lsac import windows
from sam_lsac.errors import InputError
from sam_lsac.mixtures.audio import resample
from sam_lsac.separate import Separation, separate
from sam_lsac.solver import Euler
from sam_lsac.windows import plan_windows, separate_windows
from tests import tiny_runs

RATE, HOP = tiny_runs.RATE, tiny_runs.HOP
WINDOW = 8 * HOP / RATE  # seconds
OVERLAP = 2 * HOP / RATE


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).normal(0.0, 0.1, n_samples)


def run(model, wave, *, sample_rate=RATE, block=1000, **changes):
    """All of target and residual, [N, 2], and the parts they came in."""
    blocks = (wave[start : start + block] for start in range(0, len(wave), block))
    options = {"prompt": "dog", "solver": Euler(2), "window_s": WINDOW, "overlap_s": OVERLAP} | changes
    n_samples = options.pop("n_samples", len(wave))
    parts = list(separate_windows(model, blocks, n_samples=n_samples, sample_rate=sample_rate, **options))
    return np.concatenate([np.stack([part.target, part.residual], axis=1) for part in parts]), parts


@pytest.fixture
def answer(monkeypatch):
    """Replace the separation of a window by a function of (index, wave); keeps what each was asked."""

    def replace(function):
        asked = []

        def fake(model, wave, **options):
            asked.append(options | {"n_samples": len(wave)})
            target, residual = function(len(asked) - 1, wave)
            return Separation(target=target, residual=residual, sample_rate=options["sample_rate"])

        monkeypatch.setattr(windows, "separate", fake)
        return asked

    return replace


class TestPlan:
    @given(st.integers(1, 5000), st.integers(2, 40), st.integers(1, 20), st.sampled_from([1, 3, 16]))
    def test_windows_cover_the_wave_and_share_at_least_the_overlap(self, n_samples, length, overlap, hop):
        length, overlap = length * hop, min(overlap, length // 2) * hop
        plan = plan_windows(n_samples, length=length, overlap=overlap, hop=hop)
        assert plan[0].start == 0
        assert plan[-1].stop == n_samples
        assert all(window.start % hop == 0 and window.stop - window.start <= length for window in plan)
        assert all(a.start < b.start and a.stop - b.start >= overlap for a, b in pairwise(plan))

    @given(st.integers(101, 5000))
    def test_the_last_window_is_no_short_rest(self, n_samples):
        last = plan_windows(n_samples, length=100, overlap=10, hop=5)[-1]
        assert last.stop - last.start > 95

    def test_a_short_wave_is_one_window(self):
        assert plan_windows(100, length=100, overlap=10) == (windows.Window(start=0, stop=100),)

    @pytest.mark.parametrize(("length", "overlap"), [(100, 0), (100, 56), (3, 1), (0, 0), (-100, 10)])
    def test_an_impossible_overlap_is_an_error(self, length, overlap):
        with pytest.raises(InputError, match=r"at least a codec frame \(4 samples\) and at most half of a window; use"):
            plan_windows(1000, length=length, overlap=overlap, hop=4)


class TestJoining:
    @given(n_samples=st.integers(RATE // 10, 12 * HOP * 3), block=st.integers(100, 5000))
    def test_windows_that_agree_give_the_whole_wave(self, n_samples, block):
        wave = noise(n_samples)
        with pytest.MonkeyPatch.context() as patch:

            def split(model, wave, **_):
                return Separation(target=wave / 4, residual=wave * 3 / 4, sample_rate=RATE)

            patch.setattr(windows, "separate", split)
            found, _ = run(tiny_runs.model(), wave, block=block)
        np.testing.assert_allclose(found, np.stack([wave / 4, wave * 3 / 4], axis=1), atol=1e-7)

    @pytest.mark.parametrize("sample_rate", [7350, 8000, 16000, 44100, 48000, 96000])
    @pytest.mark.parametrize("n_samples", [4410, 4411, 20000, 44103])
    def test_the_length_is_exact_at_any_rate(self, model, answer, sample_rate, n_samples):
        answer(lambda _, wave: (wave, 0 * wave))
        wave = resample(noise(n_samples), 6000, sample_rate)[:n_samples]
        found, _ = run(model, wave, sample_rate=sample_rate)
        assert len(found) == len(wave)
        there = resample(resample(wave, sample_rate, RATE), RATE, sample_rate)
        inside = slice(200, len(wave) - 200)  # streams and one piece differ at the ends
        np.testing.assert_allclose(found[inside, 0], there[: len(wave)][inside], atol=2e-3)

    def test_between_windows_that_differ_there_is_no_step(self, model, answer):
        answer(lambda index, wave: (np.full(wave.size, float(index % 2)), np.zeros(wave.size)))
        found, _ = run(model, noise(40 * HOP))
        assert set(np.round(found[:, 0], 6)) > {0.0, 1.0}
        assert found[7 * HOP - 1 : 7 * HOP + 1, 0].mean() == pytest.approx(0.5)
        assert found[6 * HOP + HOP // 2, 0] == pytest.approx(np.sin(np.pi / 8) ** 2, abs=0.01)
        assert np.abs(np.diff(found[:, 0])).max() < 1.6 / (2 * HOP)  # the steepest slope of a squared sine is pi / 2

    def test_a_part_comes_out_as_soon_as_it_is_certain(self, model):
        taken = 0

        def blocks():
            nonlocal taken
            for _ in range(40):
                taken += 1
                yield noise(HOP)

        stream = separate_windows(
            model,
            blocks(),
            n_samples=40 * HOP,
            sample_rate=RATE,
            prompt="dog",
            solver=Euler(1),
            window_s=WINDOW,
            overlap_s=OVERLAP,
        )
        part = next(stream)
        assert (taken, len(part.target)) == (8, 6 * HOP)
        next(stream)
        assert taken == 14

    @pytest.mark.parametrize("n_samples", [16 * HOP - 1, 16 * HOP + 1])
    def test_blocks_of_another_length_are_an_error(self, model, answer, n_samples):
        answer(lambda _, wave: (wave, wave))
        with pytest.raises(InputError, match="give the number of all samples"):
            run(model, noise(16 * HOP), n_samples=n_samples)


class TestWindows:
    def test_one_window_is_what_separate_gives(self, model):
        wave = noise(7 * HOP - 3)
        whole = separate(model, wave, sample_rate=RATE, prompt="dog", solver=Euler(2), seed=5)
        found, parts = run(model, wave, seed=5)
        assert len(parts) == 1
        np.testing.assert_array_equal(found, np.stack([whole.target, whole.residual], axis=1))

    def test_a_silent_window_is_silent_in_both_and_not_solved(self, model, answer):
        asked = answer(lambda _, wave: (wave, wave))
        wave = noise(20 * HOP)
        wave[: 8 * HOP] = 0.0
        found, _ = run(model, wave)
        assert not found[: 6 * HOP].any()
        assert len(asked) == 2

    def test_spans_are_cut_to_their_windows(self, model, answer):
        asked = answer(lambda _, wave: (wave, wave))
        second = HOP / RATE
        run(model, noise(26 * HOP), spans=[("+", 0.0, 7 * second), ("-", 20 * second, 22 * second)])
        spans = [one["spans"] for one in asked]  # windows start at the frames 0, 6, 12, 18
        assert [[sign for sign, *_ in one] if one else None for one in spans] == [["+"], ["+"], None, ["-"]]
        np.testing.assert_allclose([one[0][1:] for one in spans if one], np.array([[0, 7], [0, 1], [2, 4]]) * second)

    def test_noise_belongs_to_the_place_in_the_wave(self, model, answer):
        asked = answer(lambda _, wave: (wave, wave))
        run(model, noise(20 * HOP), seed=3)
        first, second, _ = (one["noise"] for one in asked)
        assert (first[6:] == second[:2]).all()
        assert not (first[:2] == second[:2]).any()
        run(model, noise(20 * HOP), seed=4)
        assert not (asked[3]["noise"] == first).any()

    def test_a_request_is_checked_before_anything_is_read(self, model):
        def blocks():
            raise AssertionError
            yield

        options = {"n_samples": RATE, "sample_rate": RATE, "window_s": WINDOW, "overlap_s": OVERLAP}
        with pytest.raises(InputError, match="names nothing"):
            next(separate_windows(model, blocks(), prompt=" ", **options))
        with pytest.raises(InputError, match="end of the wave"):
            next(separate_windows(model, blocks(), prompt="dog", spans=[("+", 0.5, 1.5)], **options))
