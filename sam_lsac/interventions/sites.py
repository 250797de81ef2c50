"""Where an edit acts: named modules of SAM Audio, found by the names that Meta's class and ours share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from sam_lsac.errors import EditError

__all__ = ["Site", "checked_layers", "count_layers", "layer_sites", "resolve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One module of the model.

    Parameters
    ----------
    path
        Dotted path from the model, such as ``"transformer.layers.3.attention"``.
    layer
        Layer of the transformer, from 0; None outside the layers.
    """

    path: str
    layer: int | None = None


def resolve(model: nn.Module, site: Site) -> nn.Module:
    """Find the module of a site.

    Raises
    ------
    EditError
        If the model has no such module.
    """
    try:
        return model.get_submodule(site.path)
    except AttributeError as error:
        raise EditError(
            f"{type(model).__name__} has no module {site.path!r}; edits need a model built like SAM Audio: "
            "load_model(...) or Meta's sam_audio.SAMAudio."
        ) from error


def count_layers(model: nn.Module) -> int:
    """Layers of the model's transformer; EditError where it has none."""
    layers = resolve(model, Site(path="transformer.layers"))
    if not isinstance(layers, nn.ModuleList):
        raise EditError(f"transformer.layers must be a ModuleList, as in SAM Audio, but is a {type(layers).__name__}.")
    return len(layers)


def layer_sites(model: nn.Module, part: str | None = None, layers: Iterable[int] | None = None) -> tuple[Site, ...]:
    """The same part of several layers.

    Parameters
    ----------
    model
        Where to look.
    part
        Name inside the layer, such as ``"attention"``; None for the layer itself.
    layers
        Layers from 0; None for all.

    Raises
    ------
    EditError
        If the model has no such layer.
    """
    total = count_layers(model)
    wanted = tuple(range(total)) if layers is None else tuple(layers)
    missing = [layer for layer in wanted if not 0 <= layer < total]
    if missing:
        raise EditError(f"Layer {missing[0]} does not exist: this model has layers 0 to {total - 1}.")
    tail = "" if part is None else f".{part}"
    return tuple(Site(path=f"transformer.layers.{layer}{tail}", layer=layer) for layer in wanted)


def checked_layers(layers: Iterable[int]) -> tuple[int, ...]:
    """Layers in ascending order.

    Raises
    ------
    EditError
        If there are none, or one is not a whole number of at least 0, or one is given twice.
    """
    given = list(layers)
    if not given or any(isinstance(layer, bool) or not isinstance(layer, int) or layer < 0 for layer in given):
        raise EditError(f"Layers are whole numbers from 0, at least one of them, not {given!r}.")
    if len(set(given)) != len(given):
        raise EditError(f"A layer is named twice in {given!r}; name each once.")
    return tuple(sorted(given))
