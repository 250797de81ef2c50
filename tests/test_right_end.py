"""Waves whose length is no multiple of the hop lose the codec's padding at the right end, wherever they are decoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam_lsac import metrics
from sam_lsac.model import SAMAudio
from sam_lsac.runs import execute, open_store, plan
from sam_lsac.runs.noise_floor import decoder_noise
from sam_lsac.separate import separate
from sam_lsac.solver import Euler
from sam_lsac.tune import tune
from sam_lsac.windows import separate_windows
from tests import tiny_runs

REST = 37
N_SAMPLES = 12 * tiny_runs.HOP + REST


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> SAMAudio:
    """A model that decodes whatever it is given to a wave that says its own position: sample n is n / 2 ** 20."""
    model = tiny_runs.model()

    def decode(latents: Tensor, message: Tensor | None = None) -> Tensor:
        n_samples = latents.size(2) * tiny_runs.HOP
        return (torch.arange(n_samples) / 2.0**20).expand(latents.size(0), 1, n_samples)

    monkeypatch.setattr(model.audio_codec, "decode", decode)
    return model


def positions(wave: np.ndarray) -> list[float]:
    return (np.asarray(wave, dtype=np.float64) * 2.0**20).tolist()


FROM_THE_START = [float(n) for n in range(N_SAMPLES)]


def test_of_one_separation(ramp: SAMAudio) -> None:
    wave = tiny_runs.mixture(n_samples=N_SAMPLES).wave
    found = separate(ramp, wave, sample_rate=tiny_runs.RATE, prompt="dog", solver=Euler(1))
    assert positions(found.target) == FROM_THE_START
    assert positions(found.residual) == FROM_THE_START


def test_of_a_stream_of_windows(ramp: SAMAudio) -> None:
    wave = tiny_runs.mixture(n_samples=N_SAMPLES).wave.astype(np.float64)
    (found,) = separate_windows(
        ramp,
        [wave],
        n_samples=N_SAMPLES,
        sample_rate=tiny_runs.RATE,
        prompt="dog",
        solver=Euler(1),
        window_s=1.0,
        overlap_s=0.1,
    )
    assert positions(found.target) == FROM_THE_START


def test_of_a_run(ramp: SAMAudio, tmp_path: Path) -> None:
    mixtures = [tiny_runs.mixture(index, n_samples=N_SAMPLES) for index in range(2)]
    planned = plan(tiny_runs.arms("baseline"), mixtures, ramp, seeds=(0,), metrics=("si_snr",))
    with open_store(tmp_path / "runs.sqlite") as store:
        execute(planned, ramp, mixtures, store, keep=lambda _: True)
        for spec in planned.runs:
            assert positions(store.array(spec.key, "target")) == FROM_THE_START


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every estimate whose SI-SNR, or whose fidelity, is taken."""
    estimates: list[np.ndarray] = []

    def watched(original: Callable[..., metrics.Score]) -> Callable[..., metrics.Score]:
        def spy(estimate: np.ndarray, reference: np.ndarray) -> metrics.Score:
            estimates.append(np.asarray(estimate))
            return original(estimate, reference)

        return spy

    monkeypatch.setattr("sam_lsac.metrics.registry.si_snr", watched(metrics.si_snr))
    monkeypatch.setattr(metrics, "fidelity", watched(metrics.fidelity))
    return estimates


def test_of_the_noise_floor(ramp: SAMAudio, scored: list[np.ndarray]) -> None:
    mixture = tiny_runs.mixture(n_samples=N_SAMPLES)
    latents = np.zeros((13, 2 * tiny_runs.CHANNELS), dtype=np.float32)
    decoder_noise(ramp, [latents], [mixture], metrics=("si_snr",))
    assert len(scored) == 2
    assert all(positions(one) == FROM_THE_START for one in scored)


def test_of_a_tuned_schedule(ramp: SAMAudio, scored: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ramp.audio_codec.decode

    def decode(latents: Tensor, message: Tensor | None = None) -> Tensor:
        return plain(latents, message) + 0.3 * 2.0**-20 * torch.sin(1e3 * latents.mean())  # equal waves have no SI-SNR

    monkeypatch.setattr(ramp.audio_codec, "decode", decode)
    tune(ramp, [tiny_runs.mixture(n_samples=N_SAMPLES)], reference=Euler(3), saved=0.5, most_fits=1)
    assert scored
    assert all(np.round(np.asarray(one) * 2.0**20).tolist() == FROM_THE_START for one in scored)
