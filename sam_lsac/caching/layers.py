"""Which layers converge early: the classes that a schedule of caching goes by.

References
----------
Paper, sections 2.2 and 4.2.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from torch import nn

from sam_lsac.errors import InputError, ModelError
from sam_lsac.interventions.sites import Site, count_layers, resolve
from sam_lsac.records import STRICT, read

__all__ = ["SAM_AUDIO_SMALL", "LayerClasses", "classify_layers", "layer_classes"]

_CALIBRATE = "write them with `python -m sam_lsac calibrate`"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerClasses:
    """Layers from 0, by how early their attention settles.

    Parameters
    ----------
    stable, moderate, fast
        Every layer of the model in exactly one of them.

    Raises
    ------
    InputError
        If a layer is missing or named twice.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    stable: tuple[int, ...]
    moderate: tuple[int, ...]
    fast: tuple[int, ...]

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, tuple(sorted(getattr(self, item.name))))
        named = sorted(self.stable + self.moderate + self.fast)
        if named != list(range(len(named))) or not named:
            raise InputError(
                f"Layer classes must name every layer from 0 once, but name {reprlib.repr(named)}; {_CALIBRATE}."
            )

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return len(self.stable) + len(self.moderate) + len(self.fast)

    @classmethod
    def from_dict(cls, classes: Mapping[str, Any]) -> LayerClasses:
        """Read the mapping that `as_dict` writes; further keys, such as the rates, are left alone.

        Raises
        ------
        InputError
            If a class is missing or no list of layers, or a layer is missing or named twice.
        """
        names = [item.name for item in fields(cls)]
        given = {name: value for name, value in classes.items() if name in names}
        return read(cls, given, where="layer classes", error=InputError, remedy=_CALIBRATE)

    def as_dict(self) -> dict[str, list[int]]:
        """A mapping for JSON."""
        return {name: list(layers) for name, layers in asdict(self).items()}


#: The paper's lists for the model of 12 layers and width 1536.
SAM_AUDIO_SMALL = LayerClasses(stable=(1, 6, 9), moderate=(4, 5, 7, 11), fast=(0, 2, 3, 8, 10))


def classify_layers(rates: Sequence[float], *, ways: int = 3) -> LayerClasses:
    """Split layers by the rate at which their attention entropy still changes.

    Three ways, for LSAC: the lowest quarter is stable, the next third moderate, the rest fast (3, 4 and 5 of 12), each
    boundary rounded to the nearest layer, halves down. Two ways: a rate at or below the median of all layers is stable,
    and no layer is moderate. Of equal rates the earlier layer counts as lower.

    Parameters
    ----------
    rates
        Of `entropy_rates`, in nats a step, one a layer.
    ways
        3 or 2.

    Raises
    ------
    InputError
        If there are no rates, one is not finite, or ``ways`` is neither.
    """
    values = [float(rate) for rate in rates]
    if not values or not all(math.isfinite(value) for value in values):
        raise InputError(
            f"Rates must be finite numbers, one a layer, not {values}; calibrate on mixtures that are not silent."
        )
    if ways not in (2, 3):
        raise InputError(f"Layers are split 2 or 3 ways, not {ways!r}.")
    order = sorted(range(len(values)), key=lambda layer: (values[layer], layer))
    if ways == 2:
        middle = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
        median = sum(middle) / len(middle)
        first = second = sum(value <= median for value in values)
    else:
        first, second = (math.ceil(len(values) * twelfths / 12 - 0.5) for twelfths in (3, 7))
    return LayerClasses(stable=tuple(order[:first]), moderate=tuple(order[first:second]), fast=tuple(order[second:]))


def layer_classes(model: nn.Module) -> LayerClasses:
    """The classes of a model: its own calibrated ones (``model.layer_classes``), else the paper's for SAM-Audio-Small.

    Raises
    ------
    ModelError
        If it has none, or they are of another number of layers.
    """
    n_layers = count_layers(model)
    own = getattr(model, "layer_classes", None)
    if isinstance(own, Mapping):
        own = LayerClasses.from_dict(own)
    if own is None and n_layers == SAM_AUDIO_SMALL.n_layers and _width(model) == 1536:
        own = SAM_AUDIO_SMALL
    if own is None:
        raise ModelError(
            f"This model of {n_layers} layers has no layer classes and is not SAM-Audio-Small, whose classes the paper "
            "gives: run `python -m sam_lsac calibrate`, or give LSAC(stable=..., moderate=..., level=...)."
        )
    if not isinstance(own, LayerClasses) or own.n_layers != n_layers:
        raise ModelError(
            f"The layer classes {own!r} do not fit the model's {n_layers} layers; run `python -m sam_lsac calibrate`."
        )
    return own


def _width(model: nn.Module) -> int:
    projection = resolve(model, Site(path="transformer.layers.0.attention.wq", layer=0))
    return int(getattr(projection, "in_features", 0))
