"""From missing runs to results: which are computed together, in which order, and what of it is kept.

Runs of the same arms are batched over mixtures of one length, and edited runs start from the states that the run
without edits passed through before the edits first act. Both change nothing but time: a batch equals single runs to
rounding (1e-5 of the latents), and a shared prefix is bit-equal. What stores the results is `sam_lsac.runs.execute`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from numpy.typing import NDArray

from sam_lsac.errors import NotFiniteError, PlanError, is_out_of_memory
from sam_lsac.metrics import Score
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs.compared import References
from sam_lsac.runs.compute import Batch, Computed, Prefix, compute, compute_each, edits_of, together, unusable
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.store import RunResult
from sam_lsac.solver import parse_solver

__all__ = ["Example", "chunks_of", "compute_chunk", "examples_of"]

#: What runs have in common that differ in their edits only: solver, text, spans.
Family = tuple[str, bool, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
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


def examples_of(
    missing: Sequence[RunSpec], model: SAMAudio, mixtures: Sequence[Mixture]
) -> tuple[list[Example], list[RunResult]]:
    """Return what is to be computed, by mixture and seed, and the results of runs that no computation could give.

    Raises
    ------
    PlanError
        If a run is of a mixture that is not given.
    """
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
        Example(given=known[digest], mixture=prepared[digest], seed=seed, specs=tuple(sorted(specs, key=_order)))
        for (digest, seed, _), specs in sorted(grouped.items(), key=lambda one: one[0][2])  # after their references
    ]
    return examples, skipped


def _order(spec: RunSpec) -> tuple[bool, Family, str]:
    """Runs without edits first, in the plan's order; the others alike for every example, so that they share batches."""
    return (True, _family(spec), repr(spec.edits)) if spec.edits else (False, ("", False, False), "")


def _family(spec: RunSpec) -> Family:
    return spec.solver, spec.text, spec.spans


def chunks_of(examples: Sequence[Example], batch_size: int) -> Iterator[list[Example]]:
    """Examples that miss the same runs and have the same length, at most ``batch_size`` at once, or one alone."""
    groups: dict[tuple[int, tuple[str, ...]], list[Example]] = {}
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


def compute_chunk(
    model: SAMAudio,
    chunk: Sequence[Example],
    *,
    references: References,
    keep: Callable[[RunSpec], tuple[str, ...]],
) -> Iterator[list[RunResult]]:
    """Compute one chunk of `chunks_of`: the results of one variant after another, each of all examples.

    Parameters
    ----------
    model
        Not edited otherwise meanwhile.
    chunk
        Examples that miss the same runs.
    references
        Of the runs that others are compared with; it is asked after the chunk's own references were handed over.
    keep
        Which arrays of a run are kept: "target", the separated wave [N], and "latents" [T, 2 C].

    Raises
    ------
    EditError
        If an edit does not fit or had no effect.
    CacheError
        If a cache never hit.
    PlanError
        If memory has no room for one example.
    """
    for position, computed in _as_memory_allows(model, chunk, chunk[0].variants):
        yield _results(chunk, position, computed, references=references, keep=keep)


def _as_memory_allows(
    model: SAMAudio, examples: Sequence[Example], variants: Sequence[RunSpec]
) -> Iterator[tuple[int, Computed]]:
    """Compute each variant of all examples at once, or of halves, side by side, from where memory ran out."""
    left = list(range(len(variants)))
    try:
        given, seeds = [one.given for one in examples], [one.seed for one in examples]
        for position, computed in _compute_variants(Batch(model, given, seeds), variants):
            left.remove(position)
            yield position, computed
        return
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(examples) == 1:
            raise PlanError(
                f"Memory has no room for one mixture of {examples[0].mixture.duration_s:.1f} s on "
                f"{model.proj.weight.device}: give shorter mixtures, a smaller model, or another --device; what was "
                "computed is stored."
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # out here, where no error holds what was computed any more
    half = -(-len(examples) // 2)
    rest = [variants[position] for position in left]
    halves = [_as_memory_allows(model, part, rest) for part in (examples[:half], examples[half:])]
    for found in zip(*halves, strict=True):
        both = together([computed for _, computed in found])
        yield left[found[0][0]], replace(both, at_once=both.at_once or half)


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
    chunk: Sequence[Example],
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
                environment={} if computed.at_once is None else {"at_once": str(computed.at_once)},
                arrays=arrays,
            )
        )
    return results
