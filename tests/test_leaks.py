"""What a cache carries from one solve into the next: seen where it does, and only there."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch

from sam_lsac.caching import CacheAttention, DeepCache
from sam_lsac.caching.peers.thresholds import TeaCache
from sam_lsac.errors import CacheError, InputError
from sam_lsac.interventions.edit import CacheReport, Edit
from sam_lsac.interventions.sites import layer_sites
from sam_lsac.runs.arms import ResolvedArm
from sam_lsac.runs.leaks import Leak, _difference, leaks
from sam_lsac.solver import Euler, Midpoint
from tests import tiny_runs
from tests.test_peers import CACHES, LIBRARIES, SOLVER, N, installed

#: What the documented use of each library carries over, in this order: the same mixture again, and another one.
CARRIES = {
    "dbcache": (True, True),
    "dbcache-taylor": (True, True),
    "first-block": (True, True),
    "magcache": (False, False),
    "taylorseer": (True, True),
    "smoothcache": (True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hoarder(Edit):
    """Replaces the last layer's output by the mean with what it was in the same evaluation of the solve before."""

    keeps: bool

    def sites(self, model):
        return layer_sites(model, layers=(3,))

    def begin(self, clock):
        return {}

    def again(self, clock, state):
        return dict(state) if self.keeps else {}

    def apply(self, call, state):
        output = call.proceed()
        old = state.get(call.clock.completed)
        state[call.clock.completed] = output
        return output if old is None else (output + old) / 2

    def finish(self, state):
        return CacheReport()


def arm(*edits, solver=SOLVER):
    return ResolvedArm(name="a", solver=solver, edits=edits, text=True, spans=False)


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def pair():
    return tiny_runs.mixtures(2)


def test_what_keeps_nothing_leaks_nothing(model, pair):
    nothing = Leak(repeated=0.0, carried=0.0)
    assert leaks(model, arm(Hoarder(keeps=False)), pair) == nothing
    assert leaks(model, arm(CacheAttention(freeze_steps={0: 4}), DeepCache(interval=2)), pair) == nothing
    assert leaks(model, arm(DeepCache(interval=2), solver=Midpoint(4)), pair) == nothing


def test_what_keeps_the_solve_before_leaks_into_another_mixture_alone(model, pair):
    """Of the same mixture the mean of equal outputs is the output, as long as the state is the same."""
    found = leaks(model, arm(Hoarder(keeps=True)), pair)
    assert found.repeated == 0.0
    assert found.carried > 0.01


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_that_is_reset_leaks_nothing(model, pair, name):
    installed(CACHES[name])
    assert leaks(model, arm(CACHES[name]), pair) == Leak(repeated=0.0, carried=0.0)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_documented_use_of_a_library(model, pair, name):
    installed(LIBRARIES[name])
    edit = replace(LIBRARIES[name], reset=False)
    if name == "first-block":  # the first evaluation of a solve is far from the last one of the solve before
        edit = replace(edit, threshold=10.0)
    found = leaks(model, arm(edit), pair)
    assert (found.repeated > 0, found.carried > 0) == CARRIES[name]


def test_two_mixtures_of_one_length_are_needed(model, pair):
    with pytest.raises(InputError, match="two mixtures"):
        leaks(model, arm(DeepCache()), pair[:1])
    with pytest.raises(InputError, match="two mixtures"):
        leaks(model, arm(DeepCache()), [pair[0], pair[0]])
    longer = tiny_runs.mixture(1, n_samples=32 * tiny_runs.HOP)
    with pytest.raises(InputError, match="one length"):
        leaks(model, arm(DeepCache()), [pair[0], longer])


def test_a_leak_is_the_largest_difference_over_the_root_mean_square_of_what_should_be():
    whole = torch.tensor([1.0, -7.0])
    assert _difference(torch.tensor([1.5, -9.0]), whole) == pytest.approx(2 / 5)
    assert _difference(whole, whole.clone()) == 0.0
    assert 0.0 < _difference(torch.nextafter(whole, whole + 1), whole) < 1e-6  # any other bit
    assert _difference(whole, torch.zeros(2)) == math.inf


def test_both_solves_are_given_what_the_arm_gives(model, pair):
    """Prompt and spans, or not."""
    given = itertools.product((True, False), repeat=2)
    arms = [replace(arm(Hoarder(keeps=True)), text=text, spans=spans) for text, spans in given]
    assert len({leaks(model, one, pair).carried for one in arms}) == 4


def test_a_cache_that_reuses_nothing_in_a_solve_alone_is_refused(model, pair):
    with pytest.raises(CacheError, match="reused nothing"):
        leaks(model, arm(TeaCache(threshold=1e-9)), pair)


def test_the_seed_is_that_of_both(model, pair):
    edit = Hoarder(keeps=True)
    assert leaks(model, arm(edit, solver=Euler(N)), pair, seed=1) != leaks(model, arm(edit), pair, seed=2)
