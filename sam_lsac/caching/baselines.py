"""What LSAC is compared with. Naive truncation needs no code: it is the same solver with fewer steps, ``Euler(12)``.

References
----------
Ma, Fang and Wang 2024, "DeepCache: accelerating diffusion models for free", carried over from U-Nets to transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, count_layers, layer_sites
from sam_lsac.interventions.work import LayerWork, NetworkSizes

__all__ = ["DeepCache"]


@dataclass(slots=True)
class _DeepCacheState:
    """What enters the middle layers in the last full step and what leaves them, [B, T, D] each, and the difference."""

    entry: Tensor | None = None
    exit: Tensor | None = None
    residual: Tensor | None = None
    hits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepCache(Edit):
    """At every ``interval``-th step all layers run; between them only the first and the last do ("Skip-k").

    Full steps are 1, 1 + k, 1 + 2k, ... In a step between, the middle layers add what they added in the last evaluation
    of the full step before it.

    Parameters
    ----------
    interval
        k from 1; with 1 every step is full, which changes nothing.

    Raises
    ------
    EditError
        If ``interval`` is malformed; when attached, if the model has no middle layers or the solve has a single step.
    CacheError
        On leaving, if nothing was reused.
    """

    interval: int = 2

    def __post_init__(self) -> None:
        if isinstance(self.interval, bool) or not isinstance(self.interval, int) or self.interval < 1:
            raise EditError(f"The interval is a whole number from 1, not {self.interval!r}; 2 skips every other step.")

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The middle layers."""
        total = count_layers(model)
        if total < 3:
            raise EditError(
                f"DeepCache skips the layers between the first and the last; a model of {total} layers has none."
            )
        return layer_sites(model, layers=range(1, total - 1))

    def begin(self, clock: Clock) -> _DeepCacheState:
        """Nothing kept yet."""
        if self.interval > 1 and clock.n_steps == 1:
            raise EditError("DeepCache in a solve of one step skips nothing; use more steps, or leave it out.")
        return _DeepCacheState()

    def apply(self, call: Call, state: _DeepCacheState) -> Tensor:
        """Run a middle layer, or pass by it; the first one passed by adds the residual of them all."""
        if self._skips(call.clock):
            state.hits[call.site.path] = state.hits.get(call.site.path, 0) + 1
            return call.x + self._residual(state, call.x) if call.site.layer == 1 else call.x
        output = call.proceed()
        if call.clock.ends_step and self.interval > 1:
            if call.site.layer == 1:
                state.entry, state.residual = call.x, None
            state.exit = output
        return output

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """Nothing of a middle layer between full steps."""
        return LayerWork(runs=False) if self._skips(clock) and 0 < layer < n_layers - 1 else inner

    def kept_values(self, sizes: NetworkSizes) -> int:
        """One residual T x D."""
        return sizes.n_frames * sizes.width if self.interval > 1 else 0

    def _skips(self, clock: Clock) -> bool:
        return (clock.step - 1) % self.interval != 0

    def _residual(self, state: _DeepCacheState, x: Tensor) -> Tensor:
        if state.residual is None:
            if state.entry is None or state.exit is None:
                raise CacheError("DeepCache has no full step to reuse; start the solve at step 1.")
            state.residual, state.entry, state.exit = state.exit - state.entry, None, None
        if state.residual.shape != x.shape:
            raise CacheError(
                f"DeepCache kept a residual of {list(state.residual.shape)}, and this call has {list(x.shape)}; "
                "keep batch and length the same over one solve."
            )
        return state.residual

    def finish(self, state: _DeepCacheState) -> CacheReport:
        """Hits and bytes."""
        if self.interval > 1 and not state.hits:
            raise CacheError(
                "DeepCache reused nothing: the solve ended after its first step. Run the whole solve inside the block."
            )
        kept = state.residual
        return CacheReport(hits=state.hits, stored_bytes=0 if kept is None else kept.numel() * kept.element_size())
