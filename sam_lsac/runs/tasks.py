"""The work of a plan as tasks: a chunk that is solved and scored, or the scores alone of what was solved elsewhere.

A task carries all that it needs as plain data: its runs, their mixtures, and the waves of references that it does not
compute itself. What it is computed with is held against its runs by digest first, wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray

from sam_lsac.errors import PlanError, SamLsacError, StoreError
from sam_lsac.metrics import Score, measure
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.runs.chunk import Example, compute_chunk
from sam_lsac.runs.compared import References
from sam_lsac.runs.executor import Task
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.store import RunResult
from sam_lsac.runs.versions import code_version, versions_of

__all__ = ["ChunkTask", "ScoreTask", "check_model", "solved_only"]

#: The wave of a reference, why it has none, or what is wrong with the store that should have it.
Wave = NDArray[Any] | str | SamLsacError
#: Stands for all scores of a run while they are taken elsewhere, so that a failed run still says why it failed.
_LATER = (("scored later", ""),)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkTask(Task):
    """One chunk of `sam_lsac.runs.chunk.chunks_of`.

    Parameters
    ----------
    number
        What its replies are known by.
    chunk
        Examples that miss the same runs.
    waves
        Of references that are not in the chunk, by the key of the run.
    keep
        Which arrays are kept, by the key of the run.
    """

    number: int
    chunk: tuple[Example, ...]
    waves: Mapping[str, Wave]
    keep: Mapping[str, tuple[str, ...]]

    @property
    def specs(self) -> tuple[RunSpec, ...]:
        """All runs of the chunk."""
        return tuple(spec for one in self.chunk for spec in one.specs)

    def parts(self, model: SAMAudio | None) -> Iterator[list[RunResult]]:
        """Solve and score one variant after another.

        Raises
        ------
        PlanError
            If model, code, an edit or a mixture is not that of the runs.
        """
        if model is None:
            raise PlanError("A chunk cannot be computed without a model; give the executor one.")
        check_model(self.specs, model)
        self._check_edits()
        self._check_mixtures()
        done: dict[str, RunResult] = {}

        def wave(arm: str, key: str) -> NDArray[Any] | str:
            return own_wave(arm, done[key]) if key in done else _given(self.waves[key])

        compared_with = {key for spec in self.specs for _, key in spec.references}
        references = References(wave)
        for results in compute_chunk(model, self.chunk, references=references, keep=lambda spec: self.keep[spec.key]):
            done |= {one.spec.key: one for one in results if one.spec.key in compared_with}
            yield results

    def under_way(self, n_done: int) -> str:
        """The arm's solver and edits, and the mixtures."""
        return _in_words([one.specs[min(n_done, len(one.specs) - 1)] for one in self.chunk])

    def _check_edits(self) -> None:
        for spec in self.chunk[0].specs:  # those of the others are the same
            if (here := versions_of(spec.edits)) != spec.versions:
                name, _ = min(set(here) ^ set(spec.versions))
                raise PlanError(
                    f"The plan was made for another {name} than the one here; install the same version wherever "
                    "runs are computed."
                )

    def _check_mixtures(self) -> None:
        for one in self.chunk:
            digest = one.given.digest
            for spec in one.specs:
                if spec.mixture_digest != digest:
                    raise PlanError(
                        f"The mixture {spec.mixture!r} that arrived ({digest[:12]}...) is not that of the plan "
                        f"({spec.mixture_digest[:12]}...); run the same command again."
                    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTask(Task):
    """The scores of one variant of a chunk that was solved elsewhere; needs no model.

    Parameters
    ----------
    number
        What its replies are known by.
    solved
        Runs with their separated wave, from `solved_only`.
    specs
        The runs themselves, in the same order.
    mixtures
        At the model's rate, in the same order.
    waves
        Of the references, by the key of the run.
    keep
        Which arrays are kept, by the key of the run.
    """

    number: int
    solved: tuple[RunResult, ...]
    specs: tuple[RunSpec, ...]
    mixtures: tuple[Mixture, ...]
    waves: Mapping[str, Wave]
    keep: Mapping[str, tuple[str, ...]]

    def parts(self, model: SAMAudio | None) -> Iterator[list[RunResult]]:  # as every task
        """Take the scores."""
        references = References(lambda _arm, key: _given(self.waves[key]))
        both = zip(self.solved, self.specs, self.mixtures, strict=True)
        yield [self._scored(*one, references) for one in both]

    def under_way(self, n_done: int) -> str:  # as every task
        """The arm's solver and edits, and the mixtures."""
        return _in_words(self.specs)

    def _scored(self, one: RunResult, spec: RunSpec, mixture: Mixture, references: References) -> RunResult:
        if failed := next(iter(one.scores.values()), None):  # it has no output, and says why
            return replace(one, spec=spec, scores=dict.fromkeys(spec.columns, failed), arrays={})
        scores: dict[str, Score] = measure(
            one.arrays["target"],
            target=mixture.target,
            residual=mixture.residual,
            wave=mixture.wave,
            sample_rate=mixture.sample_rate,
            metrics=spec.metrics,
        )
        failed_scores = any(score.failed for score in scores.values())
        scores |= references.scores(spec, one.arrays["target"], failed=failed_scores)
        arrays = {name: one.arrays[name] for name in self.keep[spec.key]}
        return replace(one, spec=spec, scores=scores, arrays=arrays)


def solved_only(model: SAMAudio, task: ChunkTask, *, numbers: Iterator[int]) -> Iterator[ScoreTask]:
    """Solve a chunk here, and leave its scores to tasks of their own.

    Parameters
    ----------
    model
        On its device.
    task
        The chunk.
    numbers
        Of the tasks that are made.

    Raises
    ------
    PlanError
        If model or code is not that of the runs.
    """
    check_model(task.specs, model)
    plain = tuple(
        replace(one, specs=tuple(replace(spec, metrics=(), references=_LATER) for spec in one.specs))
        for one in task.chunk
    )
    waves = dict(task.waves)
    compared_with = {key for spec in task.specs for _, key in spec.references}
    kept: dict[str, set[str]] = {}
    for one, other in zip(plain, task.chunk, strict=True):
        for bare, spec in zip(one.specs, other.specs, strict=True):  # runs that differ in their scores alone are one
            kept.setdefault(bare.key, {"target"}).update(task.keep[spec.key])
    solving = compute_chunk(model, plain, references=_NoScores(_no_wave), keep=lambda spec: tuple(kept[spec.key]))
    for position, results in enumerate(solving):
        specs = tuple(one.specs[position] for one in task.chunk)
        for spec, result in zip(specs, results, strict=True):
            if spec.key in compared_with:
                waves[spec.key] = own_wave(spec.solver, result)
        yield ScoreTask(
            number=next(numbers),
            solved=tuple(results),
            specs=specs,
            mixtures=tuple(one.mixture for one in task.chunk),
            waves={key: waves[key] for spec in specs for _, key in spec.references},
            keep={spec.key: task.keep[spec.key] for spec in specs},
        )


def own_wave(arm: str, result: RunResult) -> NDArray[Any] | str:
    """The wave of a run that was just computed, or why it has none."""
    if "target" in result.arrays:
        return result.arrays["target"]
    if none := next((score.reason for score in result.scores.values() if score.reason), None):
        return none
    raise StoreError(
        f"The run of {arm!r} was computed without keeping its wave, with which others are compared: no arm named it "
        "as a reference; make the plan with plan(...)."
    )


def _given(found: Wave) -> NDArray[Any] | str:
    if isinstance(found, SamLsacError):
        raise found
    return found


def check_model(specs: Sequence[RunSpec], model: SAMAudio) -> None:
    """Refuse runs that are of something else than what is here.

    Raises
    ------
    PlanError
        If checkpoint, type, device or code is another.
    """
    weight = model.proj.weight
    here = {
        "checkpoint": checkpoint_digest(model),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": torch.device(weight.device).type,
        "code": code_version(),
    }
    for spec in specs:
        for name, value in here.items():
            if getattr(spec, name) != value:
                raise PlanError(
                    f"The plan was made for {name} {getattr(spec, name)!r}, and here it is {value!r}; make it anew "
                    "with plan(...) for this model."
                )


class _NoScores(References):
    """Leaves comparisons to a later task."""

    def scores(self, spec: RunSpec, wave: NDArray[Any], *, failed: bool) -> dict[str, Score]:
        """None yet."""
        return {}


def _no_wave(arm: str, key: str) -> NDArray[Any] | str:
    raise PlanError(f"Nothing is compared while it is solved; {arm} ({key}) is read later.")


def _in_words(specs: Sequence[RunSpec]) -> str:
    spec = specs[0]
    edits = ", ".join(map(repr, spec.edits)) or "no edits"
    return f"{spec.solver} with {edits} on {', '.join(dict.fromkeys(one.mixture for one in specs))}, seed {spec.seed}"
