"""Compute what a store is missing of a plan, here and now.

Runs of the same arms are batched over mixtures of one length, and edited runs start from the states that the run
without edits passed through before the edits first act. Both change nothing but time: a batch equals single runs to
rounding (1e-5 of the latents), and a shared prefix is bit-equal.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from math import nan
from typing import Any

import torch
from numpy.typing import NDArray

from sam_lsac.errors import NotFiniteError, PlanError
from sam_lsac.metrics import Score
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.runs.compared import References
from sam_lsac.runs.compute import Batch, Computed, Prefix, compute, compute_each, edits_of, unusable
from sam_lsac.runs.plan import Plan, RunSpec
from sam_lsac.runs.store import RunResult, Store
from sam_lsac.runs.versions import code_version
from sam_lsac.solver import parse_solver

__all__ = ["Progress", "execute"]

_LIBRARIES = ("torch", "numpy", "fast-bss-eval", "pesq", "pystoi")

#: What runs have in common that differ in their edits only: solver, text, spans.
Family = tuple[str, bool, bool]


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
        False where no computation could give anything: they take no time, and say nothing of the rest.
    """

    arm: str
    runs: int
    computed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    """One mixture, as given and at the model's rate, with one noise, and the runs that are missing of it."""

    given: Mixture
    mixture: Mixture
    seed: int
    specs: tuple[RunSpec, ...]

    @property
    def variants(self) -> tuple[RunSpec, ...]:
        """The runs without what names the example; equal for examples that can share a batch."""
        names = ("mixture", "tier", "group", "residual_group", "mixture_digest")
        blank: dict[str, Any] = dict.fromkeys(names, "") | {"seed": 0}
        return tuple(
            replace(spec, **blank, references=tuple((arm, "") for arm, _ in spec.references)) for spec in self.specs
        )


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
        Runs computed.

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

    def keep_results(results: Sequence[RunResult]) -> None:
        store.put([replace(one, environment=environment) for one in results])
        for arm, count in Counter(arms[one.spec.key] for one in results).items():
            if progress is not None:
                progress(Progress(arm=arm, runs=count, computed=results[0].noise_digest is not None))

    def kept(spec: RunSpec) -> tuple[str, ...]:
        if keep is not None and keep(spec):
            return ("target", "latents")
        return ("target",) if spec.key in plan.waves else ()

    examples, skipped = _examples(missing, model, mixtures)
    if skipped:
        keep_results(skipped)
    for chunk in _chunks(examples, batch_size):
        references = References(store)
        batch = Batch(model, [one.given for one in chunk], [one.seed for one in chunk])
        for position, computed in _compute_variants(batch, chunk[0].variants):
            keep_results(_results(chunk, position, computed, references=references, keep=kept))
    return len(missing)


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


def _examples(
    missing: Sequence[RunSpec], model: SAMAudio, mixtures: Sequence[Mixture]
) -> tuple[list[_Example], list[RunResult]]:
    """What is to be computed, by mixture and seed, and the results of runs that no computation could give."""
    known = {mixture.digest: mixture for mixture in mixtures}
    prepared: dict[str, Mixture] = {}
    grouped: dict[tuple[str, int, bool], list[RunSpec]] = {}
    skipped = []
    for spec in missing:
        digest = spec.mixture_digest
        if digest not in known:
            raise PlanError(
                f"The plan's mixture {spec.mixture!r} ({digest[:12]}...) is not among the mixtures given; give those "
                "that the plan was made of."
            )
        if digest not in prepared:
            prepared[digest] = known[digest].at(model.sample_rate)
        if reason := unusable(spec, prepared[digest], model):
            scores = {column: Score(nan, reason) for column in spec.columns}
            skipped.append(RunResult(spec=spec, scores=scores, noise_digest=None))
        else:
            grouped.setdefault((digest, spec.seed, _alone(spec)), []).append(spec)
    examples = [
        _Example(given=known[digest], mixture=prepared[digest], seed=seed, specs=tuple(sorted(specs, key=_order)))
        for (digest, seed, _), specs in sorted(grouped.items(), key=lambda one: one[0][2])  # after their references
    ]
    return examples, skipped


