"""The general cache: held, predicted and fitted branches against solves that are written out with plain hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from sam_lsac.caching import CacheBranch, DeepCache, FittedBranch
from sam_lsac.caching.branch import PARTS
from sam_lsac.costs import arm_cost, cache_bytes, count_flops, counted_flops
from sam_lsac.errors import CacheError, EditError, PlanError
from sam_lsac.interventions import FreezeSelfAttention, attach, first_acting_step
from sam_lsac.interventions.edit import Clock
from sam_lsac.runs.arms import build_edit, describe_edit
from sam_lsac.solver import Euler, Fitted, Midpoint, Points, SolverState, Sway
from tests.standin import LAYERS, assert_near, network

FITTED = Fitted(
    reference=Euler(9), nodes=(1, 2, 4, 8), weights=((0.1,), (0.0, 0.2), (0.1, -0.2, 0.5), (0.0, 0.1, -0.2, 0.3))
)
SOLVERS = [Midpoint(5), FITTED]
BRANCHES = ("attention", "cross_attention", "feed_forward")


def by_hand(net, solver, told, *, part, layers, steps):
    """The same solve with plain hooks; ``told(seen)`` makes a branch from those that ran, as (time, value) by step."""
    per_step, handles, now = solver.evaluations_per_step, [], {"evaluation": 0}

    def tick(module, args, kwargs):
        now.update(evaluation=now["evaluation"] + 1, time=float(args[1][0]))

    handles.append(net.model.transformer.register_forward_pre_hook(tick, with_kwargs=True))
    for layer in layers:
        seen = {}

        def hook(module, args, kwargs, output, seen=seen):
            step = (now["evaluation"] - 1) // per_step + 1
            x = kwargs["x"] if part == "layer" else 0
            if step in steps:
                return told(seen, now["time"]) + x
            seen[step] = (now["time"], output - x)
            return output

        module = net.model.transformer.layers[layer]
        module = module if part == "layer" else module.get_submodule(part)
        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        return net.solve(solver)
    finally:
        for handle in handles:
            handle.remove()


def last(seen, time):
    return seen[max(seen)][1]


def on_the_line(seen, time):
    (before, old), (latest, new) = (seen[step] for step in sorted(seen)[-2:])
    return new + (time - latest) / (latest - before) * (new - old)


@pytest.mark.parametrize("kind", ["ours", "meta-like"])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name.split("#")[0])
@pytest.mark.parametrize("part", [*BRANCHES, "layer"])
class TestAgainstHooks:
    def test_held_is_what_it_was(self, kind, solver, part):
        net = network(kind)
        edit = CacheBranch(part=part, steps=(2, 4), layers=(0, 2))
        held = net.solve_edited(edit, solver=solver)
        assert_near(held, by_hand(net, solver, last, part=part, layers=(0, 2), steps=(2, 4)))
        assert (held - net.solve(solver)).abs().max() > 1e-4

    def test_predicted_lies_on_the_line_at_the_time_of_the_evaluation(self, kind, solver, part):
        net = network(kind)
        edit = CacheBranch(part=part, steps=(4,), order=1)
        predicted = net.solve_edited(edit, solver=solver)
        assert_near(predicted, by_hand(net, solver, on_the_line, part=part, layers=range(LAYERS), steps=(4,)))

    def test_fitted_is_the_weighted_sum_the_newest_first(self, kind, solver, part):
        net = network(kind)
        edit = FittedBranch(part=part, weights={1: {3: (0.9,), 4: (1.5, -0.6)}})

        def summed(seen, time):
            newest = [seen[step][1] for step in sorted(seen, reverse=True)]
            return newest[0] * 0.9 if summed.calls < solver.evaluations_per_step else newest[0] * 1.5 - newest[1] * 0.6

        def counted(seen, time):
            value = summed(seen, time)
            summed.calls += 1
            return value

        summed.calls = 0
        assert_near(
            net.solve_edited(edit, solver=solver), by_hand(net, solver, counted, part=part, layers=(1,), steps=(3, 4))
        )


class Ramp(nn.Module):
    """A branch that is linear in the flow's time, whatever it is given."""

    def __init__(self, network):
        super().__init__()
        self.time = torch.zeros(())
        network.register_forward_pre_hook(lambda module, args: setattr(self, "time", args[1]))

    def forward(self, x):
        pattern = torch.arange(float(x.size(-1)), dtype=x.dtype)
        return torch.ones_like(x) * (pattern - 3 * self.time[:, None, None] * pattern.flip(0))


