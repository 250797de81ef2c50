"""From plain data (TOML, JSON) to frozen records, strictly: every key known, every value of its type.

Every reader of a file that people write or that travels goes through `read`. The work is done by pydantic, in its
strict mode, on ordinary dataclasses: it knows unions, literals, mappings and nested records, and writes JSON Schema.
What is added here is the sentence: which key, what was expected, the nearest known name, and the remedy.

A record opts in with one line, ``__pydantic_config__: ClassVar[Any] = STRICT``, which needs no import of pydantic.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

from sam_lsac.errors import SamLsacError

__all__ = ["STRICT", "Extended", "json_schema", "read", "unknown"]

#: The configuration of a record: no key that it does not have, no value that must be converted.
STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}

_QUOTED = 60  # characters of a wrong value that an error repeats
_UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
_SHOULD = re.compile(r"^\w+ should ")  # how pydantic's sentences begin
_MISSING_KEY = ("missing", "missing_argument", "missing_keyword_only_argument")

T = TypeVar("T")


class _WithInfinities:
    """Lets a number be "inf" or "-inf", which JSON has no number for.

    pydantic calls these two methods by their names where it meets the annotation.
    """

    words = types.MappingProxyType({"inf": float("inf"), "-inf": float("-inf")})

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self._number, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {"anyOf": [handler(schema), {"enum": list(self.words)}]}

    def _number(self, value: Any) -> Any:
        return self.words.get(value, value) if isinstance(value, str) else value


#: A number that may be infinite, in plain data as the text "inf" or "-inf"; any other `float` there is finite.
Extended = Annotated[float, _WithInfinities()]


def read(kind: type[T], data: object, *, where: str, error: type[SamLsacError], remedy: str = "") -> T:
    """Return the record that plain data describes.

    Parameters
    ----------
    kind
        A dataclass with `STRICT`, or any type that pydantic knows.
    data
        Mappings, lists, texts, numbers, truth values, None: what a TOML or JSON parser returns. Lists become tuples
        where the record has tuples.
    where
        What is read, at the beginning of an error's sentence, such as "[arms.naive-12]" or a file's name.
    error
        The class of the error that is raised.
    remedy
        What to do, at the end of an error's sentence, where no nearest known name says it.

    Raises
    ------
    SamLsacError
        Of class ``error``, if a key is unknown or missing or a value is not of its type; errors that the record itself
        raises on construction pass through.
    """
    import pydantic  # takes as long to import as everything else here together

    try:
        text = json.dumps(data, default=_no_json)
        found: T = _adapter(kind).validate_json(text)
    except pydantic.ValidationError as failed:
        first = _telling(failed.errors(include_url=False))
        own = first.get("ctx", {}).get("error")
        if isinstance(own, SamLsacError):
            raise own from None
        raise error(_sentence(kind, first, where=where, remedy=remedy)) from None
    except (TypeError, ValueError, RecursionError) as failed:
        raise error(f"{where}: cannot be read ({failed or 'nested too deeply'}){_end(remedy)}") from None
    return found


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `read` accepts for a type."""
    schema: dict[str, Any] = _adapter(kind).json_schema()
    return schema


def unknown(what: str, name: object, known: Iterable[str], *, remedy: str = "") -> str:
    """Return the words that reject ``name`` and offer the nearest known one, all of them, or the remedy."""
    names = list(known)
    near = nearest(name, names)
    if near is not None:
        advice = f"did you mean {near!r}?"
    elif names and not remedy:
        advice = f"choose from {', '.join(names)}"
    else:
        advice = remedy or "remove it"
    return f"unknown {what} {_quoted(name)}: {advice}"


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most like ``name``, or None where none is close."""
    found = difflib.get_close_matches(name if isinstance(name, str) else "", list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def _make_adapter(kind: Any) -> Any:
    import pydantic

    if is_dataclass(kind):
        return pydantic.TypeAdapter(kind)
    return pydantic.TypeAdapter(kind, config=pydantic.ConfigDict(strict=True))


_adapter: Callable[[Any], Any] = cache(_make_adapter)


def _no_json(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} where plain data belongs")


def _telling(errors: Sequence[Any]) -> Any:
    """Return the error to report: an unknown key first, since a key that is missing is often that one, misspelt."""
    return next((error for error in errors if error["type"] in _UNKNOWN_KEY), errors[0])


def _sentence(kind: Any, failed: Any, *, where: str, remedy: str) -> str:
    *around, last = failed["loc"] or ("",)
    is_key = failed["type"] in (*_UNKNOWN_KEY, *_MISSING_KEY)  # then the last part is that key, whatever it is called
    path = (*filter(_is_in_data, around), *([last] if failed["loc"] and (is_key or _is_in_data(last)) else []))
    if failed["type"] in _UNKNOWN_KEY:
        place, key = _place(where, path[:-1]), path[-1]
        return f"{place}: {unknown('key', key, _keys(kind, path[:-1]), remedy=remedy)}"
    if failed["type"] in _MISSING_KEY:
        what = f"item {path[-1]}" if isinstance(path[-1], int) else path[-1]
        return f"{_place(where, path[:-1])}: {what} is missing{_end(remedy or 'add it')}"
    value = failed["input"]
    if failed["type"] == "json_invalid":  # of texts and depths that Python's parser lets through
        return f"{where}: cannot be read ({failed['ctx']['error']}){_end(remedy)}"
    if failed["type"] == "literal_error":
        choices = failed["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{_place(where, path[:-1])}: {unknown(str(path[-1]) if path else 'value', value, choices)}"
    said = failed["msg"].removeprefix("Value error, ")
    wanted = _SHOULD.sub("", said) if _SHOULD.match(said) else f"be {said}"
    return f"{_place(where, path)}: must {wanted}, got {_quoted(value)}{_end(remedy)}"


def _is_in_data(part: object) -> bool:
    """Whether a part of pydantic's path stands in the data; the others name a member of a union."""
    return isinstance(part, int) or not (str(part).endswith("]") or str(part) in _MEMBERS)


_MEMBERS = ("str", "int", "float", "bool", "none")


def _place(where: str, path: Sequence[object]) -> str:
    text = where
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f": {part}" if text == where else f".{part}"
    return text


def _end(remedy: str) -> str:
    return f": {remedy}" if remedy else ""


def _quoted(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list of thousands of levels
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


def _keys(kind: Any, path: Sequence[object]) -> list[str]:
    """Return the keys of the record at a path below another."""
    for part in path:
        kind = _inner(kind, part)
    kind = _record_of(kind)
    return [item.name for item in fields(kind)] if kind is not None else []


def _inner(kind: Any, part: object) -> Any:
    record = _record_of(kind)
    if record is not None:
        return typing.get_type_hints(record).get(str(part))
    for choice in _choices(kind):
        inner = [one for one in typing.get_args(choice) if one is not Ellipsis]
        if inner:
            return inner[-1]
    return None


def _record_of(kind: Any) -> Any:
    return next((choice for choice in _choices(kind) if is_dataclass(choice)), None)


def _choices(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)
