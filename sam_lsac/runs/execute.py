"""Compute what a store is missing of a plan, and keep it.

What is computed, and how, is the matter of `sam_lsac.runs.chunk`; where, that of an executor; in which order in time,
and how processes share a store, that of `sam_lsac.runs.turns`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sam_lsac.errors import PlanError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs.chunk import chunks_of, examples_of
from sam_lsac.runs.environment import environment_of
from sam_lsac.runs.executor import Executor
from sam_lsac.runs.local import Here
from sam_lsac.runs.plan import Plan, RunSpec
from sam_lsac.runs.store import RunResult, Store
from sam_lsac.runs.tasks import check_model
from sam_lsac.runs.turns import Turn

__all__ = ["Progress", "execute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What was just stored.

    Parameters
    ----------
    arm
        Whose runs; of arms that share them, the first of the plan. Without runs, a notice in words.
    runs
        How many.
    computed
        False where no computation could give anything, or another process did: they say nothing of the rest's time.
    """

    arm: str
    runs: int
    computed: bool = True


def execute(
    plan: Plan,
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    store: Store,
    *,
    progress: Callable[[Progress], object] | None = None,
    batch_size: int = 8,
    keep: Callable[[RunSpec], bool] | None = None,
    executor: Executor | None = None,
) -> int:
    """Compute the runs of a plan that a store does not have.

    Parameters
    ----------
    plan
        Made for this model.
    model
        Not edited otherwise meanwhile.
    mixtures
        Those of the plan; more do no harm.
    store
        Gets the results of a batch as soon as they are there; an exception, also an interrupt from the keyboard, leaves
        it whole, and the next call goes on.
    progress
        Called after each batch with the arm and the number of its runs that were just stored; the numbers add up to
        ``len(store.missing(plan))``.
    batch_size
        Examples at once; half as many where memory has no room for them, which ``progress`` is told.
    keep
        For which runs the separated wave ("target", [N]) and the latents ("latents", [T, 2 C]) are stored too. The
        waves that others are compared with (``plan.waves``) always are.
    executor
        Where it is computed; in this process when None. It is left open, and its work is of no use after an exception.

    Returns
    -------
    int
        Runs that are there now and were missing. Processes that share a store share the work, a batch at a time.

    Raises
    ------
    PlanError
        If the plan is of another model, type, device, code or mixtures; if the store is read-only and a run is missing;
        if a run that others are compared with is neither in the plan nor in the store.
    StoreError
        If the wave of such a run is not in the store, or the store cannot be used.
    EditError
        If an edit does not fit or had no effect.
    CacheError
        If a cache never hit.
    """
    if batch_size < 1:
        raise PlanError(f"batch_size = {batch_size} leaves nothing to compute; give at least 1.")
    store.require_writable(plan)
    missing = store.missing(plan)
    if not missing:
        return 0
    check_model(missing, model)
    arms = _arms_of(plan)
    environment = environment_of(model)

    def report(counts: Mapping[str, int], *, computed: bool) -> None:
        for arm, count in counts.items():
            if progress is not None:
                progress(Progress(arm=arm, runs=count, computed=computed))

    told: set[str] = set()

    def tell_of_memory(results: Sequence[RunResult]) -> None:
        for one in results:
            at_once = one.environment.get("at_once")
            if at_once is not None and at_once not in told:
                told.add(at_once)
                words = f"memory has room for {at_once} of {batch_size} mixtures at once: figures differ by rounding"
                if progress is not None:
                    progress(Progress(arm=words, runs=0, computed=False))

    def keep_results(results: Sequence[RunResult]) -> None:
        tell_of_memory(results)
        store.put([replace(one, environment={**environment, **one.environment}) for one in results])
        report(Counter(arms[one.spec.key] for one in results), computed=results[0].noise_digest is not None)

    def kept(spec: RunSpec) -> tuple[str, ...]:
        if keep is not None and keep(spec):
            return ("target", "latents")
        return ("target",) if spec.key in plan.waves else ()

    here = executor or Here(model)
    left: Sequence[RunSpec] = missing
    while left:
        examples, skipped = examples_of(left, model, mixtures)
        if skipped:
            keep_results(skipped)
        turn = Turn(store, here, keep=kept, keep_results=keep_results)
        ours = {one.spec.key for one in skipped} | turn.compute(chunks_of(examples, batch_size))
        before, left = left, [spec for spec in store.missing(plan) if spec.key not in ours]
        theirs = {spec.key for spec in before} - ours - {spec.key for spec in left}
        report(Counter(arms[key] for key in theirs), computed=False)
        if waited_for := [spec.key for spec in left if spec.key not in turn.postponed]:
            store.await_others(waited_for)
    return len(missing)


def _arms_of(plan: Plan) -> dict[str, str]:
    """The first arm that asks for each run, by the run's key."""
    found: dict[str, str] = {}
    for arm, specs in (*plan.arms.items(), *plan.references.items()):
        for spec in specs:
            found.setdefault(spec.key, arm)
    return found
