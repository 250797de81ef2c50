"""layers-differ: Friedman's test over mixtures finds that the layers' convergence rates differ.

It can be supported or inconclusive: no finite sample shows that layers do not differ at all.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Kind, UndecidedError
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, number, p_text
from sam_lsac.statistics import friedman, mean_interval

__all__ = ["KIND"]

AGREEMENT, RATE = "Kendall's W", "entropy rate"


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Finding]:
    if not context.entropy_rates:
        raise UndecidedError("not run", "No entropy rates were recorded on this checkpoint.")
    finite = [rates for rates in context.entropy_rates.values() if np.isfinite(rates).all()]
    dropped = len(context.entropy_rates) - len(finite)
    if len(finite) < 2 or context.n_layers < 3:
        raise UndecidedError(
            "inconclusive", f"Only {len(finite)} mixtures with rates of {context.n_layers} layers; {dropped} dropped."
        )
    table = np.asarray(finite, dtype=np.float64)
    result = friedman(table)
    adjusted = claim.adjusted(result.p)
    agreement = Finding(
        quantity=AGREEMENT,
        estimate=result.kendall_w,
        p=result.p,
        p_adjusted=adjusted,
        n=result.n,
        status="supported" if adjusted < claim.alpha else "inconclusive",
    )
    return [replace(one, n_dropped=dropped) for one in (agreement, *_rates(claim, table))]


def _rates(claim: Claim, rates: NDArray[np.float64]) -> list[Finding]:
    """Return the mean entropy rate of every layer, from rates [mixtures, layers]."""
    means = [mean_interval(column, level=1 - claim.alpha) for column in rates.T]
    return [
        Finding(
            quantity=RATE,
            metric=f"L{layer:02d}",
            estimate=mean.estimate,
            ci_low=mean.low,
            ci_high=mean.high,
            n=mean.n,
        )
        for layer, mean in enumerate(means)
    ]


def _extremes(findings: Findings) -> tuple[Finding, Finding]:
    rates = [(one.estimate, one) for one in findings if one.quantity == RATE and one.estimate is not None]
    ordered = sorted(rates, key=lambda pair: pair[0])
    return ordered[0][1], ordered[-1][1]


def _reason(_claim: Claim, findings: Findings) -> str:
    low, high = _extremes(findings)
    (agreement,) = (one for one in findings if one.quantity == AGREEMENT)
    layers = sum(one.quantity == RATE for one in findings)
    return (
        f"Mean entropy rates run from {number(low.estimate)} ({low.metric}) to {number(high.estimate)} ({high.metric}) "
        f"nats per step over {layers} layers and {agreement.n} mixtures: Friedman {p_text(agreement.p_adjusted)}, "
        f"{AGREEMENT} {number(agreement.estimate)}."
    )


def _headline(_claim: Claim, findings: Findings) -> Lines:
    agreement = [f"{AGREEMENT} {number(one.estimate)}" for one in findings if one.quantity == AGREEMENT]
    return (*agreement, *(f"{end.metric} {figure(end)}" for end in _extremes(findings)))


KIND = Kind(
    name="layers-differ",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_tests=lambda _: 1,
    needs=frozenset({"family"}),
    watches=True,
)
