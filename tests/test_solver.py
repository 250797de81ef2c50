"""Solvers: measured orders of convergence, agreement with torchdiffeq, stored states, names."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchdiffeq import odeint

from sam_lsac.errors import InputError
from sam_lsac.solver import AB2, Euler, Midpoint, SolverState, parse_solver

SOLVERS = [Euler, Midpoint, AB2]

#: Name -> velocity and exact solution at t = 1, from x(0) = x0.
ODES = {
    "decay": (lambda t, x: -2.0 * x, lambda x0: x0 * math.exp(-2)),
    "time only": (lambda t, x: torch.full_like(x, math.cos(3 * t)), lambda x0: x0 + math.sin(3) / 3),
    "logistic": (lambda t, x: x * (1 - x), lambda x0: 1 / (1 + (1 / x0 - 1) * math.exp(-1))),
    "stirred": (lambda t, x: t * x, lambda x0: x0 * math.exp(0.5)),
}
X0 = torch.tensor([0.2, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("ode", ODES)
@pytest.mark.parametrize(("solver", "order"), [(Euler, 1), (Midpoint, 2), (AB2, 2)])
def test_the_error_falls_with_the_order_of_the_method(solver, order, ode):
    velocity, exact = ODES[ode]
    coarse, fine = ((solver(n).solve(velocity, X0) - exact(X0)).abs().max().item() for n in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_steps", [1, 7, 16])
def test_a_constant_velocity_is_integrated_exactly(solver, n_steps):
    x1 = solver(n_steps).solve(lambda t, x: torch.full_like(x, 3.0), X0)
    torch.testing.assert_close(x1, X0 + 3.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("ode", ODES)
@pytest.mark.parametrize("solver", [Euler(10), Midpoint(10), Euler(16), Midpoint(16)])
def test_torchdiffeq_agrees(solver, ode):
    velocity, _ = ODES[ode]
    method = solver.name.partition(":")[0]
    grid = torch.tensor([0.0, 1.0], dtype=torch.float64)
    theirs = odeint(
        lambda t, x: velocity(t.item(), x), X0, grid, method=method, options={"step_size": 1 / solver.n_steps}
    )
    torch.testing.assert_close(solver.solve(velocity, X0), theirs[-1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("solver", SOLVERS)
def test_evaluations_are_counted_and_lie_on_the_grid(solver):
    times = []
    solver(5).solve(lambda t, x: (times.append(t), x)[1], X0)
    assert len(times) == solver(5).nfe == 5 * solver.evaluations_per_step
    starts = times[:: solver.evaluations_per_step]
    assert starts == [step / 5 for step in range(5)]
    if solver is Midpoint:
        assert times[1::2] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


@pytest.mark.parametrize("solver", SOLVERS)
@settings(deadline=None)
@given(n_steps=st.integers(1, 9), data=st.data())
def test_going_on_from_a_stored_state_is_bit_equal(solver, n_steps, data):
    velocity, _ = ODES["stirred"]
    states = {}
    plain = solver(n_steps).solve(velocity, X0, on_step=states.__setitem__)
    assert list(states) == list(range(1, n_steps + 1))
    step = data.draw(st.sampled_from(list(states)))
    assert states[step].step == step
    assert torch.equal(solver(n_steps).solve(velocity, states[step]), plain)


def test_ab2_refuses_a_state_that_lacks_its_velocity():
    with pytest.raises(InputError, match="states of an AB2 solve"):
        AB2(4).solve(lambda t, x: x, SolverState(x=X0, step=2))


def test_a_state_beyond_the_grid_is_refused():
    with pytest.raises(InputError, match="use the solver that made it"):
        Euler(4).solve(lambda t, x: x, SolverState(x=X0, step=5))


@pytest.mark.parametrize("n_steps", [0, -3, 1.5, True, "16", None])
@pytest.mark.parametrize("solver", SOLVERS)
def test_bad_step_counts_are_refused(solver, n_steps):
    with pytest.raises(InputError, match="at least 1"):
        solver(n_steps)


@pytest.mark.parametrize("solver", SOLVERS)
def test_names_are_read_back(solver):
    assert parse_solver(solver(12).name) == solver(12)
    assert solver(12) != solver(13)


@pytest.mark.parametrize("text", ["", "euler", "euler:", "rk4:16", "euler:-1", "euler:1.5", "EULER:16", "euler:16:2"])
def test_unknown_solvers_are_refused_with_the_known_ones(text):
    with pytest.raises(InputError, match='"euler:16", "midpoint:16", "ab2:16"'):
        parse_solver(text)


def test_zero_steps_in_a_name_are_refused():
    with pytest.raises(InputError, match="try 16"):
        parse_solver("euler:0")


def test_solvers_differ_by_method():
    assert Euler(16) != AB2(16)
    assert len({Euler(16), Midpoint(16), AB2(16), Euler(16)}) == 3
