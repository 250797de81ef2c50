"""at-least: every arm saves its share of FLOPs, and its metric is at least at its bound on average.

Required: the mean over mixtures is shown above the bound, and the arm saves at least `saves` of its baseline's FLOPs.
Contradicted where the mean is shown below, or less is saved. The least figure, and the share of mixtures below the
bound, stand beside it.
"""

from dataclasses import replace

import numpy as np

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast, usable
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._costs import SAME_COST, costs_of
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, comparison, judged, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import estimate, measured, number, percent, unit_of
from sam_lsac.metrics import column
from sam_lsac.statistics import contrast_test

__all__ = ["KIND"]

SAVES = "saved share"


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Evidence]:
    costs = costs_of(claim, context)
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        for arm in claim.arms:
            found += [_saves(claim, arm, costs[arm].flops_saved, tier=tier), _level(claim, ledger, tier, metric, arm)]
    return found


def _saves(claim: Claim, arm: str, share: float, *, tier: str) -> Evidence:
    asked = claim.given("saves")
    return Evidence(
        finding=Finding(
            quantity=SAVES,
            tier=tier,
            arm=arm,
            estimate=share,
            axis="flops_saved",
            status="supported" if share >= asked - SAME_COST else "refuted",
            note=f"{percent(asked)} asked",
        )
    )


def _level(claim: Claim, ledger: Ledger, tier: str, metric: str, arm: str) -> Evidence:
    """Judge the mean of the metric less its bound, and report the metric itself."""
    bound = claim.given("bound")
    pairs = ledger.abreast(metric, arm=arm, rival=arm, tier=tier)
    usable(pairs, f"{metric} of {arm} on {tier}", claim=claim)
    side = 1 if column(metric).higher_is_better else -1
    contrast = Contrast(
        claim=claim,
        quantity="level",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=claim.baselines[0],
        pairs=pairs,
        figures=pairs.first - bound,
        wanted=side,
    )
    judged_ = contrast.evidence()
    own = contrast_test(pairs.first, alpha=claim.alpha)
    least = float((side * pairs.first).min() * side)
    short = int((side * (pairs.first - bound) < 0.0).sum())
    words = (
        f"median {measured(float(np.median(pairs.first)), metric)}, worst {measured(least, metric)}, "
        f"{short} of {pairs.n} mixtures beyond {measured(bound, metric, digits='g')}"
    )
    finding = replace(judged_.finding, estimate=own.mean, ci_low=own.ci_low, ci_high=own.ci_high, note=words)
    return replace(judged_, finding=finding)


def _words(claim: Claim, finding: Finding) -> str:
    if finding.quantity == SAVES:
        return f"{finding.arm} saves {percent(finding.estimate)} of FLOPs, {finding.note}"
    return comparison(claim, finding)


def _headline(_claim: Claim, findings: Findings) -> Lines:
    lines = []
    for one in judged(findings):
        if one.quantity != SAVES:
            figure = estimate(one.estimate, one.ci_low, one.ci_high, unit=unit_of(one.metric))
            lines.append(f"{one.tier} {one.arm} {figure}; {one.note}")
    shares = {one.arm: one.estimate for one in findings if one.quantity == SAVES}
    return (*(f"{arm} saves {number(100 * (share or 0.0))} %" for arm, share in shares.items()), *lines)


KIND = Kind(
    name="at-least",
    find=_find,
    reason=lambda claim, findings: summary(claim, findings, words=_words),
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"bound", "saves"},
)
