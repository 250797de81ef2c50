r"""Text from outside, made harmless: a name in a report cannot move a terminal's cursor, hide or forge a line.

Names of groups, prompts, credits and checkpoints come from files of other people. Every form of the report, and every
line that ends a command, shows `legible` data: control characters, marks that reverse the direction of reading and
halves of surrogate pairs are written out as their escapes, such as ``\x1b``, and line breaks become spaces.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

__all__ = ["legible"]

BREAKS = "\t\n\r\x0b\x0c\x85\u2028\u2029"
HIDDEN = ("Cc", "Cf", "Co", "Cs")  # control, format, private use, surrogate

T = TypeVar("T")


def legible(value: T) -> T:
    """Return a text, or a record with all its texts in tuples, mappings and other records, made harmless."""
    found: Any = _legible(value)
    return found  # type: ignore[no-any-return]


def _legible(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else "".join(map(_character, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _legible(getattr(value, item.name)) for item in fields(value) if item.init})
    if isinstance(value, Mapping):
        return {_legible(name): _legible(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_legible, value))
    return value


def _character(character: str) -> str:
    if character in BREAKS:
        return " "
    if unicodedata.category(character) in HIDDEN:
        return character.encode("unicode_escape").decode("ascii")
    return character
