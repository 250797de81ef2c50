"""Caches of other people: what really ran is counted, the model is left as it was, and state goes where it should."""

import importlib.metadata
import importlib.util
import itertools
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam_lsac.caching import CacheBranch, FittedBranch
from sam_lsac.caching.peers import NOT_ATTACHED, PEERS, missing_library
from sam_lsac.caching.peers.cache_dit import DBCache
from sam_lsac.caching.peers.diffusers import FirstBlockCache, MagCache, MagRatios, TaylorSeer
from sam_lsac.caching.peers.peer import PINNED
from sam_lsac.caching.peers.smooth import BranchChanges, SmoothCache, smooth_schedule
from sam_lsac.caching.peers.thresholds import EasyCache, TeaCache
from sam_lsac.costs import cache_bytes
from sam_lsac.errors import CacheError, EditError, InputError
from sam_lsac.interventions import ZeroCrossAttention, attach
from sam_lsac.interventions.edit import Edit
from sam_lsac.runs.arms import EDITS, build_edit, describe_edit
from sam_lsac.runs.calibrated_peers import calibrated_peers
from sam_lsac.runs.compute import Batch
from sam_lsac.separate import solve_batch
from sam_lsac.solver import Euler
from tests import tiny_runs
from tests.standin import LAYERS, network
from tests.test_around import assert_same_portrait, forwards, portrait

N = 12
SOLVER = Euler(N)
MASK = (1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1)
LAYER_PATHS = [f"transformer.layers.{layer}" for layer in range(LAYERS)]

