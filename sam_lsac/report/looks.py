"""Sequential judging as a report tells it: by which looks and levels, and how many mixtures each claim took."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sam_lsac.claims import Verdict
from sam_lsac.claims.looks import FEWEST, SIXTHS
from sam_lsac.records import STRICT
from sam_lsac.statistics.spending import SPENDING

__all__ = ["Sequential", "looks_text", "sequential", "sequential_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """How a sequential run judged (docs/verdicts.md).

    Parameters
    ----------
    spending
        Name of the function by which levels are spent.
    sixths, fewest
        Of a tier's mixtures, after which looks are taken, and from how many mixtures on.
    planned
        Mixtures of each tier, of which the last look takes all that a claim is judged on.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    spending: str
    sixths: tuple[int, ...]
    fewest: int
    planned: Mapping[str, int]


def sequential(planned: Mapping[str, int] | None) -> Sequential | None:
    """Return how a run judged; None where it judged once.

    Parameters
    ----------
    planned
        Mixtures of each tier, where judging is sequential.
    """
    if planned is None:
        return None
    return Sequential(spending=SPENDING, sixths=SIXTHS, fewest=FEWEST, planned=dict(planned))


def sequential_text(run: Sequential) -> str:
    """Return in a sentence how a sequential run judged."""
    *first, last = map(str, run.sixths)
    tiers = ", ".join(f"{n} {tier}" for tier, n in run.planned.items())
    return (
        f"Judged sequentially: looks after {', '.join(first)} and {last} sixths of the mixtures ({tiers}), from "
        f"{run.fewest} on; levels spent by {run.spending}; a case stops at the first look that decides it, or gives "
        "up from half of the mixtures on where no verdict is in reach, and no estimate or interval allows for that."
    )


def looks_text(verdict: Verdict) -> str:
    """Return where each case of a claim stopped, with its levels; empty where it was judged once."""
    return "; ".join(
        f"{f'{tier} ' if tier else ''}look {look.number} of {look.of}, {look.mixtures} of {look.planned} mixtures, "
        f"level {look.level:.2g} ({look.refutation_level:.2g} a contradiction)"
        f"{', given up' if look.gave_up else ''}"
        for tier, look in verdict.looks.items()
    )
