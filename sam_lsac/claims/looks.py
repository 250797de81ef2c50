"""Looks: after how many mixtures an undecided case is judged, where judging is sequential (docs/verdicts.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kinds import KINDS

__all__ = ["FEWEST", "SIXTHS", "Look", "looks_of", "mixtures_of", "part_of"]

SIXTHS = (2, 3, 4, 5, 6)
"""Of a tier's mixtures, after which a look is taken."""
FEWEST = 12
"""Mixtures of a tier at which a look is taken that is not the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look of a case.

    Parameters
    ----------
    number, of
        From 1, and how many the case may take.
    sixths
        Of the mixtures.
    sizes, planned
        By tier, of how many mixtures, the first of the plan; and how many the last look has.
    shares
        Of the mixtures, at this look and at each before it; empty where there is only one.
    """

    number: int
    of: int
    sixths: int
    sizes: Mapping[str, int]
    planned: Mapping[str, int]
    shares: tuple[float, ...]

    @property
    def is_last(self) -> bool:
        """Whether it takes all mixtures."""
        return self.number == self.of


def mixtures_of(claim: Claim, planned: Mapping[str, int]) -> dict[str, int]:
    """Return how many mixtures a claim is judged on, by tier; none where its kind needs no run.

    Parameters
    ----------
    claim
        Perhaps about one of its tiers alone.
    planned
        Mixtures of each tier in this run.
    """
    tiers = tuple(planned) if KINDS[claim.kind].watches else claim.tiers
    most = claim.mixtures_per_tier
    numbers = {tier: planned.get(tier, 0) for tier in tiers}
    return numbers if most is None else {tier: min(most, n) for tier, n in numbers.items()}


def part_of(numbers: Mapping[str, int], sixths: int) -> dict[str, int]:
    """Return so many sixths of each number, rounded up."""
    return {tier: -(-n * sixths // 6) for tier, n in numbers.items()}


def looks_of(claim: Claim, planned: Mapping[str, int]) -> tuple[Look, ...]:
    """Return the looks that a claim may take, all of its tiers at once; the last takes all of its mixtures.

    Parameters
    ----------
    claim
        One case: `Claim.on` a tier, or the whole of a claim that compares its tiers.
    planned
        Mixtures of each tier in this run.
    """
    numbers = mixtures_of(claim, planned)
    sizes = {sixths: part_of(numbers, sixths) for sixths in SIXTHS}
    early = SIXTHS[:-1] if KINDS[claim.kind].early and numbers else ()
    taken = [sixths for sixths in early if min(sizes[sixths].values()) >= FEWEST and sizes[sixths] != numbers]
    taken.append(SIXTHS[-1])
    shares = [sum(sizes[sixths].values()) / max(1, sum(numbers.values())) for sixths in taken]
    return tuple(
        Look(
            number=number,
            of=len(taken),
            sixths=sixths,
            sizes=sizes[sixths],
            planned=numbers,
            shares=tuple(shares[:number]) if len(taken) > 1 else (),
        )
        for number, sixths in enumerate(taken, 1)
    )
