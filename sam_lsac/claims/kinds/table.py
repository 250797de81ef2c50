"""table: the mean over mixtures of every cell (tier, arm, metric), shown and not judged.

Mixtures on which an arm failed are in it with the worst figure of the tier, and are counted.
"""

from dataclasses import replace

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.statistics import mean_interval

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    arms = (*claim.baselines, *claim.arms, *claim.controls)
    return [
        Evidence(finding=_mean(claim, ledger, tier=tier, arm=arm, metric=metric))
        for tier in claim.tiers
        for arm in arms
        for metric in claim.metrics
    ]


def _mean(claim: Claim, ledger: Ledger, *, tier: str, arm: str, metric: str) -> Finding:
    baseline = claim.baselines[0]
    pairs = ledger.paired(metric, arm=arm, baseline=baseline, tier=tier)
    cell = Finding(
        quantity="mean",
        tier=tier,
        metric=metric,
        arm=arm,
        n=pairs.n,
        n_dropped=pairs.n_dropped,
        n_excluded=pairs.n_excluded,
        n_failed=len(pairs.failed),
    )
    if pairs.n < 2:
        return replace(cell, note=next(iter((*pairs.reasons, *pairs.excluded)), "no rows"))
    mean = mean_interval(pairs.first, level=1 - claim.alpha)
    return replace(cell, estimate=mean.estimate, ci_low=mean.low, ci_high=mean.high)


def _reason(_claim: Claim, findings: Findings) -> str:
    empty = [f"{one.metric} of {one.arm} on {one.tier} ({one.note})" for one in findings if one.estimate is None]
    if empty:
        return f"{len(empty)} of {len(findings)} cells have no mean: {'; '.join(empty)}."
    failed = sum(one.n_failed for one in findings)
    return f"All {len(findings)} cells of the table have a mean; failed outputs among them: {failed}. Not judged."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    full = sum(one.estimate is not None for one in findings)
    return (f"{full} of {len(findings)} cells",)


KIND = Kind(
    name="table",
    find=_find,
    reason=_reason,
    headline=_headline,
    shows=True,
    early=frozenset(),
    needs=PAIRED - {"family"},
    may=frozenset({"controls"}),
)
