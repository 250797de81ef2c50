"""What collecting needs of a claims file: the cases of its claims, without the imports that checking the file takes.

The file is read and checked as a whole before anything is computed; what is wrong with it is said then.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sam_lsac.suite.cases import Case, cases_of

__all__ = ["collected_cases"]


def collected_cases(claims: Path, claim_ids: Iterable[str]) -> tuple[Case, ...]:
    """Every case of some claims, in their order: as `cases_of` has them, where the file is sound.

    Parameters
    ----------
    claims
        The claims file.
    claim_ids
        Names of claims.

    Raises
    ------
    ClaimError
        If the rows do not say the cases: the file is then read as a whole, which says what is wrong.
    """
    tiers, ids = _tiers(claims), list(claim_ids)
    if all(claim_id in tiers for claim_id in ids):
        return tuple(Case(claim_id=claim_id, tier=tier) for claim_id in ids for tier in tiers[claim_id])
    from sam_lsac.claims import load_claims

    return cases_of(load_claims(claims), ids)


def _tiers(claims: Path) -> Mapping[str, tuple[str | None, ...]]:
    """The tiers that are judged one by one, by claim, of those rows that say so; see `Claim.cases`."""
    try:
        rows = tomllib.loads(claims.read_text(encoding="utf-8")).get("claims")
    except (OSError, ValueError):
        return {}
    found: dict[str, tuple[str | None, ...]] = {}
    for row in rows if isinstance(rows, list) else ():
        name, tiers = (row.get("id"), row.get("tiers", [])) if isinstance(row, dict) else (None, None)
        if isinstance(name, str) and isinstance(tiers, list) and all(isinstance(tier, str) for tier in tiers):
            found[name] = tuple(tiers) if tiers and not row.get("stronger_tier") else (None,)
    return found
