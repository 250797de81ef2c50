"""What peers go by: the estimates of TeaCache and EasyCache by a loop by hand, and the words that reach a library."""

import itertools
import math

import pytest
import torch

from sam_lsac.caching.peers.cache_dit import DBCache
from sam_lsac.caching.peers.diffusers import FirstBlockCache, MagCache, TaylorSeer
from sam_lsac.caching.peers.smooth import BranchChanges, SmoothCache, smooth_schedule
from sam_lsac.caching.peers.thresholds import EasyCache, TeaCache
from sam_lsac.interventions.edit import Call, Clock
from sam_lsac.interventions.sites import Site
from tests.test_peers import CACHES, installed

#: The stack's input at each evaluation, one figure each; its change is now slow and now quick.
INPUTS = (1.0, 1.3, 1.35, 1.45, 1.5, 2.4, 2.5, 2.45, 2.55, 2.56, 2.7, 2.72)
LAYERS = (lambda x: 2.0 * x**2, lambda x: x + 3.0)


def cached(edit, *, part=None):
    """Return what leaves the stack at each evaluation, and its report; each layer is a function of one figure."""
    clock, leaves = Clock(nfe=len(INPUTS)), []
    state = edit.begin(clock)
    for clock.completed, value in enumerate(INPUTS):
        x = torch.tensor([[[value]]], dtype=torch.float64)
        for place, layer in enumerate(LAYERS):
            path = f"transformer.layers.{place}" + (f".{part}" if part else "")
            site = Site(path=path, layer=place)
            x = edit.apply(Call(site=site, module=None, clock=clock, args=(x,), kwargs={}, inner=layer), state)
        leaves.append(float(x))
    return leaves, edit.finish(state)


def by_hand(change, threshold):
    """Return the same from an estimate of the change; the first and the last evaluation are whole."""
    leaves, hits, accumulated, whole = [], 0, 0.0, []
    for place, x in enumerate(INPUTS):
        accumulated += change(place, whole) if place else math.inf
        if place < len(INPUTS) - 1 and accumulated < threshold:
            entry, output = whole[-1]
            leaves.append(x + output - entry)
            hits += 1
        else:
            accumulated = 0.0
            leaves.append(LAYERS[1](LAYERS[0](x)))
            whole.append((x, leaves[-1]))
    return leaves, hits


def relative(place):
    return abs(INPUTS[place] - INPUTS[place - 1]) / INPUTS[place - 1]


@pytest.mark.parametrize("threshold", [0.06, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("coefficients", [(0.0, 1.0), (-0.01, 0.5, 8.0)])
def test_teacache_accumulates_the_polynomial_of_the_inputs_relative_change(threshold, coefficients):
    def change(place, whole):
        return max(0.0, sum(factor * relative(place) ** power for power, factor in enumerate(coefficients)))

    leaves, hits = by_hand(change, threshold)
    found, report = cached(TeaCache(threshold=threshold, coefficients=coefficients))
    assert 0 < hits < len(INPUTS) - 2
    assert found == pytest.approx(leaves)
    assert report.hits == {f"transformer.layers.{layer}": hits for layer in range(2)}


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5, 1.0])
def test_easycache_accumulates_the_outputs_change_at_the_rate_of_the_last_two_whole_evaluations(threshold):
    def change(place, whole):
        if len(whole) < 2:
            return math.inf
        (old_entry, old_output), (entry, output) = whole[-2:]
        rate = abs(output - old_output) / abs(entry - old_entry)
        return rate * abs(INPUTS[place] - INPUTS[place - 1]) / abs(output)

    leaves, hits = by_hand(change, threshold)
    found, report = cached(EasyCache(threshold=threshold))
    assert 0 < hits < len(INPUTS) - 2
    assert found == pytest.approx(leaves)
    assert set(report.hits.values()) == {hits}


