"""equivalent: each arm stays within the metric's smallest effect of its own baseline (TOST).

Required: the mean loss is within the margin on both sides. Contradicted where it is shown beyond. A claim may give
its own margin.
"""

from dataclasses import replace

from sam_lsac.claims.cells import loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, count, judged, n_cells, summary, within_margin
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, measured

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    return [
        _judged(loss(claim, ledger, tier=tier, metric=metric, arm=arm))
        for tier, metric in cells(claim)
        for arm in claim.arms
    ]


def _judged(own: Contrast) -> Evidence:
    margin = own.floor if own.claim.margin is None else own.claim.margin
    status, sides = within_margin(own, margin=margin)
    nearer = min(sides, key=lambda values: float(values.mean()))
    test = replace(own, figures=nearer, floor=0.0).evidence(status=status).finding
    within = measured(margin, own.metric, digits="g")
    note = {"supported": "shown to be within", "refuted": "shown beyond"}.get(status, "not shown to be within")
    finding = replace(
        own.shown(note=f"{note} {within} (TOST)"),
        status=status,
        p=test.p,
        p_adjusted=test.p_adjusted,
        groups=test.groups,
    )
    requires = tuple(replace(own.requirement(), values=values) for values in sides)
    contradicts = tuple(replace(own.requirement(), values=-values) for values in sides)
    return Evidence(finding=finding, requires=requires, contradicts=contradicts, possible=abs(own.mean) < margin)


def _headline(_claim: Claim, findings: Findings) -> Lines:
    """The tier of each arm that comes nearest to the margin."""
    arms = dict.fromkeys(one.arm for one in judged(findings))
    ends = [max((one for one in findings if one.arm == arm), key=_reach) for arm in arms]
    lines = [f"{count(findings, 'supported')} of {len(judged(findings))} shown within the margin"]
    lines += [f"{one.arm} furthest {figure(one)} on {one.tier}" for one in ends]
    return tuple(lines)


def _reach(finding: Finding) -> float:
    return max((abs(end) for end in (finding.ci_low, finding.ci_high) if end is not None), default=0.0)


KIND = Kind(
    name="equivalent",
    find=_find,
    reason=summary,
    headline=_headline,
    n_contradictions=lambda claim: 2 * n_cells(claim) * len(claim.arms),
    measures=True,
    needs=PAIRED,
    may=frozenset({"margin"}),
)
