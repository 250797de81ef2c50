"""Peers that need figures of the checkpoint: the ratios of MagCache and the schedule of SmoothCache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sam_lsac.caching.peers.diffusers import MagCache, MagRatios
from sam_lsac.caching.peers.smooth import BranchChanges, SmoothCache, smooth_schedule
from sam_lsac.errors import InputError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs.compute import Batch
from sam_lsac.separate import solve_batch
from sam_lsac.solver import Solver

__all__ = ["calibrated_peers"]


def calibrated_peers(
    model: SAMAudio, mixtures: Sequence[Mixture], solver: Solver, *, threshold: float = 0.1, seed: int = 0
) -> tuple[MagCache, SmoothCache]:
    """Calibrate on whole solves, one mixture at a time.

    Parameters
    ----------
    model
        Whose figures they are.
    mixtures
        For calibration; none that a claim is judged on.
    solver
        Of the arms that will use them.
    threshold
        Of SmoothCache: mean relative change below which a branch is held.
    seed
        Of the noise.

    Returns
    -------
    tuple of MagCache and SmoothCache
        With the library's other defaults.

    Raises
    ------
    InputError
        If there are no mixtures.
    EditError
        If diffusers is not there.
    """
    if not mixtures:
        raise InputError("Calibration needs at least one mixture; load_mixtures(..., subset='calibration') has some.")
    ratios, changes = [], []
    for mixture in mixtures:
        batch = Batch(model, [mixture], [seed])
        found: list[Any] = []
        solve_batch(
            model,
            batch.conditions(text=True, spans=False),
            batch.noise,
            solver=solver,
            edits=[MagRatios(), BranchChanges(longest=solver.nfe)],
            on_leave=lambda left, found=found: found.extend(left.outcomes),  # type: ignore[misc]
        )
        ratios.append(found[0])
        changes.append(found[1])
    means = tuple(round(sum(column) / len(column), 6) for column in zip(*ratios, strict=True))
    n_layers = model.config.transformer.n_layers
    return MagCache(ratios=means), smooth_schedule(changes, n_layers=n_layers, nfe=solver.nfe, threshold=threshold)
