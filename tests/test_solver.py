"""Solvers: measured orders of convergence on several grids, torchdiffeq as oracle, stored and shared states, names."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchdiffeq import odeint

from sam_lsac.errors import InputError
from sam_lsac.solver import (
    AB2,
    AB3,
    EPSS,
    Euler,
    Fitted,
    Heun,
    Midpoint,
    Points,
    SolverState,
    Sway,
    Uniform,
    parse_solver,
    shared_steps,
)
from sam_lsac.solver.adams import integrals
from sam_lsac.solver.names import GRIDS, METHODS

SOLVERS = list(METHODS.values())
ORDERS = {Euler: 1, Midpoint: 2, AB2: 2, AB3: 3, Heun: 2}

#: Name -> velocity and exact solution at t = 1, from x(0) = x0.
ODES = {
    "decay": (lambda t, x: -2.0 * x, lambda x0: x0 * math.exp(-2)),
    "time only": (lambda t, x: torch.full_like(x, math.cos(3 * t)), lambda x0: x0 + math.sin(3) / 3),
    "logistic": (lambda t, x: x * (1 - x), lambda x0: 1 / (1 + (1 / x0 - 1) * math.exp(-1))),
    "stirred": (lambda t, x: t * x, lambda x0: x0 * math.exp(0.5)),
}
X0 = torch.tensor([0.2, 0.7], dtype=torch.float64)


def alternating(n_steps):
    """Every second step is three times as long as the one before: no coefficient of a uniform grid is right here."""
    lengths = [3 if step % 2 else 1 for step in range(n_steps)]
    return Points(tuple(sum(lengths[:step]) for step in range(n_steps + 1)))


#: Grids whose steps all shrink as their number grows.
REFINED = {"uniform": lambda n: Uniform(), "sway": lambda n: Sway(), "alternating": alternating}


def measured_order(solver, ode, grid):
    velocity, exact = ODES[ode]
    coarse, fine = (
        (solver(n, grid=REFINED[grid](n)).solve(velocity, X0) - exact(X0)).abs().max().item() for n in (64, 128)
    )
    return math.log2(coarse / fine)


@pytest.mark.parametrize("grid", REFINED)
@pytest.mark.parametrize("ode", ODES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_error_falls_with_the_order_of_the_method(solver, ode, grid):
    assert measured_order(solver, ode, grid) == pytest.approx(ORDERS[solver], abs=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("solved", [(1, Uniform()), (7, Uniform()), (7, EPSS()), (16, Sway()), (9, alternating(9))])
def test_a_constant_velocity_is_integrated_exactly(solver, solved):
    n_steps, grid = solved
    x1 = solver(n_steps, grid=grid).solve(lambda t, x: torch.full_like(x, 3.0), X0)
    torch.testing.assert_close(x1, X0 + 3.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("solver", "degree"), [(AB2, 1), (AB3, 2)])
@pytest.mark.parametrize("grid", [Uniform(), Sway(), alternating(12)])
def test_adams_bashforth_integrates_its_polynomials_exactly_on_any_grid(solver, degree, grid):
    """From the second step on, which the state before it decides; the first one is Euler's."""
    states = {}
    scheme = solver(12, grid=grid)
    scheme.solve(lambda t, x: torch.full_like(x, (degree + 1) * t**degree), X0, on_step=states.__setitem__)
    times = [float(point) for point in scheme.points]
    for step in range(max(2, degree), 12):
        gained = states[step + 1].x - states[step].x
        wanted = times[step + 1] ** (degree + 1) - times[step] ** (degree + 1)
        torch.testing.assert_close(gained, torch.full_like(X0, wanted), rtol=0, atol=1e-13)


def test_the_second_step_of_ab3_mends_the_first():
    states = {}
    AB3(4, grid=Points((0, 1, 3, 4, 8))).solve(lambda t, x: torch.full_like(x, 2 * t), X0, on_step=states.__setitem__)
    torch.testing.assert_close(states[2].x, X0 + (3 / 8) ** 2, rtol=0, atol=1e-15)


