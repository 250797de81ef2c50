"""LSAC, cached attention and DeepCache: the arithmetic, what really does not run, schedules, layer classes."""

import json
import reprlib
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sam_lsac.caching import (
    LSAC,
    SAM_AUDIO_SMALL,
    CacheAttention,
    DeepCache,
    LayerClasses,
    classify_layers,
    layer_classes,
)
from sam_lsac.errors import CacheError, EditError, InputError, ModelError
from sam_lsac.interventions import FreezeSelfAttention, ZeroCrossAttention, attach, first_acting_step
from sam_lsac.solver import AB2, Euler, Midpoint
from tests.standin import BUILDERS, HEADS, LAYERS, assert_near, attention_by_hand, network

SOLVER = Euler(6)
PROJECTIONS = ("wq", "wk", "wv", "wo")


@pytest.fixture(params=BUILDERS)
def net(request):
    return network(request.param)


def attached(net, *edits, solver=SOLVER):
    return net.attached(*edits, solver=solver)


def solve_edited(net, *edits, solver=SOLVER):
    return net.solve_edited(*edits, solver=solver)


def count_calls(model, layer):
    """Calls of each part of a layer's self-attention from now on."""
    attention = model.transformer.layers[layer].attention
    counts = dict.fromkeys([name for name, _ in attention.named_children()], 0)

    def counter(name):
        def count(*_):
            counts[name] += 1

        return count

    for name in counts:
        getattr(attention, name).register_forward_hook(counter(name))
    return counts


# Cached attention


@pytest.mark.parametrize("solver", [Euler(6), Midpoint(6), AB2(6)])
@pytest.mark.parametrize("freeze_steps", [{0: 1}, {1: 2, 3: 4}, dict.fromkeys(range(LAYERS), 5), {2: 3, 0: 1, 3: 5}])
def test_caching_is_substituting_the_matrix_of_the_freeze_step(net, solver, freeze_steps):
    with attention_by_hand(solver, freeze_steps=freeze_steps):
        by_hand = net.solve(solver)
    edited = solve_edited(net, CacheAttention(freeze_steps=freeze_steps), solver=solver)
    assert_near(edited, by_hand)
    with attention_by_hand(solver, freeze_steps={layer: step + 1 for layer, step in freeze_steps.items()}):
        one_late = net.solve(solver)
    assert not torch.allclose(edited, one_late)


def test_padding_frames_do_not_reach_the_others_through_a_kept_matrix():
    net = network("meta-like")  # only attention mixes its frames
    edit, keep = CacheAttention(freeze_steps={0: 2, 1: 3}), net.conditions["audio_pad_mask"]
    edited = solve_edited(net, edit)
    net.noise = torch.where(keep[:, :, None], net.noise, 100.0)
    other = solve_edited(net, edit)
    assert torch.equal(edited[keep], other[keep])
    assert not torch.allclose(edited[~keep], other[~keep])


@pytest.mark.parametrize("solver", [Euler(6), Midpoint(6), AB2(6)])
def test_queries_and_keys_do_not_run_at_cached_steps(net, solver):
    cached, free = count_calls(net.model, 1), count_calls(net.model, 2)
    solve_edited(net, CacheAttention(freeze_steps={1: 2}), solver=solver)
    once = solver.evaluations_per_step
    assert all(count == 6 * once for count in free.values())
    assert {name: cached[name] for name in PROJECTIONS} == {
        "wq": 2 * once,
        "wk": 2 * once,
        "wv": 6 * once,
        "wo": 6 * once,
    }
    assert all(count == 2 * once for name, count in cached.items() if name not in PROJECTIONS)  # q_norm, k_norm


def test_rope_and_the_kernel_do_not_run_at_cached_steps(net, monkeypatch):
    kernels, ropes = [], []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: (kernels.append(0), kernel(*a, **k))[1]
    )
    net.model.transformer.rope_embeddings.register_forward_hook(lambda *_: ropes.append(0))
    solve_edited(net, CacheAttention(freeze_steps={1: 2}))
    assert len(ropes) == 2 * (LAYERS * 6 - 4)
    assert len(kernels) == 2 * LAYERS * 6 - 5  # nor at the freeze step, whose output its matrix gives


def test_hits_and_bytes_are_counted(net):
    with attached(net, CacheAttention(freeze_steps={1: 2, 3: 5})) as run:
        net.solve(SOLVER)
    assert run.hits == {"transformer.layers.1.attention": 4, "transformer.layers.3.attention": 1}
    (report,) = run.outcomes
    assert report.stored_bytes == 2 * 2 * HEADS * 12 * 12 * 4