#: An edit of each kind that reuses something on the random network.
CACHES = {
    "dbcache": DBCache(first_blocks=1, max_warmup_steps=2, residual_diff_threshold=0.3),
    "dbcache-taylor": DBCache(first_blocks=1, steps_computation_mask=MASK, taylor_order=1),
    "first-block": FirstBlockCache(threshold=0.2),
    "magcache": MagCache(ratios=(1.0, *[0.99] * (N - 1))),
    "taylorseer": TaylorSeer(cache_interval=3, factors_dtype="float32"),
    "smoothcache": SmoothCache(attention=(1, 0) * (N // 2), feed_forward=(1, 0, 0) * (N // 3)),
    "teacache": TeaCache(threshold=0.3),
    "easycache": EasyCache(threshold=0.3),
    "held": CacheBranch(part="layer", steps=(4, 5, 8)),
    "fitted": FittedBranch(part="layer", weights={0: {4: (1.0,)}, 2: {3: (1.5, -0.4), 7: (0.9,)}}),
}
LIBRARIES = {name: edit for name, edit in CACHES.items() if edit.versions()}


def installed(edit):
    for distribution in edit.versions():
        try:
            importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{distribution} is not there: pip install sam_lsac[peers]")


@pytest.fixture(scope="module")
def net():
    return network("ours")


@pytest.fixture(scope="module")
def plain(net):
    return net.solve(SOLVER)


@pytest.fixture(params=CACHES)
def cache(request):
    installed(CACHES[request.param])
    return CACHES[request.param]


@pytest.fixture(params=LIBRARIES)
def library(request):
    installed(LIBRARIES[request.param])
    return LIBRARIES[request.param]


def calls_of(net, *, parts=("",), solve):
    """Calls of each layer, or of parts of it, by their own innermost modules, which no library of this test touches."""
    insides = {"": "cross_attention.wo", "attention": "attention.wo", "feed_forward": "feed_forward.w2"}
    counts, hooks = {}, []
    for layer, path in zip(net.model.transformer.layers, LAYER_PATHS, strict=True):
        for part in parts:
            name = f"{path}.{part}".rstrip(".")
            counts[name] = 0

            def count(module, args, name=name):
                counts[name] += 1

            hooks.append(layer.get_submodule(insides[part]).register_forward_pre_hook(count))
    try:
        solve()
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def test_the_model_is_bit_equal_afterwards(net, plain, cache):
    before = portrait(net.model)
    with attach(net.model, [cache], nfe=N):
        cached = net.solve(SOLVER)
    assert_same_portrait(net.model, before)
    assert torch.equal(net.solve(SOLVER), plain)
    assert not torch.equal(cached, plain)
    torch.testing.assert_close(cached, plain, rtol=0.5, atol=2.0)


def test_also_after_an_exception_in_the_network(net, cache):
    before = portrait(net.model)
    with pytest.raises(RuntimeError), attach(net.model, [cache], nfe=N):
        net.velocity(0.0, net.noise[:, :, :1])
    assert_same_portrait(net.model, before)
    assert forwards(net.model) == []


def test_hits_are_the_calls_that_did_not_run(net, cache):
    parts = getattr(type(cache), "parts", ()) or ("",)
    found = {}

    def solve():
        with attach(net.model, [cache], nfe=N) as run:
            net.solve(SOLVER)
        found["hits"], found["bytes"] = run.hits, run.outcomes[0].stored_bytes

    calls = calls_of(net, parts=parts, solve=solve)
    assert found["hits"] == {path: N - count for path, count in calls.items() if count < N}
    assert 0 < sum(found["hits"].values()) < N * len(calls)
    assert found["bytes"] >= 4 * net.noise.shape[0] * 12 * 16  # one float32 state [B, T, D] at least


@pytest.mark.parametrize("name", ["teacache", "easycache", "held", "fitted"])
def test_what_a_cache_keeps_is_known_beforehand(net, name):
    with attach(net.model, [CACHES[name]], nfe=N) as run:
        net.solve(SOLVER)
    batch, n_frames = net.noise.shape[:2]
    assert run.outcomes[0].stored_bytes == cache_bytes(net.model, CACHES[name], n_frames=n_frames, batch=batch)


def test_hits_by_layer(net):
    installed(CACHES["dbcache-taylor"])
    with attach(net.model, [CACHES["dbcache-taylor"]], nfe=N) as run:
        net.solve(SOLVER)
    assert run.hits == dict.fromkeys(LAYER_PATHS[1:], MASK.count(0))


@pytest.mark.parametrize(
    ("name", "hits"), [("taylorseer", {"attention": 6}), ("smoothcache", {"attention": 6, "feed_forward": 8})]
)
def test_a_schedule_holds_in_every_layer_alike(net, name, hits):
    """TaylorSeer runs in evaluations 0, 1, 2 and then 4, 7, 10."""
    installed(CACHES[name])
    with attach(net.model, [CACHES[name]], nfe=N) as run:
        net.solve(SOLVER)
    assert run.hits == {f"{path}.{part}": count for path in LAYER_PATHS for part, count in hits.items()}


def test_without_a_hit_a_library_changes_nothing_and_is_refused(net, plain, library):
    whole = {
        DBCache: {"steps_computation_mask": (1,) * N, "taylor_order": None},
        FirstBlockCache: {"threshold": 0.0},
        MagCache: {"threshold": 1e-9},
        TaylorSeer: {"disable_cache_before_step": N},
        SmoothCache: {"attention": (1,) * N, "feed_forward": (1,) * N},
    }[type(library)]
    outputs = []
    with (
        pytest.raises(CacheError, match="reused nothing in 12 evaluations"),
        attach(net.model, [replace(library, **whole)], nfe=N),
    ):
        outputs.append(net.solve(SOLVER))
    assert torch.equal(outputs[0], plain)


@pytest.mark.parametrize("cls", [TeaCache, EasyCache])
def test_a_threshold_that_nothing_is_below_is_refused(net, cls):
    with pytest.raises(CacheError, match="reused nothing"), attach(net.model, [cls(threshold=1e-9)], nfe=N):
        net.solve(SOLVER)


def test_an_edit_acts_inside_a_cache(net, plain, cache):
    with attach(net.model, [cache, ZeroCrossAttention()], nfe=N) as run:
        both = net.solve(SOLVER)
    with attach(net.model, [cache], nfe=N):
        alone = net.solve(SOLVER)
    assert run.fired[1] > 0
    assert not torch.equal(both, alone)


def test_two_solves_in_two_blocks_are_bit_equal(net, cache):
    results = []
    for _ in range(2):
        with attach(net.model, [cache], nfe=N):
            results.append(net.solve(SOLVER))
    assert torch.equal(*results)


def test_a_library_that_is_reset_begins_anew(net, cache):
    with attach(net.model, [cache], nfe=N) as run:
        first = net.solve(SOLVER)
        run.again()
        second = net.solve(SOLVER)
    assert torch.equal(first, second)


def test_two_caches_of_the_whole_stack_are_refused(net):
    installed(CACHES["first-block"])
    edits = [CACHES["first-block"], CACHES["magcache"]]
    with pytest.raises(EditError, match="Two caches"), attach(net.model, edits, nfe=N):
        pass


@pytest.mark.parametrize("edit", [CACHES["magcache"], CACHES["smoothcache"], CACHES["dbcache-taylor"]])
def test_what_was_made_for_another_solve_is_refused(net, edit):
    with pytest.raises(EditError, match=r"the solve 16 evaluations|each of the 16 evaluations"):
        attach(net.model, [edit], nfe=16).__enter__()


def test_more_blocks_than_there_are_is_refused(net):
    installed(DBCache())
    with pytest.raises(EditError, match=r"give fewer, such as first_blocks=1"), attach(net.model, [DBCache()], nfe=N):
        pass
    assert forwards(net.model) == []


def test_a_library_that_is_not_there_is_named_with_the_remedy(net, library, monkeypatch):
    for module in ("cache_dit", "diffusers", "SmoothCache"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EditError, match=r"pip install sam_lsac\[peers\]"), attach(net.model, [library], nfe=N):
        pass
    assert forwards(net.model) == []


def test_a_missing_library_keeps_the_pinned_version_in_the_key(library, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    (distribution,) = library.versions()
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert library.versions() == {distribution: PINNED[distribution]}


def test_the_pinned_versions_are_those_of_the_extra():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = {f"{name}=={version}" for name, version in PINNED.items()}
    assert pins == set(extras["peers"])
    assert pins < set(extras["dev"])


def test_arms_may_name_them_all():
    ours = {"CacheBranch", "FittedBranch"}
    assert set(PEERS) == {type(edit).__name__ for edit in CACHES.values()} - ours
    assert set(PEERS) | ours < set(EDITS)
    assert all(issubclass(kind, Edit) for kind in PEERS.values())
    for edit in CACHES.values():
        assert build_edit(describe_edit(edit)) == edit
    assert all(reason for reason in NOT_ATTACHED.values())


def test_ratios_are_those_of_the_residuals(net):
    installed(CACHES["magcache"])
    inputs, outputs = [], []
    layers = net.model.transformer.layers
    hooks = [
        layers[0].register_forward_pre_hook(lambda module, args, kwargs: inputs.append(kwargs["x"]), with_kwargs=True),
        layers[-1].register_forward_hook(lambda module, args, output: outputs.append(output)),
    ]
    with attach(net.model, [MagRatios()], nfe=N) as run:
        net.solve(SOLVER)
    for hook in hooks:
        hook.remove()
    sizes = [(out - into).norm(dim=-1) for into, out in zip(inputs, outputs, strict=True)]
    wanted = [1.0, *(float((now / before).mean()) for before, now in itertools.pairwise(sizes))]
    assert run.outcomes[0] == pytest.approx(wanted, rel=1e-5)
    with attach(net.model, [MagCache(ratios=run.outcomes[0])], nfe=N) as cached:
        net.solve(SOLVER)
    assert set(cached.hits) == set(LAYER_PATHS)


def test_a_smooth_schedule_holds_what_changed_little():
    changes = {"attention": {(1, 1): 0.2, (2, 1): 0.2, (2, 2): 0.8, (3, 1): 0.2, (3, 2): 0.2, (3, 3): 0.8}}
    changes["feed_forward"] = dict.fromkeys([(1, 1), (2, 1), (3, 1)], 4.0)
    found = smooth_schedule([changes, changes], n_layers=2, nfe=4, threshold=0.2)
    assert found == SmoothCache(attention=(1, 0, 1, 0), feed_forward=(1, 1, 1, 1))
    with pytest.raises(EditError, match="at least one solve"):
        smooth_schedule([], n_layers=2, nfe=4, threshold=0.2)


def test_branch_changes_are_relative_to_the_evaluations_before(net, plain):
    outputs = []
    hook = net.model.transformer.layers[0].attention.register_forward_hook(lambda m, a, output: outputs.append(output))
    with attach(net.model, [BranchChanges(longest=2)], nfe=N) as run:
        assert torch.equal(net.solve(SOLVER), plain)
    hook.remove()
    (changes,) = run.outcomes
    wanted = {(at, by) for at in range(1, N) for by in (1, 2) if by <= at}
    assert set(changes["attention"]) == set(changes["feed_forward"]) == wanted
    first = float((outputs[2] - outputs[0]).abs().sum() / outputs[0].abs().sum())
    assert 0 < first < changes["attention"][2, 2]  # one layer of four


def test_a_solve_that_packs_its_weights_runs_under_a_cache_and_leaves_no_trace(cache):
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(2)
    batch = Batch(model, mixtures, [0, 1])
    conditions = batch.conditions(text=True, spans=False)
    plain = solve_batch(model, conditions, batch.noise, solver=SOLVER)
    before = portrait(model)
    attachments = []
    cached = solve_batch(model, conditions, batch.noise, solver=SOLVER, edits=[cache], on_leave=attachments.append)
    assert sum(attachments[0].hits.values()) > 0
    assert not torch.equal(cached, plain)
    (tree, values), (now, now_values) = before, portrait(model)
    assert {key: one for key, one in now.items() if key[1] != "_packed"} == {
        key: one for key, one in tree.items() if key[1] != "_packed"
    }
    assert all(torch.equal(now_values[name], tensor) for name, tensor in values.items())
    assert torch.equal(solve_batch(model, conditions, batch.noise, solver=SOLVER), plain)


def test_peers_are_calibrated_on_every_mixture_alike():
    installed(CACHES["magcache"])
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(2)
    both, schedule = calibrated_peers(model, mixtures, SOLVER, threshold=0.5)
    each = [calibrated_peers(model, [mixture], SOLVER)[0] for mixture in mixtures]
    wanted = [sum(ratios) / 2 for ratios in zip(*(one.ratios for one in each), strict=True)]
    assert both.ratios == pytest.approx(wanted, abs=2e-6)
    assert each[0] != each[1]
    assert 0 < sum(schedule.attention) < N
    with pytest.raises(InputError, match="at least one mixture"):
        calibrated_peers(model, [], SOLVER)


def test_which_library_is_missing_is_known_without_importing_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for word, kind in PEERS.items():
        reason = missing_library(word)
        assert (reason is None) == (kind in (TeaCache, EasyCache))
        assert reason is None or "pip install sam_lsac[peers]" in reason
    assert missing_library("DeepCache") is None
