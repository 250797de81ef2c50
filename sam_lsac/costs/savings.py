"""What an arm of a comparison costs, on the paper's axis and in FLOPs, and how much caching can save at most.

A cached layer-step saves W_q, W_k, Q K^T and the softmax: half of that layer's self-attention. On SAM-Audio-Small and
10 s of audio that is 15.1 % of the layer, or 14.4 % of an evaluation if all layers are cached: at most 1.17x faster
(1.22x on 60 s). LSAC-Balanced saves 27.1 % of the layer-steps, so 13.5 % of self-attention and 3.9 % of all FLOPs; the
run of 12 steps that the paper holds against it saves 25 % of everything.

References
----------
Paper, sections 2.4 and 4.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sam_lsac.costs.flops import PAPER_STEPS, count_flops
from sam_lsac.costs.sizes import Countable, sizes_of
from sam_lsac.costs.work import planned_work
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit, FreezeSelfAttention
from sam_lsac.solver import Euler, Solver

__all__ = ["ArmCost", "arm_cost", "speed_limit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCost:
    """What an arm computes, against a baseline.

    Parameters
    ----------
    arm
        Its name.
    layer_steps_saved
        The paper's axis: the fraction of the baseline's (layer, evaluation) pairs whose attention matrix is not
        computed; negative where the arm computes more of them.
    flops_total
        FLOPs of one solve.
    flops_saved
        Fraction of the baseline's total FLOPs; negative where the arm costs more.
    self_attention_flops_saved
        Fraction of the baseline's self-attention FLOPs; None where it was not counted.

    Raises
    ------
    InputError
        If a fraction is above 1 or not finite, or the total is not positive.
    """

    arm: str
    layer_steps_saved: float
    flops_total: float
    flops_saved: float
    self_attention_flops_saved: float | None = None

    def __post_init__(self) -> None:
        shares = (self.layer_steps_saved, self.flops_saved, self.self_attention_flops_saved or 0.0)
        if not all(math.isfinite(share) and share <= 1.0 for share in shares) or not 0.0 < self.flops_total < math.inf:
            raise InputError(f"cost of {self.arm!r}: savings are fractions up to 1 (0.25 is 25 %), FLOPs are positive")


def arm_cost(
    arm: str,
    model: Countable,
    solver: Solver,
    *,
    edits: Sequence[Edit] = (),
    baseline_solver: Solver | None = None,
    seconds: float = 10.0,
    text_tokens: int = 4,
) -> ArmCost:
    """Cost of one solve of an arm, against the plain solve of the baseline.

    Parameters
    ----------
    arm
        Its name.
    model
        A model, its configuration, or the name of a released size.
    solver, edits
        Of the arm.
    baseline_solver
        ``Euler(16)`` where None.
    seconds
        Duration of the audio.
    text_tokens
        Tokens of the prompt, in both; 0 for no text.

    Raises
    ------
    ModelError, InputError, EditError
        As `count_flops` does.
    """
    baseline_solver = Euler(PAPER_STEPS) if baseline_solver is None else baseline_solver
    n_layers = sizes_of(model).transformer.n_layers
    cost = count_flops(model, seconds=seconds, text_tokens=text_tokens, edits=edits, solver=solver)
    baseline = count_flops(model, seconds=seconds, text_tokens=text_tokens, solver=baseline_solver)
    matrices = sum(layer.matrix for evaluation in planned_work(edits, n_layers, solver) for layer in evaluation)
    return ArmCost(
        arm=arm,
        layer_steps_saved=1 - matrices / (n_layers * baseline_solver.nfe),
        flops_total=cost.total,
        flops_saved=1 - cost.total / baseline.total,
        self_attention_flops_saved=1 - cost.self_attention / baseline.self_attention,
    )


def speed_limit(model: Countable, *, seconds: float = 10.0, text_tokens: int = 4) -> float:
    """How many times fewer FLOPs an evaluation takes in which every layer's attention matrix is cached.

    No schedule of cached matrices can make the network faster than this, in time that is proportional to FLOPs.

    Parameters
    ----------
    model
        A model, its configuration, or the name of a released size.
    seconds
        Duration of the audio.
    text_tokens
        Tokens of the prompt.

    Raises
    ------
    ModelError, InputError
        As `count_flops` does.
    """
    layers = tuple(range(sizes_of(model).transformer.n_layers))
    two_steps = Euler(2)
    plain = count_flops(model, seconds=seconds, text_tokens=text_tokens)
    cached = [FreezeSelfAttention(layers=layers, step=1)]
    both = count_flops(model, seconds=seconds, text_tokens=text_tokens, edits=cached, solver=two_steps)
    return plain.total / (both.total - plain.total)