@pytest.mark.parametrize("kind", BUILDERS)
def test_matrices_are_kept_in_the_models_dtype(kind):
    net = network(kind, dtype=torch.bfloat16)
    edit = CacheAttention(freeze_steps={1: 2, 3: 3})
    with attached(net, edit) as run:
        edited = net.solve(SOLVER)
    assert edited.dtype == torch.bfloat16
    assert run.outcomes[0].stored_bytes == 2 * 2 * HEADS * 12 * 12 * 2
    with attention_by_hand(SOLVER, freeze_steps=edit.freeze_steps):
        by_hand = net.solve(SOLVER)
    torch.testing.assert_close(edited, by_hand, rtol=0.05, atol=0.1)


def test_freezing_and_caching_are_one_arithmetic(net):
    frozen = solve_edited(net, FreezeSelfAttention(layers=(0, 2), step=3))
    assert torch.equal(frozen, solve_edited(net, CacheAttention(freeze_steps={0: 3, 2: 3})))
    split = solve_edited(net, CacheAttention(freeze_steps={0: 3}), CacheAttention(freeze_steps={2: 3}))
    assert torch.equal(frozen, split)


def test_a_budget_is_refused_before_anything_is_stored(net):
    needed = 2 * 2 * HEADS * 12 * 12 * 4
    edit = {"freeze_steps": {0: 1, 2: 3}}
    counts = count_calls(net.model, 0)
    with pytest.raises(
        CacheError, match=rf"takes {needed:,} bytes, and max_bytes allows {needed - 1:,}: freeze at most 1"
    ):
        solve_edited(net, CacheAttention(**edit, max_bytes=needed - 1))
    assert counts["wq"] == 0
    torch.testing.assert_close(
        solve_edited(net, CacheAttention(**edit, max_bytes=needed)), solve_edited(net, CacheAttention(**edit))
    )


def test_a_cache_that_never_hits_is_an_error(net):
    with (
        pytest.raises(CacheError, match="layer 1, frozen at step 3, was never reused"),
        attached(net, CacheAttention(freeze_steps={0: 1, 1: 3})),
    ):
        net.solve(Euler(3))  # and not the 6 steps that were declared


def test_a_cache_under_an_earlier_one_of_the_same_layer_is_an_error(net):
    with pytest.raises(CacheError, match="never reused"):
        solve_edited(net, CacheAttention(freeze_steps={1: 4}), CacheAttention(freeze_steps={1: 2}))


def test_a_freeze_step_that_another_edit_skips_is_an_error(net):
    with pytest.raises(CacheError, match="has no matrix of step 2"):
        solve_edited(net, CacheAttention(freeze_steps={1: 2}), DeepCache(interval=2))


def test_a_batch_that_changes_within_a_solve_is_an_error(net):
    with attached(net, CacheAttention(freeze_steps={1: 1})):
        net.solve(Euler(2))
        net.conditions = {name: tensor[:1] for name, tensor in net.conditions.items()}
        with pytest.raises(CacheError, match="keep batch and length the same"):
            net.velocity(0.5, net.noise[:1])


@pytest.mark.parametrize("step", [6, 7])
def test_freezing_at_the_last_step_is_refused(net, step):
    with (
        pytest.raises(EditError, match="freeze at step 5 at the latest"),
        attached(net, CacheAttention(freeze_steps={1: step})),
    ):
        pass


def test_a_schedule_for_another_number_of_steps_is_refused(net):
    schedule = LSAC(stable=(1,), level="balanced", n_steps=16)
    with pytest.raises(EditError, match=r"LSAC.balanced\(model, n_steps=6\)"), attached(net, schedule.edit()):
        pass


@pytest.mark.parametrize("solver", [Euler(6), Midpoint(6), AB2(6)])
def test_a_schedule_is_made_for_steps_whatever_they_take(net, solver):
    schedule = LSAC(stable=(1,), level="balanced", n_steps=6)
    with attached(net, schedule.edit(), solver=solver) as run:
        net.solve(solver)
    assert run.hits == {"transformer.layers.1.attention": 4 * solver.evaluations_per_step}
    with pytest.raises(EditError, match="the solve has 3"), attached(net, schedule.edit(), solver=Midpoint(3)):
        pass


@pytest.mark.parametrize(
    "freeze_steps", [{}, {-1: 3}, {"a": 3}, {1.5: 3}, {True: 3}, {1: 0}, {1: 2.0}, {1: True}, {1: "2"}]
)
def test_malformed_freeze_steps_are_refused(freeze_steps):
    with pytest.raises(EditError):
        CacheAttention(freeze_steps=freeze_steps)


