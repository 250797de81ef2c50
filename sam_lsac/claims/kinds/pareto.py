"""pareto: on one cost axis and tier, every arm saves at least what its matched rival saves, and deviates less.

The paper's cost axis is the fraction of attention layer-steps that are not computed; the other axis is the fraction
of all FLOPs. The two disagree, because a cached layer-step still computes half of its self-attention and the whole
feed-forward network. A verdict is decided on the paper's own axis, and its findings carry both. Contradicted where an
arm saves less than its rival, or deviates more. Controls, such as the run that saves as many FLOPs, are shown beside.
"""

from dataclasses import replace

from sam_lsac.claims.cells import deviates_less
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind, combine
from sam_lsac.claims.kinds._costs import AXES, SAME_COST, costs_of, saved
from sam_lsac.claims.kinds._shared import Findings, Lines, count, n_cells, worst
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import ArmCost, Context, Finding
from sam_lsac.claims.wording import AXIS_NAMES, figure, measured, p_text

__all__ = ["KIND"]

DECISIVE = AXES[0]


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Evidence]:
    costs = costs_of(claim, context)
    (metric,) = claim.metrics
    found: list[Evidence] = []
    for tier in claim.tiers:
        where = {"tier": tier, "metric": metric}
        cells = [deviates_less(claim, ledger, arm=arm, rival=rival, **where) for arm, rival in claim.matched.items()]
        found += [_dominated(cell, costs, axis=axis) for axis in AXES for cell in cells]
        for control in claim.controls:
            beside = [deviates_less(claim, ledger, arm=arm, rival=control, **where) for arm in claim.arms]
            found += [Evidence(finding=cell.shown(note="beside the rivals, decides nothing")) for cell in beside]
    return found


def _dominated(cell: Contrast, costs: dict[str, ArmCost], *, axis: str) -> Evidence:
    """Return whether the cell's arm dominates its rival."""
    own, asked = (saved(costs[name], axis) for name in (cell.arm, cell.versus))
    judged = cell.evidence(note=f"saves {own:.1%} against {asked:.1%}")
    finding = replace(judged.finding, axis=axis)
    if own < asked - SAME_COST:
        return Evidence(finding=replace(finding, status="refuted", p=None, p_adjusted=None))
    return replace(judged, finding=finding, requires=judged.requires if axis == DECISIVE else ())


def _reason(_claim: Claim, findings: Findings) -> str:
    words = [_axis_reason(axis, [one for one in findings if one.axis == axis]) for axis in AXES]
    return f"{' '.join(words)} The paper's axis, {AXIS_NAMES[DECISIVE]}, decides."


def _axis_reason(axis: str, findings: Findings) -> str:
    status = combine(one.status for one in findings)
    won = count(findings, "supported")
    text = f"By {AXIS_NAMES[axis]}: {status}, {won} of {len(findings)} rivals (over the tiers) are dominated"
    telling = next((one for one in findings if one.status == status), findings[0])
    return (
        f"{text}; on {telling.tier}, {telling.arm} {telling.note} and its deviation differs by "
        f"{measured(telling.estimate, telling.metric, digits='+.3g')} from that of {telling.versus} "
        f"({_test(telling)}n = {telling.n})."
    )


def _test(finding: Finding) -> str:
    return "" if finding.p_adjusted is None else f"{p_text(finding.p_adjusted)}, "


def _headline(_claim: Claim, findings: Findings) -> Lines:
    lines = []
    for axis in (axis for axis in AXES if any(one.axis == axis for one in findings)):
        mine = [one for one in findings if one.axis == axis]
        lines.append(f"{count(mine, 'supported')} of {len(mine)} dominated by {AXIS_NAMES[axis]}")
    decisive = [one for one in findings if one.axis == DECISIVE]
    for tier in dict.fromkeys(one.tier for one in decisive):
        here = [one for one in decisive if one.tier == tier]
        lines.append(f"{tier} difference at worst {figure(worst(here))}")
    return tuple(lines)


KIND = Kind(
    name="pareto",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.matched),
    measures=True,
    decides=lambda _claim, finding: finding.axis == DECISIVE,
    needs=PAIRED | {"rivals", "matched"},
    may=frozenset({"controls"}),
    matches=True,
    exactly={"metrics": 1},
)
