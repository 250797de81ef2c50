"""Sequential judging of a session: what each look computes, and which cases it leaves undecided.

Where a case stops is a function of the scores on the mixtures of its looks alone (`sam_lsac.claims.judge`), so that a
replay, and every worker, finds the same from the store. A look's plan is a part of the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sam_lsac.claims.judge import stops_at
from sam_lsac.claims.looks import SIXTHS, looks_of, mixtures_of, part_of
from sam_lsac.suite.cases import arms_by_tier

if TYPE_CHECKING:
    from sam_lsac.claims import Book, Claim, Context, Ledger

__all__ = ["Needs", "look_by_look", "needs_of"]

#: By tier and arm, how many mixtures: the first of the tier.
Needs = Mapping[str, Mapping[str, int]]


def needs_of(book: Book, claims: Iterable[tuple[Claim, Mapping[str, int]]]) -> Needs:
    """Return on how many mixtures each arm must be run, the most that any claim needs; the baseline with all of them.

    Parameters
    ----------
    book
        The claims file.
    claims
        Each as far as it is judged, with its number of mixtures by tier.
    """
    reference = book.views.reference
    needs: dict[str, dict[str, int]] = {}
    for claim, numbers in claims:
        for tier, arms in arms_by_tier(book, [claim], baseline=reference).items():
            here = needs.setdefault(tier, {})
            for arm in arms:
                here[arm] = max(here.get(arm, 0), numbers.get(tier, 0))
    return needs


def look_by_look(
    book: Book,
    claims: Sequence[Claim],
    planned: Mapping[str, int],
    *,
    compute: Callable[[Needs], tuple[Ledger, Callable[[Claim], Context]]],
) -> None:
    """Compute look by look, until every case has stopped.

    Parameters
    ----------
    book
        The claims file.
    claims
        One for each case: `Claim.on` its tier; none that is judged without runs.
    planned
        Mixtures of each tier in this run.
    compute
        Runs what is needed, and returns the scores with what is known of a claim's checkpoint. What was needed at an
        earlier look still is.
    """
    looks = [{look.sixths: look for look in looks_of(claim, planned)} for claim in claims]
    sizes: dict[int, Mapping[str, int]] = {}
    undecided = set(range(len(claims)))
    for sixths in SIXTHS:
        due = {case: looks[case][sixths] for case in sorted(undecided) if sixths in looks[case]}
        if not due:
            continue
        # those that have no look yet go on as well, so that all have as large a part of their mixtures
        sizes |= {case: part_of(mixtures_of(claims[case], planned), sixths) for case in undecided}
        ledger, context_of = compute(needs_of(book, [(claims[case], numbers) for case, numbers in sizes.items()]))
        undecided -= {
            case for case, look in due.items() if stops_at(look, claims[case], ledger, context_of(claims[case]))
        }