def test_a_cache_is_a_row_of_text_and_back():
    edit = CacheAttention(freeze_steps={6: 4, 1: 4}, max_bytes=10**9)
    assert CacheAttention(**json.loads(json.dumps(asdict(edit)))) == edit
    assert hash(edit) == hash(CacheAttention(freeze_steps={1: 4, 6: 4}, max_bytes=10**9))
    assert len({LSAC(stable={1: 4}, moderate={2: 9}), LSAC(stable={1: 4}, moderate={2: 9})}) == 1
    with pytest.raises(EditError, match="leaves room for nothing"):
        CacheAttention(freeze_steps={1: 4}, max_bytes=0)


@settings(max_examples=25, deadline=None)
@given(
    freeze_steps=st.dictionaries(st.integers(0, LAYERS - 1), st.integers(1, 4), min_size=1),
    kind=st.sampled_from(list(BUILDERS)),
    solver=st.sampled_from([Euler(5), Midpoint(5), AB2(5)]),
)
def test_any_schedule_hits_as_often_as_it_says(freeze_steps, kind, solver):
    net = network(kind)
    edit = CacheAttention(freeze_steps=freeze_steps)
    with attached(net, edit, solver=solver) as run:
        edited = net.solve(solver)
    for layer, step in freeze_steps.items():
        assert run.hits[f"transformer.layers.{layer}.attention"] == (5 - step) * solver.evaluations_per_step
    assert first_acting_step([edit]) == min(freeze_steps.values())
    with attention_by_hand(solver, freeze_steps=freeze_steps):
        assert_near(edited, net.solve(solver))


# DeepCache


class DeepCacheByHand:
    """The middle layers replaced by one function that reuses its residual, evaluation by evaluation."""

    def __init__(self, model, interval, evaluations_per_step):
        self.layers = list(model.transformer.layers)
        self.interval, self.evaluations_per_step = interval, evaluations_per_step
        self.evaluation, self.residual = 0, None
        middle = nn.Module()
        middle.forward = self.middle
        model.transformer.layers = nn.ModuleList([self.layers[0], middle, self.layers[-1]])

    def middle(self, x, **kwargs):
        step, self.evaluation = self.evaluation // self.evaluations_per_step, self.evaluation + 1
        if step % self.interval:
            return x + self.residual
        entry = x
        for layer in self.layers[1:-1]:
            x = layer(x=x, **kwargs)
        self.residual = x - entry
        return x


@pytest.mark.parametrize("solver", [Euler(7), Midpoint(7), AB2(7)])
@pytest.mark.parametrize("interval", [1, 2, 3, 4, 9])
def test_deepcache_is_the_hand_written_loop(net, interval, solver):
    with attached(net, DeepCache(interval=interval), solver=solver) as run:
        edited = net.solve(solver)
    skipped = sum(bool(step % interval) for step in range(7)) * solver.evaluations_per_step
    assert run.hits == ({f"transformer.layers.{layer}": skipped for layer in (1, 2)} if skipped else {})
    DeepCacheByHand(net.model, interval, solver.evaluations_per_step)
    assert torch.equal(edited, net.solve(solver))


def test_deepcache_of_interval_one_is_the_plain_run(net):
    assert torch.equal(solve_edited(net, DeepCache(interval=1)), net.solve(SOLVER))


def test_deepcache_really_skips_the_middle_layers(net):
    runs = []
    for layer in net.model.transformer.layers:
        runs.append([])
        layer.feed_forward.register_forward_hook(lambda *_, log=runs[-1]: log.append(0))
    solve_edited(net, DeepCache(interval=3))
    assert [len(log) for log in runs] == [6, 2, 2, 6]


def test_deepcache_composes_with_other_edits(net):
    edited = solve_edited(net, ZeroCrossAttention(), DeepCache(interval=2))
    assert torch.equal(edited, solve_edited(net, DeepCache(interval=2), ZeroCrossAttention()))
    assert not torch.allclose(edited, solve_edited(net, DeepCache(interval=2)))


def test_deepcache_needs_middle_layers_and_a_second_step(net):
    with pytest.raises(EditError, match="use more steps"), attached(net, DeepCache(), solver=Euler(1)):
        pass
    with pytest.raises(CacheError, match="reused nothing"), attached(net, DeepCache()):
        net.velocity(0.0, net.noise)
    net.model.transformer.layers = net.model.transformer.layers[:2]
    with pytest.raises(EditError, match="a model of 2 layers has none"), attached(net, DeepCache()):
        pass
    with pytest.raises(EditError, match="whole number from 1"):
        DeepCache(interval=0)


# Schedules and layer classes


