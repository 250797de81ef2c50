"""From stored runs to the ledger that claims are judged on, and to how long they took."""

from statistics import median

from sam_lsac.claims.ledger import Ledger, Row
from sam_lsac.interventions import first_acting_step
from sam_lsac.runs import Plan, Store, scored_runs

__all__ = ["ledger", "seconds"]


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


def seconds(store: Store, plan: Plan) -> dict[str, float]:
    """Return the median time of a run by arm: solve and decoding of one example, as it was stored.

    A run whose edits first act after step 1 may have begun from the states of the run without them, and one that
    records probes does more than it would in use: arms with such runs have no figure, nor have those whose runs were
    computed on more than one machine, or failed.

    Raises
    ------
    PlanError
        If a run is missing.
    StoreError
        If a row is damaged, or runs do not pair.
    """
    times: dict[str, list[float]] = {}
    machines: dict[str, set[tuple[str, str]]] = {}
    for run in scored_runs(store, plan):
        whole = not run.spec.record and first_acting_step(run.spec.edits) == 1
        there = run.result.environment
        times.setdefault(run.arm, []).append(run.result.wall_s if whole else 0.0)
        machines.setdefault(run.arm, set()).add((there.get("device", ""), there.get("machine", "")))
    return {arm: median(of) for arm, of in times.items() if min(of) > 0.0 and len(machines[arm]) == 1}
