"""rank-correlation: inside a mixture, Spearman's coefficient of two metrics over a sweep has the sign of `direction`.

One coefficient a mixture, and a test of their mean over mixtures: a coefficient that pools the points of all mixtures
mixes the differences between mixtures with the change inside each. The pooled one, which the paper gives, is shown
beside. Contradicted by the other sign.
"""

import numpy as np
from scipy import stats

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast, usable
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import Findings, each
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure

__all__ = ["KIND"]

DIRECTIONS = {"negative": -1, "positive": 1}
QUANTITY = "rank_correlation"  # in [settings.smallest_effects]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    x, y = claim.metrics
    found: list[Evidence] = []
    for tier in claim.tiers:
        points = ledger.points([(x, arm) for arm in claim.arms], [(y, arm) for arm in claim.arms], tier=tier)
        contrast = _inside(claim, points, tier=tier)
        pooled = float(stats.spearmanr(points.first, points.second).statistic)
        shown = Finding(
            quantity="pooled Spearman rho",
            tier=tier,
            metric=contrast.metric,
            estimate=pooled if np.isfinite(pooled) else None,
            n=contrast.pairs.n,
            paper=claim.figure(tier=tier),
            note="of all points of all mixtures, decides nothing",
        )
        found += [contrast.evidence(), Evidence(finding=shown)]
    return found


def _inside(claim: Claim, points: Pairs, *, tier: str) -> Contrast:
    """Return one coefficient a mixture; where either metric stands still over the sweep, it is 0."""
    x, y = claim.metrics
    width = len(claim.arms)
    one = slice(None, None, width)
    usable(points, f"{x} and {y} over the sweep on {tier}", claim=claim)
    tables = (values.reshape(-1, width) for values in (points.first, points.second))
    rhos = [_rho(a, b) for a, b in zip(*tables, strict=True)]
    pairs = Pairs(
        mixtures=points.mixtures[one],
        groups=points.groups[one],
        residual_groups=points.residual_groups[one],
        first=np.asarray(rhos, dtype=np.float64),
        second=np.zeros(len(rhos)),
        failed=points.failed,
        reasons=points.reasons,
        excluded=points.excluded,
    )
    usable(pairs, f"{x} and {y} over the sweep on {tier}", claim=claim)
    return Contrast(
        claim=claim,
        quantity="Spearman rho",
        tier=tier,
        metric=f"{x}, {y}",
        arm="",
        versus="",
        pairs=pairs,
        figures=pairs.first,
        wanted=DIRECTIONS[str(claim.direction)],
        floor=claim.smallest(QUANTITY),
    )


def _rho(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return 0.0
    return float(stats.spearmanr(x, y).statistic)


def _reason(claim: Claim, findings: Findings) -> str:
    x, y = claim.metrics
    inside = [one for one in findings if one.status]
    pooled = [one for one in findings if not one.status]
    words = ", ".join(f"{one.tier} {figure(one)}" for one in inside)
    beside = ", ".join(f"{one.tier} {figure(one)}" for one in pooled)
    return (
        f"Spearman's coefficient of {x} and {y} over {len(claim.arms)} arms, mean over mixtures: {words} (pooled: "
        f"{beside}); the paper says {claim.direction}."
    )


KIND = Kind(
    name="rank-correlation",
    find=_find,
    reason=_reason,
    headline=each,
    n_contradictions=lambda claim: len(claim.tiers),
    needs=PAIRED | {"direction"},
    choices={"direction": tuple(DIRECTIONS)},
    exactly={"metrics": 2},
)
