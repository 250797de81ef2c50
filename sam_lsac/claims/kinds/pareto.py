"""pareto: on one cost axis and tier, for every rival there is an arm that saves at least as much and deviates less.

Refuted where, for some rival, no arm saves as much (so that nothing can dominate it), or every one that does deviates
significantly more.

The paper's cost axis is the fraction of attention layer-steps that are not computed; the other axis is the fraction
of all FLOPs. The two disagree, because a cached layer-step still computes half of its self-attention and the whole
feed-forward network. A verdict is decided on the paper's own axis, and its findings carry both.
"""

from collections.abc import Sequence
from dataclasses import replace

from sam_lsac.claims.cells import Cell, deviation_difference
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind, combine
from sam_lsac.claims.kinds._costs import AXES, SAME_COST, costs_of, saved
from sam_lsac.claims.kinds._shared import LESS_IS_CLAIMED, Findings, Lines, count, n_cells, worst
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import ArmCost, Context, Finding, Status
from sam_lsac.claims.wording import AXIS_NAMES, figure, measured, p_text

__all__ = ["KIND"]

DECISIVE = AXES[0]


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Finding]:
    costs = costs_of(claim, context)
    (metric,) = claim.metrics
    findings: list[Finding] = []
    for tier in claim.tiers:
        cells = [
            [deviation_difference(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival) for arm in claim.arms]
            for rival in claim.rivals
        ]
        findings += [_dominated(row, costs, axis=axis) for axis in AXES for row in cells]
    return findings


def _dominated(cells: Sequence[Cell], costs: dict[str, ArmCost], *, axis: str) -> Finding:
    """Return whether some arm dominates the one rival of these cells."""
    rival, tier = cells[0].versus, cells[0].tier
    shares = {cell.arm: saved(costs[cell.arm], axis) for cell in cells}
    asked = saved(costs[rival], axis)
    able = [cell for cell in cells if shares[cell.arm] >= asked - SAME_COST]
    if not able:
        most = max(shares, key=lambda arm: shares[arm])
        return Finding(
            quantity="deviation difference",
            tier=tier,
            metric=cells[0].metric,
            versus=rival,
            axis=axis,
            status="refuted",
            note=f"no arm saves the {asked:.1%} of {rival}: {most} saves most, {shares[most]:.1%}",
        )
    statuses = [LESS_IS_CLAIMED[cell.sign] for cell in able]
    status: Status = "supported" if "supported" in statuses else "inconclusive"
    status = "refuted" if all(one == "refuted" for one in statuses) else status
    winners = [cell for cell in able if cell.sign < 0]  # of several, show the one nearest in cost
    best = min(winners, key=lambda cell: shares[cell.arm]) if winners else min(able, key=lambda cell: cell.test.mean)
    note = f"saves {shares[best.arm]:.1%} against {asked:.1%}"
    return replace(best.finding(status=status, note=note), axis=axis)


def _reason(_claim: Claim, findings: Findings) -> str:
    words = [_axis_reason(axis, [one for one in findings if one.axis == axis]) for axis in AXES]
    return f"{' '.join(words)} The paper's axis, {AXIS_NAMES[DECISIVE]}, decides."


def _axis_reason(axis: str, findings: Findings) -> str:
    status = combine(one.status for one in findings)
    won = count(findings, "supported")
    text = f"By {AXIS_NAMES[axis]}: {status}, {won} of {len(findings)} rivals (over the tiers) are dominated"
    telling = next((one for one in findings if one.status == status), findings[0])
    if telling.estimate is None:
        return f"{text}; on {telling.tier}, {telling.note}."
    return (
        f"{text}; on {telling.tier}, {telling.arm} {telling.note} and its deviation differs by "
        f"{measured(telling.estimate, telling.metric, digits='+.3g')} from that of {telling.versus} "
        f"({p_text(telling.p_adjusted)}, n = {telling.n})."
    )


def _headline(_claim: Claim, findings: Findings) -> Lines:
    lines = []
    for axis in dict.fromkeys(one.axis for one in findings):
        mine = [one for one in findings if one.axis == axis]
        lines.append(f"{count(mine, 'supported')} of {len(mine)} dominated by {AXIS_NAMES[axis]}")
    decisive = [one for one in findings if one.axis == DECISIVE]
    for tier in dict.fromkeys(one.tier for one in decisive):
        here = [one for one in decisive if one.tier == tier]
        unmatched = [one.versus for one in here if one.ci_high is None]
        if unmatched:
            lines.append(f"{tier} nothing saves as much as {', '.join(unmatched)}")
        else:
            lines.append(f"{tier} difference at worst {figure(worst(here))}")
    return tuple(lines)


KIND = Kind(
    name="pareto",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_tests=lambda claim: n_cells(claim) * len(claim.arms) * len(claim.rivals),
    decides=lambda _claim, finding: finding.axis == DECISIVE,
    needs=PAIRED | {"rivals"},
    exactly={"metrics": 1},
)
