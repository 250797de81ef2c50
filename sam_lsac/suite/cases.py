"""Cases: what pytest selects, one for each claim and tier, and what a selection needs to be computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sam_lsac.claims import Book, Claim

__all__ = ["Case", "arms_by_tier", "cases_of", "row_of", "tiers_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one test judges.

    Parameters
    ----------
    claim_id
        Of the claim.
    tier
        The one tier; None for the whole of a claim that has no tiers, or that compares them.
    """

    claim_id: str
    tier: str | None = None

    @property
    def id(self) -> str:
        """Such as "LS6-noisy", or "LS2"."""
        return self.claim_id if self.tier is None else f"{self.claim_id}-{self.tier}"


def cases_of(book: Book, claim_ids: Iterable[str]) -> tuple[Case, ...]:
    """Every case of some claims, in their order.

    Raises
    ------
    ClaimError
        If there is no such claim.
    """
    return tuple(Case(claim_id=claim_id, tier=tier) for claim_id in claim_ids for tier in book[claim_id].cases)


def tiers_of(book: Book, cases: Sequence[Case]) -> Mapping[str, tuple[str, ...] | None]:
    """The judged tiers of each claim of a selection, in the book's order; None where all of a claim is judged."""
    chosen: dict[str, tuple[str, ...] | None] = {}
    for claim in book.claims:
        tiers = [case.tier for case in cases if case.claim_id == claim.id]
        if tiers:
            named = tuple(tier for tier in claim.cases if tier in tiers)
            chosen[claim.id] = None if named == claim.cases else tuple(tier for tier in named if tier is not None)
    return chosen


def arms_by_tier(book: Book, claims: Iterable[Claim], *, baseline: str) -> Mapping[str, tuple[str, ...]]:
    """The arms that must be run on the mixtures of each tier, the baseline first.

    A claim without columns, such as one about FLOPs, needs no run; unless its kind watches what the baseline's runs
    record, such as the entropy of their attention, on every tier.

    Parameters
    ----------
    book
        The claims file.
    claims
        Each as far as it is judged: ``claim.on(tier)``.
    baseline
        The arm that every tier's report shows.
    """
    from sam_lsac.claims import KINDS  # more than collecting needs

    wanted: dict[str, dict[str, None]] = {}
    for claim in claims:
        for tier in book.settings.tiers if KINDS[claim.kind].watches else ():
            wanted.setdefault(tier, {baseline: None})
        for tier, arm, _ in claim.columns:
            wanted.setdefault(tier, {baseline: None})[arm] = None
    return {tier: tuple(wanted[tier]) for tier in book.settings.tiers if tier in wanted}


def row_of(claims: Path, claim_id: str) -> int:
    """The line, from 1, in which a claims file names a claim; 1 where it writes the row in another way."""
    pattern = re.compile(rf"""\s*id\s*=\s*["']{re.escape(claim_id)}["']""")
    lines = claims.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)