def test_a_polynomial_below_zero_takes_nothing_back():
    """A change that counts for less than nothing makes no room for later ones."""
    leaves, hits = by_hand(lambda place, whole: max(0.0, 10.0 * relative(place) - 0.5), 0.2)
    found, report = cached(TeaCache(threshold=0.2, coefficients=(-0.5, 10.0)))
    assert (found, set(report.hits.values())) == (pytest.approx(leaves), {hits})


def test_branch_changes_are_sums_over_layers_by_distance():
    _, changes = cached(BranchChanges(longest=2), part="attention")
    first = [2.0 * x**2 for x in INPUTS]
    outputs = [first, [x + 3.0 for x in first]]
    wanted = {
        (at, by): sum(abs(one[at] - one[at - by]) / one[at - by] for one in outputs)
        for at, by in itertools.product(range(1, len(INPUTS)), (1, 2))
        if by <= at
    }
    assert changes["attention"] == pytest.approx(wanted)
    assert changes["feed_forward"] == {}


def test_a_branch_runs_where_one_solve_did_not_measure_its_change():
    """Two solves, of which the second kept no change over two evaluations; each part has a schedule of its own."""
    near = dict.fromkeys([(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)], 0.1)
    far = {place: 0.1 for place in near if place[1] == 1}
    found = smooth_schedule(
        [{"attention": near, "feed_forward": near}, {"attention": near, "feed_forward": far}],
        n_layers=1, nfe=4, threshold=0.2,
    )  # fmt: skip
    assert found == SmoothCache(attention=(1, 0, 0, 0), feed_forward=(1, 0, 1, 0))


# ------------------------------------------------------------------------------------------- words that reach a library

CLOCK = Clock(nfe=6, evaluations_per_step=2)


def given(config, **wanted):
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_every_word_of_dbcache_reaches_its_library():
    installed(CACHES["dbcache"])
    edit = DBCache(
        first_blocks=2, last_blocks=1, residual_diff_threshold=0.3, max_warmup_steps=1, max_cached_steps=3,
        max_continuous_cached_steps=2, taylor_order=3, steps_computation_mask=(1, 0, 1, 0, 1, 1),
    )  # fmt: skip
    configs = edit._configs(CLOCK)
    given(
        configs["cache_config"], Fn_compute_blocks=2, Bn_compute_blocks=1, residual_diff_threshold=0.3,
        max_warmup_steps=1, max_cached_steps=3, max_continuous_cached_steps=2, num_inference_steps=6,
        steps_computation_mask=[1, 0, 1, 0, 1, 1], steps_computation_policy="static", enable_separate_cfg=False,
    )  # fmt: skip
    given(configs["calibrator_config"], taylorseer_order=3)
    assert set(DBCache()._configs(CLOCK)) == {"cache_config"}


def test_every_word_of_diffusers_caches_reaches_the_library():
    installed(CACHES["magcache"])
    given(FirstBlockCache(threshold=0.2).config(CLOCK), threshold=0.2)
    ratios = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    mag = MagCache(ratios=ratios, threshold=0.2, max_skip_steps=2, retention_ratio=0.4).config(CLOCK)
    given(mag, threshold=0.2, max_skip_steps=2, retention_ratio=0.4, num_inference_steps=6, calibrate=False)
    assert mag.mag_ratios.tolist() == pytest.approx(ratios)
    taylor = TaylorSeer(
        cache_interval=2, disable_cache_before_step=1, disable_cache_after_step=5, max_order=2, factors_dtype="float32"
    )
    given(
        taylor.config(CLOCK), cache_interval=2, disable_cache_before_step=1, disable_cache_after_step=5, max_order=2,
        taylor_factors_dtype=torch.float32, cache_identifiers=[r"layers\.\d+\.attention"],
    )  # fmt: skip


def test_an_edit_looks_across_its_batch_where_it_goes_by_a_threshold():
    alone = {name for name, edit in CACHES.items() if edit.looks_across_batch}
    assert alone == {"dbcache", "first-block", "teacache", "easycache"}
