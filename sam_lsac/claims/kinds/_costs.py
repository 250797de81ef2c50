"""Cost axes, for the kinds that weigh what an arm saves."""

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import UndecidedError
from sam_lsac.claims.verdict import ArmCost, Context

__all__ = ["AXES", "SAME_COST", "costs_of", "saved"]

#: The paper's first: it decides where both are shown.
AXES = ("layer_steps_saved", "flops_saved")
SAME_COST = 1e-9


def costs_of(claim: Claim, context: Context, *, beside: tuple[str, ...] = ()) -> dict[str, ArmCost]:
    """Return the costs of the claim's arms and rivals, and `beside`; UndecidedError where one was not computed."""
    wanted = (*claim.arms, *claim.rivals, *beside)
    missing = [arm for arm in wanted if arm not in context.costs]
    if missing:
        raise UndecidedError("not run", f"The cost of {', '.join(missing)} was not computed for this checkpoint.")
    return {arm: context.costs[arm] for arm in wanted}


def saved(cost: ArmCost, axis: str) -> float:
    """Return the share that is saved on an axis that every cost has."""
    return float(getattr(cost, axis))
