"""Kinds that weigh fidelity against cost: Pareto dominance, the share that is saved, and the table of effect sizes.

The paper's cost axis is the fraction of attention layer-steps that are not computed; the other axis is the fraction
of all FLOPs. The two disagree, because a cached layer-step still computes half of its self-attention and the whole
feed-forward network. A verdict is decided on the paper's own axis, and its findings carry both.

pareto
    On one axis and tier, LSAC strictly dominates where for every naive run there is an LSAC run that saves at least
    as much and deviates significantly less. Refuted where, for some naive run, no LSAC run saves as much (so that
    nothing can dominate it), or every one that does deviates significantly more.
saved-share
    Supported where the saved share is within the stated absolute tolerance of the paper's figure, else refuted.
effect-table
    Each arm's |d| is negligible, and the rivals' loss grows from each to the next. Supported where |d| < 0.2 is
    shown for every arm, and the loss of every rival is significantly larger than the one before with a larger d;
    refuted where some arm's |d| is shown to exceed 0.2, or a loss falls significantly.
"""

import itertools
import math
from dataclasses import replace

from sam_lsac.claims.cells import Cell, UndecidedError, combine, conclude, deviation_difference, loss, p_text
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kinds.losses import BY_SIGN, NEGLIGIBLE_D, needed_text
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import ArmCost, Context, Finding, Status, Verdict
from sam_lsac.metrics import column

__all__ = ["effect_table", "pareto", "saved_share"]

AXES = ("layer_steps_saved", "flops_saved")  # the paper's first: it decides
AXIS_WORDS = {
    "layer_steps_saved": "layer-steps",
    "flops_saved": "total FLOPs",
    "self_attention_flops_saved": "self-attention FLOPs",
}
SAME_COST = 1e-9