def test_coefficients_of_a_uniform_grid_are_the_published_ones():
    nodes = [Fraction(step) for step in (-2, -1, 0)]
    assert integrals(nodes[1:], Fraction(0), Fraction(1)) == [Fraction(-1, 2), Fraction(3, 2)]
    assert integrals(nodes, Fraction(0), Fraction(1)) == [Fraction(5, 12), Fraction(-16, 12), Fraction(23, 12)]


#: Our methods by torchdiffeq's names.
THEIRS = {Euler: "euler", Midpoint: "midpoint", Heun: "heun2"}


@pytest.mark.parametrize("ode", ODES)
@pytest.mark.parametrize("method", THEIRS)
@pytest.mark.parametrize("solved", [(10, Uniform()), (16, Uniform()), (7, EPSS()), (10, Sway()), (9, alternating(9))])
def test_torchdiffeq_agrees(method, solved, ode):
    n_steps, grid = solved
    velocity, _ = ODES[ode]
    solver = method(n_steps, grid=grid)
    points = torch.tensor([float(point) for point in solver.points], dtype=torch.float64)
    theirs = odeint(
        lambda t, x: velocity(t.item(), x),
        X0,
        points[[0, -1]],
        method=THEIRS[method],
        options={"grid_constructor": lambda f, y0, t: points},
    )
    torch.testing.assert_close(solver.solve(velocity, X0), theirs[-1], rtol=1e-13, atol=1e-13)


def written_out(method, n, velocity, x):
    """Euler, midpoint and AB2 on the uniform grid as one would write them down: the bits of earlier releases."""
    last = None
    for step in range(n):
        slope = velocity(step / n, x)
        if method is Midpoint:
            used = velocity((step + 0.5) / n, x + slope * (0.5 / n))
        elif method is AB2 and last is not None:
            used = 1.5 * slope - 0.5 * last
        else:
            used = slope
        x, last = x + used * (1 / n), slope
    return x


@pytest.mark.parametrize("method", [Euler, Midpoint, AB2])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 10, 16, 49])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_uniform_grids_give_the_bits_that_they_always_gave(method, n_steps, dtype):
    weight = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    x0 = torch.randn(5, 40, generator=torch.Generator().manual_seed(1)).to(dtype)

    def velocity(t, x):
        return torch.tanh(x @ weight * 0.3) + math.sin(5 * t)

    assert torch.equal(method(n_steps).solve(velocity, x0), written_out(method, n_steps, velocity, x0))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("solved", [(5, Uniform()), (7, EPSS()), (5, Sway()), (5, alternating(5))])
def test_evaluations_are_counted_and_lie_on_the_grid(solver, solved):
    times = []
    scheme = solver(solved[0], grid=solved[1])
    scheme.solve(lambda t, x: (times.append(t), x)[1], X0)
    assert len(times) == scheme.nfe == scheme.n_steps * solver.evaluations_per_step
    points = [float(point) for point in scheme.points]
    assert times[:: solver.evaluations_per_step] == points[:-1]
    if solver is Midpoint:
        assert times[1::2] == pytest.approx([(a + b) / 2 for a, b in pairwise(points)])
    if solver is Heun:
        assert times[1::2] == points[1:]


