"""What to run: every arm on every mixture with every noise, as plain data with a key each.

A run's key is the SHA-256 of everything that its outcome depends on. Names are no part of it: arms that ask for the
same edits share one run, and so do mixtures of the same audio under two names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from sam_lsac.errors import InputError, PlanError
from sam_lsac.interventions import Edit
from sam_lsac.metrics import COMPARISONS, DEFAULT_METRICS, METRICS, comparison
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.records import STRICT, read, unknown
from sam_lsac.request import check_seed
from sam_lsac.runs.arms import Arm, ResolvedArm, build_edit, describe_edit, resolve_arm
from sam_lsac.runs.references import check_references, in_order, references_of
from sam_lsac.runs.versions import code_version, versions_of

__all__ = ["Plan", "RunSpec", "plan"]

#: Fields of a run that name it and decide nothing.
_LABELS = frozenset({"mixture", "tier", "group", "residual_group"})
_ANEW = "make the plan anew with plan(...)"


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run: one mixture, one noise, one solver with its edits.

    Parameters
    ----------
    mixture, tier, group
        Names of the mixture, its tier and its target's speaker or label; no part of the key.
    mixture_digest
        SHA-256 of the samples, prompts and spans of what is separated, at the mixture's own rate.
    seed
        Of the noise and the watermark.
    checkpoint
        SHA-256 of the model.
    solver
        Such as "euler:16".
    edits
        In their order; text in the key and in what is stored.
    text, spans
        Whether the prompt, and the spans, are given.
    record
        What is measured beside: "entropy", "block_ratio", or nothing.
    metrics
        Scores that are taken.
    dtype, device
        Of the transformer: "float32", "cpu".
    code
        `code_version`.
    references
        Arms, full solves, that the output is compared with: name and key of the run each.
    versions
        Of what else decides, such as a library that an edit uses: name and version each, by name.
    residual_group
        The residual's speaker or label; no part of the key, and empty where it is not known.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    mixture: str
    tier: str
    group: str
    mixture_digest: str
    seed: int
    checkpoint: str
    solver: str
    edits: tuple[Edit, ...]
    text: bool
    spans: bool
    record: tuple[str, ...]
    metrics: tuple[str, ...]
    dtype: str
    device: str
    code: str
    references: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    residual_group: str = ""

    @cached_property
    def key(self) -> str:
        """SHA-256 in hex of the canonical JSON of everything but the names."""
        decisive = {name: value for name, value in self.to_json().items() if name not in _LABELS}
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """All scores of the run: its metrics, and the comparisons with each reference."""
        return (*self.metrics, *(comparison(kind, arm) for arm, _ in self.references for kind in COMPARISONS))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them, the edits as their rows."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: _plain(value) for name, value in values.items() if name != "edits"}
        return plain | {"edits": [describe_edit(edit) for edit in self.edits]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        PlanError
            If a field is missing, unknown or of another type.
        """
        strictly: dict[str, Any] = {"where": "a stored run", "error": PlanError, "remedy": _ANEW}
        rows = read(list[dict[str, Any]], values.get("edits"), **strictly)
        bare = read(cls, {**values, "edits": []}, **strictly)
        return replace(bare, edits=tuple(build_edit(row) for row in rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The runs of every arm.

    Parameters
    ----------
    arms
        By name, one run a mixture and seed.
    references
        Further arms, by name: those that the others are compared with.
    waves
        Keys of the runs whose separated waves are kept, for others to be compared with.
    """

    arms: Mapping[str, tuple[RunSpec, ...]] = field(hash=False)
    references: Mapping[str, tuple[RunSpec, ...]] = field(default_factory=dict, hash=False)
    waves: frozenset[str] = frozenset()

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Each run once: those without edits first, and each after what it is compared with."""
        tables = (*self.arms.values(), *self.references.values())
        unique = {spec.key: spec for specs in tables for spec in specs}
        depths: dict[str, int] = {}

        def depth(key: str) -> int:
            if key not in depths:
                spec = unique.get(key)
                above = [depth(other) for _, other in spec.references] if spec is not None else []
                depths[key] = max(above, default=-1) + 1
            return depths[key]

        ordered = sorted(unique.items(), key=lambda item: (bool(item[1].edits), depth(item[0])))
        return tuple(spec for _, spec in ordered)


def plan(
    arms: Mapping[str, Arm],
    mixtures: Sequence[Mixture],
    model: SAMAudio,
    *,
    seeds: Sequence[int],
    metrics: Sequence[str] = DEFAULT_METRICS,
    baseline: str = "baseline",
    known: Mapping[str, Arm] = MappingProxyType({}),
) -> Plan:
    """Plan every arm on every mixture with every seed, and the runs that they are compared with.

    The attention entropy is recorded in the baseline's runs, and the Block Ratio in those with spans. The waves of the
    baseline and of every arm that another one names as its reference are kept.

    Parameters
    ----------
    arms
        By name, such as those of the claims file.
    mixtures
        At any rate; a run brings them to the model's.
    model
        On the device and in the type in which it will run.
    seeds
        Of the noise.
    metrics
        Names of ``sam_lsac.metrics.METRICS``.
    baseline
        Arm that others are compared with; where there is none, no entropy is recorded.
    known
        Further arms, by name, that are planned only where one of ``arms`` is compared with them. Plans of a selection
        that know the same arms agree on what is kept.

    Raises
    ------
    PlanError
        If an arm does not fit the model or cannot be compared with its references, two mixtures have one name, or a
        list is empty or repeats itself.
    """
    _check_lists(mixtures, arms=arms, seeds=seeds, metrics=metrics)
    every = {**known, **arms}
    check_references(every, baseline=baseline)
    order = in_order(arms, every, baseline=baseline)
    resolved = {name: resolve_arm(every[name], model) for name in dict.fromkeys((*order, baseline)) if name in every}
    common: dict[str, Any] = {
        "checkpoint": checkpoint_digest(model),
        "dtype": str(model.proj.weight.dtype).removeprefix("torch."),
        "device": model.proj.weight.device.type,
        "code": code_version(),
        "metrics": tuple(metrics),
    }
    shared = [_describe(mixture) | {"seed": int(seed)} | common for mixture in mixtures for seed in seeds]
    planned: dict[str, tuple[RunSpec, ...]] = {}
    for name in order:
        condition = _condition(resolved[name], resolved.get(baseline))
        named = references_of(name, every, baseline=baseline)
        against = [tuple((one, planned[one][place].key) for one in named) for place in range(len(shared))]
        planned[name] = tuple(
            RunSpec(**one, **condition, references=references) for one, references in zip(shared, against, strict=True)
        )
    compared = {baseline, *(one for name in every for one in references_of(name, every, baseline=baseline))}
    return Plan(
        arms=MappingProxyType({name: planned[name] for name in arms}),
        references=MappingProxyType({name: specs for name, specs in planned.items() if name not in arms}),
        waves=frozenset(spec.key for name in compared.intersection(planned) for spec in planned[name]),
    )


def _plain(value: Any) -> Any:
    """Tuples become lists, as JSON has them."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _describe(mixture: Mixture) -> dict[str, Any]:
    return {
        "mixture": mixture.id,
        "tier": mixture.tier,
        "group": mixture.group,
        "residual_group": mixture.residual_group,
        "mixture_digest": mixture.digest,
    }


def _condition(arm: ResolvedArm, baseline: ResolvedArm | None) -> dict[str, Any]:
    """What the arm adds to a run, and what is recorded beside it."""
    same = baseline is not None and replace(arm, name=baseline.name) == baseline
    record = (("entropy",) if same else ()) + (("block_ratio",) if arm.spans else ())
    return {
        "solver": arm.solver.text,
        "edits": arm.edits,
        "versions": versions_of(arm.edits),
        "text": arm.text,
        "spans": arm.spans,
        "record": record,
    }


def _check_lists(
    mixtures: Sequence[Mixture], *, arms: Mapping[str, Arm], seeds: Sequence[int], metrics: Sequence[str]
) -> None:
    named: dict[str, list[Any]] = {
        "mixture": [mixture.id for mixture in mixtures],
        "arm": list(arms),
        "seed": list(seeds),
        "metric": list(metrics),
    }
    for what, values in named.items():
        if not values:
            raise PlanError(f"A plan needs at least one {what}; give some.")
        if twice := [value for value in values if values.count(value) > 1]:
            raise PlanError(f"The {what} {twice[0]!r} is there twice; give each its own.")
    for seed in seeds:
        try:
            check_seed(seed)
        except InputError as error:
            raise PlanError(str(error)) from error
    for metric in metrics:
        if metric not in METRICS:
            raise PlanError(f"{unknown('metric', metric, METRICS)}.")
