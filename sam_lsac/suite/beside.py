"""What is known of arms beside the scores of their runs: what they cost, and what they carry over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sam_lsac.caching.peers import missing_library
from sam_lsac.claims import ArmCost, Book
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kinds.state_leak import KIND as STATE_LEAK
from sam_lsac.claims.looks import SIXTHS
from sam_lsac.costs import arm_cost, is_on_paper, measured_cost
from sam_lsac.errors import InputError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs import Plan, Store, resolve_arm
from sam_lsac.runs.leaks import Leak, leaks
from sam_lsac.solver import parse_solver
from sam_lsac.suite.runs_of import first_runs

__all__ = ["carried_over", "first_costs", "paper_costs", "run_costs", "without_library"]


def paper_costs(book: Book, model: SAMAudio, mixtures: Sequence[Mixture], *, arms: Sequence[str]) -> dict[str, ArmCost]:
    """What each arm saves on a mixture of the selection; not of arms of which only their runs tell.

    Parameters
    ----------
    book, model, mixtures
        Of the selection.
    arms
        Names of the book's.
    """
    resolved = {name: resolve_arm(book.arms[name], model) for name in arms}
    sizes = {text: _sizes(book, model, mixtures, text=text) for text in {arm.text for arm in resolved.values()}}
    return {
        name: arm_cost(name, model, arm.solver, edits=arm.edits, **sizes[arm.text])
        for name, arm in resolved.items()
        if is_on_paper(arm.edits)
    }


def run_costs(
    book: Book, model: SAMAudio, mixtures: Sequence[Mixture], *, plan: Plan, store: Store
) -> dict[str, ArmCost]:
    """What the other arms of a plan saved in their runs.

    Parameters
    ----------
    book, model, mixtures
        Of the selection.
    plan, store
        The runs, computed.
    """
    found = {}
    for name, specs in plan.arms.items():
        if not specs or is_on_paper(specs[0].edits):
            continue
        results = store.get({spec.key for spec in specs}).values()
        hits = [result.hits for result in results if result.noise_digest is not None]
        if hits:
            sizes = _sizes(book, model, mixtures, text=specs[0].text)
            found[name] = measured_cost(name, model, parse_solver(specs[0].solver), hits=hits, **sizes)
    return found


def first_costs(
    book: Book,
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    *,
    plan: Plan,
    store: Store,
    claims: Sequence[Claim],
    sequential: bool,
) -> dict[int | None, dict[str, ArmCost]]:
    """What these arms saved in the first of their runs: of the mixtures that a claim is judged on, whoever stops when.

    By `Claim.mixtures_per_tier`; where all runs of a plan count, there is nothing.

    Parameters
    ----------
    book, model, mixtures
        Of the selection.
    plan, store
        All runs that might be needed, and those that were computed.
    claims
        That are judged.
    sequential
        Whether a third of the mixtures counts, which every look has, or all of them.
    """
    if all(is_on_paper(specs[0].edits) for specs in plan.arms.values() if specs):
        return {}
    sixths = SIXTHS[0] if sequential else SIXTHS[-1]
    asked = {claim.mixtures_per_tier for claim in claims} - (set() if sequential else {None})
    parts = {most: first_runs(plan, most=most, sixths=sixths) for most in asked}
    return {most: run_costs(book, model, mixtures, plan=part, store=store) for most, part in parts.items()}


def without_library(book: Book) -> dict[str, str]:
    """Why arms cannot be run here for want of a library, by arm."""
    return {
        name: reason
        for name, arm in book.arms.items()
        for row in arm.edits
        if (reason := missing_library(str(row.get("kind")))) is not None
    }


def _sizes(book: Book, model: SAMAudio, mixtures: Sequence[Mixture], *, text: bool) -> dict[str, Any]:
    """Of a mixture of the selection, under a prompt of median length, and of what it is compared with."""
    return {
        "baseline_solver": parse_solver(book.arms[book.views.reference].solver),
        "seconds": mixtures[0].duration_s,
        "text_tokens": _n_tokens(model, mixtures) if text else 0,
    }


def carried_over(
    book: Book, model: SAMAudio, mixtures: Sequence[Mixture], *, claims: Sequence[Claim]
) -> dict[str, Leak]:
    """What the arms of claims about leaks carry from one solve into the next, on the first two mixtures of a length.

    Parameters
    ----------
    book, model, mixtures
        Of the selection.
    claims
        Of any kind; nothing is computed for the others.
    """
    arms = dict.fromkeys(arm for claim in claims if claim.kind == STATE_LEAK.name for arm in claim.arms)
    pair = _pair(mixtures) if arms else None
    if pair is None:
        return {}
    return {name: leaks(model, resolve_arm(book.arms[name], model), pair) for name in arms}


def _pair(mixtures: Sequence[Mixture]) -> tuple[Mixture, Mixture] | None:
    seen: dict[int, Mixture] = {}
    for mixture in mixtures:
        other = seen.setdefault(mixture.target.size, mixture)
        if other.digest != mixture.digest:
            return other, mixture
    return None


def _n_tokens(model: SAMAudio, mixtures: Sequence[Mixture]) -> int:
    """Median length of the prompts."""
    if model.text_encoder is None:
        raise InputError(f"{model.name} has no text encoder, so no prompt can be given; load a whole checkpoint.")
    return int(model.text_encoder.n_tokens([mixture.prompt for mixture in mixtures]).median())
