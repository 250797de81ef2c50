"""The data of a report: plain, complete and independent of how it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sam_lsac.claims import Arm, Book, Claim, Context, Ledger, Verdict, headline
from sam_lsac.errors import InputError
from sam_lsac.report.caveats import Caveat, caveats
from sam_lsac.report.environment import Environment
from sam_lsac.report.extras import Extras
from sam_lsac.report.headline import cost_of
from sam_lsac.report.tables import Tables, summarise

__all__ = ["NOT_SELECTED", "ClaimRow", "Report", "build_report"]

NOT_SELECTED = "Not among the claims of this run: run pytest bench/ to judge it."
TOPICS = {
    "DP": "Conditioning: two pathways for text",
    "SS": "Convergence: layers settle at different rates",
    "GH": "The span gate",
    "LS": "Acceleration: layer-selective attention caching",
    "FL": "Cost of the model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One claim with its verdict, as tables show it.

    Parameters
    ----------
    id, section, quote, paper, kind, applies_to : str
        Of the claim.
    topic : str
        Heading of the group that it is shown in.
    ours, cost : tuple of str
        Our figures with intervals, and what the claim's arms save; lines.
    verdict : Verdict
    expected : str or None
        Why it is known to be refuted on this checkpoint, or None.
    """

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
    expected: str | None = None

    @property
    def selected(self) -> bool:
        """Whether the claim was judged in this run, if only as not run."""
        return self.verdict.reason != NOT_SELECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report says; `extras` (sounds, matrices) is shown in HTML alone.

    Parameters
    ----------
    environment : Environment
    claims : tuple of ClaimRow
        All claims of the book, in its order.
    tables : Tables
        Of the ledger.
    caveats : tuple of Caveat
        The six findings about the method.
    alpha, margin_db : float
        Level of each family of tests, and margin of equivalence.
    tiers : tuple of str
    extras : Extras
    """

    environment: Environment
    claims: tuple[ClaimRow, ...]
    tables: Tables
    caveats: tuple[Caveat, ...]
    alpha: float
    margin_db: float
    tiers: tuple[str, ...]
    extras: Extras = field(default_factory=Extras, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many claims have each status, in the order supported, refuted, inconclusive, not run."""
        statuses = [row.verdict.status for row in self.claims]
        return {name: statuses.count(name) for name in ("supported", "refuted", "inconclusive", "not run")}

    @property
    def topics(self) -> dict[str, tuple[ClaimRow, ...]]:
        """The claims by heading, in the book's order."""
        names = dict.fromkeys(row.topic for row in self.claims)
        return {name: tuple(row for row in self.claims if row.topic == name) for name in names}

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
) -> Report:
    """Gather a report.

    Parameters
    ----------
    book, ledger, context, environment
        What was judged, and where.
    verdicts : sequence of Verdict
        Of any of the book's claims; a claim without one is shown as not run.
    arms : mapping of str to Arm, optional
        Arms of the ledger that the book does not have, such as a grid of freezes.
    extras : Extras, optional
        Sounds, curves and matrices.

    Raises
    ------
    InputError
        If a verdict is about a claim that the book does not have, or a claim has two.
    """
    judged = _by_claim(book, verdicts)
    known = Extras() if extras is None else extras
    tables = summarise(book, ledger, context, arms={**book.arms, **(arms or {})})
    return Report(
        environment=environment,
        claims=tuple(_row(claim, judged.get(claim.id), ledger, context=context) for claim in book.claims),
        tables=tables,
        caveats=caveats(book, judged, context, arms=tables.arms, extras=known),
        alpha=book.settings.alpha,
        margin_db=book.settings.tost_margin_db,
        tiers=book.settings.tiers,
        extras=known,
    )


def _by_claim(book: Book, verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    judged = {verdict.claim_id: verdict for verdict in verdicts}
    if len(judged) < len(verdicts):
        raise InputError("a claim has two verdicts: build one report from one judgement")
    if strangers := sorted(set(judged) - {claim.id for claim in book.claims}):
        raise InputError(f"a verdict on {strangers[0]}, which the book does not have: pass the book that was judged")
    return judged


def _row(claim: Claim, verdict: Verdict | None, ledger: Ledger, *, context: Context) -> ClaimRow:
    shown = verdict or Verdict(claim_id=claim.id, status="not run", reason=NOT_SELECTED)
    return ClaimRow(
        id=claim.id,
        section=claim.section,
        quote=claim.quote,
        paper=claim.paper,
        kind=claim.kind,
        applies_to=claim.applies_to,
        topic=TOPICS.get(claim.id.rstrip("0123456789"), f"Section {claim.section}"),
        ours=headline(claim, shown),
        cost=cost_of(claim, ledger, context) if shown.status != "not run" else (),
        verdict=shown,
        expected=claim.known_refutation(context),
    )
