"""What of each layer runs in each evaluation of a solve, under edits: the bookkeeping below every count.

Where several edits meet at one module the later one is around the earlier one, as in `attach`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sam_lsac.caching import CacheAttention, DeepCache
from sam_lsac.errors import EditError
from sam_lsac.interventions import (
    Edit,
    FreezeSelfAttention,
    HijackGate,
    Record,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    first_acting_step,
)
from sam_lsac.interventions.edit import Clock
from sam_lsac.solver import Solver

__all__ = ["LayerWork", "planned_work"]

#: Edits that let every matrix product of the network run.
_FREE = (HijackGate, ShuffleSpans, ZeroAdditive)

_CROSS = (ZeroCrossAttention, UniformCrossAttention)

CrossAttention = Literal["whole", "uniform", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """What one layer does in one evaluation.

    Parameters
    ----------
    runs
        False where the whole layer is passed by.
    matrix
        Whether it computes its self-attention matrix (W_q, W_k, Q K^T, softmax), or uses a kept one.
    cross_attention
        "whole", "uniform" (values of the tokens and one output row), or "none".
    probes
        Matrices that are computed beside it, to be measured.
    """

    runs: bool = True
    matrix: bool = True
    cross_attention: CrossAttention = "whole"
    probes: int = 0


_SKIPPED = LayerWork(runs=False, matrix=False, cross_attention="none")


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
        If an edit does not fit the layers or the steps, or is of a kind that cannot be counted on paper.
    """
    first_acting_step(edits)  # refuses what is no edit
    clock = Clock(nfe=solver.nfe, evaluations_per_step=solver.evaluations_per_step)
    for edit in edits:
        _check(edit, n_layers)
        edit.begin(clock)  # refuses schedules that do not fit the steps
    work = []
    for evaluation in range(solver.nfe):
        clock.completed = evaluation
        work.append([_layer_work(edits, (layer, n_layers), clock) for layer in range(n_layers)])
    return work


def _check(edit: Edit, n_layers: int) -> None:
    if not isinstance(edit, (*_FREE, CacheAttention, DeepCache, FreezeSelfAttention, Record, _CROSS)):
        raise EditError(
            f"What {type(edit).__name__} saves or adds is not known here; count it with counted_flops(...), "
            "which runs it."
        )
    if isinstance(edit, DeepCache) and n_layers < 3:
        raise EditError(f"DeepCache skips the layers between the first and the last; {n_layers} layers have none.")
    late = [layer for layer in _named_layers(edit) if layer >= n_layers]
    if late:
        raise EditError(f"Layer {late[0]} does not exist: this model has layers 0 to {n_layers - 1}.")


def _named_layers(edit: Edit) -> tuple[int, ...]:
    if isinstance(edit, CacheAttention | FreezeSelfAttention):
        return tuple(edit.freeze_steps)
    if isinstance(edit, Record):
        return (*(edit.layers or ()), *(layer for layer, _ in edit.maps))
    if isinstance(edit, _CROSS):
        return edit.layers or ()
    return ()


def _layer_work(edits: Sequence[Edit], place: tuple[int, int], clock: Clock) -> LayerWork:
    layer, n_layers = place
    between = [edit for edit in edits if isinstance(edit, DeepCache) and (clock.step - 1) % edit.interval]
    if between and 0 < layer < n_layers - 1:
        return _SKIPPED
    matrix, probes = _self_attention(edits, layer, clock)
    return LayerWork(matrix=matrix, probes=probes, cross_attention=_cross_attention(edits, layer))


def _self_attention(edits: Sequence[Edit], layer: int, clock: Clock) -> tuple[bool, int]:
    """Whether the matrix is computed, and how many beside it; from the outermost edit inwards."""
    probes = 0
    for edit in reversed(edits):
        if isinstance(edit, Record):
            probes += _looks(edit, layer, clock)
        elif isinstance(edit, CacheAttention | FreezeSelfAttention) and layer in edit.freeze_steps:
            if clock.step > edit.freeze_steps[layer]:
                return False, probes
            if clock.step == edit.freeze_steps[layer] and clock.ends_step:
                return True, probes
    return True, probes


def _looks(edit: Record, layer: int, clock: Clock) -> bool:
    if not clock.ends_step:
        return False
    reduced = (edit.layers is None or layer in edit.layers) and (edit.steps is None or clock.step in edit.steps)
    return reduced or (layer, clock.step) in edit.maps


def _cross_attention(edits: Sequence[Edit], layer: int) -> CrossAttention:
    for edit in reversed(edits):
        if isinstance(edit, _CROSS) and (edit.layers is None or layer in edit.layers):
            return "none" if isinstance(edit, ZeroCrossAttention) else "uniform"
    return "whole"
