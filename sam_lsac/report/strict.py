"""Frozen dataclasses to strict JSON data and back: every key known, every value of its type, every error with a path.

Infinities are written as "inf" and "-inf"; NaN, a figure that could not be computed, as null.
"""

import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from sam_lsac.errors import StoreError

__all__ = ["from_data", "to_data"]

INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def to_data(value: Any, *, leave_out: tuple[type, ...] = ()) -> Any:
    """Return a record as JSON data.

    Parameters
    ----------
    value : dataclass, mapping, tuple, str, number, bool or None
    leave_out : tuple of type
        Records that are not written; their fields are absent.

    Raises
    ------
    StoreError
        If a value has no form in JSON.
    """
    if is_dataclass(value) and not isinstance(value, type):
        named = ((item.name, getattr(value, item.name)) for item in fields(value))
        return {name: to_data(one, leave_out=leave_out) for name, one in named if not isinstance(one, leave_out)}
    if isinstance(value, Mapping):
        return {str(name): to_data(one, leave_out=leave_out) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_data(one, leave_out=leave_out) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise StoreError(f"a report has a {type(value).__name__}, which JSON cannot hold: convert it first")


def from_data(kind: Any, data: Any, *, where: str) -> Any:
    """Return the value of type `kind` that `to_data` wrote.

    Parameters
    ----------
    kind : type
        A dataclass, or a type that one of its fields has.
    data : JSON data
    where : str
        What is read, for the error's sentence.

    Raises
    ------
    StoreError
        If a key is unknown or missing, or a value is not of its type.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _record(kind, data, where=where)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else from_data(_only(inner), data, where=where)
    if origin is typing.Literal:
        return data if data in inner else _reject(data, where, f"one of {', '.join(map(repr, inner))}")
    if origin is tuple:
        if not isinstance(data, list):
            return _reject(data, where, "a list")
        return tuple(from_data(inner[0], one, where=f"{where}[{index}]") for index, one in enumerate(data))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            return _reject(data, where, "an object")
        return {name: from_data(inner[1], one, where=f"{where}.{name}") for name, one in data.items()}
    return _plain(kind, data, where)


def _record(kind: Any, data: Any, *, where: str) -> Any:
    if not isinstance(data, dict):
        return _reject(data, where, "an object")
    hints = typing.get_type_hints(kind)
    known: dict[str, Field[Any]] = {item.name: item for item in fields(kind)}
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]!r}?" if near else "remove it, or read it with the version that wrote it"
            raise StoreError(f"{where}: unknown key {name!r}: {remedy}")
    for name, item in known.items():
        if name not in data and item.default is MISSING and item.default_factory is MISSING:
            raise StoreError(f"{where}: {name} is missing: the file is damaged, write the report again")
    return kind(**{name: from_data(hints[name], one, where=f"{where}.{name}") for name, one in data.items()})


def _only(choices: tuple[Any, ...]) -> Any:
    """Return what is optional: a union here always is of one type and None."""
    return next(choice for choice in choices if choice is not type(None))


def _plain(kind: Any, data: Any, where: str) -> Any:
    if kind is float:
        if isinstance(data, str) and data in INFINITIES:
            return INFINITIES[data]
        finite = isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data)
        return float(data) if finite else _reject(data, where, "a number")
    if kind is int:
        return data if isinstance(data, int) and not isinstance(data, bool) else _reject(data, where, "a whole number")
    if kind is bool:
        return data if isinstance(data, bool) else _reject(data, where, "true or false")
    return data if isinstance(data, str) else _reject(data, where, "a text")


def _reject(data: Any, where: str, wanted: str) -> Any:
    raise StoreError(f"{where}: must be {wanted}, got {data!r}")