class TestGrids:
    @pytest.mark.parametrize("n_steps", [1, 2, 7, 16, 100])
    def test_sway_is_the_published_formula(self, n_steps):
        points = [float(point) for point in Sway().points(n_steps)]
        uniform = [step / n_steps for step in range(n_steps + 1)]
        assert points == pytest.approx([t - (math.cos(math.pi * t / 2) - 1 + t) for t in uniform], abs=1e-15)

    def test_epss_of_seven_steps_is_the_published_one(self):
        assert [32 * point for point in EPSS().points(7)] == [0, 2, 4, 6, 8, 16, 24, 32]

    def test_epss_of_any_steps_is_the_published_one(self):
        """Every grid is the next longer one without some of its points, and no step is shorter than the one before."""
        grids = [EPSS().points(n_steps) for n_steps in (5, 6, 7, 10, 12, 16)]
        for shorter, longer in pairwise(grids):
            assert set(shorter) < set(longer)
        for grid in grids:
            lengths = [after - before for before, after in pairwise(grid)]
            assert lengths == sorted(lengths)
        dropped = [sorted(32 * point for point in set(longer) - set(shorter)) for shorter, longer in pairwise(grids)]
        assert dropped == [[6], [24], [12, 20, 28], [10, 14], [1, 3, 5, 7]]

    @pytest.mark.parametrize("n_steps", [5, 6, 7, 10, 12, 16])
    def test_epss_prunes_a_grid_of_32_steps(self, n_steps):
        points = EPSS().points(n_steps)
        assert len(points) == n_steps + 1
        assert list(points) == sorted(set(points))
        assert {(32 * point).denominator for point in points} == {1}

    @pytest.mark.parametrize("grid", [*GRIDS.values(), alternating(7)], ids=lambda grid: grid.name[:8])
    def test_points_rise_from_zero_to_one(self, grid):
        points = grid.points(7)
        assert (points[0], points[-1], len(points)) == (0, 1, 8)
        assert all(before < after for before, after in pairwise(points))

    def test_points_in_other_terms_are_one_grid(self):
        assert Points((0, 2, 4, 16)) == Points((0, 1, 2, 8))
        assert Euler(3, grid=Points((0, 2, 4, 16))).name == "euler:3@0,1,2,8"

    @pytest.mark.parametrize(
        ("points", "hint"),
        [
            ((), "whole numbers from 0"),
            ((0,), "whole numbers from 0"),
            ((1, 2, 4), "whole numbers from 0"),
            ((0, 1.5, 4), "whole numbers from 0"),
            ((0, True, 4), "whole numbers from 0"),
            ([0, 1, 4], "whole numbers from 0"),
            ((0, 1, 10**9), "at most 999999999"),
            ((0, 2, 2, 3), "do not rise"),
            ((0, 3, 2, 5), "do not rise"),
            ((0, 2, 4), "leave the points out"),
        ],
    )
    def test_points_that_make_no_grid_are_refused(self, points, hint):
        with pytest.raises(InputError, match=hint):
            Points(points)

    def test_steps_that_do_not_fit_the_grid_are_refused(self):
        with pytest.raises(InputError, match="epss has no 8 steps; choose from 5, 6, 7, 10, 12, 16"):
            Euler(8, grid=EPSS())
        with pytest.raises(InputError, match="make 3 steps, not 4"):
            Euler(4, grid=Points((0, 1, 2, 8)))
        with pytest.raises(InputError, match="is no grid"):
            Euler(4, grid="sway")

    def test_the_step_under_way_at_a_time(self):
        solver = Euler(7, grid=EPSS())
        assert [solver.step_at(point) for point in solver.points[:-1]] == list(range(1, 8))
        assert [solver.step_at(Fraction(twelfth, 12)) for twelfth in (1, 4, 9, 11)] == [2, 5, 7, 7]
        for outside in (-0.1, 1, 1.5):
            with pytest.raises(InputError, match="give a time from 0, below 1"):
                solver.step_at(outside)


class TestSharedSteps:
    PAIRS = (
        ("euler:16", "euler:8@0,1,2,3,4,6,8,12,16", 4),
        ("euler:10", "euler:6@0,1,2,3,4,6,10", 4),
        ("midpoint:16", "midpoint:8@0,1,2,3,4,6,8,12,16", 4),
        ("heun:3@0,1,2,8", "heun:4@0,1,2,4,8", 2),
        ("ab2:16", "ab2:8@0,1,2,3,4,6,8,12,16", 4),
        ("ab3:16", "ab3:8@0,1,2,3,4,6,8,12,16", 4),
        ("ab3:7@epss", "ab3:6@epss", 5),
        ("euler:7@epss", "euler:16", 4),
        ("euler:16", "euler:16", 16),
        ("euler:16", "euler:12", 0),
        ("euler:16", "midpoint:16", 0),
        ("ab2:8@sway", "ab2:9@sway", 0),
    )

    @pytest.mark.parametrize(("one", "other", "n_shared"), PAIRS)
    def test_so_many_states_are_bit_equal_and_serve_both(self, one, other, n_shared):
        one, other = parse_solver(one), parse_solver(other)
        assert shared_steps(one, other) == shared_steps(other, one) == n_shared
        velocity, _ = ODES["logistic"]
        theirs, ours = {}, {}
        wanted = other.solve(velocity, X0, on_step=theirs.__setitem__)
        one.solve(velocity, X0, on_step=ours.__setitem__)
        for step in range(1, n_shared + 1):
            assert torch.equal(ours[step].x, theirs[step].x)
            assert torch.equal(other.solve(velocity, ours[step]), wanted)
        if n_shared < min(one.n_steps, other.n_steps):
            assert not torch.equal(ours[n_shared + 1].x, theirs[n_shared + 1].x)


