"""rank-correlation: over all points of a sweep, Spearman's coefficient of two metrics has the sign of `direction`.

By an interval that resamples mixtures, at the family's level. Refuted where the interval lies on the other side. Below
8 mixtures it is inconclusive: simulation shows that so small a bootstrap does not keep its level.
"""

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind, UndecidedError
from sam_lsac.claims.kinds._shared import MORE_IS_CLAIMED, Findings, each
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure
from sam_lsac.errors import InputError
from sam_lsac.statistics import Interval, spearman

__all__ = ["KIND"]

FEWEST_RESAMPLED = 8  # mixtures
DIRECTIONS = {"negative": -1, "positive": 1}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    x, y = claim.metrics
    findings = []
    for tier in claim.tiers:
        points = ledger.points([(x, arm) for arm in claim.arms], [(y, arm) for arm in claim.arms], tier=tier)
        result = _clustered(claim, points, tier=tier)
        sign = 1 if result.low > 0 else -1 if result.high < 0 else 0
        findings.append(
            Finding(
                quantity="Spearman rho",
                tier=tier,
                metric=f"{x}, {y}",
                estimate=result.estimate,
                ci_low=result.low,
                ci_high=result.high,
                n=result.n,
                n_dropped=points.n_dropped,
                paper=claim.figure(tier=tier),
                status=MORE_IS_CLAIMED[DIRECTIONS[str(claim.direction)] * sign],
                note=f"interval at {result.level:.3%}, the family's level",
            )
        )
    return findings


def _clustered(claim: Claim, points: Pairs, *, tier: str) -> Interval:
    """Return the pooled coefficient with its interval at the family's level; mixtures are resampled."""
    mixtures = len(set(points.mixtures))
    if mixtures < FEWEST_RESAMPLED:
        raise UndecidedError(
            "inconclusive",
            f"Only {mixtures} mixtures have the whole sweep on {tier} ({points.n_dropped} dropped): "
            f"resampling them needs {FEWEST_RESAMPLED}.",
        )
    try:
        return spearman(
            points.first,
            points.second,
            clusters=points.mixtures,
            level=1 - claim.family_alpha,
            seed=claim.settings.bootstrap_seed,
            n_resamples=claim.settings.bootstrap_resamples,
        )
    except InputError as error:
        raise UndecidedError("inconclusive", f"On {tier}: {error}.") from error


def _reason(claim: Claim, findings: Findings) -> str:
    x, y = claim.metrics
    words = ", ".join(f"{one.tier} {figure(one)}" for one in findings)
    text = f"Spearman's coefficient of {x} and {y} over {len(claim.arms)} arms: {words}"
    return f"{text}; the paper says {claim.direction}."


KIND = Kind(
    name="rank-correlation",
    find=_find,
    reason=_reason,
    headline=each,
    n_tests=lambda claim: len(claim.tiers),
    needs=PAIRED | {"direction"},
    choices={"direction": tuple(DIRECTIONS)},
    exactly={"metrics": 2},
)
