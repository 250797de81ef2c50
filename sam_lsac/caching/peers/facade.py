"""The network as other people's caches expect it: a stack of blocks, or their parts, each a module of ours.

Libraries hook, patch and mark the modules they are given. They are given these, which stand between the layers of the
network and what calls them: the hidden state comes first, by position and by the name ``hidden_states``, and all marks
go with the modules when they are taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.sites import Site, count_layers, resolve

__all__ = ["Parts", "Stack", "parts_between", "stack_between"]


class Block(nn.Module):
    """A layer whose hidden state comes first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Tensor, **conditions: Any) -> Tensor:
        """Call the layer."""
        output: Tensor = self.layer(x=hidden_states, **conditions)
        return output


class Stack(nn.Module):
    """All layers one after the other.

    Parameters
    ----------
    layers
        Of the network.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(layer) for layer in layers)

    def forward(self, hidden_states: Tensor, **conditions: Any) -> Tensor:
        """Run what is in ``layers``, whatever a library put there."""
        for layer in self.layers:
            hidden_states = layer(hidden_states, **conditions)
        return hidden_states


class Parts(nn.Module):
    """Parts of every layer, by the names that they have there; never called itself.

    Parameters
    ----------
    layers
        Of the network.
    names
        Such as "attention" and "feed_forward".
    """

    def __init__(self, layers: Sequence[nn.Module], names: Sequence[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerParts(layer, names) for layer in layers)


class LayerParts(nn.Module):
    """Parts of one layer."""

    def __init__(self, layer: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, _Part(layer.get_submodule(name)))


class _Part(nn.Module):
    """A part of a layer."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.part(*args, **kwargs)

    def pack(self, **kwargs: Any) -> Any:
        """What a solve asks of a part before it begins."""
        return self.part.pack(**kwargs)  # type: ignore[operator]


class _Entry(nn.Module):
    """Stands at the first layer's place and runs the whole stack."""

    def __init__(self, stack: nn.Module, layers: Sequence[Any]) -> None:
        super().__init__()
        self.stack = stack
        self._layers = tuple(layers)

    def forward(self, x: Tensor, **conditions: Any) -> Any:
        return self.stack(x, **conditions)

    def pack(self) -> list[Any]:
        """What a solve asks of every layer before it begins."""
        return [part for layer in self._layers for part in layer.pack()]


class _PassedBy(nn.Module):
    """Stands at the place of every other layer, which the stack has run."""

    def forward(self, x: Tensor, **conditions: Any) -> Tensor:
        return x

    def pack(self) -> list[Any]:
        """Nothing more."""
        return []


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of the network; EditError where it has none."""
    count_layers(model)
    return list(model.get_submodule("transformer.layers").children())


@contextmanager
def stack_between(model: nn.Module, stack: Stack) -> Iterator[None]:
    """Have the network run a stack in place of its layers.

    Parameters
    ----------
    model
        Whose layers are in the stack.
    stack
        Of `layers_of` the model.

    Raises
    ------
    EditError
        If another stack is between already, or the model has no layers.
    """
    places = resolve(model, Site(path="transformer.layers"))
    kept = layers_of(model)
    if any(isinstance(layer, _Entry) for layer in kept):
        raise EditError("Two caches take over the layers of one network; give one of them.")
    try:
        for index in range(len(kept)):
            setattr(places, str(index), _PassedBy() if index else _Entry(stack, kept))
        yield
    finally:
        for index, layer in enumerate(kept):
            setattr(places, str(index), layer)


@contextmanager
def parts_between(model: nn.Module, parts: Parts) -> Iterator[None]:
    """Have each layer call the modules of ``parts`` in place of its own.

    Parameters
    ----------
    model
        Whose parts they are.
    parts
        Of `layers_of` the model.

    Raises
    ------
    EditError
        If the model has no layers.
    """
    kept = [
        (layer, name, layer.get_submodule(name), part)
        for layer, ours in zip(layers_of(model), parts.layers, strict=True)
        for name, part in ours.named_children()
    ]
    try:
        for layer, name, _, part in kept:
            setattr(layer, name, part)
        yield
    finally:
        for layer, name, own, _ in kept:
            setattr(layer, name, own)
