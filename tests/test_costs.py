"""What a solve costs: FLOPs on paper against FLOPs counted while running, the paper's figures, time, memory."""

import gc
from dataclasses import dataclass, fields, replace
from itertools import chain

import pytest
import torch

from sam_lsac import claims
from sam_lsac.caching import LSAC, SAM_AUDIO_SMALL, CacheAttention, DeepCache
from sam_lsac.costs import (
    SIZES,
    ArmCost,
    FlopCount,
    arm_cost,
    cache_bytes,
    clock,
    count_flops,
    counted_flops,
    memory,
    peak_memory,
    rate,
    ratio_abab,
    seconds_of,
    sizes_of,
    speed_limit,
)
from sam_lsac.costs.rate import measured_rate
from sam_lsac.costs.work import planned_work
from sam_lsac.errors import EditError, InputError, ModelError
from sam_lsac.interventions import (
    Edit,
    FreezeSelfAttention,
    HijackGate,
    Record,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    attach,
)
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.solver import AB2, Euler, Midpoint
from tests.standin import network
from tests.tiny_models import config_dict

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def tiny(**transformer):
    return SAMAudioConfig.from_dict(config_dict(**{"n_layers": 4, **transformer}))


def schedule(level, n_steps=16):
    return LSAC.of(SAM_AUDIO_SMALL, level=level, n_steps=n_steps)


# One evaluation


def test_one_evaluation_of_the_small_model_is_what_the_paper_says():
    count = count_flops("small")
    assert count.total == pytest.approx(211.4e9, rel=0.005)
    assert count.self_attention == pytest.approx(61.4e9, rel=0.005)
    assert count.self_attention_share == pytest.approx(0.29, abs=0.005)


def test_the_count_on_paper_is_what_the_small_model_executes():
    assert counted_flops("small", solver=Euler(1)) == count_flops("small", solver=Euler(1))


@pytest.mark.parametrize("tokens", range(1, 9))
def test_the_length_of_the_prompt_hardly_matters(tokens):
    count = count_flops("small", text_tokens=tokens)
    assert 211.7e9 < count.total < 212.8e9
    assert count.self_attention == count_flops("small").self_attention


@pytest.mark.parametrize("size", SIZES)
def test_self_attention_is_four_projections_of_every_frame_and_two_products_of_frames(size):
    transformer = sizes_of(size).transformer
    dim, n_frames = transformer.dim, 1500
    per_layer = 4 * 2 * n_frames * dim**2 + 2 * 2 * n_frames**2 * dim
    assert count_flops(f"facebook/sam-audio-{size}", seconds=60).self_attention == transformer.n_layers * per_layer
    assert transformer.context_dim == dim
    assert transformer.out_channels == 256


def test_parts_add_up():
    count = count_flops("base")
    assert set(count.parts) == {item.name for item in fields(FlopCount)}
    assert count.total == sum(count.parts.values())
    assert (count + count).parts == (count * 2).parts == {name: 2 * value for name, value in count.parts.items()}


@pytest.mark.parametrize(
    "transformer",
    [
        {},
        {"non_linearity": "gelu"},
        {"timestep_non_linearity": "silu", "context_non_linearity": "relu"},
        {"n_layers": 3, "n_heads": 2, "ffn_exp": 2, "fc_bias": True, "qk_norm": False, "context_norm": True},
        {"dim": 48, "context_dim": 48, "use_rope": False, "frequency_embedding_dim": 33},
    ],
)
@pytest.mark.parametrize("text_tokens", [0, 1, 5])
def test_the_count_on_paper_is_what_runs_for_other_configurations(transformer, text_tokens):
    config = tiny(**transformer)
    executed = counted_flops(config, seconds=0.83, text_tokens=text_tokens, device="cpu")
    assert executed == count_flops(config, seconds=0.83, text_tokens=text_tokens)


def test_a_loaded_model_is_counted_by_its_own_sizes():
    model = network("ours").model
    assert count_flops(model, seconds=1) == count_flops(model.config, seconds=1) == counted_flops(model, seconds=1)


@pytest.mark.parametrize(("seconds", "n_frames"), [(10, 250), (0.01, 1), (10.01, 251), (1 / 25, 1)])
def test_frames_are_rounded_up(seconds, n_frames):
    config = sizes_of("small")
    assert count_flops("small", seconds=seconds).output == 2 * n_frames * 1536 * 256
    assert config.audio_codec.sample_rate / config.audio_codec.hop_length == 25


# Whole solves under edits

