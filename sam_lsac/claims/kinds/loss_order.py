"""loss-order: the arm's loss is the largest (or the smallest) of all.

Required: the arm loses more (less) than every rival, on every tier and metric; for "largest", that it loses at all.
With `stronger_tier`, also that its lead over its nearest rival is larger there than on each other tier (Welch's test,
since their mixtures differ). Contradicted by a loss the other way round. A lead is by how much the arm is ahead in
the direction that the claim names.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import loses_more, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, comparison, count, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.claims.wording import figure, measured, metric_name, p_text
from sam_lsac.statistics import welch

__all__ = ["KIND"]

LEAD, BETWEEN_TIERS = "lead in loss", "lead, tier against tier"
DIRECTIONS = {"largest": 1, "smallest": -1}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    (arm,) = claim.arms
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        own = loss(claim, ledger, tier=tier, metric=metric, arm=arm)
        found.append(own.evidence() if claim.direction == "largest" else Evidence(finding=own.shown()))
        for name in (*claim.rivals, *claim.controls):
            note = "control, decides nothing" if name in claim.controls else ""
            found.append(Evidence(finding=loss(claim, ledger, tier=tier, metric=metric, arm=name).shown(note=note)))
        found += [_lead(claim, ledger, tier=tier, metric=metric, rival=rival).evidence() for rival in claim.rivals]
    return found


def _lead(claim: Claim, ledger: Ledger, *, tier: str, metric: str, rival: str) -> Contrast:
    """Return by how much the arm loses more than a rival, and the side on which the claim sees that."""
    (arm,) = claim.arms
    more = loses_more(claim, ledger, tier=tier, metric=metric, arm=rival, rival=arm)
    return replace(more, quantity=LEAD, wanted=DIRECTIONS[str(claim.direction)])


def _across(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    """Return the tests of the arm's lead over its nearest rival, the stronger tier against each other."""
    strong = str(claim.stronger_tier)
    found: list[Evidence] = []
    for metric in claim.metrics:
        leads = {tier: _nearest(claim, ledger, tier=tier, metric=metric) for tier in claim.tiers}
        for other in (tier for tier in claim.tiers if tier != strong):
            finding = _apart(claim, leads[strong], leads[other], metric=metric)
            possible = (finding.estimate or 0.0) >= claim.smallest(metric)
            found.append(Evidence(finding=replace(finding, tier=strong, versus=other), possible=possible))
    return found


def _apart(claim: Claim, strong: NDArray[np.float64], other: NDArray[np.float64], *, metric: str) -> Finding:
    result = welch(strong, other, alpha=claim.alpha)
    more, less = (result.p / 2 if sign * result.difference > 0 else 1 - result.p / 2 for sign in (1, -1))
    of_interest = abs(result.difference) >= claim.smallest(metric)
    status: Status = "inconclusive"
    if of_interest and more < claim.level:
        status = "supported"
    elif of_interest and less < claim.refutation_level:
        status = "refuted"
    p = less if status == "refuted" else more
    return Finding(
        quantity=BETWEEN_TIERS,
        metric=metric,
        arm=claim.arms[0],
        estimate=result.difference,
        ci_low=result.ci_low,
        ci_high=result.ci_high,
        p=p,
        p_adjusted=claim.adjusted(p, refuting=status == "refuted"),
        n=min(strong.size, other.size),
        status=status,
    )


def _nearest(claim: Claim, ledger: Ledger, *, tier: str, metric: str) -> NDArray[np.float64]:
    """Return by how much the arm is ahead of its nearest rival, one figure a mixture."""
    leads = [_lead(claim, ledger, tier=tier, metric=metric, rival=rival) for rival in claim.rivals]
    return min(leads, key=lambda lead: float(lead.claimed.mean())).claimed


def _words(claim: Claim, finding: Finding) -> str:
    if finding.quantity != BETWEEN_TIERS:
        return comparison(claim, finding)
    difference = measured(finding.estimate, finding.metric, digits="+.3g")
    return f"lead on {finding.tier} less that on {finding.versus} {difference}, {p_text(finding.p_adjusted)}"


def _headline(claim: Claim, findings: Findings) -> Lines:
    leads = [one for one in findings if one.quantity == LEAD]
    own = [one for one in findings if one.quantity == "loss" and one.arm in claim.arms]
    lines = [f"{count(leads, 'supported')} of {len(leads)} comparisons as claimed"]
    lines += [f"{one.tier} {metric_name(one.metric)} loss {figure(one)}" for one in own]
    return tuple(lines)


def _n_contradictions(claim: Claim) -> int:
    own = n_cells(claim) if claim.direction == "largest" else 0
    between = len(claim.metrics) * (len(claim.tiers) - 1) if claim.stronger_tier else 0
    return own + n_cells(claim) * len(claim.rivals) + between


KIND = Kind(
    name="loss-order",
    find=_find,
    across=_across,
    reason=lambda claim, findings: summary(claim, findings, words=_words),
    headline=_headline,
    n_contradictions=_n_contradictions,
    measures=True,
    needs=PAIRED | {"rivals", "direction"},
    may=frozenset({"controls", "stronger_tier"}),
    choices={"direction": tuple(DIRECTIONS)},
    exactly={"arms": 1},
)
