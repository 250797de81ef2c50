"""From arms and mixtures to the runs of a session: those that are judged, and the grid that is only drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from sam_lsac.claims import Arm, Book
from sam_lsac.claims.looks import part_of
from sam_lsac.metrics import DEFAULT_METRICS, METRICS
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs import Plan, RunSpec, plan
from sam_lsac.suite.extras import first_of_each_tier, freezing_arms

__all__ = ["first_runs", "grid_of", "limited", "numbers_of", "plan_of"]


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


def limited(planned: Plan, needs: Mapping[str, Mapping[str, int]], *, grid: Mapping[str, Arm]) -> Plan:
    """Return the part of a plan in which each arm is run on the first few mixtures of a tier.

    Parameters
    ----------
    planned
        Of `plan_of`.
    needs
        By tier and arm, how many mixtures; an arm that is not named is not run.
    grid
        Arms that are run as planned.
    """
    return _part(planned, lambda arm, tier: None if arm in grid else needs.get(tier, {}).get(arm, 0))


def first_runs(planned: Plan, *, most: int | None, sixths: int) -> Plan:
    """Return the part of a plan that is about the first mixtures of each tier.

    Parameters
    ----------
    planned
        Of `plan_of`.
    most
        Mixtures of a tier; None for all that an arm has.
    sixths
        Of these, rounded up.
    """
    numbers = {
        arm: numbers_of(dict.fromkeys((spec.tier, spec.mixture) for spec in specs))
        for arm, specs in planned.arms.items()
    }

    def number(arm: str, tier: str) -> int:
        there = numbers[arm].get(tier, 0)
        return part_of({tier: there if most is None else min(most, there)}, sixths)[tier]

    return _part(planned, number)


def numbers_of(mixtures: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return how many mixtures each tier has.

    Parameters
    ----------
    mixtures
        Tier and name of each, once.
    """
    found: dict[str, int] = {}
    for tier, _ in mixtures:
        found[tier] = found.get(tier, 0) + 1
    return found


def _part(planned: Plan, number: Callable[[str, str], int | None]) -> Plan:
    """Return the runs of each arm on the first so many mixtures of a tier, with what they are compared with."""
    kept = {arm: _first(specs, partial(number, arm)) for arm, specs in planned.arms.items()}
    there = {id(spec) for specs in kept.values() for spec in specs}
    names = dict.fromkeys((*planned.arms, *planned.references))
    others = {
        arm: {spec.key: spec for table in (planned.arms, planned.references) for spec in table.get(arm, ())}
        for arm in names
    }
    by_key = {key: spec for specs in others.values() for key, spec in specs.items()}
    needed: dict[str, None] = {}
    left = [spec for specs in kept.values() for spec in specs]
    while left:
        keys = dict.fromkeys(key for spec in left for _, key in spec.references if key not in needed)
        needed |= keys
        left = [by_key[key] for key in keys if key in by_key]
    references = {
        arm: tuple(spec for key, spec in specs.items() if key in needed and id(spec) not in there)
        for arm, specs in others.items()
    }
    return Plan(
        arms={arm: specs for arm, specs in kept.items() if specs},
        references={arm: specs for arm, specs in references.items() if specs},
        waves=planned.waves,
    )


def _first(specs: Sequence[RunSpec], number: Callable[[str], int | None]) -> tuple[RunSpec, ...]:
    seen: dict[str, dict[str, None]] = {}
    kept = []
    for spec in specs:
        here = seen.setdefault(spec.tier, {})
        here[spec.mixture] = None
        most = number(spec.tier)
        if most is None or len(here) <= most:
            kept.append(spec)
    return tuple(kept)


def _joined(tables: Sequence[Mapping[str, tuple[RunSpec, ...]]]) -> dict[str, tuple[RunSpec, ...]]:
    """The runs of each arm in several plans, one after the other."""
    names = dict.fromkeys(arm for table in tables for arm in table)
    return {arm: tuple(spec for table in tables for spec in table.get(arm, ())) for arm in names}
