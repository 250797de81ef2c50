"""What a kind of claim is: one way to find figures, to say what they mean, and to count the tests that they take."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status

__all__ = ["PAIRED", "Evidence", "Kind", "Requirement", "UndecidedError", "combine"]

#: The fields that a claim needs whose kind compares runs mixture by mixture.
PAIRED = frozenset({"arms", "metrics", "tiers", "family"})


class UndecidedError(Exception):
    """Carries the status and the reason out of a judgement that has too little to go on."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requirement:
    """A contrast that a verdict needs to be shown: the d of `values` above `bound`.

    Parameters
    ----------
    tier
        Of the mixtures.
    values
        One figure a mixture, [n].
    mixtures
        Their names.
    bound
        Of Cohen's d; 0 asks whether the mean is above zero.
    """

    tier: str
    values: NDArray[np.float64]
    mixtures: tuple[str, ...]
    bound: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """One figure with what must be shown of it.

    Parameters
    ----------
    finding
        The figure; with a status, it judges the claim.
    requires
        Contrasts over the tier's mixtures that support needs: how many mixtures would show them is asked of these.
    contradicts
        Contrasts of which any one may refute the claim where it is shown.
    possible
        Whether the observed figure is of interest and on the claimed side, so that more mixtures could show it.
    """

    finding: Finding
    requires: tuple[Requirement, ...] = ()
    contradicts: tuple[Requirement, ...] = ()
    possible: bool = True


def _whatever(_claim: Claim, _finding: Finding) -> bool:
    return True


def _none(_claim: Claim) -> int:
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to judge; each is the `KIND` of a module in `sam_lsac.claims.kinds`.

    Parameters
    ----------
    name
        The word of a claims file.
    find
        From (claim, ledger, context) to evidence; findings with a status judge the claim. Called with one tier at a
        time; raises `UndecidedError` where there is too little to go on.
    reason
        From (claim, findings) to a sentence with the figures that decided, over all tiers that were judged.
    headline
        From (claim, findings) to the few figures that fit into one cell of a table, as lines.
    n_contradictions
        How many contradictions a claim of this kind could show, over all its tiers.
    shows
        Whether a claim of this kind is shown and not judged.
    measures
        Whether its metrics need a smallest effect of interest.
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
    matches
        Whether every arm needs a rival in `matched`.
    early
        Verdicts that sequential judging may give before all mixtures are in (docs/verdicts.md).
    watches
        Whether what is recorded in the baseline's runs is looked at, though the claim names no columns.
    """

    name: str
    find: Callable[[Claim, Ledger, Context], Sequence[Evidence]]
    reason: Callable[[Claim, Sequence[Finding]], str]
    headline: Callable[[Claim, Sequence[Finding]], tuple[str, ...]]
    n_contradictions: Callable[[Claim], int] = _none
    shows: bool = False
    measures: bool = False
    across: Callable[[Claim, Ledger, Context], Sequence[Evidence]] | None = None
    decides: Callable[[Claim, Finding], bool] = _whatever
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    exactly: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    parallel: bool = False
    matches: bool = False
    early: frozenset[Status] = frozenset({"supported", "refuted"})
    watches: bool = False

    def status(self, claim: Claim, findings: Iterable[Finding]) -> Status:
        """Return what the findings that decide say together."""
        if self.shows:
            return "shown"
        return combine(one.status for one in findings if self.decides(claim, one))


def combine(statuses: Iterable[Status | None]) -> Status:
    """Return supported (shown) where all are, refuted where any is, else inconclusive; None is passed over."""
    known = [status for status in statuses if status is not None]
    if "refuted" in known:
        return "refuted"
    alike: tuple[Status, ...] = ("supported", "shown")
    return next((one for one in alike if known and set(known) == {one}), "inconclusive")