@pytest.mark.parametrize(
    ("level", "stable_step", "moderate_step", "saved"),
    [("safe", 8, None, 24 / 192), ("balanced", 4, 12, 52 / 192), ("aggressive", 2, 8, 74 / 192)],
)
def test_levels_freeze_and_save_what_the_paper_says(level, stable_step, moderate_step, saved):
    schedule = LSAC.of(SAM_AUDIO_SMALL, level=level, n_steps=16)
    wanted = dict.fromkeys((1, 6, 9), stable_step) | (
        dict.fromkeys((4, 5, 7, 11), moderate_step) if moderate_step is not None else {}
    )
    assert schedule.freeze_steps == wanted
    assert schedule.edit() == CacheAttention(freeze_steps=wanted, n_steps=16)
    assert schedule.layer_steps_saved(12) == pytest.approx(saved, abs=1e-15)
    assert round(100 * saved, 1) == {"safe": 12.5, "balanced": 27.1, "aggressive": 38.5}[level]


@settings(deadline=None)
@given(n_steps=st.integers(2, 64), level=st.sampled_from(["safe", "balanced", "aggressive"]))
def test_rounding_never_saves_more_than_the_fractions(n_steps, level):
    schedule = LSAC.of(SAM_AUDIO_SMALL, level=level, n_steps=n_steps)
    exact = {"safe": 24 / 192, "balanced": 52 / 192, "aggressive": 74 / 192}[level]
    assert schedule.layer_steps_saved(12) <= exact + 1e-12
    assert all(1 <= step < n_steps for step in schedule.freeze_steps.values())
    if n_steps % 8 == 0:
        assert schedule.layer_steps_saved(12) == pytest.approx(exact)


def test_without_steps_a_schedule_is_for_sixteen(net):
    net.model.layer_classes = classes = LayerClasses(stable=(1,), moderate=(0,), fast=tuple(range(2, LAYERS)))
    made = [LSAC.safe(net.model), LSAC.balanced(net.model), LSAC.aggressive(net.model), LSAC(stable={1: 4})]
    made += [LSAC.of(classes), LSAC.calibrated([0.1, 0.2, 0.3, 0.4])]
    assert {schedule.n_steps for schedule in made} == {16}
    assert (made[4].level, made[5].level) == ("balanced", "balanced")


def test_a_schedule_states_explicit_steps():
    schedule = LSAC(stable={1: 4, 6: 5}, moderate={2: 12})
    assert schedule.freeze_steps == {1: 4, 2: 12, 6: 5}
    assert schedule.edit(max_bytes=7).max_bytes == 7


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stable": (1,)}, "needs a level, one of safe, balanced, aggressive"),
        ({"stable": (1,), "level": "bold"}, "unknown level 'bold'"),
        ({"stable": (1,), "level": "safe", "n_steps": 1}, "use more steps"),
        ({"stable": (), "moderate": (1,), "level": "safe"}, "No layer is cached"),
        ({"stable": (1,), "moderate": (1,), "level": "balanced"}, "both stable and moderate"),
        ({"stable": (1,), "level": "safe", "n_steps": 0}, "at least 1"),
    ],
)
def test_malformed_schedules_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        LSAC(**kwargs)


def test_schedules_of_a_model_come_from_its_own_classes(net):
    net.model.layer_classes = {"stable": [1], "moderate": [3], "fast": [0, 2], "rates": [0.1, 0.2, 0.3, 0.4]}
    assert LSAC.safe(net.model, n_steps=8).freeze_steps == {1: 4}
    assert LSAC.balanced(net.model, n_steps=8).freeze_steps == {1: 2, 3: 6}
    assert LSAC.aggressive(net.model, n_steps=8).freeze_steps == {1: 1, 3: 4}
    with attach(net.model, [LSAC.balanced(net.model, n_steps=8).edit()], nfe=8) as run:
        net.solve(Euler(8))
    assert sum(run.hits.values()) / (LAYERS * 8) == LSAC.balanced(net.model, n_steps=8).layer_steps_saved(LAYERS)


def test_a_model_without_classes_is_told_to_calibrate(net):
    with pytest.raises(ModelError, match="python -m sam_lsac calibrate"):
        LSAC.balanced(net.model)
    net.model.layer_classes = LayerClasses(stable=(0,), moderate=(), fast=(1,))
    with pytest.raises(ModelError, match="do not fit the model's 4 layers"):
        LSAC.balanced(net.model)
    net.model.layer_classes = {"stable": [0]}
    with pytest.raises(InputError, match="moderate is missing: write them with `python -m sam_lsac calibrate`"):
        LSAC.balanced(net.model)


