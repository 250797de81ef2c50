"""The model as it was: what the libraries of `Edit.around` must leave behind, put back and checked.

Libraries that replace ``forward`` for a model's life seldom clean up after themselves. A ``forward`` that they leave is
swept away; anything else is put back too, and is an error.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import Clock, Edit

__all__ = ["brings_library", "surrounded"]


@contextmanager
def surrounded(model: nn.Module, edits: tuple[Edit, ...], clock: Clock, states: list[Any]) -> Iterator[None]:
    """Enter the `Edit.around` of every edit, in order; leave them in reverse, and see that the model is as before.

    Parameters
    ----------
    model
        Whose modules the libraries may touch until this is left.
    edits, clock, states
        Of the attachment; each edit has its state.

    Raises
    ------
    EditError
        On leaving, if more than a ``forward`` was left behind; the model is put back all the same. After another error
        it is a note to that one.
    """
    if not any(brings_library(edit) for edit in edits):
        yield
        return
    before = _Snapshot(model)
    try:
        with ExitStack() as stack:
            for edit, state in zip(edits, states, strict=True):
                stack.enter_context(edit.around(model, clock, state))
            yield
    except BaseException as error:
        if left := before.restore():
            error.add_note(_sentence(left))
        raise
    if left := before.restore():
        raise EditError(_sentence(left))


def brings_library(edit: Edit) -> bool:
    """Whether an edit has an `Edit.around` of its own."""
    return type(edit).around is not Edit.around


def _sentence(left: list[str]) -> str:
    more = f" ({len(left)} such differences)" if left[1:] else ""
    return (
        f"After the edits were undone, {left[0]}{more}. What could be put back was; let the `around` of the edit "
        "that brings the library in take back all that it changes, and load the model anew where values changed."
    )


class _Snapshot:
    """Every module of a model with its class and attributes, and every parameter and buffer with its version."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [_Module.of(path, module) for path, module in model.named_modules(remove_duplicate=False)]
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self._tensors = [(name, tensor, _version(tensor)) for name, tensor in tensors]

    def restore(self) -> list[str]:
        """Put everything back; return what differed beside ``forward``, as clauses."""
        # From the top down, so that a module that was swapped is back before what is in it is looked at.
        left = [clause for module in self._modules for clause in module.restore()]
        return left + [f"{name} has other values" for name, tensor, was in self._tensors if _version(tensor) != was]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """One module as it was."""

    path: str
    module: nn.Module
    kind: type[nn.Module]
    attributes: dict[str, Any]
    tables: dict[str, list[tuple[Any, Any]]]

    @classmethod
    def of(cls, path: str, module: nn.Module) -> _Module:
        """Keep the attributes, and what is in those that are tables: parameters, submodules, hooks."""
        attributes = dict(module.__dict__)
        tables = {name: list(value.items()) for name, value in attributes.items() if isinstance(value, dict)}
        return cls(path=path or "the model", module=module, kind=type(module), attributes=attributes, tables=tables)

    def restore(self) -> Iterator[str]:
        """Put back what differs, and name it unless it is a ``forward``."""
        if type(self.module) is not self.kind:
            yield f"{self.path} is of the class {type(self.module).__name__}, not {self.kind.__name__}"
            self.module.__class__ = self.kind
        now = self.module.__dict__
        for name in [name for name in now if name not in self.attributes]:
            if name != "forward":
                yield f"{self.path} has a new attribute {name!r}"
            del now[name]
        for name, value in self.attributes.items():
            if _weak(value) and _weak(now.get(name)):
                continue  # what it refers to is somebody else's, such as the packed weights of a solve
            if name not in now or now[name] is not value:
                if name != "forward":
                    yield f"{self.path} has another {name!r}"
                now[name] = value
            if name in self.tables and not _same(list(value.items()), self.tables[name]):
                yield f"{self.path} has other entries in {name!r}"
                value.clear()
                value.update(self.tables[name])


def _weak(value: object) -> bool:
    """Whether an attribute keeps nothing alive: a weak reference, or the None that stands for no such."""
    return value is None or isinstance(value, weakref.ref)


def _same(now: list[tuple[Any, Any]], before: list[tuple[Any, Any]]) -> bool:
    """Whether two tables have the very same entries in the same order."""
    return len(now) == len(before) and all(
        key == was and value is kept for (key, value), (was, kept) in zip(now, before, strict=True)
    )


def _version(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's values lie, and how often it was written to; of an inference tensor, that is not counted."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
