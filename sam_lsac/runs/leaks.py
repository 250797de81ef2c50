"""Whether a cache carries state from one solve into the next: a property of an edit and a model, not of any score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam_lsac.errors import CacheError, InputError
from sam_lsac.interventions import attach
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.runs.arms import ResolvedArm
from sam_lsac.runs.compute import Batch
from sam_lsac.solver import SolverState

__all__ = ["Leak", "leaks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """How far solves with one attached cache are from what they should equal bit by bit.

    Parameters
    ----------
    repeated
        Largest difference of the latents of a mixture's second solve from its first, over the first's root mean square;
        0 where both have the same bits.
    carried
        The same of another mixture's solve after them, from its solve alone.
    """

    repeated: float
    carried: float


def leaks(model: SAMAudio, arm: ResolvedArm, mixtures: Sequence[Mixture], *, seed: int = 0) -> Leak:
    """Solve A, A and B with one attachment, and B with another, as far as the edits keep anything between solves.

    Edits of this library begin every solve anew. Those that bring in another library do as their fields say: its
    documented use, or the one that resets it.

    Parameters
    ----------
    model
        Runs them.
    arm
        With its edits.
    mixtures
        A and B, of one length.
    seed
        Of the noise of both.

    Raises
    ------
    InputError
        If there are not two mixtures, or they are alike, or differ in length.
    EditError
        If an edit does not fit.
    CacheError
        If a cache never hit in a solve that is alone.
    """
    if len(mixtures) != 2 or mixtures[0].digest == mixtures[1].digest:
        raise InputError("Whether state leaks is seen on two mixtures, each another one; give two.")
    first, second = (Batch(model, [mixture], [seed]) for mixture in mixtures)
    if first.noise.shape != second.noise.shape:
        raise InputError("Whether state leaks is seen on two mixtures of one length; cut the longer one.")
    (alone,) = _solves(model, arm, [second])
    try:
        once, again, after = _solves(model, arm, [first, first, second])
    except _ReusedNothingError as error:  # a cache that no longer reuses anything has carried that over
        once, again, after = error.outputs
    return Leak(repeated=_difference(again, once), carried=_difference(after, alone))


class _ReusedNothingError(Exception):
    """Carries the outputs of solves out of a block whose last solve had no hits."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__("reused nothing")
        self.outputs = outputs


def _solves(model: SAMAudio, arm: ResolvedArm, batches: Sequence[Batch]) -> list[Tensor]:
    """The latents of solves that follow each other with one attachment, [1, T, 2 C] each."""
    solver, outputs = arm.solver, list[Tensor]()
    counts = {"nfe": solver.nfe, "evaluations_per_step": solver.evaluations_per_step}
    try:
        with torch.inference_mode(), attach(model, arm.edits, **counts) as run:
            for batch in batches:
                if outputs:
                    run.again()
                velocity = PreparedVelocity(model, batch.conditions(text=arm.text, spans=arm.spans))
                outputs.append(solver.solve(velocity, SolverState(x=batch.noise)))
    except CacheError as error:
        if len(batches) > 1 and len(outputs) == len(batches):
            raise _ReusedNothingError(outputs) from error
        raise
    return outputs


def _difference(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other):
        return 0.0
    scale = math.sqrt(float(other.square().mean()))
    return float((one - other).abs().max()) / scale if scale else math.inf
