"""Layers are classed by solves with prompts, on mixtures that no claim uses, and as the checkpoint has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import spearmanr
from torch import Tensor

from sam_lsac.__main__ import main
from sam_lsac.bundled import bundled
from sam_lsac.interventions import Attachment, Record
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import SAMAudio, save_checkpoint
from sam_lsac.runs.calibrate import measure_entropy
from sam_lsac.runs.compute import Batch
from sam_lsac.separate import solve_batch
from sam_lsac.solver import Euler
from tests import tiny_runs

N_SAMPLES = 12 * tiny_runs.HOP
SUBSETS = {"a": "claims", "b": "calibration", "c": "claims", "d": "calibration"}


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    """A folder of four mixtures with a prompt each, two of them for calibration."""
    for seed, (name, subset) in enumerate(SUBSETS.items()):
        folder = tmp_path / "stems" / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for stem in ("target", "residual"):
            soundfile.write(folder / f"{stem}.wav", rng.normal(0.0, 0.1, N_SAMPLES), tiny_runs.RATE, subtype="FLOAT")
        notes = {"prompt": f"{name} barking", "residual_prompt": f"not {name}", "subset": subset}
        (folder / "mixture.json").write_text(json.dumps(notes))
    return tmp_path / "stems"


def entropy_of(model: SAMAudio, mixture: Mixture) -> Tensor:
    """By definition: sixteen Euler steps with the prompt and without spans, [layers, steps]."""
    left: list[Attachment] = []
    noise = Batch(model, [mixture], [0]).noise
    conditions = model.conditions(torch.from_numpy(mixture.wave[None].copy()), [mixture.prompt])
    solve_batch(model, conditions, noise, solver=Euler(16), edits=[Record(entropy=True)], on_leave=left.append)
    return left[0].outcomes[0].entropy[:, :, 0]


def test_entropy_is_that_of_solves_with_prompts(stems: Path) -> None:
    model = tiny_runs.model()
    mixtures = load_mixtures(stems, subset="calibration")
    expected = torch.stack([entropy_of(model, one) for one in mixtures], dim=2)
    for batch_size in (1, 8):
        torch.testing.assert_close(
            measure_entropy(model, mixtures, batch_size=batch_size), expected, rtol=1e-5, atol=1e-6
        )


def test_the_command_measures_the_calibration_subset_and_its_rates(stems: Path, tmp_path: Path) -> None:
    model = tiny_runs.model()
    save_checkpoint(model, tmp_path / "model")
    out = tmp_path / "classes.json"
    options = ["--model", str(tmp_path / "model"), "--mixtures", str(stems), "--out", str(out)]
    assert main(["calibrate", *options]) == 0
    found = json.loads(out.read_text())
    entropy = torch.stack([entropy_of(model, one) for one in load_mixtures(stems, subset="calibration")], dim=2)
    assert found["n_mixtures"] == 2
    assert np.allclose(found["entropy"], entropy.mean(dim=2), atol=2e-5)
    rates = (entropy[:, 1:] - entropy[:, :-1]).abs().mean(dim=1)  # [layers, mixtures]
    assert np.allclose(found["rates"], rates.mean(dim=1), atol=2e-6)
    assert found["stable"] == [int(rates.mean(dim=1).argmin())]  # a quarter of four layers


@pytest.mark.slow
def test_the_committed_classes_are_those_of_the_command(tmp_path: Path) -> None:
    """On a quarter of the mixtures; without prompts or on mixtures of claims it is further away.

    The committed ones are of a noise that all mixtures shared, and now each has its own: the order of the layers' rates
    agrees less than it did (0.78 where it was 0.90; 0.52 without prompts).
    """
    out = tmp_path / "classes.json"
    assert main(["calibrate", "--mixtures-per-tier", "2", "--out", str(out)]) == 0
    found, committed = (json.loads(path.read_text()) for path in (out, bundled("checkpoint") / "layer_classes.json"))
    difference = np.subtract(found["entropy"], committed["entropy"])
    assert np.sqrt(np.square(difference).mean()) < 0.045
    assert spearmanr(found["rates"], committed["rates"]).statistic > 0.7
    assert committed["n_mixtures"] == 24
    order = np.argsort(committed["rates"], kind="stable").tolist()
    assert committed["stable"] == sorted(order[:3])
    assert committed["moderate"] == sorted(order[3:7])
    assert committed["fast"] == sorted(order[7:])
