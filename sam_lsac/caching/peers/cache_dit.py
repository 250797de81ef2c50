"""DBCache of cache-dit: whole evaluations but for a few blocks are passed by where the first blocks' change is small.

References
----------
cache-dit, https://github.com/vipshop/cache-dit; its calibrator follows Liu et al. 2025, "From reusing to forecasting:
accelerating diffusion models with TaylorSeers", arXiv:2503.06923.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from sam_lsac.caching.peers.facade import Stack, layers_of, stack_between
from sam_lsac.caching.peers.peer import Library, Peer, PeerState, quiet
from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import Clock

__all__ = ["DBCache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DBCache(Peer):
    """cache-dit's DBCache, with its names and defaults but for what it writes ``Fn`` and ``Bn``.

    Its documented use gives the number of evaluations and lets the cache begin anew by itself; in version 1.5.3 it does
    so one evaluation late, so that a solve begins with what was kept of the solve before. With ``reset`` the context is
    refreshed between solves.

    Parameters
    ----------
    first_blocks, last_blocks
        That run in every evaluation; the change that is judged is that of the first.
    residual_diff_threshold
        Relative change below which the blocks between are passed by.
    max_warmup_steps
        Evaluations at the beginning that are whole.
    max_cached_steps, max_continuous_cached_steps
        Evaluations that are not whole, all together and in a row; -1 for any number.
    taylor_order
        Of the TaylorSeer calibrator, which predicts what is passed by; None to hold it.
    steps_computation_mask
        1 for a whole evaluation and 0 for one that is not, in place of the threshold; one for each evaluation.
    """

    first_blocks: int = 8
    last_blocks: int = 0
    residual_diff_threshold: float = 0.08
    max_warmup_steps: int = 8
    max_cached_steps: int = -1
    max_continuous_cached_steps: int = -1
    taylor_order: int | None = None
    steps_computation_mask: tuple[int, ...] | None = None

    distribution: ClassVar[str] = "cache-dit"

    @property
    def looks_across_batch(self) -> bool:
        """Where it goes by a threshold."""
        return self.steps_computation_mask is None

    def begin(self, clock: Clock) -> PeerState:
        """Nothing ran yet; refuses a mask of another length."""
        mask = self.steps_computation_mask
        if mask is not None and (len(mask) != clock.nfe or not set(mask) <= {0, 1}):
            raise EditError(
                f"steps_computation_mask has {len(mask)} entries, and the solve {clock.nfe} evaluations; give a 1 or a "
                "0 for each."
            )
        return PeerState()

    @contextmanager
    def enabled(self, model: nn.Module, clock: Clock) -> Iterator[Library]:
        """Enable it on a stack of the layers; disable it again."""
        stack = Stack(layers_of(model))
        if self.first_blocks + self.last_blocks >= len(stack.layers):
            raise EditError(
                f"DBCache always runs {self.first_blocks} first and {self.last_blocks} last blocks; the network has "
                f"{len(stack.layers)}; give fewer, such as first_blocks=1."
            )
        with quiet("CACHE_DIT"):
            import cache_dit

            adapter = cache_dit.BlockAdapter(
                transformer=stack,
                blocks=stack.layers,
                forward_pattern=cache_dit.ForwardPattern.Pattern_3,
                check_forward_pattern=False,
            )
            adapter = cache_dit.enable_cache(adapter, **self._configs(clock))
        manager: Any = stack._context_manager

        def refresh() -> None:
            with quiet("CACHE_DIT"):
                cache_dit.refresh_context(stack)

        try:
            with stack_between(model, stack):
                yield Library(reset=refresh, kept=lambda: manager)
        finally:
            with quiet("CACHE_DIT"):
                cache_dit.disable_cache(adapter)

    def _configs(self, clock: Clock) -> dict[str, Any]:
        import cache_dit

        mask = (
            {}
            if self.steps_computation_mask is None
            else {
                "steps_computation_mask": list(self.steps_computation_mask),
                "steps_computation_policy": "static",
            }
        )
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=self.first_blocks,
            Bn_compute_blocks=self.last_blocks,
            residual_diff_threshold=self.residual_diff_threshold,
            max_warmup_steps=self.max_warmup_steps,
            max_cached_steps=self.max_cached_steps,
            max_continuous_cached_steps=self.max_continuous_cached_steps,
            num_inference_steps=clock.nfe,
            enable_separate_cfg=False,
            **mask,
        )
        if self.taylor_order is None:
            return {"cache_config": config}
        calibrator = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=self.taylor_order)
        return {"cache_config": config, "calibrator_config": calibrator}
