"""Weights that are moved together: nearer to the end, at a place where no small move helps, and never worse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sam_lsac.errors import InputError
from sam_lsac.solver import Euler, Midpoint, refining
from sam_lsac.solver.fitting import Fitter
from sam_lsac.solver.refining import refine
from tests.test_fitting import bent, relative_errors

REFERENCE = Euler(16)


def started(nodes=(1, 2, 5, 11), reference=REFERENCE, **given):
    """Weights fitted step by step, the velocity, where examples start, and where the reference ends."""
    velocity, x0 = bent(**given)
    fitter = Fitter(reference, velocity, x0)
    return fitter.fit(nodes).solver, velocity, x0, fitter.final


def distances_db(solver, velocity, x0, final):
    return -10 * relative_errors(solver.solve(velocity, x0), final).log10()


@pytest.mark.parametrize(
    ("nodes", "least_db"), [((1, 6), 0), ((1, 3, 9), 0), ((1, 2, 5, 11), 1), ((1, 2, 4, 7, 12), 1)]
)
@pytest.mark.parametrize("reference", [REFERENCE, Midpoint(8)])
def test_it_ends_nearer_on_average_by_what_it_says(nodes, least_db, reference):
    given = started(nodes, reference)
    before = distances_db(*given).mean()
    found = refine(*given)
    after = distances_db(found.solver, *given[1:]).mean()
    assert torch.equal(found.state, found.solver.solve(given[1], given[2]))
    assert found.gain_db == pytest.approx(float(after - before), abs=1e-6)
    assert found.gain_db > least_db
    assert (found.solver.nodes, found.solver.reference) == (nodes, reference)


def test_other_examples_end_nearer_too():
    solver, *known = started(n_examples=40)
    velocity, x0 = bent(n_examples=40, seed=1)
    others = velocity, x0, REFERENCE.solve(velocity, x0)
    found = refine(solver, *known)
    assert distances_db(found.solver, *others).mean() > distances_db(solver, *others).mean() + 0.5


def test_no_small_move_of_a_weight_ends_nearer():
    given = started()
    found = refine(*given).solver
    best = float(distances_db(found, *given[1:]).mean())
    for index, row in enumerate(found.weights):
        for place in range(len(row)):
            for move in (-3e-3, 3e-3):
                weights = [list(one) for one in found.weights]
                weights[index][place] += move
                moved = replace(found, weights=tuple(map(tuple, weights)))
                assert float(distances_db(moved, *given[1:]).mean()) < best + 0.1


def test_one_example_and_one_evaluation_have_no_better_weight_than_least_squares():
    given = started((1,), n_examples=1)
    assert refine(*given).solver.weights[0][0] == pytest.approx(given[0].weights[0][0], rel=1e-6)


@pytest.mark.parametrize("nodes", [tuple(range(1, 17))])
def test_what_reproduces_the_reference_is_left_as_it_is(nodes):
    given = started(nodes)
    found = refine(*given)
    assert (found.solver, found.gain_db) == (given[0], 0.0)


def test_distances_are_those_of_the_output():
    """Of three of the state's figures, times two: these end nearer than when all are looked at."""
    given = started()

    def first(state):
        return 2 * state[:, :3]

    def far(solver):
        return float(relative_errors(first(solver.solve(*given[1:3])), first(given[3])).log().mean())

    seen = refine(*given, output=first)
    assert far(seen.solver) < far(refine(*given).solver) - 0.5
    assert seen.gain_db == pytest.approx((far(given[0]) - far(seen.solver)) * 10 / math.log(10), abs=1e-6)


def test_an_example_that_is_far_off_does_not_speak_for_the_others():
    """Its squared distance is nearly all of their sum, and a mean of squares would follow it."""
    solver, velocity, x0, final = started()
    far = final.clone()
    far[0] += 3 * final[0].norm() / math.sqrt(final[0].numel())
    found = refine(solver, velocity, x0, far)
    near = [distances_db(one, velocity, x0, final)[1:].mean() for one in (found.solver, solver)]
    assert near[0] > near[1]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_never_worse(seed):
    given = started((1, 3, 8), seed=seed, n_examples=2)
    found = refine(*given)
    assert found.gain_db >= 0
    assert distances_db(found.solver, *given[1:]).mean() >= distances_db(*given).mean()


def test_each_weight_costs_the_evaluations_after_it(monkeypatch):
    """In one round: the solve, 3 x 1 + 2 x 2 + 1 x 3 evaluations for derivatives, and those of moves that are tried."""
    monkeypatch.setattr(refining, "_ROUNDS", 1)
    given, calls = started(), []
    assert refine(*given, progress=lambda: calls.append(None)).gain_db > 0
    assert len(calls) - 4 - 10 in (4, 8, 12, 16)


def test_a_reference_that_ends_at_nothing_is_refused():
    solver, velocity, x0, final = started()
    for wrong in (torch.zeros_like(final), torch.full_like(final, math.nan)):
        with pytest.raises(InputError, match="is 0 or not finite; give other mixtures"):
            refine(solver, velocity, x0, wrong)