def pareto(claim: Claim, ledger: Ledger, context: Context) -> Verdict:
    """Judge strict Pareto dominance of the arms over every rival, on both cost axes."""
    _require_costs(claim, context)
    metric = claim.metrics[0]
    findings: list[Finding] = []
    for tier in claim.tiers:
        cells = {
            rival: [
                deviation_difference(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
                for arm in claim.arms
            ]
            for rival in claim.rivals
        }
        findings += [_dominated(cells[rival], context, axis=axis) for axis in AXES for rival in claim.rivals]
    statuses = {axis: combine(finding.status for finding in findings if finding.axis == axis) for axis in AXES}
    reason = " ".join(_axis_reason(axis, statuses[axis], findings) for axis in AXES)
    reason += " The paper's axis, layer-steps, decides."
    return conclude(claim, reason, findings, status=statuses[AXES[0]])


def _dominated(cells: list[Cell], context: Context, *, axis: str) -> Finding:
    """Return whether some arm dominates the one rival of these cells."""
    rival, tier = cells[0].versus, cells[0].tier
    saved = {cell.arm: _saved(context.costs[cell.arm], axis) for cell in cells}
    asked = _saved(context.costs[rival], axis)
    able = [cell for cell in cells if saved[cell.arm] >= asked - SAME_COST]
    if not able:
        most = max(saved, key=lambda arm: saved[arm])
        return Finding(
            quantity="deviation difference",
            tier=tier,
            metric=cells[0].metric,
            versus=rival,
            axis=axis,
            status="refuted",
            note=f"no arm saves the {asked:.1%} of {rival}: {most} saves most, {saved[most]:.1%}",
        )
    statuses = [BY_SIGN[cell.sign] for cell in able]
    status: Status = "supported" if "supported" in statuses else "inconclusive"
    status = "refuted" if all(one == "refuted" for one in statuses) else status
    winners = [cell for cell in able if cell.sign < 0]  # of several, show the one nearest in cost
    best = min(winners, key=lambda cell: saved[cell.arm]) if winners else min(able, key=lambda cell: cell.test.mean)
    note = f"saves {saved[best.arm]:.1%} against {asked:.1%}"
    return replace(best.finding(status=status, note=note), axis=axis)


def _axis_reason(axis: str, status: Status, findings: list[Finding]) -> str:
    mine = [finding for finding in findings if finding.axis == axis]
    count = sum(finding.status == "supported" for finding in mine)
    text = f"By {AXIS_WORDS[axis]}: {status}, {count} of {len(mine)} naive runs (over the tiers) are dominated"
    telling = next((finding for finding in mine if finding.status == status), mine[0])
    if telling.estimate is None or telling.p_adjusted is None:
        return f"{text}; on {telling.tier}, {telling.note}."
    difference = column(telling.metric).text(telling.estimate, digits="+.3g")
    return (
        f"{text}; on {telling.tier}, {telling.arm} {telling.note} and its deviation differs by {difference} from that "
        f"of {telling.versus} ({p_text(telling.p_adjusted)}, n = {telling.n})."
    )


def saved_share(claim: Claim, _ledger: Ledger, context: Context) -> Verdict:
    """Judge what share of the computation an arm saves; the axis of `targets` decides, the others are shown."""
    _require_costs(claim, context)
    ((axis, target),) = claim.targets.items()
    arm = claim.arms[0]
    findings, words = [], []
    for name in AXIS_WORDS:
        share = getattr(context.costs[arm], name)
        if share is None:
            continue
        near = abs(share - target) <= (claim.tolerance or 0.0) + SAME_COST
        findings.append(
            Finding(
                quantity="saved share",
                arm=arm,
                estimate=share,
                axis=name,
                paper=claim.figure(arm=arm),
                status="supported" if near else "refuted",
            )
        )
        words.append(f"{share:.1%} of {AXIS_WORDS[name]}")
    status = next(finding.status for finding in findings if finding.axis == axis)
    reason = (
        f"{arm} saves {', '.join(words)}; the paper says about {target:.0%}, judged within "
        f"{100 * (claim.tolerance or 0.0):g} percentage points by {AXIS_WORDS[axis]}."
    )
    return conclude(claim, reason, findings, status=status)


def effect_table(claim: Claim, ledger: Ledger, _context: Context) -> Verdict:
    """Judge the table of effect sizes: negligible for the arms, growing along the rivals."""
    metric = claim.metrics[0]
    findings: list[Finding] = []
    for tier in claim.tiers:
        cells = [loss(claim, ledger, tier=tier, metric=metric, arm=arm) for arm in claim.arms]
        findings += [_negligible_d(cell) for cell in cells]
        losses = [
            loss(claim, ledger, tier=tier, metric=metric, arm=rival, versus=claim.baselines[0])
            for rival in claim.rivals
        ]
        findings += [cell.finding() for cell in losses]
        for before, after in itertools.pairwise(losses):
            step = loss(claim, ledger, tier=tier, metric=metric, arm=after.arm, versus=before.arm)
            grows = replace(step, quantity="growth of loss")
            status = BY_SIGN[-step.sign]
            if status == "supported" and after.test.d <= before.test.d:
                status = "inconclusive"
            note = f"d {before.test.d:+.2f} of {before.arm}, {after.test.d:+.2f} of {after.arm}"
            findings.append(replace(grows.finding(status=status, note=note), paper=""))
    return conclude(claim, _table_reason(claim, findings), findings)


def _negligible_d(cell: Cell) -> Finding:
    within = cell.test.p_d_within(NEGLIGIBLE_D)
    beyond = cell.test.p_d_beyond(math.copysign(NEGLIGIBLE_D, cell.test.t))
    if cell.adjusted(beyond) < cell.claim.alpha:
        return cell.finding(status="refuted", p=beyond, note=f"|d| > {NEGLIGIBLE_D:g} is shown")
    shown = cell.adjusted(within) < cell.claim.alpha
    note = f"|d| < {NEGLIGIBLE_D:g} is {'shown' if shown else 'not shown'}; label {cell.test.label}"
    return cell.finding(status="supported" if shown else "inconclusive", p=within, note=note)


def _table_reason(claim: Claim, findings: list[Finding]) -> str:
    parts = []
    for quantity, words in (
        ("loss", "effects are shown negligible"),
        ("growth of loss", "steps of truncation lose more"),
    ):
        judged = [f for f in findings if f.quantity == quantity and f.status]
        counts = {status: sum(f.status == status for f in judged) for status in ("supported", "refuted")}
        parts.append(f"{counts['supported']} of {len(judged)} {words} and {counts['refuted']} are shown not to")
    telling = [f for f in findings if f.status == "refuted"] or [f for f in findings if f.status == "inconclusive"]
    example = ""
    if telling:
        first = telling[0]
        example = (
            f"; for example {first.arm} on {first.tier}, d {first.d:+.2f} [{first.d_low:+.2f}, {first.d_high:+.2f}]"
        )
        example += f" beside the paper's {first.paper}" if first.paper else ""
    return f"{'; '.join(parts)}{example}; {needed_text(claim)}."


def _saved(cost: ArmCost, axis: str) -> float:
    return float(getattr(cost, axis))


def _require_costs(claim: Claim, context: Context) -> None:
    missing = [arm for arm in (*claim.arms, *claim.rivals) if arm not in context.costs]
    if missing:
        raise UndecidedError("not run", f"The cost of {', '.join(missing)} was not computed for this checkpoint.")
