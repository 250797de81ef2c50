"""Fitted solvers: exact where nothing is left out, errors as measured, nothing stale, a search that finds the best."""

import itertools

import pytest
import torch

from sam_lsac.errors import InputError
from sam_lsac.solver import AB2, AB3, Euler, Heun, Midpoint, SolverState, Sway, shared_steps
from sam_lsac.solver import fitting as module
from sam_lsac.solver.fitting import Fitter

DIM, EXAMPLES = 24, 5
EVERY = tuple(range(1, 9))


def bent(n_examples=EXAMPLES, seed=0):
    """A velocity that bends, and starts: x rotates, is squeezed, and is pushed by what depends on the time."""
    draw = torch.Generator().manual_seed(7)
    turn = torch.randn(DIM, DIM, generator=draw, dtype=torch.float64)
    push = torch.randn(DIM, generator=draw, dtype=torch.float64)
    x0 = torch.randn(n_examples, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def velocity(t, x):
        return torch.tanh(x @ (turn - turn.T) * 0.4) + push * (1 + t) ** 2 - 0.5 * x

    return velocity, x0


def fitter(reference=None, **given):
    return Fitter(Euler(8) if reference is None else reference, *bent(**given))


def relative_errors(state, wanted):
    return (state - wanted).square().sum(dim=1) / wanted.square().sum(dim=1)


@pytest.mark.parametrize("reference", [Euler(8), Euler(8, grid=Sway())])
def test_with_all_nodes_kept_euler_is_reproduced_to_the_bit(reference):
    velocity, x0 = bent()
    fit = fitter(reference).fit(EVERY)
    ours, theirs = {}, {}
    fit.solver.solve(velocity, x0, on_step=ours.__setitem__)
    reference.solve(velocity, x0, on_step=theirs.__setitem__)
    assert all(torch.equal(ours[step].x, theirs[step].x) for step in EVERY)
    assert fit.error == 0


@pytest.mark.parametrize("reference", [Euler(8), Euler(8, grid=Sway()), Midpoint(4), Midpoint(4, grid=Sway())])
def test_least_squares_too_reproduces_the_reference_where_all_nodes_are_kept(reference, monkeypatch):
    """Also without the shortcut that takes the reference's own steps where nothing is left out."""
    monkeypatch.setattr(module, "_own_row", lambda reference, place: None)
    fit = Fitter(reference, *bent()).fit(EVERY)
    assert 0 < fit.error < 1e-20


@pytest.mark.parametrize("reference", [AB2(8), AB3(8), AB3(8, grid=Sway())])
def test_multistep_references_are_reproduced_where_all_nodes_are_kept(reference):
    assert fitter(reference).fit(EVERY).error < 1e-20


@pytest.mark.parametrize("reference", [Midpoint(16), Midpoint(7, grid=Sway()), Midpoint(1)])
def test_midpoint_is_reproduced_where_all_its_evaluations_are_kept(reference):
    """Also on the way: at each node the solver stands where the reference evaluates."""
    velocity, x0 = bent()
    fit = fitter(reference).fit(tuple(range(1, reference.nfe + 1)))
    ours, theirs = [], []
    fit.solver.solve(lambda t, x: (ours.append((t, x)), velocity(t, x))[1], x0)
    reference.solve(lambda t, x: (theirs.append((t, x)), velocity(t, x))[1], x0)
    assert [time for time, _ in ours] == [time for time, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert fit.error < 1e-26


@pytest.mark.parametrize("reference", [Midpoint(4), Midpoint(4, grid=Sway())])
def test_as_many_nodes_as_dimensions_reproduce_midpoint_on_a_linear_flow(reference):
    """Velocities of a flow in two dimensions lie in a plane: two of them tell the rest."""
    draw = torch.Generator().manual_seed(5)
    turn = torch.randn(2, 2, generator=draw, dtype=torch.float64)
    x0 = torch.randn(1, 2, generator=draw, dtype=torch.float64)
    known = Fitter(reference, lambda t, x: x @ turn, x0)
    for second in range(2, 9):
        fit = known.fit((1, second))
        assert fit.error < 1e-20
        assert fit.solver.points[1] == reference.evaluation_points[second - 1]


def test_heuns_targets_are_the_starts_of_its_steps():
    """It evaluates at the guess of the next start too, at the same time; every node lies at a start."""
    velocity, x0 = bent()
    states = {0: SolverState(x=x0)}
    Heun(8).solve(velocity, x0, on_step=states.__setitem__)
    known = fitter(Heun(8))
    assert all(torch.equal(one, states[step].x) for step, one in enumerate(known._targets))
    assert len(known._targets) == 9


@pytest.mark.parametrize("reference", [Heun(8)])
def test_references_of_more_evaluations_are_met_better_than_by_any_other_solver(reference):
    velocity, x0 = bent()
    wanted = reference.solve(velocity, x0)
    others = [relative_errors(other(8).solve(velocity, x0), wanted).mean() for other in (Euler, AB2, AB3)]
    assert fitter(reference).fit(EVERY).error < 0.5 * min(others)


@pytest.mark.parametrize("nodes", [(1,), (1, 2, 4), (1, 4, 7), (1, 2, 3, 5, 8)])
@pytest.mark.parametrize("reference", [Euler(8), Midpoint(8), Euler(8, grid=Sway())])
def test_the_error_reported_is_the_error_measured(nodes, reference):
    velocity, x0 = bent()
    fit = fitter(reference).fit(nodes)
    final = fit.solver.solve(velocity, x0)
    assert torch.equal(final, fit.state)
    torch.testing.assert_close(fit.errors, relative_errors(final, reference.solve(velocity, x0)), rtol=1e-9, atol=0)
    assert fit.error == pytest.approx(float(fit.errors.mean()))


@pytest.mark.parametrize("nodes", [(1, 2, 4), (1, 3, 4, 7)])
def test_no_other_weights_of_a_step_come_nearer_to_the_reference(nodes):
    """The residual of every step is orthogonal to the velocities that it was fitted with."""
    velocity, x0 = bent()
    reference = Euler(8)
    wanted, states, seen = {}, {}, []
    final = reference.solve(velocity, x0, on_step=wanted.__setitem__)
    solver = fitter().fit(nodes).solver
    solver.solve(lambda t, x: (seen.append(velocity(t, x)), seen[-1])[1], x0, on_step=states.__setitem__)
    scale = 1 / final.square().sum(dim=1, keepdim=True)
    for step, end in enumerate((*nodes[1:], 9), start=1):
        residual = (wanted[end - 1].x - states[step].x) * scale
        for one in seen[:step]:
            assert abs(float((residual * one).sum())) < 1e-10


def test_what_was_fitted_before_changes_nothing():
    """Fits share what they have evaluated; a stale velocity or row among it would show here."""
    shared = fitter()
    for nodes in itertools.permutations(range(2, 9), 2):
        if nodes[0] < nodes[1]:
            again, fresh = shared.fit((1, *nodes)), fitter().fit((1, *nodes))
            assert again.solver == fresh.solver
            assert torch.equal(again.state, fresh.state)


def test_fits_evaluate_no_more_than_they_must():
    velocity, x0 = bent()
    times = []
    one = Fitter(Euler(8), lambda t, x: (times.append(t), velocity(t, x))[1], x0)
    del times[:]
    one.fit((1, 2, 4))
    one.fit((1, 2, 6))
    one.fit((1, 2, 4, 6))
    assert times == [0, 1 / 8, 3 / 8, 5 / 8, 5 / 8]


def test_solvers_that_begin_alike_share_their_states():
    one, other = (fitter().fit(nodes).solver for nodes in ((1, 2, 4, 6), (1, 2, 4, 7)))
    assert shared_steps(one, other) == 2
    velocity, x0 = bent()
    states = {}
    one.solve(velocity, x0, on_step=states.__setitem__)
    assert torch.equal(other.solve(velocity, states[2]), other.solve(velocity, x0))


def test_velocities_that_are_all_equal_need_one_evaluation():
    x0 = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    still = Fitter(Euler(8), lambda t, x: torch.ones_like(x), x0)
    assert still.fit((1,)).error < 1e-12
    assert still.fit((1, 3, 7)).error < 1e-12


class TestSearch:
    @pytest.mark.parametrize("reference", [Euler(8), Midpoint(8)])
    def test_the_ranking_is_exact_where_velocities_do_not_depend_on_the_state(self, reference):
        """Then the solver evaluates what the reference did, and the matrix knows all."""
        draw = torch.Generator().manual_seed(3)
        spectrum = torch.randn(17, 2, DIM, generator=draw, dtype=torch.float64)

        def velocity(t, x):
            return spectrum[round(16 * t)].sum(dim=0) * torch.ones_like(x)

        known = Fitter(reference, velocity, torch.randn(2, DIM, generator=draw, dtype=torch.float64))
        last = reference.nfe + 1
        errors = {(1, *rest): known.fit((1, *rest)).error for rest in itertools.combinations(range(2, last), 2)}
        residuals = dict.fromkeys(errors, 0.0)
        wanted, states = [], {}
        x0 = known._targets[0]
        final = reference.solve(lambda t, x: (wanted.append(x), velocity(t, x))[1], x0)
        wanted.append(final)
        for nodes in errors:
            known.fit(nodes).solver.solve(velocity, x0, on_step=states.__setitem__)
            for step, end in enumerate((*nodes[1:], last), start=1):
                gap = (wanted[end - 1] - states[step].x).square().sum(dim=1)
                residuals[nodes] += float((gap / final.square().sum(dim=1)).sum())
        ranked = known.ranked(3, most=len(errors))
        assert sorted(ranked) == sorted(errors)
        assert [residuals[nodes] for nodes in ranked] == pytest.approx(sorted(residuals.values()))

    @pytest.mark.parametrize("n_evaluations", [2, 3, 4])
    def test_it_finds_what_trying_everything_finds(self, n_evaluations):
        known = fitter()
        choices = [(1, *rest) for rest in itertools.combinations(range(2, 9), n_evaluations - 1)]
        best = min(known.fit(nodes).error for nodes in choices)
        assert fitter().search(n_evaluations, most_fits=40).error <= 1.1 * best

    @pytest.mark.parametrize("n_evaluations", [2, 3, 5])
    def test_it_ends_where_no_neighbour_is_nearer(self, n_evaluations):
        """Every solver with one evaluated step moved by one or two was fitted."""
        fits = {}
        found = fitter().search(n_evaluations, most_fits=999, progress=lambda fit: fits.update({fit.solver.nodes: fit}))
        best = found.solver.nodes
        for place, move in itertools.product(range(1, n_evaluations), (-2, -1, 1, 2)):
            moved = (*best[:place], best[place] + move, *best[place + 1 :])
            if moved == tuple(sorted(set(moved))) and moved[-1] <= 8:
                assert fits[moved].error >= found.error

    @pytest.mark.parametrize("most_fits", [1, 3, 6])
    def test_it_keeps_to_the_fits_that_it_may_take(self, most_fits):
        fits = []
        known = fitter()
        best = known.search(3, most_fits=most_fits, progress=fits.append)
        assert known.n_fits == len(fits) == len({fit.solver.nodes for fit in fits}) == most_fits
        assert best.error == min(fit.error for fit in fits)

    def test_more_evaluations_come_nearer(self):
        errors = [fitter().search(n).error for n in range(1, 9)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] == 0

    def test_it_holds_on_examples_that_it_was_not_fitted_to(self):
        found = fitter(n_examples=12).search(4)
        velocity, unseen = bent(n_examples=12, seed=1)
        wanted = Euler(8).solve(velocity, unseen)
        error = relative_errors(found.solver.solve(velocity, unseen), wanted).mean()
        assert error < 0.1 * relative_errors(AB2(4).solve(velocity, unseen), wanted).mean()

    @pytest.mark.parametrize(("n_evaluations", "most_fits"), [(0, 5), (9, 5), (3, 0)])
    def test_what_cannot_be_is_refused(self, n_evaluations, most_fits):
        with pytest.raises(InputError, match="give from 1 to 8"):
            fitter().search(n_evaluations, most_fits=most_fits)

    @pytest.mark.parametrize("n_evaluations", [1, 2, 4, 7, 8])
    def test_a_beam_as_wide_as_all_beginnings_ranks_as_trying_everything_does(self, n_evaluations, monkeypatch):
        known = fitter(Midpoint(4))
        every = known.ranked(n_evaluations, most=12)
        monkeypatch.setattr(module, "_MOST_SUBSETS", 0)
        assert known.ranked(n_evaluations, most=12) == every

    @pytest.mark.parametrize("reference", [Euler(16), Midpoint(8)])
    def test_a_beam_begins_where_trying_everything_does(self, reference, monkeypatch):
        known = fitter(reference)
        every = [known.ranked(n)[0] for n in (3, 6, 8, 12)]
        monkeypatch.setattr(module, "_MOST_SUBSETS", 0)
        assert [known.ranked(n)[0] for n in (3, 6, 8, 12)] == every

    def test_many_places_are_searched_too(self):
        """Of more choices than can be ranked one by one; what is found is nearer than even steps between starts."""
        known = fitter(Midpoint(16))
        assert known.search(8).error < 0.6 * known.fit(tuple(range(1, 32, 4))).error


@pytest.mark.parametrize("nodes", [(), (2, 3), (1, 1), (1, 9)])
def test_nodes_that_are_not_steps_of_the_reference_are_refused(nodes):
    with pytest.raises(InputError, match="not among the 8 places"):
        fitter().fit(nodes)


@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_a_reference_that_goes_nowhere_is_refused(factor):
    with pytest.raises(InputError, match="ended at 0 or at values that are not finite"):
        Fitter(Euler(4), lambda t, x: x * factor, torch.zeros(2, 3))


def test_where_places_lie_closer_than_steps_a_short_first_step_is_tried():
    tried = []
    Fitter(Midpoint(6), *bent()).search(4, most_fits=4, progress=lambda fit: tried.append(fit.solver.nodes))
    assert {2, 3} <= {nodes[1] for nodes in tried}
    plain = Fitter(Euler(6), *bent())
    plain.search(3, most_fits=4, progress=lambda fit: tried.append(fit.solver.nodes))
    assert tried[4:] == plain.ranked(3)[:4]