@pytest.mark.parametrize(
    "solver", [Euler(6), Euler(6, grid=Sway()), Euler(4, grid=Points((0, 1, 3, 7, 10))), FITTED, Midpoint(4)]
)
def test_a_branch_that_is_linear_in_time_is_predicted_exactly_on_any_grid(solver):
    net = network("ours")
    net.model.transformer.layers[1].feed_forward = Ramp(net.model.transformer)
    edit = CacheBranch(part="feed_forward", steps=(3, 4), layers=(1,), order=1)
    plain = net.solve(solver)
    assert_near(net.solve_edited(edit, solver=solver), plain)
    held = net.solve_edited(replace(edit, order=0), solver=solver)
    assert (held - plain).abs().max() > 1e-3


@pytest.mark.parametrize("solver", [Euler(5), Midpoint(5), FITTED], ids=lambda solver: solver.name.split("#")[0])
def test_a_held_matrix_is_the_frozen_one(solver):
    net, steps = network("ours"), tuple(range(3, solver.n_steps + 1))
    ours = net.solve_edited(CacheBranch(part="matrix", steps=steps, layers=(0, 3)), solver=solver)
    assert torch.equal(ours, net.solve_edited(FreezeSelfAttention(layers=(0, 3), step=2), solver=solver))


def test_a_predicted_matrix_still_sums_to_one():
    net, edit = network("ours"), CacheBranch(part="matrix", steps=(3,), layers=(2,), order=1)
    with net.attached(edit, solver=Euler(3)) as run:
        net.solve(Euler(3))
        kept = run.states[0].kept
    assert kept == {2: []}  # nothing later is told from it
    with net.attached(edit, solver=Euler(3, grid=Sway())) as run:
        state, times = run.states[0], Euler(3, grid=Sway()).points
        matrices = []
        net.solve(Euler(3, grid=Sway()), on_step=lambda step, _: matrices.extend(state.kept[2][step - 1 : step]))
    told = edit.told(matrices, layer=2, step=3, time=torch.full((2,), float(times[2])))
    assert_near(told.sum(dim=-1), torch.ones(told.shape[:-1]))


EDITS = [
    CacheBranch(part="matrix", steps=(3, 5), layers=(1, 2)),
    CacheBranch(part="attention", steps=(4, 5), order=1),
    CacheBranch(part="cross_attention", steps=(2, 3, 5), layers=(0,)),
    CacheBranch(part="feed_forward", steps=(3,), layers=(0, 1, 3)),
    CacheBranch(part="layer", steps=(3, 5), layers=(1, 2), order=1),
    FittedBranch(part="feed_forward", weights={0: {2: (1.0,), 5: (1.0, 0.2)}, 3: {4: (0.5, 0.4, 0.1)}}),
    FittedBranch(part="matrix", weights={0: {3: (0.8, 0.2)}, 3: {5: (1.0,)}}),
]


@pytest.mark.parametrize("solver", [Euler(5), Midpoint(5)], ids=lambda solver: solver.name)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{type(edit).__name__}-{edit.part}")
class TestCounts:
    def test_hits_and_bytes_are_those_of_a_real_solve(self, edit, solver):
        net = network("ours")
        with net.attached(edit, solver=solver) as run:
            net.solve(solver)
        named = range(LAYERS) if edit.named_layers is None else edit.named_layers
        tail = "" if PARTS[edit.part] is None else f".{PARTS[edit.part]}"
        assert run.hits == {
            f"transformer.layers.{layer}{tail}": len(edit.steps_of(layer)) * solver.evaluations_per_step
            for layer in named
        }
        batch, n_frames = net.noise.shape[:2]
        assert run.outcomes[0].stored_bytes == cache_bytes(net.model, edit, n_frames=n_frames, batch=batch) > 0

    def test_flops_on_paper_are_those_that_are_executed(self, edit, solver):
        model = network("ours").model
        executed = counted_flops(model, seconds=0.5, edits=[edit], solver=solver, device="cpu")
        assert executed == count_flops(model, seconds=0.5, edits=[edit], solver=solver)
        assert executed.total < count_flops(model, seconds=0.5, solver=solver).total

    def test_the_steps_before_it_acts_are_the_plain_runs(self, edit, solver):
        net, states = network("ours"), {}
        net.solve(solver, on_step=states.__setitem__)
        whole = net.solve_edited(edit, solver=solver)
        first = first_acting_step([edit])
        start = states[first - 1] if first > 1 else SolverState(x=net.noise)
        per_step = solver.evaluations_per_step
        with (
            torch.inference_mode(),
            attach(net.model, [edit], nfe=solver.nfe, evaluations_per_step=per_step, first_step=first),
        ):
            assert torch.equal(solver.solve(net.velocity, start), whole)

    def test_one_solve_leaves_nothing_to_the_next(self, edit, solver):
        net = network("ours")
        once = net.solve_edited(edit, solver=solver)
        other = replace(net, noise=net.noise.flip(0) * 2)
        other.solve_edited(edit, solver=solver)
        assert torch.equal(net.solve_edited(edit, solver=solver), once)
        with net.attached(edit, solver=solver) as run:
            other.solve(solver)
            run.again()
            assert torch.equal(net.solve(solver), once)

    def test_its_row_is_all_of_it(self, edit, solver):
        assert build_edit(describe_edit(edit)) == edit


