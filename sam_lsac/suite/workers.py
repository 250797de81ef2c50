"""The suite under pytest-xdist: the controller computes every run, once, before a worker judges anything.

A controller collects nothing itself, so each worker writes down which cases were selected, as soon as it has collected.
On the first worker's word the controller computes what is missing, with its progress on the real terminal, and leaves
for the workers what they need beside the store: the plan and the context. No worker loads a model, computes a run or
writes to the store; table, report and exit code come from the controller.

All of it passes through a folder that only this user can enter, and that the controller removes at the end.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam_lsac.errors import StoreError
from sam_lsac.suite.cases import Case

if TYPE_CHECKING:
    from sam_lsac.claims import ArmCost, Context
    from sam_lsac.runs import Plan
    from sam_lsac.suite.evidence import Evidence
    from sam_lsac.suite.gather import Prepared

__all__ = ["Handover"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """The folder through which controller and workers speak.

    Parameters
    ----------
    folder
        On a disk that all of them see.
    """

    folder: Path

    @classmethod
    def new(cls) -> Handover:
        """Make the folder."""
        return cls(folder=Path(tempfile.mkdtemp(prefix="sam-lsac-")))

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def tell(self, worker: str, cases: tuple[Case, ...], *, mistake: str | None) -> None:
        """A worker says what was selected, and what is wrong with the claims file, if anything."""
        said = {"cases": [[case.claim_id, case.tier] for case in cases], "mistake": mistake}
        (self.folder / f"{worker}.json").write_text(json.dumps(said), encoding="utf-8")

    def told(self, worker: str) -> tuple[tuple[Case, ...], str | None]:
        """What a worker said."""
        said = json.loads((self.folder / f"{worker}.json").read_text(encoding="utf-8"))
        return tuple(Case(claim_id=claim_id, tier=tier) for claim_id, tier in said["cases"]), said["mistake"]

    def give(self, prepared: Prepared, evidence: Evidence) -> None:
        """The controller leaves what the workers judge with, whole or not at all."""
        from sam_lsac.runs.executor import pack

        options = prepared.options
        given = _Given(
            claims=options.claims.resolve(),
            store=options.store.resolve(),
            device=options.device,
            plan=evidence.plan,
            context=evidence.context,
            planned=evidence.planned,
            first_costs=evidence.first_costs,
        )
        unfinished = self.folder / "given.unfinished"
        unfinished.write_bytes(pack(given))
        unfinished.replace(self.folder / "given.pickle")

    def take(self) -> Evidence:
        """A worker reads the scores of the plan's runs from the store, and computes nothing.

        Raises
        ------
        StoreError
            If the controller left nothing, or a run is not in the store.
        """
        from sam_lsac.claims import load_claims
        from sam_lsac.claims.collect import ledger
        from sam_lsac.report import Extras
        from sam_lsac.runs import open_store
        from sam_lsac.runs.executor import unpack
        from sam_lsac.suite.evidence import Evidence

        try:
            content = (self.folder / "given.pickle").read_bytes()
        except OSError as error:
            raise StoreError(
                "This worker of pytest-xdist found nothing to judge; workers must run on the controller's machine."
            ) from error
        given: _Given = unpack(content)  # written above, into a folder that only this user can enter
        with open_store(given.store, replay=True) as store:
            scores = ledger(store, given.plan)
        return Evidence(
            book=load_claims(given.claims),
            plan=given.plan,
            ledger=scores,
            context=given.context,
            device=given.device,
            grid={},
            extras=Extras(),
            planned=given.planned,
            first_costs=given.first_costs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    claims: Path
    store: Path
    device: str
    plan: Plan
    context: Context
    planned: Mapping[str, int] | None
    first_costs: Mapping[int | None, Mapping[str, ArmCost]]
