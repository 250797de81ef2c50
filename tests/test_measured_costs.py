"""FLOPs from hits: equal to what was executed, for every cache that passes by whole modules."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam_lsac.caching import CacheBranch, DeepCache, FittedBranch
from sam_lsac.costs import arm_cost, count_flops, flops_of_hits, is_on_paper, measured_cost
from sam_lsac.costs.counted import network_inputs
from sam_lsac.errors import InputError
from sam_lsac.interventions import Record, ZeroAdditive, attach
from sam_lsac.model import SAMAudio
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.solver import Euler, Midpoint
from tests import tiny_models
from tests.test_peers import CACHES, N, installed

CONFIG = SAMAudioConfig.from_dict(tiny_models.config_dict(n_layers=4))
SECONDS, TOKENS, SOLVER = 1.0, 3, Euler(N)
N_FRAMES = 25


@pytest.fixture(scope="module")
def model():
    built = SAMAudio(CONFIG)
    tiny_models.fill(built, 0)
    return built.eval().requires_grad_(False)


def executed(model, edit):
    """FLOPs of a solve that were executed, and its hits; the state moves, so that thresholds have something to see."""
    from torch.utils.flop_counter import FlopCounterMode

    inputs = network_inputs(CONFIG, N_FRAMES, TOKENS)
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(inputs["noisy_audio"].shape, generator=generator) for _ in range(2))
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), attach(model, [edit], nfe=N) as run, counter:
        for step in range(N):
            model(**inputs | {"noisy_audio": torch.lerp(start, end, step / N), "time": torch.tensor([step / N])})
    return counter.get_total_flops(), run.hits


@pytest.mark.parametrize("name", CACHES)
def test_flops_of_hits_are_those_that_were_executed(model, name):
    installed(CACHES[name])
    flops, hits = executed(model, CACHES[name])
    found = flops_of_hits(model, hits, SOLVER, seconds=SECONDS, text_tokens=TOKENS)
    whole = count_flops(model, seconds=SECONDS, text_tokens=TOKENS, solver=SOLVER)
    assert sum(hits.values()) > 0
    assert found.total < whole.total
    assert found.total == pytest.approx(flops, rel=0.005)


def test_hits_of_a_cache_on_paper_give_what_the_paper_gives():
    edits = [DeepCache(interval=2)]
    hits = {f"transformer.layers.{layer}": N // 2 for layer in (1, 2)}
    sizes = {"seconds": SECONDS, "text_tokens": TOKENS}
    assert flops_of_hits(CONFIG, hits, SOLVER, **sizes) == count_flops(CONFIG, edits=edits, solver=SOLVER, **sizes)
    wanted = arm_cost("deepcache", CONFIG, SOLVER, edits=edits, **sizes)
    assert measured_cost("deepcache", CONFIG, SOLVER, hits=[hits], **sizes) == wanted


def test_the_cost_of_an_arm_is_the_mean_over_its_runs():
    runs = [{"transformer.layers.1": 6}, {"transformer.layers.1": 2, "transformer.layers.2.feed_forward": 4}]
    both = measured_cost("a", CONFIG, SOLVER, hits=runs, baseline_solver=SOLVER)
    each = [measured_cost("a", CONFIG, SOLVER, hits=[one], baseline_solver=SOLVER) for one in runs]
    assert both.flops_total == pytest.approx(sum(one.flops_total for one in each) / 2)
    assert both.layer_steps_saved == pytest.approx(4 / (4 * N))
    assert both.self_attention_flops_saved == pytest.approx(4 / (4 * N))
    against_midpoint = measured_cost("a", CONFIG, SOLVER, hits=runs, baseline_solver=Midpoint(N))
    assert 1 - against_midpoint.flops_saved == pytest.approx((1 - both.flops_saved) / 2)


def test_an_attention_that_did_not_run_is_a_layer_step_and_another_part_is_none():
    """Of a solver of two evaluations a step, which a module may pass by in each."""
    hits = {
        "transformer.layers.0.attention": 3,
        "transformer.layers.1.cross_attention": 2,
        "transformer.layers.2.feed_forward": 4,
        "transformer.layers.3": 2 * N,
    }
    midpoint, passed_by = Midpoint(N), 3 + 2 * N
    sizes = {"seconds": 3.0, "text_tokens": 9}
    found = measured_cost("a", CONFIG, midpoint, hits=[hits], baseline_solver=midpoint, **sizes)
    assert found.layer_steps_saved == pytest.approx(passed_by / (4 * 2 * N))
    assert found.self_attention_flops_saved == pytest.approx(passed_by / (4 * 2 * N))
    assert found.flops_total == flops_of_hits(CONFIG, hits, midpoint, **sizes).total
    whole = count_flops(CONFIG, solver=midpoint, **sizes)
    assert found.flops_saved == pytest.approx(1 - found.flops_total / whole.total)
    against_euler = measured_cost("a", CONFIG, midpoint, hits=[hits], baseline_solver=SOLVER, **sizes)
    assert against_euler.layer_steps_saved == pytest.approx(1 - (4 * 2 * N - passed_by) / (4 * N))


@pytest.mark.parametrize(
    "hits",
    [
        {"transformer.layers.4": 1},
        {"transformer.layers.1": N + 1},
        {"transformer.layers.1": -1},
        {"transformer.layers.1.attention.wq": 1},
        {"transformer": 1},
    ],
)
def test_hits_that_do_not_fit_are_refused(hits):
    with pytest.raises(InputError, match=r"do not fit|neither a layer"):
        flops_of_hits(CONFIG, hits, SOLVER)


def test_an_arm_without_runs_has_no_cost():
    with pytest.raises(InputError, match="there are none"):
        measured_cost("a", CONFIG, SOLVER, hits=[])


def test_what_is_on_paper():
    assert is_on_paper([])
    assert is_on_paper([DeepCache(interval=2), ZeroAdditive(), Record()])
    for edit in CACHES.values():
        at_given_steps = isinstance(edit, CacheBranch | FittedBranch)
        assert is_on_paper([DeepCache(interval=2), edit]) == at_given_steps
