"""What to run: every arm on every mixture with every noise, as plain data with a key each.

A run's key is the SHA-256 of everything that its outcome depends on. Names are no part of it: arms that ask for the
same edits share one run, and so do mixtures of the same audio under two names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from sam_lsac.errors import PlanError
from sam_lsac.metrics import DEFAULT_METRICS, METRICS
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs.arms import ArmRow, ResolvedArm, describe_edit, resolve_arm

__all__ = ["ArmBook", "Plan", "RunSpec", "code_version", "plan"]

#: Fields of a run that name it, or say how its mixture was cut, and decide nothing: the digest is of what was cut.
_LABELS = frozenset({"mixture", "tier", "group", "excerpt_s"})
#: The modules whose source decides what a run computes, below the package's folder.
_NUMERICAL = (
    "model",
    "solver",
    "interventions",
    "caching",
    "separate.py",
    "metrics.py",
    "runs/compute.py",
)


class _Settings(Protocol):
    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the noise."""


class ArmBook(Protocol):
    """Arms and settings of the claims file; ``sam_lsac.claims.Book`` is one."""

    @property
    def arms(self) -> Mapping[str, ArmRow]:
        """By name."""

    @property
    def settings(self) -> _Settings:
        """With the noise seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run: one mixture, one noise, one solver with its edits.

    Parameters
    ----------
    mixture, tier, group
        Names of the mixture, its tier and its target's speaker or label; no part of the key.
    mixture_digest
        SHA-256 of the samples, prompts and spans of what is separated, at the mixture's own rate.
    excerpt_s
        Length of the excerpt that is separated, in seconds, or None for the whole; no part of the key.
    seed
        Of the noise and the watermark.
    checkpoint
        SHA-256 of the model.
    solver
        Such as "euler:16".
    edits
        Of ``describe_edit``, in their order.
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
    """

    mixture: str
    tier: str
    group: str
    mixture_digest: str
    excerpt_s: float | None
    seed: int
    checkpoint: str
    solver: str
    edits: tuple[str, ...]
    text: bool
    spans: bool
    record: tuple[str, ...]
    metrics: tuple[str, ...]
    dtype: str
    device: str
    code: str

    @property
    def key(self) -> str:
        """SHA-256 in hex of the canonical JSON of everything but the names."""
        decisive = {name: value for name, value in self.to_json().items() if name not in _LABELS}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        PlanError
            If a field is missing or unknown.
        """
        names = {item.name for item in fields(cls)}
        if set(values) != names:
            raise PlanError(f"A run needs exactly {sorted(names)}, not {sorted(values)}; make the plan anew.")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The runs of every arm.

    Parameters
    ----------
    arms
        By name, one run a mixture and seed.
    """

    arms: Mapping[str, tuple[RunSpec, ...]] = field(hash=False)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Each run once, those without edits first."""
        unique = {spec.key: spec for specs in self.arms.values() for spec in specs}
        return tuple(sorted(unique.values(), key=lambda spec: bool(spec.edits)))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {"arms": {name: [spec.to_json() for spec in specs] for name, specs in self.arms.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote; PlanError where it is something else."""
        if set(values) != {"arms"}:
            raise PlanError('A plan is {"arms": {...}}; write it with Plan.to_json().')
        arms = {name: tuple(RunSpec.from_json(spec) for spec in specs) for name, specs in values["arms"].items()}
        return cls(arms=MappingProxyType(arms))


