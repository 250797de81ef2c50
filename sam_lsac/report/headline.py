"""The few figures of a verdict that fit into one cell of a table: our answer to the paper's figure.

Each kind of claim has its own choice among the verdict's findings; the findings themselves are all shown in the HTML
report, under the verdict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from sam_lsac.claims import Claim, Context, Finding, Ledger, Verdict
from sam_lsac.claims.wording import AXIS_NAMES, NOTHING, effect, figure, metric_name, number, percent

__all__ = ["cost_of", "headline"]

Lines = tuple[str, ...]
Findings = Sequence[Finding]


def headline(claim: Claim, verdict: Verdict) -> Lines:
    """Return our figures with their intervals, one line per tier or statement; empty where nothing was computed."""
    if not verdict.findings:
        return ()
    if claim.kind in _OF_CLAIM:
        return _OF_CLAIM[claim.kind](claim, verdict.findings)
    return _OF_FINDINGS.get(claim.kind, _each)(verdict.findings)


def cost_of(claim: Claim, ledger: Ledger, context: Context) -> Lines:
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


def _each(findings: Findings) -> Lines:
    """One line per judged finding, or per finding where none is."""
    judged = [finding for finding in findings if finding.status] or list(findings)
    return tuple(" ".join(word for word in (one.tier, figure(one)) if word) for one in judged)


def _effects(findings: Findings) -> Lines:
    return tuple(f"{one.tier} {figure(one)}, d {effect(one.d)}" for one in findings)


def _furthest(claim: Claim, findings: Findings) -> Lines:
    """The tier of each arm that comes nearest to the margin."""
    arms = dict.fromkeys(one.arm for one in findings)
    ends = [max((one for one in findings if one.arm == arm), key=_reach) for arm in arms]
    won = sum(one.status == "supported" for one in findings)
    return (
        f"{won} of {len(findings)} shown within {number(claim.margin)}",
        *(f"{one.arm} furthest {figure(one)} on {one.tier}" for one in ends),
    )


def _against(claim: Claim, findings: Findings) -> Lines:
    """Arm, rival and their ratio, tier by tier."""
    lines = []
    for tier in claim.tiers:
        here = [one for one in findings if one.tier == tier]
        scores = [figure(one) for one in here if one.quantity == claim.score and not one.status]
        lines.append(f"{tier} {' against '.join(scores)}")
        lines += [f"{tier} ratio {figure(one)}" for one in here if one.quantity == "ratio"]
    return tuple(lines)


def _pareto(claim: Claim, findings: Findings) -> Lines:
    axes = dict.fromkeys(one.axis for one in findings)
    lines = []
    for axis in axes:
        mine = [one for one in findings if one.axis == axis]
        won = sum(one.status == "supported" for one in mine)
        lines.append(f"{won} of {len(mine)} dominated by {AXIS_NAMES.get(axis, axis)}")
    decisive = next(iter(axes))
    for tier in claim.tiers:
        here = [one for one in findings if one.axis == decisive and one.tier == tier]
        unmatched = [one for one in here if one.ci_high is None]
        if unmatched:
            lines.append(f"{tier} nothing saves as much as {', '.join(one.versus for one in unmatched)}")
        elif here:
            lines.append(f"{tier} difference at worst {figure(_worst(here))}")
    return tuple(lines)


def _no_loss(claim: Claim, findings: Findings) -> Lines:
    lines = []
    for arms, what, pick in ((claim.arms, "without loss", _worst), (claim.rivals, "with loss", _mildest)):
        mine = [one for one in findings if one.arm in arms]
        as_claimed = sum(one.status == "supported" for one in mine)
        lines.append(f"{as_claimed} of {len(mine)} {_family(arms)} {what}")
        end = pick(mine)
        lines.append(f"{'worst' if arms is claim.arms else 'mildest'} {end.arm} on {end.tier} {figure(end)}")
    return tuple(lines)


def _table_of_effects(claim: Claim, findings: Findings) -> Lines:
    arms = [one for one in findings if one.quantity == "loss" and one.arm in claim.arms]
    rivals = [one for one in findings if one.quantity == "loss" and one.arm in claim.rivals]
    steps = [one for one in findings if one.quantity == "growth of loss"]
    shown = sum(one.status == "supported" for one in arms)
    grown = sum(one.status == "supported" for one in steps)
    return (
        f"{shown} of {len(arms)} |d| shown < 0.2",
        f"cached d {_spread(arms)}",
        f"naive d {_spread(rivals)}",
        f"{grown} of {len(steps)} cuts lose more than the one before",
    )


def _order(claim: Claim, findings: Findings) -> Lines:
    leads = [one for one in findings if one.quantity == "lead in loss"]
    won = sum(one.status == "supported" for one in leads)
    own = [one for one in findings if one.quantity == "loss" and one.arm in claim.arms]
    lines = [f"{won} of {len(leads)} comparisons as claimed"]
    lines += [f"{one.tier} {metric_name(one.metric)} loss {figure(one)}" for one in own]
    return tuple(lines)


def _layers(findings: Findings) -> Lines:
    factors = [one for one in findings if one.quantity == "factor"]
    return tuple(f"{one.tier} {one.metric.split('/')[-1]} {figure(one)}" for one in factors)


def _rates(findings: Findings) -> Lines:
    rates = [one for one in findings if one.quantity == "entropy rate" and one.estimate is not None]
    lines = [f"{one.quantity} {number(one.estimate)}" for one in findings if one.quantity == "Kendall's W"]
    if rates:
        ends = sorted(rates, key=lambda one: one.estimate or 0.0)
        lines += [f"{end.metric} {figure(end)}" for end in (ends[0], ends[-1])]
    return tuple(lines)


def _shares(findings: Findings) -> Lines:
    return tuple(f"{figure(one)} of {AXIS_NAMES.get(one.axis, one.axis)}" for one in findings)


def _counts(findings: Findings) -> Lines:
    return tuple(
        f"{'self-attention ' if one.quantity.startswith('self') else ''}{figure(one)} ({one.note})" for one in findings
    )


def _cells(findings: Findings) -> Lines:
    full = sum(one.estimate is not None for one in findings)
    return (f"{full} of {len(findings)} cells",)


def _sign(findings: Findings) -> Lines:
    return tuple(f"gate {number(one.estimate, signed=True)}" for one in findings)


_OF_CLAIM: Mapping[str, Callable[[Claim, Findings], Lines]] = MappingProxyType(
    {
        "pareto": _pareto,
        "effect-table": _table_of_effects,
        "smaller-loss": _against,
        "no-loss": _no_loss,
        "equivalent": _furthest,
        "loss-order": _order,
    }
)
_OF_FINDINGS: Mapping[str, Callable[[Findings], Lines]] = MappingProxyType(
    {
        "saved-share": _shares,
        "negligible-loss": _effects,
        "labelled-loss": _effects,
        "layer-response": _layers,
        "layers-differ": _rates,
        "sign": _sign,
        "count": _counts,
        "table": _cells,
    }
)


def _reach(finding: Finding) -> float:
    return max(abs(finding.ci_low or 0.0), abs(finding.ci_high or 0.0))


def _worst(findings: Findings) -> Finding:
    return max(findings, key=lambda one: one.ci_high if one.ci_high is not None else float("-inf"))


def _mildest(findings: Findings) -> Finding:
    return min(findings, key=lambda one: one.ci_low if one.ci_low is not None else float("inf"))


def _spread(findings: Findings) -> str:
    effects = [one.d for one in findings if one.d is not None]
    return f"{effect(min(effects))} to {effect(max(effects))}" if effects else NOTHING


def _family(arms: Iterable[str]) -> str:
    """Return what the arms' names begin with, in capitals where it is LSAC."""
    stems = dict.fromkeys(arm.split("-")[0] for arm in arms)
    return "/".join("LSAC" if stem == "lsac" else stem for stem in stems)