@pytest.mark.parametrize("solver", SOLVERS)
@settings(deadline=None)
@given(n_steps=st.integers(2, 9), grid=st.sampled_from([Uniform(), Sway(), None]), data=st.data())
def test_going_on_from_a_stored_state_is_bit_equal(solver, n_steps, grid, data):
    velocity, _ = ODES["stirred"]
    states = {}
    scheme = solver(n_steps, grid=alternating(n_steps) if grid is None else grid)
    plain = scheme.solve(velocity, X0, on_step=states.__setitem__)
    assert list(states) == list(range(1, n_steps + 1))
    step = data.draw(st.sampled_from(list(states)))
    assert states[step].step == step
    assert torch.equal(scheme.solve(velocity, states[step]), plain)


@pytest.mark.parametrize("solver", [AB2(4), AB3(4)])
def test_a_method_that_looks_back_refuses_a_state_that_lacks_velocities(solver):
    with pytest.raises(InputError, match=f"states of a solve by {type(solver).__name__}"):
        solver.solve(lambda t, x: x, SolverState(x=X0, step=2))


@pytest.mark.parametrize(("solver", "kept"), [(Euler, 0), (Midpoint, 0), (Heun, 0), (AB2, 1), (AB3, 2)])
def test_a_state_keeps_no_more_velocities_than_are_looked_at(solver, kept):
    states = {}
    solver(5).solve(lambda t, x: x, X0, on_step=states.__setitem__)
    assert [len(state.velocities) for state in states.values()] == [min(step, kept) for step in range(1, 6)]


def test_a_state_beyond_the_grid_is_refused():
    with pytest.raises(InputError, match="use the solver that made it"):
        Euler(4).solve(lambda t, x: x, SolverState(x=X0, step=5))


@pytest.mark.parametrize("n_steps", [0, -3, 1.5, True, "16", None])
@pytest.mark.parametrize("solver", SOLVERS)
def test_bad_step_counts_are_refused(solver, n_steps):
    with pytest.raises(InputError, match="at least 1"):
        solver(n_steps)


@pytest.mark.parametrize("n_steps", [4097, 10**9, 10**5000], ids=["4097", "10**9", "10**5000"])
def test_more_steps_than_pay_are_refused_with_the_reason(n_steps):
    assert Euler(4096).n_steps == 4096
    with pytest.raises(InputError, match="less than the rounding of 32 bits"):
        Euler(n_steps)


