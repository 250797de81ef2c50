"""A fitted solve inside somebody else's solver: on Meta's class, whose ``separate`` calls torchdiffeq."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions import Edit
from sam_lsac.interventions.edit import Call, Clock
from sam_lsac.interventions.sites import Site
from sam_lsac.solver import Fitted

__all__ = ["WrappedSolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedSolve(Edit):
    """Makes an Euler solve of torchdiffeq, as in Meta's ``separate``, the solve of a fitted solver.

    The network's output becomes the slope that leads, over the step, to where the fitted solver goes: the weighted sum
    of the velocities so far over the step's length. Equal up to rounding to ``Fitted.solve``.

    Examples
    --------
    ::

        wrapped = WrappedSolve(solver=load_schedule("schedule.toml").solver)
        with attach(meta_model, [wrapped], nfe=wrapped.solver.nfe):
            meta_model.separate(batch, ode_opt=wrapped.ode_opt)

    Parameters
    ----------
    solver
        Of ``sam_lsac.tune``, on this checkpoint; ``Found.check`` compares it with what ``load_model`` makes of it.
    """

    solver: Fitted

    @property
    def ode_opt(self) -> dict[str, Any]:
        """Options of ``torchdiffeq.odeint``: Euler on the points of the fitted solver."""
        points = [float(point) for point in self.solver.points]

        def grid(_function: object, _start: object, ends: Tensor) -> Tensor:
            return torch.tensor(points, dtype=ends.dtype, device=ends.device)

        return {"method": "euler", "options": {"grid_constructor": grid}}

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """Where the velocity leaves the network."""
        return (Site(path="transformer"),)

    def begin(self, clock: Clock) -> list[Tensor]:
        """No velocities yet."""
        if clock.nfe != self.solver.nfe or clock.evaluations_per_step != 1:
            raise EditError(
                f"{self.solver.name} makes {self.solver.nfe} evaluations, one a step, and the solve {clock.nfe}; "
                f"attach with nfe={self.solver.nfe} and solve with this edit's ode_opt."
            )
        return []

    def apply(self, call: Call, state: list[Tensor]) -> Tensor:
        """Evaluate, and return the slope of this step."""
        step = len(state)
        state.append(call.proceed())
        length = float(self.solver.points[step + 1] - self.solver.points[step])
        slopes = (one * (weight / length) for one, weight in zip(state, self.solver.weights[step], strict=True))
        return torch.stack(list(slopes)).sum(dim=0)
