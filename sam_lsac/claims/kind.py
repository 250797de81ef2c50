"""What a kind of claim is: one way to find figures, to say what they mean, and to count the tests that they take."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status

__all__ = ["PAIRED", "Kind", "UndecidedError", "combine"]

#: The fields that a claim needs whose kind compares runs mixture by mixture.
PAIRED = frozenset({"arms", "metrics", "tiers", "family"})


class UndecidedError(Exception):
    """Carries the status and the reason out of a judgement that has too little to go on."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


def _whatever(_claim: Claim, _finding: Finding) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to judge; each is the `KIND` of a module in `sam_lsac.claims.kinds`.

    Parameters
    ----------
    name
        The word of a claims file.
    find
        From (claim, ledger, context) to findings; those with a status judge the claim. Called with one tier at a time;
        raises `UndecidedError` where there is too little to go on.
    reason
        From (claim, findings) to a sentence with the figures that decided, over all tiers that were judged.
    headline
        From (claim, findings) to the few figures that fit into one cell of a table, as lines.
    n_tests
        How many tests a claim of this kind makes: its share of the family.
    across
        Like `find`, of comparisons between tiers, where a claim has any.
    decides
        Whether a finding with a status counts for the claim's; the others are shown beside it.
    needs, may
        Fields of a claim that it must, and may, have besides those of every claim.
    choices
        Allowed words of a field, or of the keys of a table.
    exactly
        Required lengths of a list or table.
    parallel
        Whether `arms` and `rivals` are compared one to one.
    watches
        Whether what is recorded in the baseline's runs is looked at, though the claim names no columns.
    """

    name: str
    find: Callable[[Claim, Ledger, Context], Sequence[Finding]]
    reason: Callable[[Claim, Sequence[Finding]], str]
    headline: Callable[[Claim, Sequence[Finding]], tuple[str, ...]]
    n_tests: Callable[[Claim], int]
    across: Callable[[Claim, Ledger, Context], Sequence[Finding]] | None = None
    decides: Callable[[Claim, Finding], bool] = _whatever
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    exactly: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    parallel: bool = False
    watches: bool = False

    def status(self, claim: Claim, findings: Iterable[Finding]) -> Status:
        """Return what the findings that decide say together."""
        return combine(one.status for one in findings if self.decides(claim, one))


def combine(statuses: Iterable[Status | None]) -> Status:
    """Return supported where all are, refuted where any is, else inconclusive; None is passed over."""
    known = [status for status in statuses if status is not None]
    if "refuted" in known:
        return "refuted"
    return "supported" if known and all(status == "supported" for status in known) else "inconclusive"
