"""What is true of the method whatever the verdicts are, with the figures of this checkpoint.

A book's views give the rows: a title, what is known without any run, and the name of the function here that computes
our sentence from the runs, costs and verdicts of the row's arms and claims. Where there is nothing to compute it from,
the row's `missing` says how to get it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from sam_lsac.claims import Book, Context, Finding, Verdict
from sam_lsac.claims.views import CaveatRow
from sam_lsac.claims.wording import AXIS_NAMES, metric_name, number, percent, unit_of
from sam_lsac.errors import InputError
from sam_lsac.records import STRICT, unknown
from sam_lsac.report.extras import Extras
from sam_lsac.report.tables import ArmRow, TierCell
from sam_lsac.solver import parse_solver

__all__ = ["Caveat", "caveats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """One box of the report; `ours` is None where nothing was computed, and `missing` then says how to get it."""

    __pydantic_config__: ClassVar[Any] = STRICT

    title: str
    known: str
    ours: str | None
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Everything that a sentence can be computed from."""

    book: Book
    verdicts: Mapping[str, Verdict]
    context: Context
    arms: Sequence[ArmRow]
    extras: Extras


def caveats(
    book: Book, verdicts: Mapping[str, Verdict], context: Context, *, arms: Sequence[ArmRow], extras: Extras
) -> tuple[Caveat, ...]:
    """Return the caveats of the book's views, in their order; InputError where one names no function of this module."""
    known = _Known(book=book, verdicts=verdicts, context=context, arms=arms, extras=extras)
    return tuple(
        Caveat(title=row.title, known=row.known, ours=_figures(row)(row, known), missing=row.missing)
        for row in book.views.caveats
    )


def _figures(row: CaveatRow) -> Callable[[CaveatRow, _Known], str | None]:
    if row.figures not in _FIGURES:
        raise InputError(f"views: caveat {row.title!r}: {unknown('figures', row.figures, _FIGURES)}")
    return _FIGURES[row.figures]


def _evaluation(_: CaveatRow, known: _Known) -> str | None:
    context, reference = known.context, known.book.views.reference
    total, attention = context.flops_per_evaluation, context.self_attention_flops_per_evaluation
    if total is None:
        return None
    share = "" if attention is None else f", {attention / 1e9:.1f} of them self-attention ({attention / total:.1%})"
    solver = known.book.arms[reference].solver
    nfe = parse_solver(solver).nfe
    solve = f"A solve of {reference} ({solver}) is {nfe} of them: {nfe * total / 1e12:.2f} TFLOPs."
    return f"We count {total / 1e9:.1f} GFLOPs per evaluation{share}. {solve}"


def _unmatched(row: CaveatRow, known: _Known) -> str | None:
    """What each arm and rival saves on both axes, and on which of them the claims' comparisons hold."""
    costs = known.context.costs
    named = [*row.arms, *row.rivals]
    if not named or any(name not in costs for name in named):
        return None
    saved = "; ".join(
        f"{name} saves {percent(costs[name].layer_steps_saved)} of layer-steps and "
        f"{percent(costs[name].flops_saved)} of all FLOPs"
        for name in named
    )
    held = [
        f"{sum(one.status == 'supported' for one in mine)} of {len(mine)} on {AXIS_NAMES.get(axis, axis)}"
        for axis, mine in _by_axis(row, known).items()
    ]
    return f"{saved}. Comparisons of {', '.join(row.claims)} that hold: {' and '.join(held)}." if held else f"{saved}."


def _by_axis(row: CaveatRow, known: _Known) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in (one for verdict in _verdicts(row, known) for one in verdict.findings if one.axis):
        found.setdefault(finding.axis, []).append(finding)
    return found


def _verdicts(row: CaveatRow, known: _Known) -> list[Verdict]:
    return [known.verdicts[claim_id] for claim_id in row.claims if claim_id in known.verdicts]


