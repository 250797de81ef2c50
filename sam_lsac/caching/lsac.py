"""Layer-Selective Attention Caching (LSAC): layers whose attention settles early keep their matrix early.

References
----------
Paper, section 2.4 and Eq. 5, whose thresholds are lost; those used here are in `LSAC`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from sam_lsac.caching.layers import LayerClasses, classify_layers, layer_classes
from sam_lsac.errors import EditError, InputError
from sam_lsac.interventions.attention import FrozenMatrices, MatrixCache, checked_freeze_steps
from sam_lsac.interventions.edit import Clock
from sam_lsac.interventions.sites import checked_layers
from sam_lsac.records import STRICT, unknown

__all__ = ["LEVELS", "LSAC", "CacheAttention", "LSACLevel"]

#: By level, the fraction of the steps after which (stable, moderate) layers keep their matrix; None is never.
LEVELS: dict[str, tuple[float, float | None]] = {
    "safe": (1 / 2, None),
    "balanced": (1 / 4, 3 / 4),
    "aggressive": (1 / 8, 1 / 2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAttention(MatrixCache):
    """Keep the self-attention matrix of each layer from its own step on.

    "Frozen at step s": the matrix of the last evaluation of step s is used in the steps s + 1 to N, so N - s steps of
    that layer are cached. In those W_q, W_k, their norms, RoPE, Q K^T and the softmax do not run; W_v, A V and W_o do.
    Matrices are kept in the model's dtype.

    Parameters
    ----------
    freeze_steps
        Step s from 1, by layer from 0.
    max_bytes
        What all matrices together may take; None for no limit. Over it, the first evaluation raises before anything is
        stored.
    n_steps
        Solver steps that the schedule was made for; None for any.

    Raises
    ------
    EditError
        If a layer or a step is malformed; when attached, if no step follows a freeze step, or the solve has another
        number of steps.
    CacheError
        In the first evaluation, over the budget; on leaving, if a layer never hit.
    """

    freeze_steps: Mapping[int, int] = field(hash=False)
    max_bytes: int | None = None
    n_steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "freeze_steps", checked_freeze_steps(self.freeze_steps))
        if self.max_bytes is not None and self.max_bytes < 1:
            raise EditError(
                f"max_bytes = {self.max_bytes} leaves room for nothing; give a positive number, or None for no limit."
            )

    def begin(self, clock: Clock) -> FrozenMatrices:
        """No matrices yet."""
        if self.n_steps not in (None, clock.n_steps):
            raise EditError(
                f"This schedule was made for {self.n_steps} steps, and the solve has {clock.n_steps}; "
                f"make it for the solver, such as LSAC.balanced(model, n_steps={clock.n_steps})."
            )
        return FrozenMatrices(self.freeze_steps, clock, self.max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LSAC:
    """A schedule: at which step each layer keeps its attention matrix.

    With N steps, (stable, moderate) layers freeze at Safe (N/2, never), Balanced (N/4, 3N/4), Aggressive (N/8, N/2),
    rounded up to whole steps; fast layers never do. On the paper's 12 layers and N = 16 that caches 12.5 %, 27.1 % and
    38.5 % of all layer-steps.

    Parameters
    ----------
    stable, moderate
        Layers from 0, frozen at the steps of ``level``; or a mapping from layer to step, which stands as it is.
    n_steps
        Solver steps N.
    level
        "safe", "balanced" or "aggressive"; None where both are mappings.

    Raises
    ------
    InputError
        If the level is unknown or missing, or no layer is cached.
    EditError
        If layers or steps are malformed.
    """

    stable: Collection[int] | Mapping[int, int] = field(hash=False)
    moderate: Collection[int] | Mapping[int, int] = field(default=(), hash=False)
    n_steps: int = 16
    level: str | None = None

    def __post_init__(self) -> None:
        if self.level is not None:
            _check_level(self.level)
        if isinstance(self.n_steps, bool) or not isinstance(self.n_steps, int) or self.n_steps < 1:
            raise InputError(
                f"n_steps is a whole number of at least 1, not {self.n_steps!r}; give the solver's n_steps."
            )
        for name in ("stable", "moderate"):
            layers = getattr(self, name)
            checked = checked_freeze_steps if isinstance(layers, Mapping) else checked_layers
            object.__setattr__(self, name, checked(layers) if layers else ())
        if set(self.stable) & set(self.moderate):
            raise InputError("A layer is both stable and moderate; name it once.")
        if not self.freeze_steps:
            raise InputError(
                f"No layer is cached in {self.n_steps} steps; use more steps or another level, or no schedule."
            )

    @property
    def freeze_steps(self) -> dict[int, int]:
        """Freeze step by layer, of the layers that are cached."""
        stable, moderate = (None, None) if self.level is None else LEVELS[self.level]
        return dict(
            sorted({**self._scheduled(self.stable, stable), **self._scheduled(self.moderate, moderate)}.items())
        )

    def _scheduled(self, layers: Collection[int] | Mapping[int, int], fraction: float | None) -> dict[int, int]:
        if isinstance(layers, Mapping):
            return dict(layers)
        if layers and self.level is None:
            raise InputError(
                f"LSAC of layers {list(layers)} needs a level, one of {', '.join(LEVELS)}; or {{layer: step}}."
            )
        step = self.n_steps if fraction is None else math.ceil(self.n_steps * fraction)
        return dict.fromkeys(layers, step) if step < self.n_steps else {}

    def edit(self, *, max_bytes: int | None = None) -> CacheAttention:
        """The edit that carries the schedule out."""
        return CacheAttention(freeze_steps=self.freeze_steps, max_bytes=max_bytes, n_steps=self.n_steps)

    def layer_steps_saved(self, n_layers: int) -> float:
        """Fraction of all layer-steps that are cached, 0 to 1; each saves about half of one self-attention."""
        return sum(self.n_steps - step for step in self.freeze_steps.values()) / (n_layers * self.n_steps)

    @classmethod
    def of(cls, classes: LayerClasses, *, level: str = "balanced", n_steps: int = 16) -> LSAC:
        """The schedule of a level for given layer classes."""
        return cls(stable=classes.stable, moderate=classes.moderate, n_steps=n_steps, level=level)

    @classmethod
    def calibrated(cls, rates: Sequence[float], *, level: str = "balanced", n_steps: int = 16) -> LSAC:
        """The schedule of a level for layers classed by their entropy rates, in nats a step, one a layer."""
        return cls.of(classify_layers(rates), level=level, n_steps=n_steps)

    @classmethod
    def safe(cls, model: nn.Module, *, n_steps: int = 16) -> LSAC:
        """Stable layers from half of the steps on; raises ModelError if the model has no layer classes."""
        return cls.of(layer_classes(model), level="safe", n_steps=n_steps)

    @classmethod
    def balanced(cls, model: nn.Module, *, n_steps: int = 16) -> LSAC:
        """Stable layers from a quarter, moderate from three quarters on; raises ModelError without layer classes."""
        return cls.of(layer_classes(model), level="balanced", n_steps=n_steps)

    @classmethod
    def aggressive(cls, model: nn.Module, *, n_steps: int = 16) -> LSAC:
        """Stable layers from an eighth, moderate from half on; raises ModelError without layer classes."""
        return cls.of(layer_classes(model), level="aggressive", n_steps=n_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class LSACLevel:
    """LSAC at a level, before it is known for which model and how many steps: what an arm of the claims file names.

    Parameters
    ----------
    level
        "safe", "balanced" or "aggressive".
    max_bytes
        As of `CacheAttention`.

    Raises
    ------
    InputError
        If the level is unknown.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    level: str
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_level(self.level)

    def edit_of(self, classes: LayerClasses, *, n_steps: int) -> CacheAttention:
        """The edit for layers of these classes, in a solve of so many steps."""
        return LSAC.of(classes, level=self.level, n_steps=n_steps).edit(max_bytes=self.max_bytes)


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise InputError(f"{unknown('level', level, LEVELS)}.")
