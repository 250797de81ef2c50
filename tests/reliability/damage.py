"""Damage: what becomes of a file on its way, and what somebody could write into one on purpose."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

__all__ = ["damaged", "damaged_json", "damaged_lines", "pickles"]

#: Values where others belong: of every type, and beyond every bound.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400]),
    st.floats(),
    st.sampled_from(["", "\0", "\x1b[2J", "\ud800", "../..", "/etc/passwd", "x" * 5000, "nan", "=1+1", "٣", "1e999"]),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], [None], {"": None}, [1] * 1000]),
    st.integers(1, 5000).map(lambda depth: Raw("[" * depth + "]" * depth)),
)


class Raw(str):
    """JSON that stands for itself, since Python would not write it."""


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file of which bytes were flipped, lost, doubled or replaced; rarely one that has nothing to do with it."""
    how = draw(st.sampled_from(["flip", "cut", "lose", "double", "replace", "zero", "other"]))
    if how == "other" or not whole:
        return draw(st.binary(max_size=200))
    first = draw(st.integers(0, len(whole) - 1))
    length = draw(st.sampled_from([1, 2, 4, 16, 256, 4096]))
    last = min(first + length, len(whole))
    if how == "flip":
        changed = bytearray(whole)
        for place in draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
            changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    middle = {
        "cut": b"",
        "lose": whole[last:],
        "double": whole[first:last] * 2 + whole[last:],
        "replace": draw(st.binary(min_size=last - first, max_size=last - first)) + whole[last:]
        if length < 300
        else b"",
        "zero": b"\0" * (last - first) + whole[last:],
    }
    return whole[:first] + middle[how]


@st.composite
def damaged_json(draw: st.DrawFn, whole: bytes) -> bytes:
    """JSON of which one value is something else, one key is gone, or one is new; or damaged as any file."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(whole))
    data = json.loads(whole)
    places = list(_places(data))
    holder, key = draw(st.sampled_from(places))
    how = draw(st.sampled_from(["value", "value", "value", "remove", "add"]))
    if how == "remove":
        del holder[key]
    elif how == "add" and isinstance(holder, dict):
        holder[draw(st.text(max_size=5))] = draw(ODD)
    else:
        holder[key] = draw(ODD)
    return _dumped(data).encode("utf-8", "surrogatepass")


@st.composite
def damaged_lines(draw: st.DrawFn, whole: bytes) -> bytes:
    """A table or TOML of which one line is gone, doubled, cut or has an odd cell; or damaged as any file."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(whole))
    lines = whole.split(b"\n")
    place = draw(st.integers(0, len(lines) - 1))
    how = draw(st.sampled_from(["lose", "double", "cut", "cell", "insert"]))
    odd = _dumped(draw(ODD)).encode("utf-8", "surrogatepass")
    if how == "cell":
        sign = draw(st.sampled_from([b",", b"=", b"|", b'"', b"\t"]))
        cells = lines[place].split(sign)
        cells[draw(st.integers(0, len(cells) - 1))] = odd
        lines[place] = sign.join(cells)
    else:
        lines[place : place + 1] = {
            "lose": [],
            "double": [lines[place]] * 2,
            "cut": [lines[place][: draw(st.integers(0, 20))]],
            "insert": [lines[place], odd],
        }[how]
    return b"\n".join(lines)


def pickles(marker: str) -> st.SearchStrategy[bytes]:
    """Pickles of all protocols that make a file when they are loaded, by several ways to call a function."""
    calls = st.sampled_from(["os.system", "posix.system", "builtins.exec", "subprocess.getoutput", "builtins.eval"])
    return st.builds(_pickle, calls, st.just(marker), st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))


def _pickle(call: str, marker: str, prefix: bytes) -> bytes:
    module, name = call.split(".")
    code = f"open({marker!r}, 'w').close()" if module == "builtins" else f"touch {marker}"
    return prefix + f"c{module}\n{name}\n(V{code}\ntR.".encode()


def _places(data: Any) -> Any:
    """Every place of a value in nested mappings and lists, as what holds it and its key."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from _places(value)


def _dumped(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_dumped(one)}" for key, one in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_dumped, value)) + "]"
    if isinstance(value, int) and abs(value) > 10**300:
        return "9" * 5000
    return json.dumps(value, ensure_ascii=False)