class TestNames:
    #: Of what claims and stored runs rely on.
    KNOWN = (
        ("euler:16", Euler(16)),
        ("midpoint:16", Midpoint(n_steps=16)),
        ("ab2:12", AB2(12)),
        ("ab3:8@sway", AB3(8, grid=Sway())),
        ("euler:7@epss", Euler(7, grid=EPSS())),
        ("heun:8@0,1,2,3,4,6,8,12,16", Heun(8, grid=Points((0, 1, 2, 3, 4, 6, 8, 12, 16)))),
    )

    @pytest.mark.parametrize(("text", "solver"), KNOWN)
    def test_names_say_method_steps_and_grid(self, text, solver):
        assert (solver.name, solver.text, parse_solver(text)) == (text, text, solver)

    @pytest.mark.parametrize("solver", SOLVERS)
    @given(n_steps=st.integers(1, 4096), sway=st.booleans())
    def test_names_are_read_back(self, solver, n_steps, sway):
        made = solver(n_steps, grid=Sway() if sway else Uniform())
        assert parse_solver(made.name) == made
        assert made != solver(n_steps % 4096 + 1, grid=made.grid)

    @given(st.sampled_from(SOLVERS), st.sets(st.integers(1, 10**6), min_size=2, max_size=9))
    def test_points_are_read_back(self, solver, numerators):
        try:
            grid = Points((0, *sorted(numerators)))
        except InputError as error:
            assert "one length" in str(error)
        else:
            made = solver(len(numerators), grid=grid)
            assert parse_solver(made.name) == made

    @given(st.text(alphabet="eulrab2mdpoint:@,0123456789swayEPSS/.# \n", max_size=24))
    def test_any_other_text_is_refused(self, text):
        try:
            solver = parse_solver(text)
        except InputError:
            return
        assert solver.text == text

    @pytest.mark.parametrize(
        "text", ["", "euler", "euler:", "rk4:16", "euler:-1", "euler:1.5", "EULER:16", "euler:16:2", "euler:1٦"]
    )
    def test_unknown_solvers_are_refused_with_the_known_ones(self, text):
        with pytest.raises(InputError, match='"euler:16", "midpoint:16", "ab2:16"'):
            parse_solver(text)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("eulr:16", "did you mean 'euler'"),
            ("EULER:16", "did you mean 'euler'"),
            ("ab4:16@sway", "did you mean 'ab[23]'"),
            ("euler:16@swoy", "did you mean 'sway'"),
            ("euler:16@EPSS", "did you mean 'epss'"),
            ("euler:16@", "choose from uniform, sway, epss"),
            ("euler:2@0,1.5,2", "give points such as"),
            ("euler:2@0,1,12345678901", "give points such as"),
            ("euler:0", "try 16"),
            ("euler:016", "is written 'euler:16'"),
            ("euler:16@uniform", "is written 'euler:16'"),
            ("euler:3@0,2,4,16", "is written 'euler:3@0,1,2,8'"),
            ("euler:2@0,2,4", "leave the points out"),
            ("euler:4@0,1,2,8", "make 3 steps, not 4"),
            ("euler:8@epss", "choose from 5, 6, 7, 10, 12, 16"),
            ("euler:5000", "rounding of 32 bits"),
            ("euler:" + "9" * 5000, "rounding of 32 bits"),
        ],
    )
    def test_refusals_name_the_nearest_or_the_remedy(self, text, hint):
        with pytest.raises(InputError, match=hint):
            parse_solver(text)

    def test_solvers_differ_by_method_and_grid(self):
        assert Euler(16) != AB2(16)
        assert Euler(16) != Euler(16, grid=Sway())
        assert len({Euler(16), Midpoint(16), AB2(16), Euler(16), Euler(16, grid=Sway())}) == 4


