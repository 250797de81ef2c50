"""table: every cell (tier, arm, metric) has a mean over mixtures; inconclusive where a cell has no usable mixture."""

from dataclasses import replace

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.statistics import mean_interval

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    arms = (*claim.baselines, *claim.arms, *claim.controls)
    return [
        _mean(claim, ledger, tier=tier, arm=arm, metric=metric)
        for tier in claim.tiers
        for arm in arms
        for metric in claim.metrics
    ]


def _mean(claim: Claim, ledger: Ledger, *, tier: str, arm: str, metric: str) -> Finding:
    pairs = ledger.paired(metric, arm=arm, baseline=arm, tier=tier)
    cell = Finding(quantity="mean", tier=tier, metric=metric, arm=arm, n=pairs.n, n_dropped=pairs.n_dropped)
    if pairs.n < 2:
        return replace(cell, status="inconclusive", note=pairs.reasons[0] if pairs.reasons else "no rows")
    mean = mean_interval(pairs.first, level=1 - claim.alpha)
    return replace(cell, estimate=mean.estimate, ci_low=mean.low, ci_high=mean.high, status="supported")


def _reason(_claim: Claim, findings: Findings) -> str:
    empty = [f"{one.metric} of {one.arm} on {one.tier} ({one.note})" for one in findings if one.estimate is None]
    if empty:
        return f"{len(empty)} of {len(findings)} cells have no mean: {'; '.join(empty)}."
    return f"All {len(findings)} cells of the table have a mean."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    full = sum(one.estimate is not None for one in findings)
    return (f"{full} of {len(findings)} cells",)


KIND = Kind(
    name="table",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_tests=lambda _: 0,
    needs=PAIRED - {"family"},
    may=frozenset({"controls"}),
)
