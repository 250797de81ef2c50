"""Which layers settle early: their attention entropy, measured on mixtures that no claim uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sam_lsac.errors import InputError
from sam_lsac.interventions import Attachment, Record
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs.compute import Batch
from sam_lsac.separate import solve_batch
from sam_lsac.solver import Euler, Solver

__all__ = ["measure_entropy"]


def measure_entropy(
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    *,
    solver: Solver | None = None,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Record the attention entropy of every layer at every step of a plain solve.

    Parameters
    ----------
    model
        Not edited otherwise.
    mixtures
        At any rate, of one length.
    solver
        16 Euler steps where None, as in the paper.
    seed
        Of the noise.
    batch_size
        Mixtures at once.
    progress
        Called with the number of mixtures that were just measured.

    Returns
    -------
    Tensor
        Mean entropy over heads and queries, in nats, [layers, steps, mixtures].

    Raises
    ------
    InputError
        If there are no mixtures.

    References
    ----------
    Paper, section 2.2.
    """
    if not mixtures:
        raise InputError("Calibration needs at least one mixture; give some that no claim uses.")
    solver = Euler(n_steps=16) if solver is None else solver
    found: list[Tensor] = []

    def keep(attachment: Attachment) -> None:
        (recording,) = attachment.outcomes
        found.append(recording.entropy)

    for first in range(0, len(mixtures), batch_size):
        chunk = mixtures[first : first + batch_size]
        batch = Batch(model, chunk, [seed] * len(chunk))
        conditions = batch.conditions(text=True, spans=False)
        solve_batch(model, conditions, batch.noise, solver=solver, edits=[Record(entropy=True)], on_leave=keep)
        if progress is not None:
            progress(len(chunk))
    return torch.cat(found, dim=2)
