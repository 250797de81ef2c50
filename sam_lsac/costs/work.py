"""What of each layer runs in each evaluation of a solve, under edits: the bookkeeping below every count.

Every edit says itself what it makes of a layer's work (`Edit.work`). Where several meet at one module the later one is
around the earlier one, as in `attach`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sam_lsac.interventions import Edit, first_acting_step
from sam_lsac.interventions.edit import Clock
from sam_lsac.interventions.work import LayerWork
from sam_lsac.solver import Solver

__all__ = ["planned_work"]

_PASSED_BY = LayerWork(runs=False, matrix=False, cross_attention="none")


def planned_work(edits: Sequence[Edit], n_layers: int, solver: Solver) -> list[list[LayerWork]]:
    """For every evaluation of a solve, in order, the work of every layer.

    Parameters
    ----------
    edits
        As given to `attach`.
    n_layers
        Of the model.
    solver
        Its steps, and its evaluations a step.

    Raises
    ------
    EditError
        If an edit does not fit the layers or the steps, or does not say what it saves.
    """
    first_acting_step(edits)  # refuses what is no edit
    clock = Clock(nfe=solver.nfe, evaluations_per_step=solver.evaluations_per_step)
    outline = _outline(n_layers)
    for edit in edits:
        edit.sites(outline)  # refuses layers that do not exist
        edit.begin(clock)  # refuses schedules that do not fit the steps
    work = []
    for evaluation in range(solver.nfe):
        clock.completed = evaluation
        work.append([_layer_work(edits, (layer, n_layers), clock) for layer in range(n_layers)])
    return work


def _outline(n_layers: int) -> nn.Module:
    """A network that has layers and nothing in them: all that edits ask for on paper."""
    model = nn.Module()
    model.transformer = nn.Module()
    model.transformer.layers = nn.ModuleList(nn.Module() for _ in range(n_layers))
    return model


def _layer_work(edits: Sequence[Edit], place: tuple[int, int], clock: Clock) -> LayerWork:
    """Fold the edits around a layer; within one that is passed by, no edit acts, in whatever order they are listed."""
    layer, n_layers = place
    work = LayerWork()
    for edit in edits:
        work = edit.work(work, layer=layer, n_layers=n_layers, clock=clock)
        if not work.runs:
            return _PASSED_BY
    return work
