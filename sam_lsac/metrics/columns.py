"""What a column of figures is, and what a metric is: a column with its score."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sam_lsac.metrics.score import Score

__all__ = ["Column", "Metric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column of figures is, and how its figures are written.

    Parameters
    ----------
    name
        In ledgers and claims files.
    label
        As it is written in the field.
    unit
        Empty where it has none.
    higher_is_better
        Which direction is better; a loss is what goes the other way.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = True

    def text(self, value: float, *, digits: str = ".3g") -> str:
        """Return a figure with its unit."""
        return f"{value:{digits}} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Column):
    """A score of one estimate: one row of `METRICS` is all that there is to a metric.

    Parameters
    ----------
    score
        From "estimate", "target", "residual", "wave" [N] and "sample_rate" to a `Score`; of a row of `COMPARISONS` from
        "estimate" and "reference" [N].
    default
        Whether it is taken of every run, or only where a claim names it.
    """

    score: Callable[[Mapping[str, Any]], Score]
    default: bool = True
