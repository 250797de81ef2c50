"""Arms: rows of the claims file that say how to run, the one registry of edits by name, and an arm made for a model.

An edit is its own row: its name and its fields are all that there is to it, so the row is part of a run's key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import nn

from sam_lsac.caching import (
    CacheAttention,
    CacheBranch,
    DeepCache,
    FittedBranch,
    LayerClasses,
    LSACLevel,
    layer_classes,
)
from sam_lsac.caching.peers import PEERS
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
from sam_lsac.records import STRICT, read, unknown
from sam_lsac.solver import Solver, parse_solver

__all__ = ["EDITS", "Arm", "ResolvedArm", "check_arm", "resolve_arm", "schedule_of"]

_SCHEDULE = re.compile(r"schedule:([a-z0-9][a-z0-9_-]*)", re.ASCII)

#: Every edit that an arm may name, by the word after ``kind =``; its other words are the fields of the class.
EDITS: Mapping[str, type[Edit] | type[LSACLevel]] = {
    "LSAC": LSACLevel,
    "CacheAttention": CacheAttention,
    "CacheBranch": CacheBranch,
    "DeepCache": DeepCache,
    "FittedBranch": FittedBranch,
    "FreezeSelfAttention": FreezeSelfAttention,
    "HijackGate": HijackGate,
    "Record": Record,
    "ShuffleSpans": ShuffleSpans,
    "UniformCrossAttention": UniformCrossAttention,
    "ZeroAdditive": ZeroAdditive,
    "ZeroCrossAttention": ZeroCrossAttention,
    **PEERS,
}

#: Stands for any model's classes where there is no model: every class has a layer that every model has.
_ANY_CLASSES: Mapping[str, tuple[int, ...]] = {item.name: (0,) for item in fields(LayerClasses)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to run: a row of the claims file.

    Parameters
    ----------
    name
        What claims call it.
    solver
        Method and number of steps, such as "euler:16", or "schedule:NAME", which is fitted to a checkpoint.
    edits
        Each with its ``kind``, a word of `EDITS`, and its arguments; layers may be "stable", "moderate" or "fast".
    text, spans
        Whether the prompt, and the activity spans, are given to the model.
    references
        Arms, full solves, that its output is compared with; None for the baseline, see `references_of`.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    solver: str
    edits: tuple[Mapping[str, Any], ...] = ()
    text: bool = True
    spans: bool = False
    references: tuple[str, ...] | None = None


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


def check_arm(arm: Arm) -> None:
    """Check what can be checked of an arm without a model: its solver, and the words and values of its edits.

    Raises
    ------
    PlanError
        If the solver or an edit is malformed; the sentence names the arm and the nearest known word.
    """
    where = f"[arms.{arm.name}]"
    try:
        if schedule_of(arm) is None:
            parse_solver(arm.solver)
        for row in arm.edits:
            _read_row(row, where=where, classes=_ANY_CLASSES)
    except PlanError:
        raise
    except SamLsacError as error:
        raise PlanError(f"{where}: {error}") from error


def schedule_of(arm: Arm) -> str | None:
    """Return the name of the schedule that the arm leaves its solver to, or None."""
    named = _SCHEDULE.fullmatch(arm.solver)
    return named.group(1) if named else None


def resolve_arm(arm: Arm, model: nn.Module) -> ResolvedArm:
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
    if (name := schedule_of(arm)) is not None:
        raise PlanError(
            f"The arm {arm.name!r} leaves its solver to the schedule {name!r}; put the solver of that schedule's file "
            "in its place, as the suite does: sam_lsac.schedule.find_schedule."
        )
    try:
        solver = parse_solver(arm.solver)
        edits = tuple(_edit_for(row, model, solver) for row in arm.edits)
        for edit in edits:
            edit.sites(model)  # raises where a layer does not exist
    except SamLsacError as error:
        raise PlanError(f"The arm {arm.name!r} does not fit this model. {error}") from error
    return ResolvedArm(name=arm.name, solver=solver, edits=edits, text=arm.text, spans=arm.spans)


def describe_edit(edit: Edit) -> dict[str, Any]:
    """Return the row that makes an edit, with every field, as JSON has it.

    Raises
    ------
    PlanError
        If the edit is of a class that `EDITS` does not name.
    """
    word = next((word for word, kind in EDITS.items() if kind is type(edit)), None)
    if word is None:
        raise PlanError(
            f"{edit!r} is of no class that a plan knows: add it to sam_lsac.runs.arms.EDITS, or run it with "
            "separate(...)."
        )
    return {"kind": word} | {item.name: _plain(getattr(edit, item.name)) for item in fields(edit)}


def build_edit(row: Mapping[str, Any]) -> Edit:
    """Make the edit of a row that `describe_edit` wrote.

    Raises
    ------
    PlanError
        If it is not such a row.
    """
    edit = _read_row(row, where="a stored run", classes={})
    if not isinstance(edit, Edit):
        raise PlanError(f"{dict(row)!r} is no edit until it is known for which model; make the plan anew.")
    return edit


def _edit_for(row: Mapping[str, Any], model: nn.Module, solver: Solver) -> Edit:
    named = isinstance(row.get("layers"), str)
    found = _read_row(row, where="edits", classes=layer_classes(model).as_dict() if named else {})
    return found if isinstance(found, Edit) else found.edit_of(layer_classes(model), n_steps=solver.n_steps)


def _read_row(row: Mapping[str, Any], *, where: str, classes: Mapping[str, Any]) -> Edit | LSACLevel:
    """Read one row of ``edits``; errors of the values are those of the edit's class."""
    values = dict(row)
    word = values.pop("kind", None)
    if not isinstance(word, str) or word not in EDITS:
        raise PlanError(f"{where}: {unknown('edit', word, EDITS)}")
    if classes and isinstance(values.get("layers"), str):
        if values["layers"] not in classes:
            raise PlanError(f"{where}: {word}: {unknown('class of layers', values['layers'], classes)}")
        values["layers"] = list(classes[values["layers"]])
    found: Edit | LSACLevel = read(EDITS[word], values, where=f"{where}: {word}", error=PlanError)
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it; keys of tables become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
