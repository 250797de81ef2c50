"""Schedules: a solve with fewer evaluations in a file with its provenance, and where a checkpoint keeps its own.

A checkpoint's folder may hold ``schedules/NAME.toml``, written by `sam_lsac.tune`, as it holds
``layer_classes.json``; an arm of a claims file names one as ``solver = "schedule:NAME"``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sam_lsac.caching import FittedBranch
from sam_lsac.errors import InputError, ModelError, PlanError
from sam_lsac.interventions import Edit
from sam_lsac.mixtures.tables import read_toml
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.records import STRICT, read
from sam_lsac.solver import Fitted, parse_solver
from sam_lsac.solver.base import GridSolver
from sam_lsac.whole_files import write_whole

if TYPE_CHECKING:
    from sam_lsac.runs import Arm

__all__ = ["Expected", "Found", "Provenance", "find_schedule", "load_schedule"]

FOLDER = "schedules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How far a schedule's outputs were from the reference's on the mixtures that it was fitted on.

    Parameters
    ----------
    error, worst_error
        Squared distance of the final latents over the square of the reference's: mean over the mixtures, and largest.
    fidelity_db, worst_fidelity_db
        SI-SNR of the separated target against the reference's: median over the mixtures, and least. None where it is
        unbounded, because the waves are equal, or undefined, because one is silent.
    flops_saved
        Part of the reference's FLOPs that is not computed on these mixtures, on paper. None in a file without it, whose
        schedule has no edits: it then is the part of the evaluations.
    """

    __pydantic_config__: ClassVar[Any] = STRICT
    error: float
    worst_error: float
    fidelity_db: float | None = None
    worst_fidelity_db: float | None = None
    flops_saved: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a schedule was fitted on.

    Parameters
    ----------
    checkpoint
        SHA-256 of the model, for which alone the schedule is good.
    model, dtype, device
        Its name, and what it ran in.
    mixtures, seeds
        Digests of the calibration mixtures, and the seed of the noise of each.
    n_fits
        Solvers that were fitted and compared.
    """

    __pydantic_config__: ClassVar[Any] = STRICT
    checkpoint: str
    model: str
    dtype: str
    device: str
    mixtures: tuple[str, ...]
    seeds: tuple[int, ...]
    n_fits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """The best schedule of the other kind that was fitted: with branches left out beside one without, or without.

    Parameters
    ----------
    evaluations
        Of the network.
    cached
        Whether branches are left out.
    expected
        What it came to on the same mixtures.
    """

    __pydantic_config__: ClassVar[Any] = STRICT
    evaluations: int
    cached: bool
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _SolverRow:
    __pydantic_config__: ClassVar[Any] = STRICT
    name: str
    reference: str
    nodes: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    __pydantic_config__: ClassVar[Any] = STRICT
    version: Literal[1, 2]
    solver: _SolverRow
    expected: Expected
    provenance: Provenance
    edits: tuple[dict[str, Any], ...] = ()
    edits_digest: str | None = None
    rival: Rival | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A schedule: what to run in place of the reference, and what to expect of it.

    Parameters
    ----------
    solver
        With its weights, and the reference that it stands for.
    edits
        To attach beside it, to which its weights were fitted.
    expected
        On the mixtures that it was fitted on; on others it may be worse.
    provenance
        The checkpoint, the mixtures and their noise.
    rival
        What it was chosen before; None where nothing else was tried.
    """

    solver: Fitted
    edits: tuple[Edit, ...] = ()
    expected: Expected
    provenance: Provenance
    rival: Rival | None = None

    @property
    def evaluations_saved(self) -> float:
        """Fraction of the reference's network evaluations that are not made."""
        return 1 - self.solver.nfe / self.solver.reference.nfe

    @property
    def flops_saved(self) -> float:
        """Fraction of the reference's FLOPs that are not computed: by the evaluations, and by the edits beside them."""
        given = self.expected.flops_saved
        return self.evaluations_saved if given is None else given

    @property
    def n_left_out(self) -> int:
        """Branches of layers that are left out, over all evaluations."""
        return sum(len(steps) for one in self.edits if isinstance(one, FittedBranch) for steps in one.weights.values())

    def run_by(self, arm: Arm) -> Arm:
        """The arm with this solver, and with these edits before its own."""
        return replace(arm, solver=self.solver.text, edits=(*_rows(self.edits), *arm.edits))

    def check(self, model: SAMAudio) -> None:
        """Raise ModelError unless the schedule was fitted to this checkpoint."""
        digest = checkpoint_digest(model)
        if digest != self.provenance.checkpoint:
            raise ModelError(
                f"The schedule was fitted to the checkpoint {self.provenance.checkpoint[:12]}… "
                f"({self.provenance.model}), and this one is {digest[:12]}…; fit one to it with "
                "`python -m sam_lsac tune`."
            )

    def save(self, path: str | Path) -> None:
        """Write the schedule as TOML.

        Raises
        ------
        InputError
            If the file cannot be written.
        PlanError
            If an edit is of a class that no arm could name.
        """
        solver = self.solver
        rows = _rows(self.edits)
        tables: dict[str, dict[str, Any]] = {
            "solver": {
                "name": solver.name,
                "reference": solver.reference.text,
                "nodes": solver.nodes,
                "weights": solver.weights,
            },
            "expected": asdict(self.expected),
            "provenance": asdict(self.provenance),
        }
        if self.rival is not None:
            tables["rival"] = asdict(self.rival)
        lines = [f"# Written by sam_lsac: {solver.nfe} evaluations in place of {solver.reference.nfe}."]
        lines.append(f"version = {_version(solver.reference)}")
        if rows:
            lines.append(f"edits_digest = {_toml(_digest(self.edits))}")
        for name, table in tables.items():
            lines += _table(f"[{name}]", table)
        for row in rows:
            lines += _table("[[edits]]", row)
        try:
            write_whole(Path(path), "\n".join(lines) + "\n")
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def load_schedule(path: str | Path, *, model: SAMAudio | None = None) -> Found:
    """Read a schedule that `Found.save` wrote.

    Parameters
    ----------
    path
        Of the file.
    model
        What it is to be used on; refused here if it is another checkpoint than the schedule's. Where None, call
        `Found.check` before use.

    Raises
    ------
    InputError
        If the file is missing, is no schedule, or was changed after it was written.
    ModelError
        If the schedule was fitted to another checkpoint.
    """
    data = read_toml(Path(path), remedy=f"write one with `python -m sam_lsac tune --out {path}`")
    found = read(_File, data, where=str(path), error=InputError, remedy="write it anew with `python -m sam_lsac tune`")
    row = found.solver
    reference = parse_solver(row.reference)
    if not isinstance(reference, GridSolver):
        raise InputError(f"{path}: the reference {row.reference[:40]!r} is no method on a grid; tune anew.")
    if found.version != _version(reference):
        raise InputError(f"{path}: version {found.version} counts the nodes of {reference.name} otherwise; tune anew.")
    solver = Fitted(reference=reference, nodes=row.nodes, weights=row.weights)
    if solver.name != row.name:
        raise InputError(f"{path}: nodes or weights are not those of {row.name}, which were fitted; tune anew.")
    edits = _edits(found, where=str(path))
    schedule = Found(
        solver=solver, edits=edits, expected=found.expected, provenance=found.provenance, rival=found.rival
    )
    if model is not None:
        schedule.check(model)
    return schedule


