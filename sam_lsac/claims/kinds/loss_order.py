"""loss-order: the arm's loss is the largest (or the smallest) of all.

Supported where it is significantly larger (smaller) than every rival's on every tier and metric; refuted where any
rival's is significantly larger (smaller). With `stronger_tier`, the arm's lead over its nearest rival is also larger
there than on each other tier (Welch's test, since their mixtures differ). A lead is by how much the arm is ahead in
the direction that the claim names.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import MORE_IS_CLAIMED, Findings, Lines, comparison, count, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, measured, metric_name, p_text
from sam_lsac.statistics import welch

__all__ = ["KIND"]

LEAD, BETWEEN_TIERS = "lead in loss", "lead, tier against tier"
DIRECTIONS = {"largest": 1, "smallest": -1}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    (arm,) = claim.arms
    wanted = DIRECTIONS[str(claim.direction)]
    findings: list[Finding] = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for name in (arm, *claim.rivals, *claim.controls):
                own = loss(claim, ledger, tier=tier, metric=metric, arm=name, versus=claim.baselines[0])
                findings.append(own.finding(note="control, decides nothing" if name in claim.controls else ""))
            for rival in claim.rivals:
                lead = loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=rival)
                status = MORE_IS_CLAIMED[wanted * lead.sign]
                findings.append(replace(lead.finding(status=status), quantity=LEAD))
    return findings


def _across(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    """Return the tests of the arm's lead over its nearest rival, the stronger tier against each other."""
    strong = str(claim.stronger_tier)
    findings: list[Finding] = []
    for metric in claim.metrics:
        leads = {tier: _lead(claim, ledger, tier=tier, metric=metric) for tier in claim.tiers}
        for other in (tier for tier in claim.tiers if tier != strong):
            result = welch(leads[strong], leads[other], alpha=claim.alpha)
            sign = int(np.sign(result.difference)) if claim.adjusted(result.p) < claim.alpha else 0
            findings.append(
                Finding(
                    quantity=BETWEEN_TIERS,
                    tier=strong,
                    metric=metric,
                    arm=claim.arms[0],
                    versus=other,
                    estimate=result.difference,
                    ci_low=result.ci_low,
                    ci_high=result.ci_high,
                    p=result.p,
                    p_adjusted=claim.adjusted(result.p),
                    n=min(leads[strong].size, leads[other].size),
                    status=MORE_IS_CLAIMED[sign],
                )
            )
    return findings


def _lead(claim: Claim, ledger: Ledger, *, tier: str, metric: str) -> NDArray[np.float64]:
    """Return by how much the arm is ahead of its nearest rival, one figure a mixture."""
    (arm,) = claim.arms
    wanted = DIRECTIONS[str(claim.direction)]
    cells = [loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=rival) for rival in claim.rivals]
    return wanted * min(cells, key=lambda cell: wanted * cell.test.mean).difference


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


KIND = Kind(
    name="loss-order",
    find=_find,
    across=_across,
    reason=lambda claim, findings: summary(claim, findings, words=_words),
    headline=_headline,
    n_tests=lambda claim: (
        n_cells(claim) * len(claim.rivals) + (len(claim.metrics) * (len(claim.tiers) - 1) if claim.stronger_tier else 0)
    ),
    needs=PAIRED | {"rivals", "direction"},
    may=frozenset({"controls", "stronger_tier"}),
    choices={"direction": tuple(DIRECTIONS)},
    exactly={"arms": 1},
)
