"""Mixtures that something is fitted to, as one batch: velocities, what a solve costs, how near outputs are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from sam_lsac.costs import FlopCount, count_flops
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.separate import decode
from sam_lsac.solver import Solver

__all__ = ["Examples"]


class Examples:
    """The calibration mixtures as one batch: encoded and evaluated in parts, seen as a whole."""

    def __init__(self, model: SAMAudio, mixtures: Sequence[Mixture], *, seeds: Sequence[int], batch_size: int) -> None:
        from sam_lsac.runs.compute import Batch  # its metrics' libraries take longer to import than PyTorch

        lengths = {mixture.at(model.sample_rate).target.size for mixture in mixtures}
        if len(lengths) != 1 or batch_size < 1:
            raise InputError(
                f"{len(mixtures)} mixtures of {len(lengths)} lengths, {batch_size} at once, cannot be fitted to; give "
                "at least one, and all of one length (load_mixtures(..., duration_s=2.0))."
            )
        self.model = model
        self.mixtures = tuple(mixtures)
        self.seeds = tuple(seeds)
        self._batch_size = batch_size
        self.batches = [
            Batch(
                model,
                mixtures[first : first + batch_size],
                self.seeds[first : first + batch_size],
            )
            for first in range(0, len(mixtures), batch_size)
        ]
        self.noise = torch.cat([batch.noise for batch in self.batches])  # [B, T, 2 C]
        with torch.inference_mode():
            self._velocities = [
                PreparedVelocity(model, batch.conditions(text=True, spans=False)) for batch in self.batches
            ]

    @property
    def n_batches(self) -> int:
        """Calls of the network for one evaluation of all."""
        return len(self.batches)

    def some(self, most: int) -> Examples:
        """At most so many of them, from the whole list alike, with their noise."""
        step = math.ceil(len(self.mixtures) / most)
        return Examples(self.model, self.mixtures[::step], seeds=self.seeds[::step], batch_size=self._batch_size)

    def flops(self, solver: Solver, edits: Sequence[Edit] = ()) -> FlopCount:
        """Of one solve of one of them, under a prompt of median length."""
        masks = [batch.conditions(text=True, spans=False).text_mask for batch in self.batches]
        tokens = statistics.median_low([int(n) for mask in masks if mask is not None for n in mask.sum(dim=1)])
        seconds = self.batches[0].mixtures[0].duration_s
        return count_flops(self.model, seconds=seconds, text_tokens=tokens, edits=edits, solver=solver)

    def velocity(self, time: float, x: Tensor) -> Tensor:
        """Of all mixtures, [B, T, 2 C]."""
        parts = torch.split(x, [len(batch.seeds) for batch in self.batches])
        return torch.cat([one(time, part) for one, part in zip(self._velocities, parts, strict=True)])

    def waves(self, latents: Tensor) -> Tensor:
        """The targets that latents decode to, cut to the mixtures' length, [B, N]."""
        n_samples = self.batches[0].mixtures[0].target.size
        return decode(self.model, latents, seeds=self.seeds)[0][:, :n_samples]

    def fidelity_db(self, latents: Tensor, reference: Tensor) -> list[float]:
        """Fidelity of each decoded target to the reference's; infinite where it is unbounded."""
        from sam_lsac.metrics import UNBOUNDED_SI_SNR, fidelity

        ours, theirs = (self.waves(one).double().cpu().numpy() for one in (latents, reference))
        scores = [fidelity(one, other) for one, other in zip(ours, theirs, strict=True)]
        return [math.inf if score.reason == UNBOUNDED_SI_SNR else score.value for score in scores]