def test_several_make_one_schedule():
    model = network("ours").model
    matrix = CacheBranch(part="matrix", steps=(3,), layers=(0, 1))
    attention = CacheBranch(part="attention", steps=(4, 5), layers=(2, 3), order=1)
    edits = [matrix, attention, EDITS[2], CacheBranch(part="feed_forward", steps=(4,))]
    executed = counted_flops(model, seconds=0.5, edits=edits, solver=Euler(5), device="cpu")
    assert executed == count_flops(model, seconds=0.5, edits=edits, solver=Euler(5))
    assert arm_cost("one", model, Euler(5), edits=edits, seconds=0.5).layer_steps_saved > 0
    with_freeze = [EDITS[3], FreezeSelfAttention(layers=(0,), step=2)]
    executed = counted_flops(model, seconds=0.5, edits=with_freeze, solver=Euler(5), device="cpu")
    assert executed == count_flops(model, seconds=0.5, edits=with_freeze, solver=Euler(5))


def test_of_midpoint_the_last_evaluation_of_a_step_is_kept_with_its_own_time():
    net, solver = network("ours"), Midpoint(3)
    edit = CacheBranch(part="attention", steps=(3,), layers=(0,), order=1)
    with net.attached(edit, solver=solver) as run:
        times = {}
        net.solve(solver, on_step=lambda step, _: times.update({k.step: float(k.time[0]) for k in kept(run)}))
    assert times == pytest.approx({1: 1 / 6, 2: 1 / 2})


def kept(run):
    return run.states[0].kept.get(0, [])


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: CacheBranch(part="feedforward", steps=(2,)), "did you mean 'feed_forward'"),
        (lambda: CacheBranch(part="layer", steps=()), "at least one"),
        (lambda: CacheBranch(part="layer", steps=(1, 2)), "from 2"),
        (lambda: CacheBranch(part="layer", steps=(3, 3)), "twice"),
        (lambda: CacheBranch(part="layer", steps=(3,), order=2), "0 holds"),
        (lambda: CacheBranch(part="layer", steps=(2,), order=1), "told from 2 evaluations, and has run at 1"),
        (lambda: CacheBranch(part="layer", steps=(3,), layers=(-1,)), "whole numbers from 0"),
        (lambda: FittedBranch(part="layer", weights={}), "at least one"),
        (lambda: FittedBranch(part="layer", weights={0: {2: ()}}), "at least one"),
        (lambda: FittedBranch(part="layer", weights={0: {2: (float("nan"),)}}), "finite"),
        (lambda: FittedBranch(part="layer", weights={0: {3: (1.0, 1.0, 1.0)}}), "take fewer"),
    ],
)
def test_what_cannot_be_is_refused(make, hint):
    with pytest.raises(EditError, match=hint):
        make()


def test_rows_of_the_claims_file_are_refused_with_the_nearest_word():
    with pytest.raises(PlanError, match="did you mean 'steps'"):
        build_edit({"kind": "CacheBranch", "part": "layer", "stops": [2]})


def test_it_refuses_solves_that_it_was_not_made_for():
    net = network("ours")
    for edit in (CacheBranch(part="layer", steps=(5,)), CacheBranch(part="layer", steps=(3,), n_steps=5)):
        with pytest.raises(EditError, match=r"made for .*5 steps, and the solve has 4"):
            edit.begin(Clock(nfe=4))
    with pytest.raises(EditError, match="Layer 4 does not exist"):
        count_flops(net.model, edits=[CacheBranch(part="layer", steps=(3,), layers=(4,))], solver=Euler(4))
    with (
        pytest.raises(CacheError, match="was never taken"),
        attach(net.model, [CacheBranch(part="layer", steps=(4,), layers=(1,))], nfe=4),
    ):
        net.solve(Euler(3))


def test_another_edit_that_skips_what_is_needed_is_named():
    net = network("ours")
    edits = [CacheBranch(part="feed_forward", steps=(3,), layers=(1,)), DeepCache(interval=2)]
    with pytest.raises(CacheError, match=r"layers.1.feed_forward did not run at the steps \[2\]"):
        net.solve_edited(*edits, solver=Euler(4))
    net.conditions = {name: value[:1] for name, value in net.conditions.items()}
    with (
        pytest.raises(CacheError, match="keep batch and length the same"),
        net.attached(CacheBranch(part="layer", steps=(2,)), solver=Euler(2)),
        torch.inference_mode(),
    ):
        net.velocity(0.0, net.noise[:1])
        net.conditions = network("ours").conditions
        net.velocity(0.5, net.noise)
