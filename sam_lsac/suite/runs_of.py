"""From arms and mixtures to the runs of a session: those that are judged, and the grid that is only drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sam_lsac.claims import Arm, Book
from sam_lsac.metrics import DEFAULT_METRICS, METRICS
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs import Plan, RunSpec, plan
from sam_lsac.suite.extras import first_of_each_tier, freezing_arms

__all__ = ["grid_of", "plan_of"]


def grid_of(book: Book, model: SAMAudio, arms: Sequence[str]) -> Mapping[str, Arm]:
    """Return the grid of freezes, where claims about freezing were asked for; else nothing.

    Parameters
    ----------
    book, model
        Whose arms, on which model.
    arms
        Names of those that are judged.
    """
    freezes = any(edit["kind"] == "FreezeSelfAttention" for arm in arms for edit in book.arms[arm].edits)
    return freezing_arms(book, model) if freezes else {}


def plan_of(
    book: Book,
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    *,
    wanted: Mapping[str, tuple[str, ...]],
    grid: Mapping[str, Arm],
    seeds: Sequence[int],
) -> Plan:
    """Plan on each tier's mixtures the arms that are judged there, and the grid on a few.

    Every run has every metric that the book names anywhere, so that other selections find the same runs.

    Parameters
    ----------
    book, model, mixtures
        What is judged, on which model and mixtures.
    wanted
        Names of arms by tier.
    grid
        Of `grid_of`.
    seeds
        Of the noise.

    Raises
    ------
    PlanError
        If an arm does not fit the model.
    """
    named = {metric for claim in book.claims for metric in claim.metrics}
    metrics = (*DEFAULT_METRICS, *(name for name in METRICS if name in named and name not in DEFAULT_METRICS))
    parts = []
    few = {mixture.id for mixture in first_of_each_tier(mixtures, book.views.freezing.per_tier)}
    common: dict[str, Any] = {
        "seeds": seeds,
        "metrics": metrics,
        "baseline": book.views.reference,
        "known": book.arms,  # what any arm of the book is compared with is kept, whatever is selected
    }
    for tier, arms in wanted.items():
        here = [mixture for mixture in mixtures if mixture.tier == tier]
        if not here:
            continue
        parts.append(plan({arm: book.arms[arm] for arm in arms}, here, model, **common))
        if grid and few:
            parts.append(plan(grid, [mixture for mixture in here if mixture.id in few], model, **common))
    return Plan(
        arms=_joined([part.arms for part in parts]),
        references=_joined([part.references for part in parts]),
        waves=frozenset(key for part in parts for key in part.waves),
    )


def _joined(tables: Sequence[Mapping[str, tuple[RunSpec, ...]]]) -> dict[str, tuple[RunSpec, ...]]:
    """The runs of each arm in several plans, one after the other."""
    names = dict.fromkeys(arm for table in tables for arm in table)
    return {arm: tuple(spec for table in tables for spec in table.get(arm, ())) for arm in names}
