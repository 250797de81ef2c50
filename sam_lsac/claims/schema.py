"""Strict reading of TOML tables: every key is known, every value has its type, every error names the nearest."""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sam_lsac.errors import ClaimError

__all__ = ["Reader", "keys", "read", "unknown"]

Reader = Callable[[Any], Any]


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Return the sentence that rejects `name` and offers the nearest known one, or all."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names) or 'nothing: remove it'}"
    return f"unknown {what} {name!r}: {remedy}"


def keys(table: Any, where: str, *, required: Collection[str], optional: Collection[str] = ()) -> None:
    """Raise ClaimError unless `table` has all required keys and no key besides those and the optional ones."""
    if not isinstance(table, Mapping):
        raise ClaimError(f"{where}: expected a table, got {type(table).__name__}")
    known = [*required, *(name for name in optional if name not in required)]
    for name in table:
        if name not in known:
            raise ClaimError(f"{where}: {unknown('key', name, sorted(known))}")
    if missing := [name for name in sorted(required) if name not in table]:
        raise ClaimError(f"{where}: {missing[0]} is missing: add it")


def read(table: Any, where: str, *, fields: Mapping[str, Reader], required: Collection[str]) -> dict[str, Any]:
    """Return the values of a table, each through its reader; ClaimError names the row and the key."""
    keys(table, where, required=required, optional=fields)
    values = {}
    for name, value in table.items():
        try:
            values[name] = fields[name](value)
        except ValueError as error:
            raise ClaimError(f"{where}: {name} {error}, got {value!r}") from error
    return values


def any_text(value: Any) -> str:
    """Read a text that may be empty."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def text(value: Any) -> str:
    """Read a text that says something."""
    if not any_text(value).strip():
        raise ValueError("must not be empty")
    return str(value)


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of different texts, at least one."""
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise ValueError("must be a list of texts")
    if len(set(value)) < len(value):
        raise ValueError("must not name anything twice")
    return tuple(value)


def count(value: Any) -> int:
    """Read a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number from 0")
    return value


def counts(value: Any) -> tuple[int, ...]:
    """Read a list of different whole numbers from 0, at least one."""
    if not isinstance(value, list) or not value or len({count(one) for one in value}) < len(value):
        raise ValueError("must be a list of different whole numbers")
    return tuple(value)


def positive(value: Any) -> float:
    """Read a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ValueError("must be a number above 0")
    return float(value)


def fraction(value: Any) -> float:
    """Read a number between 0 and 1."""
    if positive(value) >= 1.0:
        raise ValueError("must be between 0 and 1")
    return float(value)


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def tables(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Read a list of tables."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("must be a list of tables")
    return tuple(MappingProxyType(dict(one)) for one in value)


def text_table(value: Any) -> Mapping[str, str]:
    """Read a table of texts."""
    if not isinstance(value, dict):
        raise ValueError("must be a table of texts")
    return MappingProxyType({name: text(one) for name, one in value.items()})


def number_table(value: Any) -> Mapping[str, float]:
    """Read a table of numbers above 0, at least one."""
    if not isinstance(value, dict) or not value:
        raise ValueError("must be a table of numbers")
    return MappingProxyType({name: positive(one) for name, one in value.items()})