def find_schedule(name: str, model: SAMAudio, *, given: Mapping[str, Path]) -> Found:
    """Read the schedule of this name that was given for a checkpoint, or that its folder holds.

    Parameters
    ----------
    name
        Such as "half".
    model
        On which it is to be used.
    given
        Files by name; they come before those of the checkpoint's folder.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    ModelError
        If it was fitted to another checkpoint.
    """
    path = given.get(name, own_path(name, model))
    if path is None or (name not in given and not path.exists()):
        known = "" if model.folder is None else f", or write it to {FOLDER}/{name}.toml of the checkpoint's folder"
        raise InputError(
            f"There is no schedule {name!r} for {model.name}: fit one with `python -m sam_lsac tune --model ... --out "
            f"FILE` and give it with --schedule {name}=FILE{known}."
        )
    return load_schedule(path, model=model)


def own_path(name: str, model: SAMAudio) -> Path | None:
    """Return where a checkpoint's folder keeps the schedule of this name; None for a model without a folder."""
    return None if model.folder is None else model.folder / FOLDER / f"{name}.toml"


def own_names(model: SAMAudio) -> tuple[str, ...]:
    """Return the names of the schedules that the checkpoint's folder holds."""
    return () if model.folder is None else tuple(sorted(file.stem for file in (model.folder / FOLDER).glob("*.toml")))


def _version(reference: GridSolver) -> int:
    """Of the file: nodes are places of evaluations; the first version's were steps, where these are not the same."""
    return 1 if reference.evaluation_points == reference.points[:-1] else 2


def _edits(found: _File, *, where: str) -> tuple[Edit, ...]:
    """The edits of a file; refused where they are not those that its solver was fitted with."""
    if not found.edits and found.edits_digest is None:
        return ()
    from sam_lsac.runs.arms import build_edit  # as in `_rows`

    try:
        edits = tuple(build_edit(row) for row in found.edits)
    except PlanError as error:
        raise InputError(f"{where}: {error}") from error
    if _digest(edits) != found.edits_digest:
        raise InputError(f"{where}: the edits are not those that the solver was fitted with; tune anew.")
    return edits


def _digest(edits: Sequence[Edit]) -> str:
    return hashlib.sha256(json.dumps(_rows(edits), sort_keys=True).encode()).hexdigest()[:16]


def _rows(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """The edits as an arm has them."""
    if not edits:
        return []
    from sam_lsac.runs.arms import describe_edit  # beside it are metrics, whose libraries take longer than PyTorch

    return [describe_edit(edit) for edit in edits]


def _table(head: str, table: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, those inside it after its own values."""
    name = head.strip("[]")
    yield from ("", head)
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    for key, value in table.items():
        if value is not None and key not in inner:
            yield f"{key} = {_toml(value)}"
    for key, value in inner.items():
        yield from _table(f"[{name}.{key}]", value)


def _toml(value: Any) -> str:
    """Text, numbers, and arrays of them, as TOML; rows of arrays on lines of their own."""
    if isinstance(value, tuple):
        rows = [_toml(one) for one in value]
        nested = bool(value) and isinstance(value[0], tuple | str)
        return "[\n" + "".join(f"  {row},\n" for row in rows) + "]" if nested else f"[{', '.join(rows)}]"
    return json.dumps(value, ensure_ascii=False)
