"""Schedules to a budget: a solve with fewer evaluations, fitted on calibration mixtures, in a file with its provenance.

``tune`` fits, ``Found.save`` writes, ``load_schedule`` reads and refuses what was fitted to another checkpoint. The
weights are a solver like any other (``sam_lsac.solver.Fitted``); on Meta's class, ``sam_lsac.caching.WrappedSolve``
makes torchdiffeq do the same solve.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sam_lsac.errors import InputError, ModelError
from sam_lsac.interventions import Edit
from sam_lsac.mixtures import Mixture
from sam_lsac.mixtures.tables import read_toml
from sam_lsac.model import SAMAudio
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.records import STRICT, read
from sam_lsac.separate import decode
from sam_lsac.solver import Euler, Fitted, parse_solver
from sam_lsac.solver.base import GridSolver
from sam_lsac.solver.fitting import Fit, Fitter
from sam_lsac.whole_files import write_whole

__all__ = ["Expected", "Found", "load_schedule", "tune"]


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
    """

    __pydantic_config__: ClassVar[Any] = STRICT
    error: float
    worst_error: float
    fidelity_db: float | None = None
    worst_fidelity_db: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provenance:
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
class _SolverRow:
    __pydantic_config__: ClassVar[Any] = STRICT
    name: str
    reference: str
    nodes: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    __pydantic_config__: ClassVar[Any] = STRICT
    version: Literal[1]
    solver: _SolverRow
    expected: Expected
    provenance: _Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A schedule: what to run in place of the reference, and what to expect of it.

    Parameters
    ----------
    solver
        With its weights, and the reference that it stands for.
    edits
        To attach beside it; `tune` finds none yet.
    expected
        On the mixtures that it was fitted on; on others it may be worse.
    provenance
        The checkpoint, the mixtures and their noise.
    """

    solver: Fitted
    edits: tuple[Edit, ...] = ()
    expected: Expected
    provenance: _Provenance

    @property
    def evaluations_saved(self) -> float:
        """Fraction of the reference's network evaluations that are not made; of the FLOPs of a solve it is the same."""
        return 1 - self.solver.nfe / self.solver.reference.nfe

    def check(self, model: SAMAudio) -> None:
        """Raise ModelError unless the schedule was fitted to this checkpoint."""
        digest = _digest(model)
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
            If the schedule has edits, for which the file has no place, or the file cannot be written.
        """
        if self.edits:
            raise InputError("A schedule's file holds the solver alone; save it without edits.")
        solver = self.solver
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
        lines = [f"# Written by sam_lsac: {solver.nfe} evaluations in place of {solver.reference.nfe}.", "version = 1"]
        for name, table in tables.items():
            lines += [
                "",
                f"[{name}]",
                *(f"{key} = {_toml(value)}" for key, value in table.items() if value is not None),
            ]
        try:
            write_whole(Path(path), "\n".join(lines) + "\n")
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def tune(
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    *,
    saved: float = 0.5,
    reference: GridSolver | None = None,
    seed: int = 0,
    most_fits: int = 24,
    batch_size: int = 8,
    progress: Callable[[Fit], object] | None = None,
) -> Found:
    """Fit a solve that saves a part of the evaluations and stays as near as it can to the full one.

    Parameters
    ----------
    model
        Not edited.
    mixtures
        For calibration, at any rate, of one length; none that a claim is judged on. Nine do.
    saved
        Fraction of the reference's network evaluations to save at least.
    reference
        What is to be reproduced; 16 Euler steps where None.
    seed
        Of the first mixture's noise; the next ones have the next seeds.
    most_fits
        Choices of evaluated steps that are tried; each takes about a solve of all mixtures.
    batch_size
        Mixtures at once.
    progress
        Called after each of the fits.

    Raises
    ------
    InputError
        If there are no mixtures, they differ in length, ``saved`` leaves no evaluation, or an option is not possible.
    ModelError
        If the model is not sam_lsac's own class.
    """
    if not isinstance(model, SAMAudio):
        raise ModelError(f"tune(...) takes a model of load_model(...), not a {type(model).__name__}.")
    reference = Euler(16) if reference is None else reference
    n_evaluations = _evaluations(reference, saved)
    examples = _Examples(model, mixtures, seed=seed, batch_size=batch_size)
    with torch.inference_mode():
        fitter = Fitter(reference, examples.velocity, examples.noise)
        fit = fitter.search(n_evaluations, most_fits=most_fits, progress=progress)
        fidelity_db = examples.fidelity_db(fit.state, fitter.final)
    weight = model.proj.weight
    return Found(
        solver=fit.solver,
        expected=Expected(
            error=fit.error,
            worst_error=float(fit.errors.max()),
            fidelity_db=_finite(statistics.median(fidelity_db)),
            worst_fidelity_db=_finite(min(fidelity_db)),
        ),
        provenance=_Provenance(
            checkpoint=_digest(model),
            model=str(model.name),
            dtype=str(weight.dtype).removeprefix("torch."),
            device=weight.device.type,
            mixtures=tuple(mixture.digest for mixture in mixtures),
            seeds=examples.seeds,
            n_fits=fitter.n_fits,
        ),
    )


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
    again = f"write one with `python -m sam_lsac tune --out {path}`"
    data = read_toml(Path(path), remedy=again)
    found = read(_File, data, where=str(path), error=InputError, remedy="write it anew with `python -m sam_lsac tune`")
    row = found.solver
    reference = parse_solver(row.reference)
    if not isinstance(reference, GridSolver):
        raise InputError(f"{path}: the reference {row.reference[:40]!r} is no method on a grid; tune anew.")
    solver = Fitted(reference=reference, nodes=row.nodes, weights=row.weights)
    if solver.name != row.name:
        raise InputError(f"{path}: nodes or weights are not those of {row.name}, which were fitted; tune anew.")
    schedule = Found(solver=solver, expected=found.expected, provenance=found.provenance)
    if model is not None:
        schedule.check(model)
    return schedule


def _digest(model: SAMAudio) -> str:
    from sam_lsac.runs.plan import checkpoint_digest

    return checkpoint_digest(model)


class _Examples:
    """The calibration mixtures as one batch: encoded and evaluated in parts, seen as a whole."""

    def __init__(self, model: SAMAudio, mixtures: Sequence[Mixture], *, seed: int, batch_size: int) -> None:
        from sam_lsac.runs.compute import Batch  # its metrics' libraries take longer to import than PyTorch

        lengths = {mixture.at(model.sample_rate).target.size for mixture in mixtures}
        if len(lengths) != 1 or batch_size < 1:
            raise InputError(
                f"{len(mixtures)} mixtures of {len(lengths)} lengths, {batch_size} at once, cannot be fitted to; give "
                "at least one, and all of one length (load_mixtures(..., duration_s=2.0))."
            )
        self.seeds = tuple(range(seed, seed + len(mixtures)))
        self._model = model
        self._batches = [
            Batch(
                model,
                [mixture.at(model.sample_rate) for mixture in mixtures[first : first + batch_size]],
                self.seeds[first : first + batch_size],
            )
            for first in range(0, len(mixtures), batch_size)
        ]
        self.noise = torch.cat([batch.noise for batch in self._batches])  # [B, T, 2 C]
        with torch.inference_mode():
            self._velocities = [
                PreparedVelocity(model, batch.conditions(text=True, spans=False)) for batch in self._batches
            ]

    def velocity(self, time: float, x: Tensor) -> Tensor:
        """Of all mixtures, [B, T, 2 C]."""
        parts = torch.split(x, [len(batch.seeds) for batch in self._batches])
        return torch.cat([one(time, part) for one, part in zip(self._velocities, parts, strict=True)])

    def fidelity_db(self, latents: Tensor, reference: Tensor) -> list[float]:
        """SI-SNR of each decoded target against the reference's; infinite where they are equal."""
        from sam_lsac.metrics import si_snr

        n_samples = self._batches[0].mixtures[0].target.size
        ours, theirs = (
            decode(self._model, one, seeds=self.seeds)[0][:, :n_samples].double().cpu().numpy()
            for one in (latents, reference)
        )
        return [
            math.inf if (one == other).all() else si_snr(one, other).value
            for one, other in zip(ours, theirs, strict=True)
        ]


def _evaluations(reference: GridSolver, saved: float) -> int:
    """Most evaluations that save at least a fraction; a fitted solver makes at most one for each step."""
    if not 0 <= saved < 1:
        raise InputError(f"saved = {saved!r} is no fraction from 0, below 1; give one such as 0.5.")
    affordable = math.floor(reference.nfe * (1 - saved) + 1e-9)  # 16 evaluations less a saved 0.9375 are one
    if affordable < 1:
        raise InputError(
            f"Saving {saved:.1%} of the {reference.nfe} evaluations of {reference.name} leaves none; save at most "
            f"{1 - 1 / reference.nfe:.4f}."
        )
    return min(affordable, reference.n_steps)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _toml(value: Any) -> str:
    """Text, numbers, and arrays of them, as TOML; rows of arrays on lines of their own."""
    if isinstance(value, tuple):
        rows = [_toml(one) for one in value]
        nested = bool(value) and isinstance(value[0], tuple | str)
        return "[\n" + "".join(f"  {row},\n" for row in rows) + "]" if nested else f"[{', '.join(rows)}]"
    return json.dumps(value, ensure_ascii=False)
