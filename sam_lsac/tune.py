"""Schedules to a budget: a solve with fewer evaluations, fitted on calibration mixtures.

``tune`` fits; ``sam_lsac.schedule`` writes, reads, and refuses what was fitted to another checkpoint. The weights are a
solver like any other (``sam_lsac.solver.Fitted``); on Meta's class, ``sam_lsac.caching.WrappedSolve`` makes torchdiffeq
do the same solve. Beside the solver that the budget allows, one with more evaluations is fitted that leaves branches of
its layers out (``sam_lsac.branch_search``); whichever is nearer to the reference is the schedule. Weights are fitted
step by step; those of the solver whose evaluations are whole are then moved together, towards the waves that the
reference ends in (``sam_lsac.solver.refining``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sam_lsac.branch_search import PARTS, BranchBench, choose, effects, fit_without
from sam_lsac.calibration_set import Examples
from sam_lsac.errors import InputError, ModelError
from sam_lsac.interventions import Edit
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.schedule import Expected, Found, Provenance, Rival
from sam_lsac.solver import Euler
from sam_lsac.solver.base import GridSolver, Velocity
from sam_lsac.solver.fitting import Fit, Fitter
from sam_lsac.solver.refining import refine

__all__ = ["Search", "tune"]

#: Mixtures on which the effect of each branch is measured, at most; it takes an evaluation for each branch and step.
FEW = 3


def tune(
    model: SAMAudio,
    mixtures: Sequence[Mixture],
    *,
    saved: float = 0.5,
    reference: GridSolver | None = None,
    seed: int = 0,
    most_fits: int = 24,
    more: int = 1,
    batch_size: int = 8,
    progress: Callable[[Fit | None], object] | None = None,
) -> Found:
    """Fit a solve that saves a part of the FLOPs and stays as near as it can to the full one.

    Parameters
    ----------
    model
        Not edited when this returns.
    mixtures
        For calibration, at any rate, of one length; none that a claim is judged on. Nine do.
    saved
        Fraction of the reference's FLOPs to save at least.
    reference
        What is to be reproduced; 16 Euler steps where None.
    seed
        Of the first mixture's noise; the next ones have the next seeds.
    most_fits
        Choices of places to evaluate at that are tried, for each number of evaluations; each takes about a solve of all
        mixtures.
    more
        Solvers with up to so many evaluations more are tried, which leave branches of layers out to come to the same
        cost; 0 for none.
    batch_size
        Mixtures at once.
    progress
        Called with each of the fits, and with None after each evaluation whose branches were tried or that moved
        weights.

    Raises
    ------
    InputError
        If there are no mixtures, they differ in length, ``saved`` leaves no evaluation, or an option is not possible.
    ModelError
        If the model is not sam_lsac's own class.
    """
    if not isinstance(model, SAMAudio):
        raise ModelError(f"tune(...) takes a model of load_model(...), not a {type(model).__name__}.")
    if more < 0:
        raise InputError(f"more = {more}: give the number of further evaluations to try, or 0.")
    reference = Euler(16) if reference is None else reference
    n_evaluations = _evaluations(reference, saved)
    seeds = tuple(range(seed, seed + len(mixtures)))
    told = progress or (lambda _: None)
    search = Search(Examples(model, mixtures, seeds=seeds, batch_size=batch_size), reference, progress=told)
    with torch.inference_mode():
        plain = search.plain(n_evaluations, most_fits=most_fits)
        most = min(n_evaluations + more, len(reference.evaluation_points))
        cached = [
            found
            for n in range(n_evaluations + 1, most + 1)
            if (found := search.cached(n, saved=saved, most_fits=most_fits)) is not None
        ]
    ranked = sorted([plain, *cached], key=lambda one: one.expected.error)
    rivals = [one for one in ranked if bool(one.edits) != bool(ranked[0].edits)]
    rival = rivals[0] if rivals else None
    return replace(
        ranked[0],
        provenance=replace(plain.provenance, n_fits=search.n_fits),
        rival=None
        if rival is None
        else Rival(evaluations=rival.solver.nfe, cached=bool(rival.edits), expected=rival.expected),
    )


class Search:
    """Fits to one reference on some examples; the reference is solved once."""

    def __init__(self, examples: Examples, reference: GridSolver, *, progress: Callable[[Fit | None], object]) -> None:
        self._examples = examples
        self._reference = reference
        self._progress = progress
        self._slopes: list[Tensor] = []
        with torch.inference_mode():
            self._fitter = Fitter(reference, self._recorded, examples.noise)
        self._n_cached = 0

    @property
    def n_fits(self) -> int:
        """Solvers that were fitted so far."""
        return self._fitter.n_fits + self._n_cached

    def plain(self, n_evaluations: int, *, most_fits: int) -> Found:
        """The best solver of so many evaluations, each of them whole."""
        examples, fitter = self._examples, self._fitter
        fit = fitter.search(n_evaluations, most_fits=most_fits, progress=self._progress)
        refined = refine(
            fit.solver,
            examples.velocity,
            examples.noise,
            fitter.final,
            output=examples.waves,
            progress=lambda: self._progress(None),
        )
        return self._found(fitter.measured(refined.solver, refined.state))

    def cached(self, n_evaluations: int, *, saved: float, most_fits: int) -> Found | None:
        """The best fit step by step, with branches left out until a part of the FLOPs is saved; None if too much."""
        examples, reference = self._examples, self._reference
        whole = self._fitter.search(n_evaluations, most_fits=most_fits, progress=self._progress).solver
        flops = examples.flops(reference)
        one = flops * (1 / reference.nfe)
        n_layers = examples.model.config.transformer.n_layers
        costs = {part: getattr(one, {"attention": "self_attention"}.get(part, part)) / n_layers for part in PARTS}
        excess = n_evaluations * one.total - (1 - saved) * flops.total
        few = examples.some(FEW)
        index = [examples.seeds.index(seed) for seed in few.seeds]
        final, moves = effects(
            BranchBench(examples.model, few.velocity, n_batches=few.n_batches),
            whole,
            few.noise,
            progress=lambda: self._progress(None),
        )
        goal = self._fitter.final[index]
        scale = goal.double().flatten(1).norm(dim=1).reciprocal()
        left_out = choose(moves, final - goal, scale, costs=costs, saved=excess)
        if sum(costs[branch.part] for branch in left_out) < excess:
            return None
        fit, edits = fit_without(
            BranchBench(examples.model, examples.velocity, n_batches=examples.n_batches),
            left_out,
            nodes=whole.nodes,
            fitter=self._replayed,
        )
        self._n_cached += 1
        self._progress(fit)
        return self._found(fit, edits)

    def _recorded(self, time: float, x: Tensor) -> Tensor:
        velocity = self._examples.velocity(time, x)
        if len(self._slopes) < self._reference.nfe:
            self._slopes.append(velocity)
        return velocity

    def _replayed(self, velocity: Velocity) -> Fitter:
        """A fitter with another velocity, and the reference as it was."""
        slopes = iter(self._slopes)

        def either(time: float, x: Tensor) -> Tensor:
            known = next(slopes, None)
            return velocity(time, x) if known is None else known

        return Fitter(self._reference, either, self._examples.noise)

    def _found(self, fit: Fit, edits: tuple[Edit, ...] = ()) -> Found:
        examples = self._examples
        fidelity_db = examples.fidelity_db(fit.state, self._fitter.final)
        flops = examples.flops(fit.solver, edits).total, examples.flops(self._reference).total
        weight = examples.model.proj.weight
        return Found(
            solver=fit.solver,
            edits=edits,
            expected=Expected(
                error=fit.error,
                worst_error=float(fit.errors.max()),
                fidelity_db=_finite(statistics.median(fidelity_db)),
                worst_fidelity_db=_finite(min(fidelity_db)),
                flops_saved=1 - flops[0] / flops[1],
            ),
            provenance=Provenance(
                checkpoint=checkpoint_digest(examples.model),
                model=str(examples.model.name),
                dtype=str(weight.dtype).removeprefix("torch."),
                device=weight.device.type,
                mixtures=tuple(mixture.digest for mixture in examples.mixtures),
                seeds=examples.seeds,
                n_fits=self.n_fits,
            ),
        )


def _evaluations(reference: GridSolver, saved: float) -> int:
    """Most evaluations that save at least a fraction; a fitted solver makes at most one at each of the times."""
    if not 0 <= saved < 1:
        raise InputError(f"saved = {saved!r} is no fraction from 0, below 1; give one such as 0.5.")
    affordable = math.floor(reference.nfe * (1 - saved) + 1e-9)  # 16 evaluations less a saved 0.9375 are one
    if affordable < 1:
        raise InputError(
            f"Saving {saved:.1%} of the {reference.nfe} evaluations of {reference.name} leaves none; save at most "
            f"{1 - 1 / reference.nfe:.4f}."
        )
    return min(affordable, len(reference.evaluation_points))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
