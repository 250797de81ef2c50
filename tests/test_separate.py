"""Separation: what is composed, what is reproducible, where a solve may go on, and what input is refused."""

from __future__ import annotations

import copy
import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sam_lsac.caching import CacheAttention, DeepCache
from sam_lsac.errors import EditError, InputError, ModelError
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    attach,
)
from sam_lsac.separate import decode, draw_noise, request_digest, separate, solve_batch
from sam_lsac.solver import AB2, Euler, Midpoint
from tests import standin, tiny_models, tiny_runs

SPAN = [("+", 0.0, 0.1)]
SOLVERS = [Euler(4), Midpoint(4), AB2(4)]
ACTING = [
    [CacheAttention(freeze_steps={1: 1, 0: 2})],
    [DeepCache(interval=2)],
    [ZeroAdditive()],
    [UniformCrossAttention()],
    [HijackGate(value=-1.0)],
    [HijackGate(value=1.0), ShuffleSpans(seed=1)],
]


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def wave():
    return tiny_runs.mixture().wave


@pytest.fixture(scope="module")
def batch(model):
    """Conditions and noise of three examples with prompts of different lengths and spans."""
    mixtures = tiny_runs.mixtures(3)
    waves = torch.from_numpy(np.stack([one.wave for one in mixtures]))
    conditions = model.conditions(waves, [one.prompt for one in mixtures], [one.spans for one in mixtures])
    noise = torch.stack([draw_noise(conditions.audio_features.shape[1:], seed) for seed in (0, 1, 2)])
    return conditions, noise


def run(model, wave, **changes):
    given = {"sample_rate": tiny_runs.RATE, "prompt": "dog", "solver": Euler(4), **changes}
    return separate(model, wave, **given)


def relative(value, reference):
    return float((value - reference).norm() / reference.norm())


class TestComposition:
    def test_a_separation_is_the_written_out_euler_loop_over_the_models_own_forward(self, model, wave):
        with torch.inference_mode():
            conditions = model.conditions(torch.from_numpy(wave)[None], ["dog"], [SPAN])
            asked = request_digest(wave, sample_rate=tiny_runs.RATE, prompt="dog")
            x = draw_noise((16, 2 * tiny_runs.CHANNELS), 7, mixture=asked)[None]
            for step in range(4):
                x = x + 0.25 * model(x, time=torch.full((1,), step / 4), **conditions.as_kwargs())
            target, residual = (model.audio_codec.decode(half.mT)[0, 0] for half in x.chunk(2, dim=2))
        separation = run(model, wave, spans=SPAN, seed=7)
        assert relative(torch.from_numpy(separation.target), target) < 1e-5
        assert relative(torch.from_numpy(separation.residual), residual) < 1e-5

    def test_edits_act_and_leave_the_model_as_it_was(self, model, wave):
        before = copy.deepcopy(model.state_dict())
        plain = run(model, wave)
        edited = run(model, wave, edits=[ZeroAdditive()])
        assert not np.array_equal(plain.target, edited.target)
        assert np.array_equal(run(model, wave).target, plain.target)
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert not any("forward" in part.__dict__ for part in model.modules())

    @pytest.mark.parametrize("edits", ACTING, ids=lambda edits: type(edits[-1]).__name__)
    @pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
    def test_edited_solves_are_those_of_the_models_own_forward(self, model, batch, solver, edits):
        conditions, noise = batch

        def velocity(t, x):
            return model(x, time=torch.full((3,), t), **conditions.as_kwargs())

        per_step = solver.evaluations_per_step
        with torch.inference_mode(), attach(model, edits, nfe=solver.nfe, evaluations_per_step=per_step):
            expected = solver.solve(velocity, noise)
        assert relative(solve_batch(model, conditions, noise, solver=solver, edits=edits), expected) < 1e-5
        assert relative(solve_batch(model, conditions, noise, solver=solver), expected) > 1e-4

    def test_the_default_solver_is_euler_of_16_steps(self, model, wave):
        assert np.array_equal(run(model, wave, solver=None).target, run(model, wave, solver=Euler(16)).target)

    def test_spans_reach_the_model(self, model, wave):
        assert not np.array_equal(run(model, wave).target, run(model, wave, spans=SPAN).target)

    @pytest.mark.parametrize("seconds", [0.256, 0.25, 0.2571])
    def test_waves_of_any_length_come_back_with_their_length(self, model, seconds):
        wave = np.random.default_rng(0).normal(0, 0.1, round(seconds * tiny_runs.RATE))
        separation = run(model, wave)
        assert separation.target.shape == separation.residual.shape == wave.shape
        assert separation.target.dtype == np.float32

    def test_a_wave_at_another_rate_comes_back_at_its_rate(self, model):
        mixture = tiny_runs.mixture(n_samples=8192, sample_rate=32_000)
        noise = draw_noise((16, 2 * tiny_runs.CHANNELS), 0)  # of one rate's wave it would not be the other's
        separation = run(model, mixture.wave, sample_rate=32_000, noise=noise)
        assert separation.sample_rate == 32_000
        assert separation.target.shape == mixture.wave.shape
        low = mixture.at(tiny_runs.RATE).wave  # what the model hears
        heard = run(model, low, noise=noise).target.astype(np.float64)
        correlation = np.corrcoef(separation.target[::4], heard)[0, 1]
        assert correlation > 0.97

    def test_a_tensor_and_an_array_give_the_same(self, model, wave):
        assert np.array_equal(run(model, torch.from_numpy(wave)).target, run(model, wave).target)


