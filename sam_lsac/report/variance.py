"""Where the variance of a metric lies, tier by tier: between mixtures, between noise seeds, or in both together."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sam_lsac.claims import Book, Ledger
from sam_lsac.claims.wording import metric_name, unit_of
from sam_lsac.records import STRICT
from sam_lsac.statistics import variance_components

__all__ = ["VarianceRow", "variance_name", "variance_note", "variance_rows"]

Figures = Mapping[tuple[str, int], float]  # by mixture and seed


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceRow:
    """One arm on one tier, where several noise seeds were run.

    Parameters
    ----------
    tier, arm
        What was run.
    versus
        The arm that it is compared with: the figures are its loss; empty: they are the metric itself.
    n_mixtures, n_seeds
        How many there are of both; mixtures that lack a seed are left out.
    mixture, seed, rest
        Variance between mixtures, between seeds, and what these do not explain when added, in the unit squared.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    tier: str
    arm: str
    versus: str
    n_mixtures: int
    n_seeds: int
    mixture: float
    seed: float
    rest: float


def variance_rows(book: Book, ledger: Ledger) -> Iterator[VarianceRow]:
    """Return, by tier, the components of the reference's metric and of the loss of the arm that most claims are about.

    Parameters
    ----------
    book
        Its views name the reference and the metric.
    ledger
        Tiers on which fewer than two mixtures have two seeds or more give no row.
    """
    views = book.views
    counted = Counter(
        arm for claim in book.claims for arm in dict.fromkeys(claim.arms) if claim.baselines == (views.reference,)
    )
    arms = [arm for arm, _ in counted.most_common() if arm != views.reference]
    for tier in book.settings.tiers:
        own = _figures(ledger, views.metric, arm=views.reference, tier=tier)
        yield from _row(own, tier=tier, arm=views.reference)
        others = ((arm, _figures(ledger, views.metric, arm=arm, tier=tier)) for arm in arms)
        arm, figures = next(((arm, found) for arm, found in others if found), ("", {}))
        losses = {place: own[place] - value for place, value in figures.items() if place in own}
        yield from _row(losses, tier=tier, arm=arm, versus=views.reference)


def variance_name(row: VarianceRow) -> str:
    """Return what a row's figures are: an arm's own, or its loss against another."""
    return f"loss of {row.arm} against {row.versus}" if row.versus else row.arm


def variance_note(metric: str) -> str:
    """Return what the figures of the table are."""
    unit = unit_of(metric)
    return (
        f"Where {metric_name(metric)} varies{f' ({unit}, standard deviations)' if unit else ' (standard deviations)'}: "
        "between mixtures, between noise seeds, and in what these do not explain when added."
    )


def _figures(ledger: Ledger, metric: str, *, arm: str, tier: str) -> Figures:
    return {
        (row.mixture, row.seed): row.value
        for row in ledger.rows
        if (row.metric, row.arm, row.tier) == (metric, arm, tier) and math.isfinite(row.value)
    }


def _row(figures: Figures, *, tier: str, arm: str, versus: str = "") -> Iterator[VarianceRow]:
    """Return the row of the mixtures that have all seeds, where there are two of both."""
    every = {seed for _, seed in figures}
    lacking = {mixture for mixture, _ in figures if any((mixture, seed) not in figures for seed in every)}
    whole = {place: value for place, value in figures.items() if place[0] not in lacking}
    if len(every) < 2 or len(whole) < 2 * len(every):
        return
    mixtures, of_seed = zip(*whole, strict=True)
    found = variance_components(list(whole.values()), mixtures=mixtures, seeds=of_seed)
    yield VarianceRow(
        tier=tier,
        arm=arm,
        versus=versus,
        n_mixtures=found.n_mixtures,
        n_seeds=found.n_seeds,
        mixture=found.mixture,
        seed=found.seed,
        rest=found.rest,
    )
