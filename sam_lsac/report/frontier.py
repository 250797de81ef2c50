"""What settings save against what they change: the points of the frontier, tier by tier."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from sam_lsac.claims import Book, Context, Ledger
from sam_lsac.records import STRICT, Extended
from sam_lsac.report.settings import shippable
from sam_lsac.statistics import mean_interval

__all__ = ["FrontierPoint", "frontier"]

FEWEST = 2  # mixtures of a mean that gets an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One setting on one tier: the mean of a metric, with its interval, beside the share of FLOPs saved."""

    __pydantic_config__: ClassVar[Any] = STRICT

    arm: str
    tier: str
    metric: str
    saved: float
    estimate: Extended
    low: Extended
    high: Extended
    n: int


def frontier(book: Book, ledger: Ledger, context: Context) -> Iterable[FrontierPoint]:
    """Return the points of the book's views, for every setting of the ledger that costs fewer FLOPs."""
    for metric in book.views.frontier.metrics:
        for tier in book.settings.tiers:
            for arm in shippable(book, context, among=book.views.frontier.arms):
                pairs = ledger.abreast(metric, arm=arm, rival=arm, tier=tier)
                if pairs.n >= FEWEST:
                    mean = mean_interval(pairs.first, level=1 - book.settings.alpha)
                    yield FrontierPoint(
                        arm=arm,
                        tier=tier,
                        metric=metric,
                        saved=context.costs[arm].flops_saved,
                        estimate=mean.estimate,
                        low=mean.low,
                        high=mean.high,
                        n=mean.n,
                    )