class TestReproducibility:
    def test_one_seed_gives_one_result_and_another_another(self, model, wave):
        assert np.array_equal(run(model, wave, seed=3).target, run(model, wave, seed=3).target)
        assert not np.array_equal(run(model, wave, seed=3).target, run(model, wave, seed=4).target)

    def test_the_global_generator_is_neither_read_nor_moved(self, model, wave):
        torch.manual_seed(1)
        first, state = run(model, wave).target, torch.get_rng_state()
        torch.manual_seed(2)
        assert np.array_equal(run(model, wave).target, first)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)

    def test_noise_is_the_same_bytes_for_every_version_and_batch(self):
        noise = draw_noise((16, 4), 0)
        assert noise.device.type == "cpu"
        digest = hashlib.sha256(noise.numpy().tobytes()).hexdigest()
        assert digest == hashlib.sha256(draw_noise((16, 4), 0).numpy().tobytes()).hexdigest()
        torch.testing.assert_close(noise[0, :2], torch.tensor([0.7055, 1.3882]), atol=1e-4, rtol=0)

    def test_noise_is_that_of_seed_and_mixture_in_all_their_bits(self):
        given = [(0, ""), (1, ""), (2**32, ""), (2**62, ""), (0, "a"), (1, "a"), (0, "b"), (0, "a" * 64)]
        drawn = torch.stack([draw_noise((40, 8), seed, mixture=mixture).flatten() for seed, mixture in given])
        assert (torch.corrcoef(drawn) - torch.eye(len(given))).abs().max() < 5 / math.sqrt(320)

    def test_noise_is_normal(self):
        drawn = draw_noise((500, 40), 3, mixture="a").numpy().ravel()
        assert stats.kstest(drawn, "norm").pvalue > 0.01

    @pytest.mark.parametrize("change", [{"sample_rate": 16_000}, {"prompt": "rain"}, {"wave": -1.0}])
    def test_a_request_is_its_samples_its_rate_and_its_prompt(self, wave, change):
        asked = {"sample_rate": 8000, "prompt": "dog"}
        first = request_digest(wave, **asked)
        assert first == request_digest(wave.astype(np.float64), **asked)
        changed = wave * change.pop("wave", 1.0)
        assert first != request_digest(changed, **(asked | change))

    def test_a_batch_equals_single_solves_to_1e_5(self, model, batch):
        conditions, noise = batch
        together = solve_batch(model, conditions, noise, solver=Euler(4))
        for index, mixture in enumerate(tiny_runs.mixtures(3)):
            alone = model.conditions(torch.from_numpy(mixture.wave)[None], [mixture.prompt], [mixture.spans])
            single = solve_batch(model, alone, noise[index][None], solver=Euler(4))
            assert relative(together[index], single[0]) < 1e-5


EDITS = {
    "cache": [CacheAttention(freeze_steps={1: 2, 0: 3})],
    "freeze": [FreezeSelfAttention(layers=(2, 3), step=3)],
    "both": [FreezeSelfAttention(layers=(2,), step=3), CacheAttention(freeze_steps={1: 2})],
}


class TestStoredStates:
    @pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
    @pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
    def test_a_solve_from_any_plain_state_before_the_edits_act_is_bit_equal(self, model, batch, solver, edits):
        states = {}
        solve_batch(model, *batch, solver=solver, on_step=states.__setitem__)
        whole = solve_batch(model, *batch, solver=solver, edits=edits)
        acting = min(edit.first_acting_step for edit in edits)
        assert acting > 1
        for step in range(1, acting):
            assert torch.equal(solve_batch(model, *batch, solver=solver, edits=edits, state=states[step]), whole)

    @pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
    def test_a_state_in_which_an_edit_would_have_acted_is_refused(self, model, batch, edits):
        states = {}
        solve_batch(model, *batch, solver=Euler(4), on_step=states.__setitem__)
        acting = min(edit.first_acting_step for edit in edits)
        with pytest.raises(EditError, match="must be present from step"):
            solve_batch(model, *batch, solver=Euler(4), edits=edits, state=states[acting])

    def test_edits_that_act_from_the_start_take_no_stored_state(self, model, batch):
        states = {}
        solve_batch(model, *batch, solver=Euler(4), on_step=states.__setitem__)
        for edit in (ZeroAdditive(), UniformCrossAttention(), DeepCache()):
            with pytest.raises(EditError, match="must be present from step 1"):
                solve_batch(model, *batch, solver=Euler(4), edits=[edit], state=states[1])

    def test_noise_of_another_shape_is_refused(self, model, batch):
        with pytest.raises(InputError, match=r"must be \[3, 16, 134\]"):
            solve_batch(model, batch[0], batch[1][:2], solver=Euler(4))

    def test_hits_are_handed_over(self, model, batch):
        left = []
        solve_batch(model, *batch, solver=Euler(4), edits=EDITS["cache"], on_leave=left.append)
        hits = left[0].hits
        assert hits == {"transformer.layers.0.attention": 1, "transformer.layers.1.attention": 2}


