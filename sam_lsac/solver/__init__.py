"""Fixed-grid solvers of the flow ODE dx/dt = velocity(t, x), from t = 0 (noise) to t = 1 (data).

A solver is a method on a grid: ``Euler(16)``, ``AB2(8, grid=Sway())``. Its steps are counted from 1; a method may
evaluate the velocity more than once a step, so steps and network evaluations (NFE) are both named. The base class owns
the loop, a method is one step. `Fitted` is a multistep method whose weights were fitted to reproduce another solver.

References
----------
Hairer, Norsett and Wanner 1993, "Solving Ordinary Differential Equations I", sections II.1, II.7, III.1 and III.5.
"""

from sam_lsac.solver.adams import AB2, AB3
from sam_lsac.solver.base import Solver, SolverState, Velocity
from sam_lsac.solver.euler import Euler
from sam_lsac.solver.fitted import Fitted
from sam_lsac.solver.grids import EPSS, Grid, Points, Sway, Uniform
from sam_lsac.solver.heun import Heun
from sam_lsac.solver.midpoint import Midpoint
from sam_lsac.solver.names import parse_solver, shared_steps, solver_of

__all__ = [
    "AB2",
    "AB3",
    "EPSS",
    "Euler",
    "Fitted",
    "Grid",
    "Heun",
    "Midpoint",
    "Points",
    "Solver",
    "SolverState",
    "Sway",
    "Uniform",
    "Velocity",
    "parse_solver",
    "shared_steps",
    "solver_of",
]
