"""Caches of diffusers: MagCache, TaylorSeer and FirstBlockCache, through its `CacheMixin`.

References
----------
Ma et al. 2025, "MagCache: fast video generation with magnitude-aware cache", arXiv:2506.09045. Liu et al. 2025, "From
reusing to forecasting: accelerating diffusion models with TaylorSeers", arXiv:2503.06923. ParaAttention, "First block
cache", https://github.com/chengzeyi/ParaAttention.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from sam_lsac.caching.peers.facade import Block, Parts, Stack, layers_of, parts_between, stack_between
from sam_lsac.caching.peers.peer import Library, Peer, PeerState, quiet
from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import Clock

__all__ = ["FirstBlockCache", "MagCache", "MagRatios", "TaylorSeer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Diffusers(Peer):
    """A cache of diffusers, whose pipelines reset it when a call ends; a network alone has to do so itself."""

    distribution: ClassVar[str] = "diffusers"

    @abstractmethod
    def config(self, clock: Clock) -> Any:
        """The library's own configuration of it."""

    @contextmanager
    def enabled(self, model: nn.Module, clock: Clock) -> Iterator[Library]:
        """Enable it on a stack of the layers, or on their parts; disable it again."""
        with quiet("diffusers"):
            denoiser = self._denoiser(model)
            denoiser.enable_cache(self.config(clock))
        managers = _state_managers(denoiser)
        between = parts_between if isinstance(denoiser, Parts) else stack_between
        try:
            with between(model, denoiser):
                yield Library(
                    reset=denoiser._reset_stateful_cache,
                    kept=lambda: managers,
                    evaluation=lambda: denoiser.cache_context("cond"),
                )
        finally:
            denoiser.disable_cache()

    def _denoiser(self, model: nn.Module) -> Any:
        """The layers or their parts, as a network of diffusers."""
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
        from diffusers.models.cache_utils import CacheMixin

        if self.parts:
            return type("Denoiser", (CacheMixin, Parts), {})(layers_of(model), self.parts)
        TransformerBlockRegistry.register(Block, TransformerBlockMetadata(return_hidden_states_index=0))
        return type("Denoiser", (CacheMixin, Stack), {})(layers_of(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBlockCache(_Diffusers):
    """All blocks but the first are passed by where the first one's residual changed little.

    Parameters
    ----------
    threshold
        Relative change.
    """

    threshold: float = 0.05

    def config(self, clock: Clock) -> Any:
        """The library's own."""
        from diffusers.hooks.first_block_cache import FirstBlockCacheConfig

        return FirstBlockCacheConfig(threshold=self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class MagCache(_Diffusers):
    """All blocks are passed by while the magnitude of their residual, known from calibration, has changed little.

    Parameters
    ----------
    ratios
        Of `MagRatios`, on calibration mixtures.
    threshold
        Of the accumulated change.
    max_skip_steps
        Evaluations in a row that may be passed by.
    retention_ratio
        Share of the evaluations, at the beginning, that are whole.
    """

    ratios: tuple[float, ...]
    threshold: float = 0.06
    max_skip_steps: int = 3
    retention_ratio: float = 0.2

    @property
    def looks_across_batch(self) -> bool:
        """Ratios are fixed."""
        return False

    def begin(self, clock: Clock) -> PeerState:
        """Nothing ran yet; refuses ratios of another solve."""
        if len(self.ratios) != clock.nfe:
            raise EditError(
                f"MagCache has {len(self.ratios)} ratios, and the solve {clock.nfe} evaluations; calibrate with "
                "MagRatios on such a solve."
            )
        return PeerState()

    def config(self, clock: Clock) -> Any:
        """The library's own."""
        from diffusers.hooks.mag_cache import MagCacheConfig

        return MagCacheConfig(
            threshold=self.threshold,
            max_skip_steps=self.max_skip_steps,
            retention_ratio=self.retention_ratio,
            num_inference_steps=clock.nfe,
            mag_ratios=torch.tensor(self.ratios),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MagRatios(_Diffusers):
    """Calibrates `MagCache`: a whole solve, whose outcome is the tuple of ratios, one an evaluation.

    The mean is over frames and over the examples of the batch, as the library takes it.
    """

    def config(self, clock: Clock) -> Any:
        """The library's own; one step more than there is, since it throws the ratios away after the last."""
        from diffusers.hooks.mag_cache import MagCacheConfig

        return MagCacheConfig(calibrate=True, num_inference_steps=clock.nfe + 1)

    def finish(self, state: PeerState) -> Any:
        """The ratios."""
        if state.library is None:
            raise EditError("MagRatios was not attached.")
        managers: Any = state.library.kept()
        (found,) = managers[0]._state_cache.values()
        return tuple(float(ratio) for ratio in found.calibration_ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaylorSeer(_Diffusers):
    """The output of every self-attention is predicted from the evaluations in which it ran.

    The library's own patterns find nothing in this network, without a word; the parts are named here.

    Parameters
    ----------
    cache_interval
        Of the evaluations in which it runs.
    disable_cache_before_step, disable_cache_after_step
        Before and from which evaluation, from 0, it always runs; None for never from.
    max_order
        Of the prediction.
    factors_dtype
        In which the derivatives are kept: "bfloat16" or "float32".
    """

    cache_interval: int = 5
    disable_cache_before_step: int = 3
    disable_cache_after_step: int | None = None
    max_order: int = 1
    factors_dtype: str = "bfloat16"

    parts: ClassVar[tuple[str, ...]] = ("attention",)

    def __post_init__(self) -> None:
        if self.factors_dtype not in ("bfloat16", "float32"):
            raise EditError(f'factors_dtype is "bfloat16" or "float32", not {self.factors_dtype!r}.')

    @property
    def looks_across_batch(self) -> bool:
        """Its steps are fixed."""
        return False

    def config(self, clock: Clock) -> Any:
        """The library's own."""
        from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

        return TaylorSeerCacheConfig(
            cache_interval=self.cache_interval,
            disable_cache_before_step=self.disable_cache_before_step,
            disable_cache_after_step=self.disable_cache_after_step,
            max_order=self.max_order,
            taylor_factors_dtype=getattr(torch, self.factors_dtype),
            cache_identifiers=[rf"layers\.\d+\.{part}" for part in self.parts],
        )


def _state_managers(denoiser: nn.Module) -> list[Any]:
    """What holds the state of each hook below a network."""
    registries: list[Any] = [vars(module).get("_diffusers_hook") for module in denoiser.modules()]
    hooks = [hook for registry in registries if registry for hook in registry.hooks.values()]
    return [hook.state_manager for hook in hooks if hasattr(hook, "state_manager")]