@pytest.mark.parametrize(
    "fast",
    [[True], [-1], ["1"], "1", 1, None, [1.0], [10**30], [5, *range(1, 10_000)], {"1": 1}, [0]],
    ids=reprlib.repr,
)
def test_classes_that_are_no_layers_are_told_to_calibrate(fast):
    with pytest.raises(InputError, match="python -m sam_lsac calibrate") as found:
        LayerClasses.from_dict({"stable": [0], "moderate": [], "fast": fast, "rates": [0.1]})
    assert len(str(found.value)) < 300
    with pytest.raises(InputError, match="python -m sam_lsac calibrate"):
        LayerClasses.from_dict({"stable": [], "moderate": [], "fast": []})


def of_size(n_layers, width):
    layer = nn.Module()
    layer.attention = nn.Module()
    layer.attention.wq = nn.Linear(width, width, device="meta")
    model = nn.Module()
    model.transformer = nn.Module()
    model.transformer.layers = nn.ModuleList([layer] * n_layers)
    return model


def test_the_papers_lists_are_for_sam_audio_small_alone():
    assert layer_classes(of_size(12, 1536)) == SAM_AUDIO_SMALL
    for n_layers, width in ((12, 2048), (16, 1536), (22, 2816)):
        with pytest.raises(ModelError, match="calibrate"):
            layer_classes(of_size(n_layers, width))
    model = of_size(12, 1536)
    model.layer_classes = own = classify_layers(range(12))
    assert layer_classes(model) == own


@pytest.mark.parametrize(
    ("n_layers", "sizes"), [(12, (3, 4, 5)), (22, (5, 8, 9)), (8, (2, 3, 3)), (6, (1, 2, 3)), (16, (4, 5, 7))]
)
def test_three_ways_are_a_quarter_and_a_third(n_layers, sizes):
    classes = classify_layers([0.1 * n for n in range(n_layers)])
    assert (len(classes.stable), len(classes.moderate), len(classes.fast)) == sizes
    assert classes.stable + classes.moderate + classes.fast == tuple(range(n_layers))


@pytest.mark.parametrize(("n_layers", "stable"), [(12, 6), (22, 11), (5, 3), (1, 1)])
def test_two_ways_split_at_the_median(n_layers, stable):
    classes = classify_layers([0.1 * n for n in reversed(range(n_layers))], ways=2)
    assert len(classes.stable) == stable
    assert classes.moderate == ()
    assert max(classes.fast, default=-1) < min(classes.stable)


def test_of_equal_rates_the_earlier_layer_counts_as_lower():
    classes = classify_layers([0.1] * 12)
    assert (classes.stable, classes.moderate) == ((0, 1, 2), (3, 4, 5, 6))
    assert classify_layers([0.3, 0.1, 0.2, 0.1, 0.1, 0.1, 0.2, 0.2]).stable == (1, 3)


@settings(deadline=None)
@given(rates=st.lists(st.floats(0, 10), min_size=1, max_size=24), ways=st.sampled_from([2, 3]))
def test_classes_are_ordered_and_complete(rates, ways):
    classes = classify_layers(rates, ways=ways)
    assert classes.n_layers == len(rates)
    by_class = [[rates[layer] for layer in getattr(classes, name)] for name in ("stable", "moderate", "fast")]
    for slower, faster in ((0, 1), (1, 2), (0, 2)):
        assert max(by_class[slower], default=0) <= min(by_class[faster], default=10)
    assert LayerClasses.from_dict(json.loads(json.dumps(classes.as_dict()))) == classes


def test_a_schedule_is_calibrated_from_rates():
    rates = [5.0, 0.1, 4.0, 4.5, 1.0, 1.1, 0.2, 1.2, 6.0, 0.3, 5.5, 1.3]  # orders the layers as the paper's lists do
    assert classify_layers(rates) == SAM_AUDIO_SMALL
    assert LSAC.calibrated(rates, level="safe") == LSAC.of(SAM_AUDIO_SMALL, level="safe")


@pytest.mark.parametrize("rates", [[], [0.1, float("nan")], [float("inf")]])
def test_rates_that_are_no_numbers_are_refused(rates):
    with pytest.raises(InputError, match="finite"):
        classify_layers(rates)


def test_malformed_classes_are_refused():
    with pytest.raises(InputError, match="2 or 3 ways"):
        classify_layers([1.0], ways=4)
    for stable, fast in (((0, 1), (1,)), ((0,), (2,)), ((), ())):
        with pytest.raises(InputError, match="every layer from 0 once"):
            LayerClasses(stable=stable, moderate=(), fast=fast)
    with pytest.raises(EditError):
        layer_classes(nn.Linear(1, 1))
