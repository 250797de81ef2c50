"""A checkpoint with random weights is a whole one: it loads strictly, separates, and has all that claims ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures.training.random_checkpoint import main, random_checkpoint
from sam_lsac.caching import LSAC
from sam_lsac.costs.sizes import sizes_of
from sam_lsac.model import load_model
from sam_lsac.model.checkpoint import save_checkpoint
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.separate import separate
from tests.tiny_models import config_dict


def test_it_loads_and_separates_as_it_was_made(tmp_path: Path) -> None:
    made = random_checkpoint(SAMAudioConfig.from_dict(config_dict()), seed=3)
    save_checkpoint(made, tmp_path)
    loaded = load_model(tmp_path)
    for name, value in made.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert float(loaded.embed_anchors.gate.detach()) < 0
    wave = torch.randn(4_000, generator=torch.Generator().manual_seed(0)).numpy() / 10
    outputs = [
        separate(model, wave, sample_rate=16_000, prompt="rain", edits=[LSAC.balanced(model).edit()], seed=0).target
        for model in (made, loaded)
    ]
    assert torch.equal(*map(torch.as_tensor, outputs))


def test_another_seed_gives_other_weights_and_no_global_state_is_touched() -> None:
    config = SAMAudioConfig.from_dict(config_dict())
    before = torch.get_rng_state()
    one, same, other = (random_checkpoint(config, seed=seed).proj.weight for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_command_writes_the_size_that_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def tiny(config: SAMAudioConfig, *, seed: int) -> object:
        asked.append((config, seed))
        return random_checkpoint(SAMAudioConfig.from_dict(config_dict()), seed=seed)

    monkeypatch.setattr("fixtures.training.random_checkpoint.random_checkpoint", tiny)
    assert main(["--size", "base", "--out", str(tmp_path), "--seed", "2"]) == 0
    assert asked == [(sizes_of("base"), 2)]
    assert load_model(tmp_path).config.transformer.n_layers == 2