def _order(spec: RunSpec) -> tuple[bool, Family, str]:
    """Runs without edits first, in the plan's order; the others alike for every example, so that they share batches."""
    return (True, _family(spec), repr(spec.edits)) if spec.edits else (False, ("", False, False), "")


def _family(spec: RunSpec) -> Family:
    return spec.solver, spec.text, spec.spans


def _chunks(examples: Sequence[_Example], batch_size: int) -> Iterator[list[_Example]]:
    """Examples that miss the same runs and have the same length, at most ``batch_size`` at once, or one alone."""
    groups: dict[tuple[int, tuple[str, ...]], list[_Example]] = {}
    for example in examples:
        same = tuple(variant.key for variant in example.variants)
        groups.setdefault((example.mixture.target.size, same), []).append(example)
    for group in groups.values():
        size = 1 if _alone(group[0].specs[0]) else batch_size
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _alone(spec: RunSpec) -> bool:
    """Whether the run must not share a batch, because an edit decides by all of it."""
    return any(edit.looks_across_batch for edit in spec.edits)


def _compute_variants(batch: Batch, variants: Sequence[RunSpec]) -> Iterator[tuple[int, Computed]]:
    """Compute each variant of a batch, with the position of it.

    Those without edits come first, in the plan's order, so that what others are compared with is there. Edited runs
    follow, family by family, and share the states of the run without edits.
    """
    families: dict[Family, list[int]] = {}
    for position, spec in enumerate(variants):
        if spec.edits:
            families.setdefault(_family(spec), []).append(position)
    wanted = {
        family: {step for position in positions if (step := _plain_steps(variants[position])) > 0}
        for family, positions in families.items()
    }
    prefixes: dict[Family, Prefix] = {}
    for position, spec in enumerate(variants):
        if not spec.edits:
            computed = compute_each(batch, spec, keep_steps=wanted.get(_family(spec), ()))
            prefixes.setdefault(_family(spec), computed.prefix)
            yield position, computed
    for family, positions in families.items():
        specs = [variants[position] for position in positions]
        prefix = prefixes.pop(family, None)
        if prefix is None and _pays(specs):
            prefix = _prefix(batch, specs[0], keep_steps=wanted[family])
        for position, spec in zip(positions, specs, strict=True):
            yield position, compute_each(batch, spec, prefix=prefix)


def _prefix(batch: Batch, spec: RunSpec, *, keep_steps: Collection[int]) -> Prefix | None:
    """The states of the run without edits, where that run is not asked for; None where it is not finite."""
    try:
        return compute(batch, replace(spec, edits=(), record=()), keep_steps=keep_steps).prefix
    except NotFiniteError:
        return None


def _plain_steps(spec: RunSpec) -> int:
    """Steps of an edited run that equal the run without edits."""
    return min((edit.first_acting_step for edit in edits_of(spec)), default=1) - 1


def _pays(specs: Sequence[RunSpec]) -> bool:
    """Whether computing the run without edits once more, for its states alone, saves steps."""
    return sum(_plain_steps(spec) for spec in specs) > parse_solver(specs[0].solver).n_steps


def _results(
    chunk: Sequence[_Example],
    position: int,
    computed: Computed,
    *,
    references: References,
    keep: Callable[[RunSpec], tuple[str, ...]],
) -> list[RunResult]:
    """Score one variant of a batch; what is not finite has failed in every column."""
    results = []
    for index, example in enumerate(chunk):
        spec, reason = example.specs[position], computed.failures[index]
        arrays: Mapping[str, NDArray[Any]] = {}
        if reason is not None:
            scores = {column: Score(nan, reason, failed=True) for column in spec.columns}
        else:
            scores = computed.score(index, example.mixture, spec.metrics)
            failed = any(score.failed for score in scores.values())
            scores |= references.scores(spec, computed.waves[index], failed=failed)
            made = {"target": computed.waves[index], "latents": computed.latents[index].cpu().numpy()}
            arrays = {name: made[name] for name in keep(spec)}
        results.append(
            RunResult(
                spec=spec,
                scores=scores,
                noise_digest=computed.noise_digests[index],
                hits=computed.hits if reason is None else {},
                probes=computed.probes[index],
                wall_s=computed.wall_s if reason is None else 0.0,
                arrays=arrays,
            )
        )
    return results


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
