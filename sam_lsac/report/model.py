"""The data of a report: plain, complete and independent of how it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from sam_lsac.claims import Arm, Book, Claim, Context, Ledger, Status, Verdict, headline
from sam_lsac.errors import InputError
from sam_lsac.records import STRICT
from sam_lsac.report.advice import Advice, advise
from sam_lsac.report.caveats import Caveat, caveats
from sam_lsac.report.costs import cost_of
from sam_lsac.report.environment import Environment
from sam_lsac.report.extras import Extras
from sam_lsac.report.looks import Sequential, sequential
from sam_lsac.report.tables import Tables, summarise

__all__ = ["ClaimRow", "Contents", "Report", "build_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One claim with its verdict, as tables show it.

    Parameters
    ----------
    id, section, quote, paper, kind, applies_to
        Of the claim.
    topic
        Heading of the group that it is shown in.
    ours, cost
        Our figures with intervals, and what the claim's arms save; lines.
    verdict
        "not run" where the claim was not judged.
    selected
        Whether this run was asked for the claim. A selected claim may still be "not run", with the reason in its
        verdict; one that was not selected is only named.
    expected
        Why it is known to be refuted on this checkpoint, or None.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    id: str
    section: str
    quote: str
    paper: str
    kind: str
    applies_to: str
    topic: str
    ours: tuple[str, ...]
    cost: tuple[str, ...]
    verdict: Verdict
    selected: bool
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a report holds in every form, JSON included.

    Parameters
    ----------
    environment
        Where and from what it was made.
    claims
        All claims of the book, in its order.
    tables
        Of the ledger.
    advice
        What to ship; None where the book's views ask for no advice.
    caveats
        What is true of the method whatever the verdicts are.
    notes
        What a reader of a topic's claims must know, by heading; shown with the topic's table.
    alpha, theta
        Level of each family of claims; and "no loss" is a deviation below this share of the matched rival's.
    smallest_effects
        Smallest effect of interest, by metric and in its unit.
    tiers
        Of the book.
    reference, reference_solver
        The arm that tables and plots compare with, and its solver, such as "euler:16".
    metric
        The axis of fidelity of tables and plots.
    sequential
        How the run judged look by look; None where it judged once.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    environment: Environment
    claims: tuple[ClaimRow, ...]
    advice: Advice | None
    tables: Tables
    caveats: tuple[Caveat, ...]
    notes: Mapping[str, str]
    alpha: float
    theta: float
    smallest_effects: Mapping[str, float]
    tiers: tuple[str, ...]
    reference: str
    reference_solver: str
    metric: str
    sequential: Sequential | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Contents):
    """Everything that a report says.

    Parameters
    ----------
    extras
        Sounds and matrices, which are shown in HTML alone; the other fields are those of `Contents`.
    """

    extras: Extras = field(default_factory=Extras, compare=False)

    @property
    def judged(self) -> tuple[ClaimRow, ...]:
        """The claims that this run was asked for, in the book's order."""
        return tuple(row for row in self.claims if row.selected)

    @property
    def counts(self) -> dict[str, int]:
        """How many of these have each status, in the order supported, refuted, inconclusive, shown, not run."""
        statuses = [row.verdict.status for row in self.judged]
        return {name: statuses.count(name) for name in get_args(Status)}

    @property
    def topics(self) -> dict[str, tuple[ClaimRow, ...]]:
        """The claims that this run was asked for, by heading; a heading without any is not there."""
        names = dict.fromkeys(row.topic for row in self.judged)
        return {name: tuple(row for row in self.judged if row.topic == name) for name in names}

    @property
    def outside(self) -> dict[str, tuple[str, ...]]:
        """The ids of all other claims, by heading: every form shows them after the others, in one line a heading."""
        others = [row for row in self.claims if not row.selected]
        names = dict.fromkeys(row.topic for row in others)
        return {name: tuple(row.id for row in others if row.topic == name) for name in names}

    def verdict(self, claim_id: str) -> Verdict | None:
        """Return the verdict of a claim, or None where the book has no such claim."""
        return next((row.verdict for row in self.claims if row.id == claim_id), None)


def build_report(
    book: Book,
    verdicts: Sequence[Verdict],
    ledger: Ledger,
    context: Context,
    *,
    environment: Environment,
    arms: Mapping[str, Arm] | None = None,
    extras: Extras | None = None,
    planned: Mapping[str, int] | None = None,
) -> Report:
    """Gather a report.

    Parameters
    ----------
    book, ledger, context, environment
        What was judged, and where.
    verdicts
        Of any of the book's claims; a claim without one is shown as outside this run.
    arms
        Arms of the ledger that the book does not have, such as a grid of freezes.
    extras
        Sounds, curves and matrices.
    planned
        Mixtures of each tier, where judging was sequential: then nothing is advised, since that choice has no looks.

    Raises
    ------
    InputError
        If a verdict is about a claim that the book does not have, a claim has two, or the book's views name an arm or
        figures that do not exist.
    """
    judged = _by_claim(book, verdicts)
    known = Extras() if extras is None else extras
    views = book.views
    if views.reference not in book.arms:
        raise InputError(f"views: reference {views.reference!r} is no arm of the book: name one of [arms]")
    tables = summarise(book, ledger, context, arms={**book.arms, **(arms or {})})
    return Report(
        environment=environment,
        claims=tuple(_row(claim, judged.get(claim.id), ledger, book=book, context=context) for claim in book.claims),
        advice=advise(book, ledger, context) if planned is None else None,
        tables=tables,
        notes={views.topics[prefix]: note for prefix, note in views.notes.items()},
        caveats=caveats(book, judged, context, arms=tables.arms, extras=known),
        alpha=book.settings.alpha,
        theta=book.settings.theta,
        smallest_effects=dict(book.settings.smallest_effects),
        tiers=book.settings.tiers,
        reference=views.reference,
        reference_solver=book.arms[views.reference].solver,
        metric=views.metric,
        sequential=sequential(planned),
        extras=known,
    )


def _by_claim(book: Book, verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    judged = {verdict.claim_id: verdict for verdict in verdicts}
    if len(judged) < len(verdicts):
        raise InputError("a claim has two verdicts: build one report from one judgement")
    if strangers := sorted(set(judged) - {claim.id for claim in book.claims}):
        raise InputError(f"a verdict on {strangers[0]}, which the book does not have: pass the book that was judged")
    return judged


def _row(claim: Claim, verdict: Verdict | None, ledger: Ledger, *, book: Book, context: Context) -> ClaimRow:
    shown = verdict or Verdict(claim_id=claim.id, status="not run", reason="Not among the claims of this run.")
    return ClaimRow(
        id=claim.id,
        section=claim.section,
        quote=claim.quote,
        paper=claim.paper,
        kind=claim.kind,
        applies_to=claim.applies_to,
        topic=book.views.topic(claim.id) or f"Section {claim.section}",
        ours=headline(claim, shown),
        cost=cost_of(claim, ledger, context) if shown.status != "not run" or shown.findings else (),
        verdict=shown,
        selected=verdict is not None,
        expected=claim.known_refutation(context),
    )
