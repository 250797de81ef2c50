"""Solvers by name, and what two of them have in common."""

from __future__ import annotations

import re

from sam_lsac.errors import InputError
from sam_lsac.records import unknown
from sam_lsac.solver.adams import AB2, AB3
from sam_lsac.solver.base import MAX_STEPS, GridSolver, Solver
from sam_lsac.solver.euler import Euler
from sam_lsac.solver.fitted import Fitted
from sam_lsac.solver.grids import EPSS, Grid, Points, Sway, Uniform
from sam_lsac.solver.heun import Heun
from sam_lsac.solver.midpoint import Midpoint

__all__ = ["GRIDS", "METHODS", "parse_solver", "shared_steps", "solver_of"]

#: The methods and the named grids; all texts, hints and tests follow from these rows.
METHODS: dict[str, type[GridSolver]] = {kind.__name__.lower(): kind for kind in (Euler, Midpoint, AB2, AB3, Heun)}
GRIDS: dict[str, Grid] = {grid.name: grid for grid in (Uniform(), Sway(), EPSS())}

_GRID_SOLVER = re.compile(r"([^:@/]+):([0-9]+)(?:@([^:@/]*))?", re.ASCII)
_POINTS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})+", re.ASCII)
_FITTED = "fitted:"


def parse_solver(text: str) -> Solver:
    """Read a solver from text such as "midpoint:16", "euler:7@epss" or "euler:3@0,1,2,8".

    The inverse of `Solver.text`: every solver has one text, and no other is read.

    Parameters
    ----------
    text
        Method, steps and, where it is not uniform, the grid: its name, or points as numerators over the last one.

    Raises
    ------
    InputError
        If the method or the grid is unknown, the steps are not a whole number from 1 to `MAX_STEPS`, they do not fit
        the grid, or the solver has another text than this.
    """
    solver = _parse_fitted(text) if text.startswith(_FITTED) else _parse_grid_solver(text)
    if solver.text != text:
        raise InputError(f"The solver {_short(text)} is written {_short(solver.text)}; write it so.")
    return solver


def solver_of(given: Solver | str | None) -> Solver:
    """Return the solver that an argument means: one, its text such as "midpoint:16", or None for Euler's 16 steps.

    Raises
    ------
    InputError
        If it is neither, or the text names no solver.
    """
    if given is None:
        return Euler(16)
    if isinstance(given, str):
        return parse_solver(given)
    if not isinstance(given, Solver):
        raise InputError(f"solver = {_short(repr(given))} is none; give one such as Euler(16), or its text.")
    return given


def shared_steps(one: Solver, other: Solver) -> int:
    """Return how many first steps two solvers have in common.

    After as many steps, from one start, both stand at the same bits, and each can go on from the state of the other.
    """
    n_common = min(one.n_steps, other.n_steps)
    same = (one.step_key(step) == other.step_key(step) for step in range(1, n_common + 1))
    return next((step for step, equal in enumerate(same) if not equal), n_common)


def _parse_grid_solver(text: str) -> GridSolver:
    found = _GRID_SOLVER.fullmatch(text)
    if found is None:
        raise InputError(f"The solver {_short(text)} is unknown; {_EXAMPLES}.")
    method, steps, grid = found.groups()
    if method not in METHODS:
        raise InputError(f"The solver {_short(text)}: {unknown('method', method.lower(), METHODS)}; {_EXAMPLES}.")
    n_steps = int(steps) if len(steps) <= len(str(MAX_STEPS)) else 10 * MAX_STEPS  # Python refuses 5,000 digits
    return METHODS[method](n_steps, grid=Uniform() if grid is None else _parse_grid(grid))


def _parse_grid(text: str) -> Grid:
    if text in GRIDS:
        return GRIDS[text]
    if _POINTS.fullmatch(text):
        return Points(tuple(map(int, text.split(","))))
    raise InputError(
        f"{unknown('grid', text.lower(), GRIDS)}; choose from {', '.join(GRIDS)}, or give points such as 0,1,2,4,8."
    )


def _parse_fitted(text: str) -> Fitted:
    """Read what `Fitted.text` writes."""
    reference, *rest = text.removeprefix(_FITTED).split("/")
    if not rest:
        raise InputError(
            f"The solver {_short(text)} is fitted, and its name lacks the weights; read them from the file of its "
            "schedule, with load_schedule(...) or --schedule."
        )
    try:
        nodes, *rows = rest
        return Fitted(
            reference=_parse_grid_solver(reference),
            nodes=tuple(map(int, nodes.split(","))),
            weights=tuple(tuple(map(float, row.split(","))) for row in rows),
        )
    except InputError:
        raise
    except ValueError:
        raise InputError(
            f"The text {_short(text)} of a fitted solver is damaged; take it from Fitted.text, or load the schedule."
        ) from None


def _short(text: str, most: int = 60) -> str:
    return repr(text) if len(text) <= most else repr(text[: most - 1]) + "…"


_EXAMPLES = "write a method and its steps, such as " + ", ".join(f'"{name}:16"' for name in METHODS)
