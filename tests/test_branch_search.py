"""Branches left out: what stands for them, what leaving one out changes, and which ones are chosen."""

from __future__ import annotations

import pytest
import torch

from sam_lsac.branch_search import DEPTH, Branch, BranchBench, choose, effects, fit_without
from sam_lsac.solver import Euler, Fitted
from sam_lsac.solver.fitting import Fitter
from tests.standin import LAYERS, assert_near, network

SOLVER = Fitted(
    reference=Euler(9), nodes=(1, 2, 4, 8), weights=((0.1,), (0.0, 0.2), (0.1, -0.2, 0.5), (0.0, 0.1, -0.2, 0.3))
)
PRICES = {"attention": 3.0, "cross_attention": 1.0, "feed_forward": 4.0}


@pytest.fixture(params=["ours", "meta-like"])
def net(request):
    return network(request.param)


def replaced(net, layer, part, value, time, x):
    """The velocity with one branch exchanged by a plain hook."""
    module = net.model.transformer.layers[layer].get_submodule(part)
    handle = module.register_forward_hook(lambda *_: value)
    try:
        return net.velocity(time, x)
    finally:
        handle.remove()


@torch.inference_mode()
@pytest.mark.parametrize("layer", [0, 2, LAYERS - 1])
@pytest.mark.parametrize("part", ["attention", "cross_attention", "feed_forward"])
def test_a_branch_is_exchanged_and_nothing_else(net, layer, part):
    bench = BranchBench(net.model, net.velocity)
    plain = net.velocity(0.3, net.noise)
    with bench.solving():
        velocity, ran = bench.whole(0.3, net.noise)
        other = bench.without(0.3, net.noise, {(layer, part): [2 * ran[layer, part][0]]})
    assert torch.equal(velocity, plain)
    assert torch.equal(other, replaced(net, layer, part, 2 * ran[layer, part][0], 0.3, net.noise))
    assert len(ran) == 3 * LAYERS


@torch.inference_mode()
def test_what_is_told_is_the_nearest_sum_of_the_last_evaluations(net):
    bench, place = BranchBench(net.model, net.velocity), (1, "feed_forward")
    with bench.solving():
        past = []
        for time in (0.0, 0.2, 0.5):
            _, ran = bench.whole(time, net.noise)
            bench.keep(ran)
            past.append(ran[place][0])
        weights, (told,) = bench.told(place, [0.75 * past[2] - 1.5 * past[1]])
        nearest, (sum_,) = bench.told(place, [past[0]])
    assert weights == pytest.approx((0.75, -1.5), rel=1e-4)
    assert_near(told, 0.75 * past[2] - 1.5 * past[1])
    assert len(nearest) == DEPTH
    for one in past[1:]:  # what is left is at right angles to what it was told from
        assert abs(float(((past[0] - sum_) * one).sum())) < 1e-4 * float(past[0].norm() * one.norm())


@torch.inference_mode()
def test_the_effect_of_a_branch_is_its_change_of_the_velocity_times_what_becomes_of_it(net):
    bench = BranchBench(net.model, net.velocity)
    final, moves = effects(bench, SOLVER, net.noise)
    assert_near(final, net.solve(SOLVER))
    assert sorted({one.step for one in moves}) == [2, 3, 4]
    assert len(moves) == 3 * 3 * LAYERS
    seen = []

    def velocity(time, x):
        seen.append((time, x, net.velocity(time, x)))
        return seen[-1][2]

    SOLVER.solve(velocity, net.noise)
    with bench.solving():
        for step, (time, x, value) in enumerate(seen, start=1):
            _, ran = bench.whole(time, x)
            if step == 3:
                told = bench.told((2, "attention"), ran[2, "attention"])[1]
                change = bench.without(time, x, {(2, "attention"): told}) - value
                assert_near(moves[Branch(3, 2, "attention")], change * (0.5 - 0.2))
                assert change.abs().max() > 1e-4
            bench.keep(ran)


def moves_of(**rows):
    return {Branch(int(key[1]), int(key[2]), PARTS[key[0]]): torch.tensor([row]) for key, row in rows.items()}


PARTS = {"a": "attention", "c": "cross_attention", "f": "feed_forward"}


@pytest.mark.parametrize(
    ("moves", "residual", "saved", "wanted"),
    [
        ({"c20": [1.0, 0.0], "c21": [0.0, 2.0]}, [0.0, 0.0], 1.0, ["c20"]),  # the smaller change
        ({"c20": [1.0, 0.0], "f21": [0.0, 1.5]}, [0.0, 0.0], 1.0, ["f21"]),  # for what it saves
        ({"c20": [1.0, 0.0], "c21": [-3.0, 0.0]}, [3.0, 0.0], 1.0, ["c21"]),  # cancels what is there
        ({"c20": [1.0, 0.0], "c21": [0.0, 1.1], "c22": [-1.2, 0.0]}, [0.0, 0.0], 2.0, ["c20", "c22"]),  # and each other
        ({"c20": [1.0, 0.0], "c30": [0.0, 1.0], "c31": [3.0, 0.0]}, [0.0, 0.0], 2.0, ["c20", "c31"]),  # not in a row
        ({"c20": [1.0, 0.0], "c30": [0.0, 1.0], "c40": [2.0, 0.0]}, [0.0, 0.0], 9.0, ["c20", "c40"]),  # all there is
        ({"c20": [1.0, 0.0]}, [0.0, 0.0], 0.0, []),
    ],
)
def test_branches_are_chosen_for_the_least_distance(moves, residual, saved, wanted):
    found = choose(moves_of(**moves), torch.tensor([residual]), torch.ones(1), costs=PRICES, saved=saved)
    assert found == sorted(moves_of(**{key: [0.0] for key in wanted}))


def test_examples_count_by_their_scale():
    moves = {Branch(2, 0, "attention"): torch.eye(2), Branch(2, 1, "attention"): torch.tensor([[3.0, 0.0], [0.0, 0.0]])}
    for scale, layer in (([1.0, 1.0], 0), ([0.1, 1.0], 1)):
        (chosen,) = choose(moves, torch.zeros(2, 2), torch.tensor(scale), costs=PRICES, saved=3.0)
        assert chosen.layer == layer


@torch.inference_mode()
def test_what_was_fitted_without_branches_is_what_the_edits_do(net):
    left_out = [Branch(2, 0, "feed_forward"), Branch(3, 0, "attention"), Branch(3, 3, "cross_attention")]
    left_out += [Branch(4, 0, "feed_forward"), Branch(4, 1, "attention")]
    reference = Euler(9)
    slopes = []

    def fitter(velocity):
        known = iter(slopes)
        return Fitter(
            reference, lambda t, x: one if (one := next(known, None)) is not None else velocity(t, x), net.noise
        )

    reference.solve(lambda t, x: slopes.append(net.velocity(t, x)) or slopes[-1], net.noise)
    fit, edits = fit_without(BranchBench(net.model, net.velocity), left_out, nodes=SOLVER.nodes, fitter=fitter)
    assert {(edit.part, layer, step) for edit in edits for layer, rows in edit.weights.items() for step in rows} == {
        (one.part, one.layer, one.step) for one in left_out
    }
    assert_near(net.solve_edited(*edits, solver=fit.solver), fit.state)
    assert (net.solve(fit.solver) - fit.state).abs().max() > 1e-3
