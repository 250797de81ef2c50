"""Rounded and compiled paths: bfloat16 and ``torch.compile`` give what the plain model in float32 gives, edits too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam_lsac.caching import CacheAttention, DeepCache
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    attach,
)
from sam_lsac.metrics import si_snr
from sam_lsac.mixtures import load_mixtures
from sam_lsac.model import load_model
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.separate import draw_noise, separate, solve_batch
from sam_lsac.solver import Euler
from tests import tiny_runs

EDITS = {
    "none": [],
    "cache": [CacheAttention(freeze_steps={1: 1, 0: 2})],
    "deepcache": [DeepCache(interval=2)],
    "freeze": [FreezeSelfAttention(layers=(2,), step=1)],
    "zero additive": [ZeroAdditive()],
    "zero cross": [ZeroCrossAttention()],
    "uniform cross": [UniformCrossAttention()],
    "gate": [HijackGate(value=-1.0), ShuffleSpans(seed=1)],
}


def relative(value, reference):
    return float((value.float() - reference.float()).norm() / reference.float().norm())


@pytest.fixture(scope="module")
def batch():
    """Conditions and noise of three examples with prompts of different lengths and spans."""
    mixtures, model = tiny_runs.mixtures(3), tiny_runs.model()
    waves = torch.from_numpy(np.stack([one.wave for one in mixtures]))
    conditions = model.conditions(waves, [one.prompt for one in mixtures], [[("+", 0.0, 0.1)]] * 3)
    noise = torch.stack([draw_noise(conditions.audio_features.shape[1:], seed) for seed in (0, 1, 2)])
    return conditions, noise


def solve(model, batch, edits):
    conditions, noise = batch
    return solve_batch(model, conditions, noise, solver=Euler(4), edits=edits)


class Backend:
    """Runs a captured graph as it is, and counts."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*args):
            self.runs += 1
            return graph(*args)

        return run


@pytest.fixture
def compiled():
    """A model whose layers are compiled, and what its backend counts; too many graphs are an error."""
    torch.compiler.reset()
    model, backend = tiny_runs.model(), Backend()
    model.compile_layers(backend=backend)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield model, backend
    torch.compiler.reset()


class TestCompiled:
    @pytest.mark.parametrize("edit", EDITS)
    def test_a_compiled_model_solves_like_the_plain_one(self, compiled, batch, edit):
        model, backend = compiled
        wanted = solve(tiny_runs.model(), batch, EDITS[edit])
        assert relative(solve(model, batch, EDITS[edit]), wanted) < 1e-6
        assert backend.runs > 0

    def test_layers_share_their_graph(self, compiled, batch):
        model, backend = compiled
        solve(model, batch, [])
        assert (backend.graphs, backend.runs) == (1, 4 * tiny_runs.LAYERS)

    def test_an_edit_that_comes_and_goes_acts_only_while_it_is_there(self, compiled, batch):
        model, backend = compiled
        plain = solve(model, batch, [])
        cached = solve(model, batch, EDITS["cache"])
        assert relative(cached, plain) > 1e-4
        n_graphs = backend.graphs
        assert torch.equal(solve(model, batch, []), plain)
        assert torch.equal(solve(model, batch, EDITS["cache"]), cached)
        assert backend.graphs == n_graphs  # nothing is compiled anew

    def test_layers_without_edits_stay_compiled_around_an_edited_one(self, compiled, batch):
        model, backend = compiled
        solve(model, batch, EDITS["freeze"])  # in layer 2 alone
        assert backend.runs >= 4 * (tiny_runs.LAYERS - 1)

    @pytest.mark.slow
    def test_the_compilers_own_code_is_as_exact(self, batch):
        torch.compiler.reset()
        model = tiny_runs.model()
        model.compile_layers()
        for edit in ("none", "cache"):
            assert relative(solve(model, batch, EDITS[edit]), solve(tiny_runs.model(), batch, EDITS[edit])) < 1e-5
        torch.compiler.reset()


class TestBfloat16:
    @pytest.mark.parametrize("edit", EDITS)
    def test_a_solve_stays_within_the_error_of_its_weights(self, batch, edit):
        exact = solve(tiny_runs.model(), batch, EDITS[edit])
        rounded = solve(tiny_runs.model().bfloat16(), batch, EDITS[edit])
        weights = tiny_runs.model()
        for parameter in weights.parameters():
            parameter.copy_(parameter.bfloat16())
        stored = relative(solve(weights, batch, EDITS[edit]), exact)  # what rounding the weights alone does
        assert 0 < relative(rounded, exact) < 10 * stored
        assert rounded.dtype == torch.float32  # the state's

    @pytest.mark.parametrize("edit", [name for name in EDITS if name not in ("none", "cache", "freeze", "deepcache")])
    def test_an_edit_acts_on_the_prepared_velocity_as_on_the_forward(self, batch, edit):
        model, (conditions, noise) = tiny_runs.model().bfloat16(), batch
        with torch.inference_mode():
            with attach(model, EDITS[edit], nfe=1):
                prepared = PreparedVelocity(model, conditions)(0.3, noise)
            with attach(model, EDITS[edit], nfe=1):
                whole = model(noise, time=torch.full((3,), 0.3), **conditions.as_kwargs())
        assert relative(prepared, whole) < 1e-2

    def test_kept_matrices_are_half_as_large(self, batch):
        sizes = {}
        for dtype in (torch.float32, torch.bfloat16):
            reports = []
            conditions, noise = batch
            solve_batch(
                tiny_runs.model().to(dtype),
                conditions,
                noise,
                solver=Euler(4),
                edits=EDITS["cache"],
                on_leave=lambda attachment, into=reports: into.extend(attachment.outcomes),
            )
            sizes[dtype] = reports[0].stored_bytes
        assert sizes[torch.bfloat16] * 2 == sizes[torch.float32] > 0

    @pytest.mark.slow
    def test_a_real_separation_is_the_same_to_the_ear(self):
        """On the embedded checkpoint, rounding lies at least 20 dB below what it separates."""
        models = [load_model("embedded", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
        for mixture in load_mixtures("embedded", tiers=["clean"], per_tier=2, sample_rate=8000, duration_s=2.0):
            exact, rounded = (
                separate(model, mixture.wave, sample_rate=8000, prompt=mixture.prompt).target for model in models
            )
            assert si_snr(rounded, exact).value > 20.0