class TestFitted:
    #: Euler's own three steps, of which the second is not evaluated: the first velocity stands for it too.
    HELD = Fitted(reference=Euler(3), nodes=(1, 3), weights=((2 / 3,), (0.0, 1 / 3)))

    def test_a_step_is_a_weighted_sum_of_the_velocities_so_far(self):
        velocity, _ = ODES["logistic"]
        first = velocity(0.0, X0)
        middle = X0 + first * (2 / 3)
        assert torch.equal(self.HELD.solve(velocity, X0), middle + velocity(2 / 3, middle) * (1 / 3))

    def test_it_is_a_solver_like_any_other(self):
        times, states = [], {}
        solver = Fitted(reference=Euler(8), nodes=(1, 2, 5), weights=((0.1,), (-0.2, 0.5), (0.05, -0.3, 0.9)))
        velocity, _ = ODES["stirred"]
        plain = solver.solve(lambda t, x: (times.append(t), velocity(t, x))[1], X0, on_step=states.__setitem__)
        assert (solver.n_steps, solver.nfe, solver.evaluations_per_step) == (3, 3, 1)
        assert times == [0.0, 1 / 8, 4 / 8]
        for step, state in states.items():
            assert torch.equal(solver.solve(velocity, state), plain), step

    @pytest.mark.parametrize("method", SOLVERS)
    @pytest.mark.parametrize("grid", [Uniform(), Sway(), alternating(5)])
    def test_places_are_the_times_below_1_at_which_the_reference_evaluates(self, method, grid):
        reference, times = method(5, grid=grid), []
        reference.solve(lambda t, x: (times.append(t), x)[1], X0)
        assert [float(point) for point in reference.evaluation_points] == sorted({time for time in times if time < 1})

    def test_a_node_may_lie_halfway_through_a_step_of_midpoint(self):
        times = []
        solver = Fitted(reference=Midpoint(4), nodes=(1, 2, 5, 8), weights=tuple((0.1,) * n for n in range(1, 5)))
        solver.solve(lambda t, x: (times.append(t), x)[1], X0)
        assert times == [0, 1 / 8, 1 / 2, 7 / 8]
        assert solver.nfe == 4
        assert [solver.step_at(point) for point in Midpoint(4).points[:-1]] == [1, 2, 3, 3]
        with pytest.raises(InputError, match="not among the 8 places at which midpoint:4 evaluates"):
            Fitted(reference=Midpoint(4), nodes=(1, 9), weights=((0.1,), (0.1, 0.1)))

    def test_velocities_so_far_must_be_in_the_state(self):
        with pytest.raises(InputError, match="states of a solve by Fitted"):
            self.HELD.solve(lambda t, x: x, SolverState(x=X0, step=1))

    def test_steps_of_the_reference_are_found_by_their_time(self):
        solver = Fitted(reference=Euler(8), nodes=(1, 2, 5), weights=((0.1,), (0.1, 0.3), (0.1, 0.1, 0.3)))
        assert [solver.step_at(point) for point in Euler(8).points[:-1]] == [1, 2, 2, 2, 3, 3, 3, 3]

    def test_the_text_holds_everything_and_the_name_is_short(self):
        other = Fitted(reference=Euler(3), nodes=(1, 3), weights=((2 / 3,), (0.0, math.nextafter(1 / 3, 1))))
        assert parse_solver(self.HELD.text) == self.HELD
        assert self.HELD.text == "fitted:euler:3/1,3/0.6666666666666666/0.0,0.3333333333333333"
        assert len({self.HELD.text, other.text}) == len({self.HELD.name, other.name}) == 2
        assert self.HELD.name.startswith("fitted:2@euler:3#")
        with pytest.raises(InputError, match="lacks the weights; read them from the file"):
            parse_solver(self.HELD.name)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("fitted:euler:3/1,3/0.5", "rows of 1, 2"),
            ("fitted:euler:3/1,x/0.5/0,0.5", "damaged"),
            ("fitted:euler:3/1,3/0.50/0.0,0.5", "is written"),
            ("fitted:euler:3/1,3/nan/0.0,0.5", "not finite"),
            ("fitted:euler:3/1,4/0.5/0.0,0.5", "not among the 3 places"),
            ("fitted:euler:3/2,3/0.5/0.0,0.5", "not among the 3 places"),
            ("fitted:euler:3/1,1/0.5/0.0,0.5", "not among the 3 places"),
            ("fitted:fitted:euler:3/1/1.0", "unknown"),
            ("fitted:eulr:3/1/1.0", "did you mean 'euler'"),
        ],
    )
    def test_damaged_texts_are_refused(self, text, hint):
        with pytest.raises(InputError, match=hint):
            parse_solver(text)

    def test_what_is_no_reference_is_refused(self):
        with pytest.raises(InputError, match="such as Euler"):
            Fitted(reference=self.HELD, nodes=(1,), weights=((1.0,),))

    def test_first_steps_are_shared_where_nodes_and_weights_are_equal(self):
        rows = ((0.125,), (-0.2, 0.5), (0.05, -0.3, 0.9))
        one, same = (Fitted(reference=Euler(8), nodes=(1, 2, end), weights=rows) for end in (5, 6))
        other = Fitted(reference=Euler(8), nodes=(1, 2, 5), weights=(rows[0], (-0.2, 0.6), rows[2]))
        assert (shared_steps(one, one), shared_steps(one, same), shared_steps(one, other)) == (3, 1, 1)
        assert shared_steps(one, Euler(8)) == 0  # whose states lack the velocities