EDITS = {
    "cache": [CacheAttention(freeze_steps={0: 1, 2: 3})],
    "cache all": [CacheAttention(freeze_steps=dict.fromkeys(range(4), 1))],
    "freeze": [FreezeSelfAttention(layers=(1, 3), step=2)],
    "two caches on one layer": [CacheAttention(freeze_steps={1: 1}), FreezeSelfAttention(layers=(1, 2), step=3)],
    "DeepCache 2": [DeepCache(interval=2)],
    "DeepCache 3": [DeepCache(interval=3)],
    "DeepCache and cache": [CacheAttention(freeze_steps={0: 2, 1: 1}), DeepCache(interval=2)],
    "no cross-attention": [ZeroCrossAttention()],
    "uniform cross-attention": [UniformCrossAttention()],
    "some of both": [ZeroCrossAttention(layers=(0,)), UniformCrossAttention(layers=(3, 1))],
    "free": [ZeroAdditive(), HijackGate(value=0.5)],
}


@pytest.mark.parametrize("solver", [Euler(4), Midpoint(4)], ids=lambda solver: solver.name)
@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_what_edits_save_on_paper_is_what_they_save_when_they_run(edits, solver):
    config = tiny()
    executed = counted_flops(config, seconds=0.8, edits=edits, solver=solver, device="cpu")
    assert executed == count_flops(config, seconds=0.8, edits=edits, solver=solver)


PROBES = {
    "all": [Record()],
    "some": [Record(layers=(0, 2), steps=(2, 4))],
    "maps": [Record(entropy=False, maps=((1, 3), (3, 1)))],
    "a map of another layer": [Record(layers=(0,), steps=(1,), maps=((2, 4),))],
    "around a cache": [CacheAttention(freeze_steps={0: 2}), Record(block_ratio=True)],
    "spans": [ShuffleSpans(), Record(layers=(1,))],
}


@pytest.mark.parametrize("solver", [Euler(4), Midpoint(4)], ids=lambda solver: solver.name)
@pytest.mark.parametrize("edits", PROBES.values(), ids=PROBES)
def test_what_is_only_measured_is_counted_too(edits, solver):
    config = tiny()
    executed = counted_flops(config, seconds=0.8, edits=edits, solver=solver, device="cpu")
    count = count_flops(config, seconds=0.8, edits=edits, solver=solver)
    assert count.probes > 0
    assert executed.total == count.total
    assert executed.self_attention == count.self_attention + count.probes


def test_the_saving_of_caching_every_layer_of_the_small_model_is_executed():
    edits = [FreezeSelfAttention(layers=tuple(range(12)), step=1)]
    executed = counted_flops("small", edits=edits, solver=Euler(2))
    assert executed == count_flops("small", edits=edits, solver=Euler(2))
    assert executed.self_attention == 1.5 * count_flops("small").self_attention


@pytest.mark.slow
@pytest.mark.parametrize("level", ["safe", "balanced", "aggressive"])
def test_the_whole_solve_of_the_small_model_is_executed_as_counted(level):
    edits = [schedule(level).edit()]
    assert counted_flops("small", edits=edits, solver=Euler(16)) == count_flops("small", edits=edits, solver=Euler(16))


def test_work_is_saved_where_the_caches_of_a_real_solve_hit():
    net, solver = network("ours"), Midpoint(5)
    edits = [CacheAttention(freeze_steps={0: 1, 1: 1, 3: 4}), DeepCache(interval=3)]
    with net.attached(*edits, solver=solver) as run:
        net.solve(solver)
    work = list(chain.from_iterable(planned_work(edits, 4, solver)))
    assert sum(not layer.matrix for layer in work) == sum(run.hits.values())
    assert sum(not layer.runs for layer in work) == sum(run.outcomes[1].hits.values())


def test_a_solve_is_all_its_evaluations():
    one = count_flops("small").total
    assert count_flops("small", solver=Euler(16)).total == 16 * one
    assert count_flops("small", solver=Midpoint(16)).total == 32 * one
    assert count_flops("small", solver=AB2(10)).total == 10 * one


def test_without_a_solver_the_mean_evaluation_of_the_schedule_is_counted():
    for n_steps in (16, 8):
        edits = [schedule("balanced", n_steps).edit()]
        mean, whole = count_flops("small", edits=edits), count_flops("small", edits=edits, solver=Euler(n_steps))
        assert mean.total == pytest.approx(whole.total / n_steps, rel=1e-12)
        assert mean.total < count_flops("small").total
    deep = count_flops("small", edits=[DeepCache(interval=2)])
    assert deep.total == pytest.approx(count_flops("small", edits=[DeepCache(interval=2)], solver=Euler(16)).total / 16)


