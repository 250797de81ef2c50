"""Compute what a store is missing of a plan, here and now, and keep it.

What is computed, and how, is the matter of `sam_lsac.runs.chunk`; here are its order in time, the store, and the other
processes that share it.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from numpy.typing import NDArray

from sam_lsac.errors import PlanError, StoreError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.runs.chunk import Example, chunks_of, compute_chunk, examples_of
from sam_lsac.runs.compared import References
from sam_lsac.runs.plan import Plan, RunSpec
from sam_lsac.runs.store import RunResult, Store
from sam_lsac.runs.versions import code_version

__all__ = ["Progress", "execute"]

_LIBRARIES = ("torch", "numpy", "fast-bss-eval", "pesq", "pystoi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What was just stored.

    Parameters
    ----------
    arm
        Whose runs; of arms that share them, the first of the plan.
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
        Examples at once.
    keep
        For which runs the separated wave ("target", [N]) and the latents ("latents", [T, 2 C]) are stored too. The
        waves that others are compared with (``plan.waves``) always are.

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
    _check_model(missing, model)
    arms = _arms_of(plan)
    environment = _environment(model)

    def report(counts: Mapping[str, int], *, computed: bool) -> None:
        for arm, count in counts.items():
            if progress is not None:
                progress(Progress(arm=arm, runs=count, computed=computed))

    def keep_results(results: Sequence[RunResult]) -> None:
        store.put([replace(one, environment=environment) for one in results])
        report(Counter(arms[one.spec.key] for one in results), computed=results[0].noise_digest is not None)

    def kept(spec: RunSpec) -> tuple[str, ...]:
        if keep is not None and keep(spec):
            return ("target", "latents")
        return ("target",) if spec.key in plan.waves else ()

    def compute_here(chunk: Sequence[Example]) -> None:
        references = References(partial(_wave, store))
        for results in compute_chunk(model, chunk, references=references, keep=kept):
            keep_results(results)

    left: Sequence[RunSpec] = missing
    while left:
        examples, skipped = examples_of(left, model, mixtures)
        if skipped:
            keep_results(skipped)
        ours = {one.spec.key for one in skipped} | _take_turns(store, chunks_of(examples, batch_size), compute_here)
        before, left = left, [spec for spec in store.missing(plan) if spec.key not in ours]
        theirs = {spec.key for spec in before} - ours - {spec.key for spec in left}
        report(Counter(arms[key] for key in theirs), computed=False)
        if left:
            store.await_others([spec.key for spec in left])
    return len(missing)


def _take_turns(
    store: Store, chunks: Iterable[Sequence[Example]], compute_chunk: Callable[[Sequence[Example]], None]
) -> set[str]:
    """Compute the batches that no other process is at work on, and return the keys of their runs."""
    ours: set[str] = set()
    for chunk in chunks:
        keys = {spec.key for one in chunk for spec in one.specs}
        with store.lease(keys) as is_ours:
            if is_ours:
                compute_chunk(chunk)
                ours |= keys
    return ours


def _arms_of(plan: Plan) -> dict[str, str]:
    """The first arm that asks for each run, by the run's key."""
    found: dict[str, str] = {}
    for arm, specs in (*plan.arms.items(), *plan.references.items()):
        for spec in specs:
            found.setdefault(spec.key, arm)
    return found


def _check_model(missing: Sequence[RunSpec], model: SAMAudio) -> None:
    """Refuse a plan that was made for something else."""
    weight = model.proj.weight
    here = {
        "checkpoint": checkpoint_digest(model),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": weight.device.type,
        "code": code_version(),
    }
    for spec in missing:
        for name, value in here.items():
            if getattr(spec, name) != value:
                raise PlanError(
                    f"The plan was made for {name} {getattr(spec, name)!r}, and here it is {value!r}; make it anew "
                    "with plan(...) for this model."
                )


def _wave(store: Store, arm: str, key: str) -> NDArray[Any] | str:
    """The wave of a run that others are compared with, or why it has none.

    It is read from the store also where it was computed a moment ago: a run that is resumed is compared with the very
    samples that a run in one go is.
    """
    result = store.get({key}).get(key)
    if result is None:
        raise PlanError(
            f"The run of {arm!r} that others are compared with is neither in {store.location} nor in the plan; make "
            "the plan with plan(...), which adds it."
        )
    try:
        wave = store.array(key, "target")
    except StoreError as error:
        raise StoreError(f"Nothing can be compared with {arm!r}, whose wave is needed: {error}") from error
    if wave is not None:
        return wave
    if none := next((score.reason for score in result.scores.values() if score.reason), None):
        return none
    raise StoreError(
        f"{store.location} has the run of {arm!r} without its wave: no arm named it as a reference when it was "
        "computed; compute into a new store."
    )


def _environment(model: SAMAudio) -> dict[str, str]:
    """Versions and machine, as far as they may show in the figures."""
    device = model.proj.weight.device
    found = {"python": platform.python_version(), "machine": platform.machine()}
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # an editable or vendored copy without metadata
            found[library] = "unknown"
    return found
