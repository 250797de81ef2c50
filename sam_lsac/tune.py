"""Schedules to a budget: a solve with fewer evaluations, fitted on calibration mixtures.

``tune`` fits; ``sam_lsac.schedule`` writes, reads, and refuses what was fitted to another checkpoint. The weights are a
solver like any other (``sam_lsac.solver.Fitted``); on Meta's class, ``sam_lsac.caching.WrappedSolve`` makes torchdiffeq
do the same solve.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sam_lsac.errors import InputError, ModelError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.schedule import Expected, Found, Provenance
from sam_lsac.separate import decode
from sam_lsac.solver import Euler
from sam_lsac.solver.base import GridSolver
from sam_lsac.solver.fitting import Fit, Fitter

__all__ = ["tune"]


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
        provenance=Provenance(
            checkpoint=checkpoint_digest(model),
            model=str(model.name),
            dtype=str(weight.dtype).removeprefix("torch."),
            device=weight.device.type,
            mixtures=tuple(mixture.digest for mixture in mixtures),
            seeds=examples.seeds,
            n_fits=fitter.n_fits,
        ),
    )


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
                mixtures[first : first + batch_size],
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
        """Fidelity of each decoded target to the reference's; infinite where it is unbounded."""
        from sam_lsac.metrics import UNBOUNDED_SI_SNR, fidelity

        n_samples = self._batches[0].mixtures[0].target.size
        ours, theirs = (
            decode(self._model, one, seeds=self.seeds)[0][:, :n_samples].double().cpu().numpy()
            for one in (latents, reference)
        )
        scores = [fidelity(one, other) for one, other in zip(ours, theirs, strict=True)]
        return [math.inf if score.reason == UNBOUNDED_SI_SNR else score.value for score in scores]


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
