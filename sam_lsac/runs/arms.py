"""From an arm of the claims file to a solver and edits of one model, and from an edit to text and back.

An edit is its own row: its class and its fields are all that there is to it, so the text is part of a run's key.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import nn

from sam_lsac.caching import LSAC, CacheAttention, DeepCache, layer_classes
from sam_lsac.errors import PlanError, SamLsacError
from sam_lsac.interventions import (
    Edit,
    FreezeSelfAttention,
    HijackGate,
    Record,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
)
from sam_lsac.solver import Solver, parse_solver

__all__ = ["ArmRow", "ResolvedArm", "build_edit", "describe_edit", "resolve_arm"]

_EDITS: dict[str, type[Edit]] = {
    kind.__name__: kind
    for kind in (
        CacheAttention,
        DeepCache,
        FreezeSelfAttention,
        HijackGate,
        Record,
        ShuffleSpans,
        UniformCrossAttention,
        ZeroAdditive,
        ZeroCrossAttention,
    )
}
_QUANTITIES = ("entropy", "block_ratio")


class ArmRow(Protocol):
    """What an arm of the claims file says; ``sam_lsac.claims.Arm`` is one."""

    @property
    def name(self) -> str:
        """Of the arm."""

    @property
    def solver(self) -> str:
        """Method and steps, such as "euler:16"."""

    @property
    def edits(self) -> tuple[Mapping[str, Any], ...]:
        """Each with its ``kind``, the edit's class or "LSAC", and its arguments."""

    @property
    def text(self) -> bool:
        """Whether the prompt is given to the model."""

    @property
    def spans(self) -> bool:
        """Whether the activity spans are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedArm:
    """An arm for one model.

    Parameters
    ----------
    name
        Of the arm.
    solver
        With its steps.
    edits
        With layers and steps as numbers.
    text, spans
        Whether the prompt, and the activity spans, are given to the model.
    """

    name: str
    solver: Solver
    edits: tuple[Edit, ...]
    text: bool
    spans: bool


def resolve_arm(arm: ArmRow, model: nn.Module) -> ResolvedArm:
    """Make an arm's solver and edits for a model.

    ``kind = "LSAC"`` becomes the schedule of its level for the model's layer classes and the arm's own steps; the words
    "stable", "moderate" and "fast" become the layers of that class.

    Parameters
    ----------
    arm
        A row of the claims file.
    model
        Whose layers; only looked at.

    Raises
    ------
    PlanError
        If the solver or an edit cannot be made for this model.
    """
    try:
        solver = parse_solver(arm.solver)
        edits = tuple(_resolve_edit(row, model, solver) for row in arm.edits)
        for edit in edits:
            edit.sites(model)  # raises where a layer does not exist
    except SamLsacError as error:
        raise PlanError(f"The arm {arm.name!r} does not fit this model. {error}") from error
    return ResolvedArm(name=arm.name, solver=solver, edits=edits, text=arm.text, spans=arm.spans)


def describe_edit(edit: Edit) -> str:
    """Write an edit as canonical JSON: its class as ``kind``, and every field.

    Raises
    ------
    PlanError
        If the edit is of a class that `build_edit` does not know.
    """
    kind = type(edit).__name__
    if _EDITS.get(kind) is not type(edit):
        raise PlanError(f"{edit!r} is of no class that a plan knows; use one of {', '.join(_EDITS)}, or separate(...).")
    values = {item.name: getattr(edit, item.name) for item in fields(edit)}
    reals = {item.name for item in fields(edit) if item.type == "float"}  # so that 1 and 1.0 are one edit
    row = {"kind": kind, **{name: float(value) if name in reals else _plain(value) for name, value in values.items()}}
    return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False)


def build_edit(described: str) -> Edit:
    """Read what `describe_edit` wrote.

    Raises
    ------
    PlanError
        If it is not the text of an edit.
    """
    try:
        return _build(json.loads(described))
    except (ValueError, AttributeError) as error:
        raise PlanError(f"{described!r} describes no edit ({error}); make the plan anew with plan(...).") from error


def _resolve_edit(row: Mapping[str, Any], model: nn.Module, solver: Solver) -> Edit:
    values = dict(row)
    if values["kind"] == "LSAC":
        schedule = LSAC.of(layer_classes(model), level=values["level"], n_steps=solver.n_steps)
        return schedule.edit()
    if isinstance(values.get("layers"), str):
        values["layers"] = _layers_of_class(values["layers"], model)
    if "quantities" in values:
        wanted = values.pop("quantities")
        for quantity in wanted:
            if quantity not in _QUANTITIES:
                raise PlanError(_unknown("quantity", quantity, _QUANTITIES))
        values |= {quantity: quantity in wanted for quantity in _QUANTITIES}
    return _build(values)


def _layers_of_class(name: str, model: nn.Module) -> tuple[int, ...]:
    classes = layer_classes(model).as_dict()
    if name not in classes:
        raise PlanError(_unknown("layer class", name, classes))
    return tuple(classes[name])


def _build(row: Mapping[str, Any]) -> Edit:
    kind = row.get("kind")
    if kind not in _EDITS:
        raise PlanError(_unknown("edit", kind, _EDITS))
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    del arguments["kind"]
    try:
        return _EDITS[kind](**arguments)
    except TypeError as error:
        raise PlanError(f"{kind} cannot be made of {arguments}: {error}; correct the arm's row.") from error


def _plain(value: Any) -> Any:
    """A value as JSON has it; keys of tables become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _unknown(what: str, name: object, known: Any) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f"unknown {what} {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}")
