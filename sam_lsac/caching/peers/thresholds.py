"""TeaCache and EasyCache, which have no package: all layers are passed by while an estimate of their change is small.

Both add the residual of the layer stack in the last whole evaluation to the stack's input. They differ in what they
accumulate since then. Their codes look at other places of other networks; here the stack of layers is the network.

References
----------
Liu et al. 2024, "Timestep embedding tells: it's time to cache for video diffusion model" (TeaCache), arXiv:2411.19108.
Zhou et al. 2025, "Less is enough: training-free video diffusion acceleration via runtime-adaptive caching" (EasyCache),
arXiv:2507.02860.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, layer_sites
from sam_lsac.interventions.work import NetworkSizes

__all__ = ["EasyCache", "TeaCache"]

#: In place of a size of zero.
_TINY = 1e-30


@dataclass(slots=True, kw_only=True)
class _Changes:
    """One solve: the input of the stack in the evaluation before, and its input and output in the last whole ones.

    Each is [B, T, D]; ``settled`` is the whole evaluation before the last one, from when the last one has ended.
    """

    last: int
    before: Tensor | None = None
    entry: Tensor | None = None
    exit: Tensor | None = None
    settled: tuple[Tensor, Tensor] | None = None
    rate: float | None = None
    accumulated: float = 0.0
    skips: bool = False
    hits: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Threshold(Edit):
    """The layers are passed by as long as the change accumulated since they last ran is below a threshold.

    Parameters
    ----------
    threshold
        Of the accumulated relative change.
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise EditError(f"The threshold is a positive number, not {self.threshold!r}; 0.1 is a tenth of change.")

    @property
    def looks_across_batch(self) -> bool:
        """The change is a mean over all."""
        return True

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """All layers."""
        return layer_sites(model)

    def begin(self, clock: Clock) -> _Changes:
        """Nothing kept yet."""
        return _Changes(last=clock.nfe - 1)

    @abstractmethod
    def change(self, x: Tensor, state: _Changes) -> float:
        """Estimate the relative change since the evaluation before; infinite where nothing can be said."""

    def apply(self, call: Call, state: _Changes) -> Tensor:
        """Run a layer or pass by it; the first one decides, and adds the residual of them all."""
        first = call.site.layer == 0
        if first:
            self._decide(call.x, state, last=call.clock.completed == state.last)
        if state.skips:
            state.hits[call.site.path] = state.hits.get(call.site.path, 0) + 1
            return _with_residual(call.x, state) if first else call.x
        if first:
            state.entry = call.x
        state.exit = call.proceed()  # after the last layer, the stack's
        return state.exit

    def _decide(self, x: Tensor, state: _Changes, *, last: bool) -> None:
        """Whether the layers are passed by in the evaluation that begins; the first and the last are whole."""
        if not state.skips and state.entry is not None and state.exit is not None:
            _settle(state, state.entry, state.exit)
        state.stored_bytes = max(state.stored_bytes, _bytes(state))
        state.accumulated += self.change(x, state)
        state.skips = not last and state.accumulated < self.threshold
        if not state.skips:
            state.accumulated = 0.0
        state.before = x

    def kept_values(self, sizes: NetworkSizes) -> int:
        """T x D thrice: the stack's input in the evaluation before, and its input and output in the last whole one."""
        return 3 * sizes.n_frames * sizes.width

    def finish(self, state: _Changes) -> CacheReport:
        """Hits and bytes."""
        if not state.hits:
            raise CacheError(f"{self} reused nothing: the changes stay above the threshold; give a larger one.")
        return CacheReport(hits=state.hits, stored_bytes=state.stored_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeaCache(_Threshold):
    """Accumulates the relative change of the stack's input, through a polynomial that was fitted to its output's.

    Parameters
    ----------
    coefficients
        Of the polynomial, the constant first.
    """

    coefficients: tuple[float, ...] = (0.0, 1.0)

    def change(self, x: Tensor, state: _Changes) -> float:
        """The polynomial's value, at least 0."""
        if state.before is None:
            return math.inf
        change = _distance(x, state.before) / _size(state.before)
        return max(0.0, sum(factor * change**power for power, factor in enumerate(self.coefficients)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EasyCache(_Threshold):
    """Accumulates the change of the stack's output that its input's lets expect, at the rate of the last whole pair."""

    def change(self, x: Tensor, state: _Changes) -> float:
        """The rate times the input's change, relative to the output; nothing is known before two whole evaluations."""
        if state.before is None or state.exit is None or state.rate is None:
            return math.inf
        return state.rate * _distance(x, state.before) / _size(state.exit)


def _settle(state: _Changes, entry: Tensor, output: Tensor) -> None:
    """Take the rate of a whole evaluation and the one before it."""
    if state.settled is not None and state.settled[0] is not entry:
        old_entry, old_output = state.settled
        state.rate = _distance(output, old_output) / max(_distance(entry, old_entry), _TINY)
    state.settled = (entry, output)


def _with_residual(x: Tensor, state: _Changes) -> Tensor:
    if state.entry is None or state.exit is None or state.entry.shape != x.shape:
        raise CacheError("A cache of the whole stack needs one batch and length over one solve, from step 1 on.")
    return x + (state.exit - state.entry)


def _distance(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        raise CacheError("A cache of the whole stack needs one batch and length over one solve.")
    return float((one - other).abs().mean())


def _size(one: Tensor) -> float:
    return max(float(one.abs().mean()), _TINY)


def _bytes(state: _Changes) -> int:
    kept = (state.before, state.entry, state.exit, *(state.settled or ()))
    return sum(one.numel() * one.element_size() for one in {id(one): one for one in kept if one is not None}.values())
