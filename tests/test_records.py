"""Records from plain data: whatever a key is called, the error names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_lsac.errors import InputError
from sam_lsac.records import STRICT, read


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__: ClassVar[Any] = STRICT

    y: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    __pydantic_config__: ClassVar[Any] = STRICT

    x: Inner | None = None


@pytest.mark.parametrize("key", ["none", "str", "int", "a]", "]", "", "x]", "union[", "\x1b"])
@pytest.mark.parametrize("depth", [0, 1])
def test_an_unknown_key_of_any_name_is_named(key: str, depth: int) -> None:
    with pytest.raises(InputError) as caught:
        read(Outer, {"x": {key: 1}} if depth else {key: 1}, where="here", error=InputError)
    assert f"unknown key {key!r}" in str(caught.value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3) | st.just("x"), inner),
    )
)
def test_plain_data_is_read_or_refused(data: object) -> None:
    try:
        read(Outer, data, where="here", error=InputError)
    except InputError as error:
        assert str(error).startswith("here")