def _ceiling(row: CaveatRow, known: _Known) -> str | None:
    """How fast caching everything could make the transformer, from the first of the row's arms that caches.

    Where all FLOPs are saved as fast as layer-steps, steps are left out and nothing is cached.
    """
    bounds = " and ".join(f"{limit:.2f}x faster on {length}" for length, limit in known.extras.speed_limits.items())
    words = [f"SAM-Audio-Small could be at most {bounds}."] if bounds else []
    costs = [known.context.costs[arm] for arm in row.arms if arm in known.context.costs]
    for cost in [one for one in costs if 0.0 <= one.flops_saved < one.layer_steps_saved][:1]:
        share = cost.flops_saved / cost.layer_steps_saved
        words.append(
            f"On this checkpoint a cached layer-step saves {percent(share)} of one layer-step's share of all FLOPs, so "
            f"caching everything could make the transformer {1.0 / (1.0 - share):.2f}x faster at most."
        )
    return " ".join(words) or None


def _equivalence(row: CaveatRow, known: _Known) -> str | None:
    """How often no loss is shown, claim by claim, among all arms but the row's rivals, which are said to lose.

    An arm counts on a tier and metric where all that is judged of it there is supported.
    """
    counts: list[str] = []
    for verdict in _verdicts(row, known):
        judged: dict[tuple[str, str, str], bool] = {}
        for one in verdict.findings:
            if one.status and one.metric and not one.axis and one.arm not in row.rivals:
                place = (one.tier, one.metric, one.arm)
                judged[place] = judged.get(place, True) and one.status == "supported"
        if judged:
            shown = sum(judged.values())
            counts.append(f"{verdict.claim_id}: {shown} of {len(judged)}")
    return f"Comparisons in which no effect is shown, not merely not found: {', '.join(counts)}." if counts else None


def _solvers(row: CaveatRow, known: _Known) -> str | None:
    """How far the row's arms, each under its own solver, deviate from that solver's plain run."""
    claimed = [arm for claim_id in row.claims for arm in known.book[claim_id].arms]
    wanted = set(row.arms or claimed)
    words = []
    for one in (arm for arm in known.arms if arm.arm in wanted):
        worst = max((cell for cell in one.cells if cell.deviation is not None), key=_deviation, default=None)
        if worst is not None:
            method = one.solver.split(":")[0]
            unit = unit_of(known.book.views.metric)
            words.append(
                f"{method} ({one.evaluations} evaluations) {number(worst.deviation)} {unit}".rstrip()
                + f" on {worst.tier}"
            )
    if not words:
        return None
    reference = known.book.views.reference
    plain = parse_solver(known.book.arms[reference].solver).nfe
    return (
        f"Largest mean deviation from the same solver without the edit: {'; '.join(words)}. "
        f"{reference.capitalize()} makes {plain} evaluations."
    )


def _deviation(cell: TierCell) -> float:
    return cell.deviation or 0.0


def _noise_floor(_: CaveatRow, known: _Known) -> str | None:
    """One sentence a metric, or one for all of them where none moves."""
    floors = known.extras.noise_floor
    if not floors:
        return None
    notes = {one.note for one in floors}
    measured = f" ({'; '.join(sorted(notes))})" if notes != {""} else ""
    if not any(one.largest for one in floors):
        moves = ", ".join(f"{metric_name(one.metric)} (n = {one.n})" for one in floors)
        return f"Nothing moves{measured}: {moves}."
    words = [
        f"{metric_name(one.metric)} differs by {number(one.mean)} {unit_of(one.metric)}".rstrip()
        + f" on average and {number(one.largest)} at most (n = {one.n})"
        for one in floors
    ]
    return f"{'. '.join(words)}{measured}."


_FIGURES: Mapping[str, Callable[[CaveatRow, _Known], str | None]] = MappingProxyType(
    {
        "evaluation": _evaluation,
        "unmatched": _unmatched,
        "ceiling": _ceiling,
        "equivalence": _equivalence,
        "solvers": _solvers,
        "noise-floor": _noise_floor,
    }
)
