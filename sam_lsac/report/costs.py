"""What a claim's arms save, and how many runs its judgement took: the last column of the table of verdicts."""

from collections.abc import Sequence

from sam_lsac.claims import Claim, Context, Ledger
from sam_lsac.claims.wording import percent

__all__ = ["cost_of"]


def cost_of(claim: Claim, ledger: Ledger, context: Context) -> tuple[str, ...]:
    """Return what the claim's arms save on both axes, and how many runs its judgement needs and the ledger has."""
    plain = [arm for arm in claim.arms if claim.baseline_of(arm) == claim.baselines[0]]  # costs are against that one
    costs = [context.costs[arm] for arm in plain if arm in context.costs]
    lines = []
    if any(cost.layer_steps_saved or cost.flops_saved for cost in costs):
        steps = [cost.layer_steps_saved for cost in costs]
        flops = [cost.flops_saved for cost in costs]
        lines += [f"saves {_range(steps)} of layer-steps", f"{_range(flops)} of FLOPs"]
    wanted = {(arm, tier) for tier, arm, _ in claim.columns}
    runs = {(row.arm, row.mixture, row.seed) for row in ledger.rows if (row.arm, row.tier) in wanted}
    return (*lines, f"{len(runs)} runs") if runs else tuple(lines)


def _range(shares: Sequence[float]) -> str:
    low, high = percent(min(shares)), percent(max(shares))
    return high if low == high else f"{low} to {high}"
