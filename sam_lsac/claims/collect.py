"""From stored runs to the ledger that claims are judged on."""

from sam_lsac.claims.ledger import Ledger, Row
from sam_lsac.runs import Plan, Store, scored_runs

__all__ = ["ledger"]


def ledger(store: Store, plan: Plan) -> Ledger:
    """Return every score of a plan's runs as rows, those of the probes included.

    Raises
    ------
    PlanError
        If a run is missing.
    StoreError
        If runs of one mixture and seed did not start from the same noise, or a row is damaged.
    """
    rows = [
        Row(
            arm=run.arm,
            tier=run.spec.tier,
            mixture=run.spec.mixture,
            group=run.spec.group,
            residual_group=run.spec.residual_group,
            seed=run.spec.seed,
            metric=metric,
            value=score.value,
            reason=score.reason,
            failed=score.failed,
        )
        for run in scored_runs(store, plan)
        for metric, score in run.scores.items()
    ]
    return Ledger(tuple(rows))