# Arms


@pytest.mark.parametrize(
    ("level", "layer_steps", "flops"),
    [("safe", 0.125, 0.018), ("balanced", 0.271, 0.039), ("aggressive", 0.385, 0.056)],
)
def test_a_cached_layer_step_saves_half_of_its_self_attention(level, layer_steps, flops):
    cost = arm_cost(level, "small", Euler(16), edits=[schedule(level).edit()])
    assert cost.layer_steps_saved == pytest.approx(layer_steps, abs=5e-4)
    assert cost.layer_steps_saved == pytest.approx(schedule(level).layer_steps_saved(12))
    assert cost.self_attention_flops_saved == pytest.approx(cost.layer_steps_saved / 2)
    share = count_flops("small").self_attention_share
    assert cost.flops_saved == pytest.approx(cost.self_attention_flops_saved * share)
    assert cost.flops_saved == pytest.approx(flops, abs=5e-4)


@pytest.mark.parametrize(("steps", "saved"), [(16, 0.0), (14, 0.125), (12, 0.25), (10, 0.375), (20, -0.25)])
def test_fewer_steps_save_everything_alike(steps, saved):
    cost = arm_cost("naive", "small", Euler(steps))
    assert [cost.layer_steps_saved, cost.flops_saved, cost.self_attention_flops_saved] == pytest.approx([saved] * 3)
    assert cost.flops_total == steps * count_flops("small").total


@pytest.mark.parametrize(("interval", "skipped_steps"), [(2, 8), (3, 10), (4, 12)])
def test_deepcache_skips_whole_middle_layers(interval, skipped_steps):
    cost = arm_cost("deepcache", "small", Euler(16), edits=[DeepCache(interval=interval)])
    saved = skipped_steps / 16 * 10 / 12
    assert cost.layer_steps_saved == pytest.approx(saved)
    assert cost.self_attention_flops_saved == pytest.approx(saved)
    layers = sum(count_flops("small").parts[part] for part in ("self_attention", "cross_attention", "feed_forward"))
    assert cost.flops_saved == pytest.approx(saved * layers / count_flops("small").total)


def test_another_solver_costs_more_and_is_compared_with_what_is_asked_for():
    edits = [schedule("balanced").edit()]
    against_euler = arm_cost("midpoint", "small", Midpoint(16), edits=edits)
    against_itself = arm_cost("midpoint", "small", Midpoint(16), edits=edits, baseline_solver=Midpoint(16))
    euler = arm_cost("euler", "small", Euler(16), edits=edits)
    assert against_euler.layer_steps_saved == pytest.approx(1 - 2 * (1 - euler.layer_steps_saved))
    assert against_euler.flops_saved == pytest.approx(1 - 2 * (1 - euler.flops_saved))
    assert against_itself.flops_saved == pytest.approx(euler.flops_saved)
    assert against_itself.layer_steps_saved == pytest.approx(euler.layer_steps_saved)


def test_measuring_costs_but_is_no_layer_step():
    cost = arm_cost("probed", "small", Euler(16), edits=[Record()])
    assert cost.layer_steps_saved == 0
    assert cost.flops_saved == pytest.approx(-count_flops("small").self_attention_share / 2)


def test_an_arm_on_the_embedded_checkpoints_own_sizes():
    model = network("ours").model
    cost = arm_cost("cached", model, Euler(4), edits=[CacheAttention(freeze_steps={1: 2})], seconds=2)
    assert cost.layer_steps_saved == pytest.approx(1 - (4 * 16 - 48 - 2) / 64)  # four steps instead of 16, 2 cached
    assert cost.flops_total < 4 * count_flops(model, seconds=2).total


def test_costs_are_what_claims_are_judged_by():
    assert claims.ArmCost is ArmCost
    assert arm_cost("naive-12", "small", Euler(12)).flops_saved == 0.25


@pytest.mark.parametrize(("seconds", "limit"), [(10, 1.17), (60, 1.22)])
def test_caching_every_matrix_has_a_limit(seconds, limit):
    assert speed_limit("small", seconds=seconds) == pytest.approx(limit, abs=5e-3)
    share = count_flops("small", seconds=seconds).self_attention_share
    assert speed_limit("small", seconds=seconds) == pytest.approx(1 / (1 - share / 2))


# Refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Edit):
    """An edit of somebody else."""

    def sites(self, model):
        return ()

    def apply(self, call, state):
        return call.proceed()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: count_flops("smal"), ModelError, "did you mean 'small'"),
        (lambda: count_flops("embedded"), ModelError, "pass the loaded model"),
        (lambda: count_flops(torch.nn.Linear(1, 1)), ModelError, "Linear carries no configuration"),
        (lambda: count_flops("small", seconds=0), InputError, "positive number of seconds"),
        (lambda: count_flops("small", seconds=float("nan")), InputError, "positive number of seconds"),
        (lambda: count_flops("small", text_tokens=-1), InputError, "whole number from 0"),
        (lambda: count_flops("small", text_tokens=2.5), InputError, "whole number from 0"),
        (lambda: count_flops("small", edits=[schedule("safe")]), EditError, r"call its \.edit\(\)"),
        (lambda: count_flops("small", edits=[Unknown()]), EditError, "counted_flops"),
        (lambda: count_flops("small", edits=[CacheAttention(freeze_steps={12: 1})]), EditError, "layers 0 to 11"),
        (lambda: count_flops("small", edits=[ZeroCrossAttention(layers=(12,))]), EditError, "layers 0 to 11"),
        (lambda: count_flops("small", edits=[Record(maps=((12, 1),))]), EditError, "layers 0 to 11"),
        (lambda: count_flops("small", edits=[schedule("safe").edit()], solver=Euler(8)), EditError, "made for 16"),
        (lambda: count_flops("small", edits=[DeepCache(interval=2)], solver=Euler(1)), EditError, "one step"),
        (lambda: count_flops(tiny(n_layers=2), edits=[DeepCache(interval=2)]), EditError, "model of 2 layers has none"),
        (lambda: cache_bytes("small", DeepCache(interval=2), n_frames=0), InputError, "at least 1"),
        (lambda: cache_bytes("small", ZeroAdditive(), n_frames=5), EditError, "keeps nothing"),
        (lambda: ratio_abab(int, int, repeats=2), InputError, "at least 3 pairs"),
        (lambda: ratio_abab(int, int, level=1.0), InputError, "between 0 and 1"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_the_remedy(call, error, words):
    with pytest.raises(error, match=words):
        call()


# Time


class FakeClock:
    """A clock that only moves when something is done."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.log = []
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(clock.time, "process_time", lambda: 2 * self.now)

    def doing(self, name, seconds):
        def call():
            self.log.append(name)
            self.now += seconds(self.now) if callable(seconds) else seconds

        return call


def test_two_calls_are_timed_in_turn(monkeypatch):
    fake = FakeClock(monkeypatch)
    ratio = ratio_abab(fake.doing("a", 3.0), fake.doing("b", 4.0), repeats=5, warmup=2)
    assert fake.log == ["a", "b"] * 7
    assert (ratio.ratio, ratio.low, ratio.high) == (0.75, 0.75, 0.75)
    assert ratio.a_seconds == (3.0,) * 5
    assert ratio.b_seconds == (4.0,) * 5


def test_a_machine_that_slows_down_does_not_bias_the_ratio(monkeypatch):
    fake = FakeClock(monkeypatch)
    ratio = ratio_abab(
        fake.doing("a", lambda now: 1 + now / 200), fake.doing("b", lambda now: 1 + now / 200), repeats=9
    )
    assert ratio.b_seconds[-1] > 1.05 * ratio.a_seconds[0]
    assert ratio.ratio == pytest.approx(1, abs=0.01)
    assert ratio.low <= ratio.ratio <= ratio.high


def test_the_interval_of_a_ratio_follows_the_seed(monkeypatch):
    fake = FakeClock(monkeypatch)
    times = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    measured = []
    for seed in (0, 0, 1):
        draw = iter(times)
        a, b = (fake.doing(name, lambda _now, draw=draw: 1 + next(draw)) for name in "ab")
        measured.append(ratio_abab(a, b, repeats=9, seed=seed, level=0.9))
    assert measured[0] == measured[1]
    assert measured[0].low < measured[0].ratio < measured[0].high
    assert measured[0].level == 0.9


def test_processor_time_is_another_clock(monkeypatch):
    fake = FakeClock(monkeypatch)
    assert seconds_of(fake.doing("a", 3.0)) == 3
    assert seconds_of(fake.doing("a", 3.0), processor_time=True) == 6
    assert ratio_abab(fake.doing("a", 3.0), fake.doing("b", 4.0), processor_time=True).b_seconds == (8.0,) * 7


@pytest.mark.gpu
@gpu
def test_on_a_gpu_time_is_that_of_its_work():
    x = torch.randn(4096, 4096, device="cuda")

    def work(times):
        for _ in range(times):
            x @ x

    ratio = ratio_abab(lambda: work(4), lambda: work(16), device="cuda", repeats=9, warmup=3)
    assert 0.15 < ratio.ratio < 0.4
    assert seconds_of(lambda: work(1), device="cuda") > 0


# Memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "edit", [CacheAttention(freeze_steps={0: 1, 2: 3}), FreezeSelfAttention(layers=(1,), step=2), DeepCache(interval=2)]
)
def test_the_bytes_of_a_cache_are_those_that_it_stores(edit, dtype):
    net, solver = network("ours", dtype=dtype), Euler(4)
    with attach(net.model, [edit], nfe=solver.nfe) as run:
        net.solve(solver)
    batch, n_frames = net.noise.shape[:2]
    assert run.outcomes[0].stored_bytes > 0
    assert run.outcomes[0].stored_bytes == cache_bytes(net.model, edit, n_frames=n_frames, batch=batch, dtype=dtype)


def test_the_bytes_of_a_schedule_are_those_of_its_edit():
    balanced = schedule("balanced")
    assert cache_bytes("small", balanced, n_frames=250) == 7 * 12 * 250**2 * 4
    assert cache_bytes("small", balanced, n_frames=250) == cache_bytes("small", balanced.edit(), n_frames=250)
    assert cache_bytes("small", DeepCache(interval=1), n_frames=250) == 0


resettable = pytest.mark.skipif(
    not memory._reset_high_water_mark(), reason="this system cannot reset the high-water mark of resident memory"
)


def test_a_rate_is_measured_where_it_is_asked_for():
    """The meta device, which computes nothing, refuses tensors of another one as CUDA does."""
    assert measured_rate("small", seconds=0.5, device="meta") > 0


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_a_rate_of_a_cpu_is_that_of_one_thread_times_the_cores(monkeypatch):
    """A session computes with a process a core, and not with all cores on one evaluation."""
    seen, config = [], SAMAudioConfig.from_dict(config_dict(n_layers=rate.LAYERS + 2))
    monkeypatch.setattr(rate, "seconds_of", lambda call, *, device: seen.append(torch.get_num_threads()) or 2.0)
    monkeypatch.setattr(rate, "usable_cores", lambda: 16)
    found = measured_rate(config, seconds=0.1)
    few = replace(config, transformer=replace(config.transformer, n_layers=rate.LAYERS))
    assert found == pytest.approx(16 * count_flops(few, seconds=0.1).total / 2.0)
    assert set(seen) == {1}
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(rate, "usable_cores", lambda: 1 / 0)  # other devices have none
    assert measured_rate(config, seconds=0.1, device="meta") == pytest.approx(found / 16)


@resettable
def test_garbage_of_before_hides_nothing_of_the_peak():
    held = [torch.ones(2**24)]
    held.append(held)
    del held
    peak = peak_memory(lambda: (gc.collect(), torch.ones(2**24)))
    assert 0.8 * 2**26 < peak.added_bytes < 1.5 * 2**26


@resettable
def test_the_peak_holds_what_was_freed_again():
    peak = peak_memory(lambda: torch.ones(2**24))
    assert peak.method == "resident"
    assert 0.8 * 2**26 < peak.added_bytes < 1.5 * 2**26
    assert peak.peak_bytes == peak.start_bytes + peak.added_bytes


def test_where_the_mark_cannot_be_reset_the_result_says_so(monkeypatch):
    marks = iter([500, 500, 500, 700])
    assert memory._lifetime_peak_bytes() > 2**26  # of this process, which has torch loaded
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    monkeypatch.setattr(memory, "_lifetime_peak_bytes", lambda: next(marks))
    below, above = peak_memory(int), peak_memory(int)
    assert below.method == above.method == "resident, not reset"
    assert (below.added_bytes, above.added_bytes) == (0, 200)


@resettable
def test_an_earlier_peak_is_forgotten():
    large = peak_memory(lambda: torch.ones(2**26))
    small = peak_memory(lambda: torch.ones(2**22))
    assert small.added_bytes < large.added_bytes / 4


@pytest.mark.gpu
@gpu
def test_on_a_gpu_the_peak_is_what_was_allocated():
    kept = torch.ones(2**20, device="cuda")
    peak = peak_memory(lambda: torch.ones(2**24, device="cuda"), device="cuda")
    assert peak.method == "cuda"
    assert peak.start_bytes >= kept.nbytes
    assert 2**26 <= peak.added_bytes < 2**26 + 2**21