class TestDecoding:
    def test_the_target_is_the_first_half_of_the_channels(self, model):
        latents = torch.randn(2, 16, 2 * tiny_runs.CHANNELS, generator=torch.Generator().manual_seed(0))
        target, residual = decode(model, latents, seeds=[0, 1])
        for wave, half in zip((target, residual), latents.chunk(2, dim=2), strict=True):
            assert torch.equal(wave, model.audio_codec.decode(half.mT)[:, 0])

    def test_watermarks_follow_the_seed_of_each_example_and_nothing_else(self):
        model = tiny_models.model()
        latents = torch.randn(1, 3, 2 * tiny_models.CHANNELS, generator=torch.Generator().manual_seed(0))
        twice = latents.repeat(2, 1, 1)
        torch.manual_seed(0)
        target, residual = decode(model, twice, seeds=[5, 6])
        assert not torch.equal(target[0], target[1])  # the same latents, another message
        torch.manual_seed(1)
        again, again_residual = decode(model, twice.flip(0), seeds=[6, 5])
        torch.testing.assert_close(again.flip(0), target, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(again_residual.flip(0), residual, atol=1e-6, rtol=1e-5)

    def test_separate_works_with_a_watermarking_codec(self):
        model = tiny_models.model(n_layers=2)
        wave = np.random.default_rng(0).normal(0, 0.1, 6000)
        first, again = (run(model, wave, sample_rate=48_000, seed=2) for _ in range(2))
        assert first.target.shape == (6000,)
        assert np.array_equal(first.target, again.target)


def changed(wave, index, value):
    copied = wave.copy()
    copied[index] = value
    return copied


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"sample_rate": 0}, "in hertz"),
        ({"sample_rate": -8000}, "in hertz"),
        ({"sample_rate": 8}, "in hertz"),
        ({"sample_rate": 8000.5}, "whole number"),
        ({"sample_rate": True}, "whole number"),
        ({"wave": np.zeros(0, np.float32)}, "empty"),
        ({"wave": np.zeros(2048, np.float32)}, "silent"),
        ({"wave": np.full(2048, 0.5, np.float32)}, "silent"),
        ({"wave": np.ones((2, 2048), np.float32)}, "select a channel or average"),
        ({"wave": np.float32(0.1)}, "select a channel or average"),
        ({"wave": np.ones(2048, np.int16)}, "/ 32768"),
        ({"wave": np.ones(2048, np.complex64)}, "floating point"),
        ({"wave": np.random.default_rng(0).normal(size=700)}, "at least 0.1 s"),
        ({"wave": changed(np.ones(2048), 3, np.nan)}, "repair"),
        ({"wave": changed(np.ones(2048), 3, np.inf)}, "repair"),
        ({"prompt": ""}, "man speaking"),
        ({"prompt": "  \n"}, "man speaking"),
        ({"prompt": None}, "man speaking"),
        ({"seed": -1}, "such as 0"),
        ({"seed": 1.5}, "such as 0"),
        ({"seed": True}, "such as 0"),
        ({"seed": 2**63}, "such as 0"),
        ({"spans": [("*", 0.0, 0.1)]}, "in seconds"),
        ({"spans": [("+", 0.1, 0.1)]}, "in seconds"),
        ({"spans": [("+", 0.1, 0.3)]}, "end of the wave"),
        ({"spans": [("+", 0.1, np.nan)]}, "in seconds"),
        ({"spans": [("+", 0.1)]}, "in seconds"),
        ({"spans": ["+"]}, "in seconds"),
    ],
)
def test_bad_input_is_refused_with_the_remedy_before_anything_runs(model, wave, changes, remedy, monkeypatch):
    monkeypatch.setattr(type(model), "conditions", None)  # nothing may be encoded
    with pytest.raises(InputError, match=remedy):
        run(model, **({"wave": wave} | changes))


def test_a_solver_without_steps_is_refused_by_the_solver():
    with pytest.raises(InputError, match="try 16"):
        Euler(0)


def test_another_class_of_model_is_sent_to_attach(wave):
    with pytest.raises(ModelError, match="attach"):
        run(standin.StandIn(), wave)
