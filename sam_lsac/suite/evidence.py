"""Runs of a model as the claims see them: what every process of a session judges from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sam_lsac.claims import Arm, ArmCost, Book, Claim, Context, Ledger, Verdict, judge, judge_case
from sam_lsac.claims.looks import looks_of
from sam_lsac.report import Extras, Report, build_report, environment
from sam_lsac.runs import Plan
from sam_lsac.suite.cases import Case, tiers_of
from sam_lsac.suite.timing import stored_times

__all__ = ["Evidence", "context_for"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Runs of a model, as the claims see them.

    Parameters
    ----------
    book
        The claims file.
    plan
        The runs that were needed.
    ledger
        Their scores.
    context
        What is known of the checkpoint besides.
    device
        Where the model is.
    grid
        Arms of the ledger that the book does not have.
    extras
        What the report shows beside the verdicts.
    planned
        Mixtures of each tier, where judging is sequential; None where it is not.
    first_costs
        Of `sam_lsac.suite.beside.first_costs`.
    store, time_keys
        The run store, and by arm the key of its time there, if it was measured; read when the report is made, since
        what measures comes after what judges.
    """

    book: Book
    plan: Plan
    ledger: Ledger
    context: Context
    device: str
    grid: Mapping[str, Arm]
    extras: Extras
    planned: Mapping[str, int] | None = None
    first_costs: Mapping[int | None, Mapping[str, ArmCost]] = field(default_factory=dict)
    store: Path | None = None
    time_keys: Mapping[str, str] = field(default_factory=dict)

    def verdict(self, case: Case) -> Verdict:
        """Judge one case."""
        claim = self.book[case.claim_id]
        return judge_case(claim, case.tier, self.ledger, self._context(claim), planned=self.planned)

    def known_refutation(self, case: Case) -> str | None:
        """Why a case is known to be refuted on this checkpoint, or None."""
        return self.book[case.claim_id].known_refutation(self.context, case.tier)

    def report(self, cases: Sequence[Case]) -> Report:
        """Judge the claims of a selection, each over its selected tiers, and add what a reader needs beside them."""
        asked = [(self.book[claim_id], tiers) for claim_id, tiers in tiers_of(self.book, cases).items()]
        verdicts = [
            judge(claim, self.ledger, self._context(claim), tiers=tiers, planned=self.planned) for claim, tiers in asked
        ]
        seen = environment(self.context, self.ledger, device=self.device)
        return build_report(
            self.book,
            verdicts,
            self.ledger,
            replace(self.context, times=stored_times(self.store, self.time_keys)),
            environment=seen,
            arms=self.grid,
            extras=self.extras,
            planned=self.planned,
        )

    def _context(self, claim: Claim) -> Context:
        return context_for(claim, self.context, planned=self.planned, first_costs=self.first_costs)


def context_for(
    claim: Claim,
    context: Context,
    *,
    planned: Mapping[str, int] | None,
    first_costs: Mapping[int | None, Mapping[str, ArmCost]],
) -> Context:
    """Return what is known of a checkpoint when a claim is judged: costs that do not depend on when others stop.

    Parameters
    ----------
    claim
        Or one case of it.
    context
        Of all runs.
    planned, first_costs
        As in `Evidence`.
    """
    costs = first_costs.get(claim.mixtures_per_tier)
    several = planned is not None and any(len(looks_of(claim.on(case), planned)) > 1 for case in claim.cases)
    if costs is None or not (several or claim.mixtures_per_tier is not None):
        return context
    return replace(context, costs={**context.costs, **costs})
