"""layers-settle: the split into stable, moderate and fast layers recurs on other mixtures and other voices.

The split is by the mean entropy rate over mixtures. It is drawn anew on resamples of the mixtures, and of the voices
with all their mixtures; a resample agrees by the share of stable and fast layers that keep their class. Required: of
either sort of resample, all but the claim's level agree well; contradicted where less than half of either do. That
all layers are equal is a straw man: a sample of any size rejects it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.caching import classify_layers
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError
from sam_lsac.claims.kinds._shared import Findings, Lines, judged
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.claims.wording import figure, number
from sam_lsac.statistics import mean_interval

__all__ = ["KIND"]

RATE = "entropy rate"
SORTS = ("mixtures", "voices or sounds")
RESAMPLES = 2000
AGREEMENT = 0.75  # of stable and fast layers that keep their class, by which a resample agrees
FEWEST = 8  # mixtures


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Evidence]:
    if not context.entropy_rates:
        raise UndecidedError("not run", "No entropy rates were recorded on this checkpoint.")
    finite = {name: rates for name, rates in context.entropy_rates.items() if np.isfinite(rates).all()}
    dropped = len(context.entropy_rates) - len(finite)
    if len(finite) < FEWEST or context.n_layers < 4:
        raise UndecidedError(
            "inconclusive", f"Only {len(finite)} mixtures with rates of {context.n_layers} layers; {dropped} dropped."
        )
    table = np.asarray(list(finite.values()), dtype=np.float64)
    groups = [ledger.group(mixture) or mixture for mixture in finite]
    found = [
        _recurs(claim, table, units=units, sort=sort) for sort, units in zip(SORTS, ([*finite], groups), strict=True)
    ]
    return [Evidence(finding=replace(one, n_dropped=dropped)) for one in (*found, *_rates(claim, table))]


def _recurs(claim: Claim, rates: NDArray[np.float64], *, units: Sequence[str], sort: str) -> Finding:
    """Judge by resamples of the units that `units` gives for each row of rates [mixtures, layers]."""
    names = sorted(set(units))
    totals = np.stack([rates[[unit == name for unit in units]].sum(axis=0) for name in names])
    sizes = np.asarray([list(units).count(name) for name in names], dtype=np.float64)
    if len(names) < 2:
        note = f"only {len(names)} of them"
        return Finding(quantity="agreeing resamples", versus=sort, n=len(rates), status="inconclusive", note=note)
    random = np.random.default_rng(claim.settings.bootstrap_seed)
    draws = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    means = (draws @ totals) / (draws @ sizes)[:, None]
    own = _classes(rates.mean(axis=0))
    extreme = own != 0
    agreement = np.asarray([(_classes(one) == own)[extreme].mean() for one in means])
    agreeing = float((agreement >= AGREEMENT).mean())
    status: Status = "inconclusive"
    if agreeing >= 1 - claim.level:
        status = "supported"
    elif agreeing < 0.5:
        status = "refuted"
    return Finding(
        quantity="agreeing resamples",
        versus=sort,
        estimate=agreeing,
        n=len(rates),
        status=status,
        note=f"{len(names)} of them; mean share of layers that keep their class {agreement.mean():.2f}",
    )


def _classes(rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return -1 for a stable layer, 1 for a fast one, 0 for a moderate one."""
    found = classify_layers(rates.tolist())
    classes = np.zeros(rates.size, dtype=np.int64)
    classes[list(found.stable)], classes[list(found.fast)] = -1, 1
    return classes


def _rates(claim: Claim, rates: NDArray[np.float64]) -> list[Finding]:
    """Return the mean entropy rate of every layer, from rates [mixtures, layers]."""
    means = [mean_interval(column, level=1 - claim.alpha) for column in rates.T]
    own = _classes(rates.mean(axis=0))
    return [
        Finding(
            quantity=RATE,
            metric=f"L{layer:02d}",
            estimate=mean.estimate,
            ci_low=mean.low,
            ci_high=mean.high,
            n=mean.n,
            note={-1: "stable", 0: "moderate", 1: "fast"}[int(own[layer])],
        )
        for layer, mean in enumerate(means)
    ]


def _reason(claim: Claim, findings: Findings) -> str:
    rates = [one for one in findings if one.quantity == RATE]
    split = "; ".join(
        f"{name} {', '.join(one.metric for one in rates if one.note == name)}"
        for name in ("stable", "moderate", "fast")
    )
    words = " and ".join(f"{number(one.estimate)} of resampled {one.versus} ({one.note})" for one in judged(findings))
    return f"The split ({split}) recurs in {words}; the paper: {claim.paper}."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    rates = sorted((one for one in findings if one.quantity == RATE), key=lambda one: one.estimate or 0.0)
    recurs = [f"recurs in {number(one.estimate)} of resampled {one.versus}" for one in judged(findings)]
    return (*recurs, *(f"{end.metric} {figure(end)}" for end in (rates[0], rates[-1])))


KIND = Kind(
    name="layers-settle",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_contradictions=lambda _: len(SORTS),
    early=frozenset(),
    needs=frozenset({"family"}),
    watches=True,
)
