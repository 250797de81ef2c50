"""Branches of layers that do not run at named steps: held, predicted over unequal steps, or summed by fitted weights.

A branch is what a part of a layer adds, or its attention matrix. Which part, in which layers, at which steps, and how
it is told from the evaluations before: that is all of caching at given steps, and several such edits make one schedule.
What decides by itself when to skip (`sam_lsac.caching.peers`) is another matter.

References
----------
Ma, Fang and Wang 2024 (DeepCache) and Selvaraju et al. 2024 (FORA), arXiv 2407.01425, hold branches; Liu et al. 2025
(TaylorSeer), arXiv 2503.06923, predict them on a uniform grid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from torch import Tensor

from sam_lsac.caching.branch import PARTS, BranchEdit, Kept
from sam_lsac.errors import EditError
from sam_lsac.interventions.sites import checked_layers
from sam_lsac.records import unknown

__all__ = ["CacheBranch", "FittedBranch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBranch(BranchEdit):
    """A part of layers is held or predicted at some steps, from the last steps at which it ran.

    Of the ``part`` "layer" is meant all that a layer adds; ``n_steps`` may say for how many solver steps it was made.

    Parameters
    ----------
    steps
        At which it does not run, from 1.
    layers
        From 0; None for all.
    order
        0: as in the last step at which it ran. 1: on the line through the last two, at the time of this evaluation.

    Raises
    ------
    EditError
        If a field is malformed, or too few steps lie before one of ``steps``; when attached, if the solve has other or
        fewer steps.
    CacheError
        In the solve, if another edit skipped what is needed; on leaving, if a layer was never skipped.
    """

    steps: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    order: int = 0

    def __post_init__(self) -> None:
        _check_part(self.part)
        object.__setattr__(self, "steps", _checked_steps(self.steps))
        if self.layers is not None:
            object.__setattr__(self, "layers", checked_layers(self.layers))
        if self.order not in (0, 1) or isinstance(self.order, bool):
            raise EditError(f"order = {self.order!r}; 0 holds what was, 1 predicts on a line.")
        _check_sources(self)

    @property
    def named_layers(self) -> tuple[int, ...] | None:
        """As they were given."""
        return self.layers

    def steps_of(self, layer: int) -> tuple[int, ...]:
        """The same in every layer."""
        return self.steps

    def depth(self, layer: int, step: int) -> int:
        """One evaluation, or two."""
        return self.order + 1 if step in self.steps else 0

    def told(self, kept: Sequence[Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
        """Hold the last value, or go on along the line through the last two."""
        last = kept[-1]
        if self.order == 0:
            return last.value
        ahead = (time - last.time) / (last.time - kept[-2].time)  # [B]; steps are unequal
        factor = ahead.to(last.value.dtype).reshape(-1, *[1] * (last.value.ndim - 1))
        return last.value + factor * (last.value - kept[-2].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBranch(BranchEdit):
    """A part of layers is, at some steps, a weighted sum of what it gave before; `sam_lsac.tune` fits the weights.

    ``part`` and ``n_steps`` are those of `CacheBranch`.

    Parameters
    ----------
    weights
        By layer from 0 and step from 1, weights of the last evaluations at which it ran, the newest first.

    Raises
    ------
    EditError
        If a field is malformed, or there are more weights than steps before; when attached, as `CacheBranch`.
    CacheError
        As of `CacheBranch`.
    """

    weights: Mapping[int, Mapping[int, tuple[float, ...]]] = field(hash=False)

    def __post_init__(self) -> None:
        _check_part(self.part)
        layers = checked_layers(self.weights)
        rows = {layer: _checked_steps(self.weights[layer]) for layer in layers}
        weights = {layer: {step: tuple(self.weights[layer][step]) for step in steps} for layer, steps in rows.items()}
        object.__setattr__(self, "weights", weights)
        if not all(row and all(map(isfinite, row)) for steps in weights.values() for row in steps.values()):
            raise EditError("A step needs finite weights, at least one; fit them anew.")
        _check_sources(self)

    @property
    def named_layers(self) -> tuple[int, ...]:
        """Those that have weights."""
        return tuple(self.weights)

    def steps_of(self, layer: int) -> tuple[int, ...]:
        """Those that have weights."""
        return tuple(self.weights.get(layer, ()))

    def depth(self, layer: int, step: int) -> int:
        """As many evaluations as there are weights."""
        return len(self.weights.get(layer, {}).get(step, ()))

    def told(self, kept: Sequence[Kept], *, layer: int, step: int, time: Tensor) -> Tensor:
        """Sum what was, weighted."""
        parts = zip(reversed(kept), self.weights[layer][step], strict=True)
        (first, *rest) = (one.value * weight for one, weight in parts)
        return sum(rest, start=first)


def _check_part(part: Any) -> None:
    if part not in PARTS:
        raise EditError(f"{unknown('part of a layer', part, PARTS)}.")


def _checked_steps(steps: Collection[int]) -> tuple[int, ...]:
    given = list(steps)
    if not given or any(isinstance(step, bool) or not isinstance(step, int) or step < 2 for step in given):
        raise EditError(f"Steps to skip are whole numbers from 2, at least one of them, not {given!r}.")
    if len(set(given)) != len(given):
        raise EditError(f"A step is named twice in {given!r}; name each once.")
    return tuple(sorted(given))


def _check_sources(edit: BranchEdit) -> None:
    """Every step that is skipped must have the evaluations before it that it is told from."""
    for layer in edit._layers:
        for step in edit.steps_of(layer):
            there, needed = len(edit.sources(layer, step)), edit.depth(layer, step)
            if there < needed:
                raise EditError(
                    f"At step {step} the {edit.part} of layer {layer} is told from {needed} evaluations, and has run at"
                    f" {there}; skip later steps, or take fewer."
                )
