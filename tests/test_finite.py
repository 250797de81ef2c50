"""Numbers that are no longer finite end a solve with the step's number, and never reach a file."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from sam_lsac.__main__ import main
from sam_lsac.errors import InputError, ModelError
from sam_lsac.finite import StepWatch
from sam_lsac.interventions import HijackGate
from sam_lsac.model import save_checkpoint
from sam_lsac.separate import decode, draw_noise, separate, solve_batch
from sam_lsac.solver import AB2, Euler, Midpoint
from tests import tiny_runs

SPAN = [("+", 0.0, 0.1)]


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


def run(model, wave=None, **changes):
    given = {"sample_rate": tiny_runs.RATE, "prompt": "dog", "solver": Euler(4), **changes}
    return separate(model, tiny_runs.mixture().wave if wave is None else wave, **given)


def noise_of(model):
    latents = model.conditions(torch.from_numpy(tiny_runs.mixture().wave)[None], ["dog"]).audio_features
    return draw_noise(latents.shape[1:], 0)


@pytest.mark.parametrize("solver", [Euler(8), Midpoint(8), AB2(8)], ids=lambda solver: solver.name)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [1, 2, 5, 8])
def test_the_first_step_that_is_not_finite_is_named(solver, step, value):
    def velocity(time, state):
        return torch.full_like(state, value) if time >= (step - 1) / 8 else state

    seen = []
    watch = StepWatch(lambda number, _: seen.append(number))
    solver.solve(velocity, torch.ones(1, 3, 2), on_step=watch)
    assert seen == list(range(1, 9))
    with pytest.raises(ModelError, match=rf"NaN or infinite after step {step} of {solver.name}\."):
        watch.check(solver.name)


def test_one_value_of_one_example_is_enough():
    def velocity(time, state):
        return torch.zeros_like(state).index_put(
            (torch.tensor(1), torch.tensor(2), torch.tensor(0)), torch.tensor(1e39)
        )

    watch = StepWatch(None)
    Euler(2).solve(velocity, torch.ones(2, 3, 2), on_step=watch)
    with pytest.raises(ModelError, match="after step 1 of"):
        watch.check("euler:2")


def test_large_states_pass_until_they_overflow():
    watch = StepWatch(None)
    Euler(4).solve(lambda time, state: 1e37 * state, torch.ones(1, 3, 2), on_step=watch)
    with pytest.raises(ModelError):
        watch.check("euler:4")
    watch = StepWatch(None)
    Euler(4).solve(lambda time, state: state, torch.full((1, 3, 2), 1e37), on_step=watch)
    watch.check("euler:4")


@pytest.mark.parametrize("solver", [Euler(4), Midpoint(4), AB2(4)], ids=lambda solver: solver.name)
def test_a_gate_of_absurd_size_is_an_error_with_the_step_and_leaves_the_model_as_it_was(model, solver):
    before = run(model, spans=SPAN, solver=solver)
    with pytest.raises(ModelError, match=rf"after step 1 of {solver.name}.*Give edits smaller values"):
        run(model, spans=SPAN, solver=solver, edits=[HijackGate(value=1e30)])
    np.testing.assert_array_equal(run(model, spans=SPAN, solver=solver).target, before.target)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_noise_that_is_not_finite_is_refused(model, value):
    noise = noise_of(model)
    noise[-1, -1] = value
    with pytest.raises(InputError, match="noise holds NaN or infinite"):
        run(model, noise=noise)


def test_noise_that_overflows_on_the_way_is_an_error_with_the_step(model):
    noise = noise_of(model)
    noise[0, 0] = 3e38
    with pytest.raises(ModelError, match="after step 1 of euler:4"):
        run(model, noise=noise)


def test_a_wave_beyond_what_the_codec_can_hold_is_refused(model):
    with pytest.raises(InputError, match="full scale is 1"):
        run(model, tiny_runs.mixture().wave.astype(float) * 1e30)


def test_latents_that_the_codec_cannot_decode_are_an_error(model):
    latents = torch.full((1, 16, 2 * tiny_runs.CHANNELS), 3e38)
    with pytest.raises(ModelError, match="decoded waves are NaN or infinite"):
        decode(model, latents, seeds=[0])


def test_a_batch_is_checked_as_one_example_is(model):
    waves = torch.from_numpy(np.stack([one.wave for one in tiny_runs.mixtures(2)]))
    conditions = model.conditions(waves, ["dog", "man"], [SPAN, SPAN])
    noise = torch.stack([draw_noise(conditions.audio_features.shape[1:], seed) for seed in (0, 1)])
    noise[1, 0, 0] = 3e38
    with pytest.raises(ModelError, match="after step 1 of euler:3"):
        solve_batch(model, conditions, noise, solver=Euler(3))


def test_the_command_writes_no_file(model, tmp_path, capsys):
    save_checkpoint(model, tmp_path / "model")
    wave = np.random.default_rng(0).normal(0.0, 0.1, tiny_runs.RATE // 2) * 1e30
    soundfile.write(tmp_path / "in.wav", wave, tiny_runs.RATE, subtype="FLOAT")
    command = ["separate", str(tmp_path / "in.wav"), "--model", str(tmp_path / "model"), "--prompt", "dog"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "full scale is 1" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*.wav")] == ["in.wav"]