def plan(
    book: ArmBook,
    mixtures: Sequence[Mixture],
    model: SAMAudio,
    *,
    arms: Iterable[str] | None = None,
    seeds: Sequence[int] | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    excerpt_s: float | None = None,
    baseline: str = "baseline",
) -> Plan:
    """Plan every arm on every mixture with every seed.

    The attention entropy is recorded in the baseline's runs, and the Block Ratio in those with spans.

    Parameters
    ----------
    book
        The claims file.
    mixtures
        At any rate; a run brings them to the model's.
    model
        On the device and in the type in which it will run.
    arms
        Names; all of the book when None.
    seeds
        Of the noise; the book's when None.
    metrics
        Names of ``sam_lsac.metrics.METRICS``.
    excerpt_s
        Separate ``mixture.excerpt(duration_s=excerpt_s)``, in seconds; the mixture as it is when None.
    baseline
        Arm that others are compared with.

    Raises
    ------
    PlanError
        If an arm is unknown or does not fit the model, two mixtures have one name, or a list is empty or repeats
        itself.
    """
    names = tuple(book.arms) if arms is None else tuple(dict.fromkeys(arms))
    seeds = book.settings.seeds if seeds is None else tuple(seeds)
    _check_lists(mixtures, seeds=seeds, metrics=metrics, excerpt_s=excerpt_s)
    for name in names:
        if name not in book.arms:
            raise PlanError(f"There is no arm {name!r}; the claims file has {', '.join(book.arms)}.")
    resolved = [resolve_arm(book.arms[name], model) for name in names]
    plain = resolve_arm(book.arms[baseline], model) if baseline in book.arms else None
    common: dict[str, Any] = {
        "checkpoint": checkpoint_digest(model),
        "dtype": str(model.proj.weight.dtype).removeprefix("torch."),
        "device": model.proj.weight.device.type,
        "code": code_version(),
        "metrics": tuple(metrics),
        "excerpt_s": None if excerpt_s is None else float(excerpt_s),
    }
    described = [_describe(mixture, excerpt_s) for mixture in mixtures]
    shared = [one | {"seed": int(seed)} | common for one in described for seed in seeds]
    planned = {arm.name: tuple(RunSpec(**one, **_condition(arm, plain)) for one in shared) for arm in resolved}
    return Plan(arms=MappingProxyType(planned))


def code_version() -> str:
    """SHA-256 in hex over the source of the modules that decide what a run computes."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for part in _NUMERICAL:
        path = package / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()


def checkpoint_digest(model: SAMAudio) -> str:
    """The digest that ``load_model`` set, else SHA-256 over the configuration and all weights."""
    if model.checkpoint_digest is not None:
        return model.checkpoint_digest
    total = hashlib.sha256(repr(model.config).encode())
    for name, tensor in model.state_dict().items():
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        total.update(f"\n{name} {list(tensor.shape)} ".encode() + raw)
    return total.hexdigest()


def excerpt_of(mixture: Mixture, excerpt_s: float | None) -> Mixture:
    """What of a mixture is separated."""
    return mixture if excerpt_s is None else mixture.excerpt(duration_s=excerpt_s)


def _describe(mixture: Mixture, excerpt_s: float | None) -> dict[str, Any]:
    return {
        "mixture": mixture.id,
        "tier": mixture.tier,
        "group": mixture.group,
        "mixture_digest": excerpt_of(mixture, excerpt_s).digest,
    }


def _condition(arm: ResolvedArm, baseline: ResolvedArm | None) -> dict[str, Any]:
    """What the arm adds to a run, and what is recorded beside it."""
    edits = tuple(describe_edit(edit) for edit in arm.edits)
    same = baseline is not None and (arm.solver, arm.edits, arm.text, arm.spans) == (
        baseline.solver,
        baseline.edits,
        baseline.text,
        baseline.spans,
    )
    record = (("entropy",) if same else ()) + (("block_ratio",) if arm.spans else ())
    return {"solver": arm.solver.name, "edits": edits, "text": arm.text, "spans": arm.spans, "record": record}


def _check_lists(
    mixtures: Sequence[Mixture], *, seeds: Sequence[int], metrics: Sequence[str], excerpt_s: float | None
) -> None:
    named: dict[str, list[Any]] = {
        "mixture": [mixture.id for mixture in mixtures],
        "seed": list(seeds),
        "metric": list(metrics),
    }
    for what, values in named.items():
        if not values:
            raise PlanError(f"A plan needs at least one {what}; give some.")
        if twice := [value for value in values if values.count(value) > 1]:
            raise PlanError(f"The {what} {twice[0]!r} is there twice; give each its own.")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise PlanError(f"A seed is a whole number from 0 to 2 ** 63 - 1, not {seed!r}; give one such as 0.")
    for metric in metrics:
        if metric not in METRICS:
            raise PlanError(f"There is no metric {metric!r}; choose from {', '.join(METRICS)}.")
    if excerpt_s is not None and not 0 < excerpt_s < float("inf"):
        raise PlanError(f"An excerpt of {excerpt_s} s cannot be; give a positive length, or None for the whole.")
