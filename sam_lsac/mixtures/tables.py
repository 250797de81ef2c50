"""Texts and tables of other people's making, read with errors that name the file, the line and the remedy."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_lsac.errors import InputError

__all__ = ["read_json", "read_table", "read_text", "read_toml"]

MOST_BYTES = 2**26  # ten times the longest table that there is
LONGEST_CELL = 10_000  # characters; the longest known, a credit, has less than 1,000


def read_text(path: Path, *, remedy: str, most_bytes: int = MOST_BYTES) -> str:
    """Read a text file.

    Parameters
    ----------
    path
        In UTF-8, with or without a byte order mark.
    remedy
        What an error tells the user to do.
    most_bytes
        A larger file is refused unread.

    Raises
    ------
    InputError
        If the file is missing, too large, not UTF-8, or holds NUL.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > most_bytes:
            raise InputError(f"{path} has {n_bytes} bytes, more than the {most_bytes} of any such file; {remedy}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {remedy}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); {remedy}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 ({error.reason}); {remedy}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: holds a NUL character; {remedy}")
    return text


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    remedy: str,
    dialect: dict[str, Any] | None = None,
) -> list[tuple[int, dict[str, str]]]:
    """Read a table with one line of column names.

    Parameters
    ----------
    path
        In UTF-8.
    columns
        That it must have; it may have more.
    remedy
        What an error tells the user to do.
    dialect
        Options of `csv.reader`; comma-separated when None.

    Returns
    -------
    list
        Of every row: the line on which it ends, and its cells by column.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a row has too few or too many cells or one that is too long.
    """
    reader = csv.reader(io.StringIO(read_text(path, remedy=remedy), newline=""), **(dialect or {}))
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        names = next(reader, [])
        missing = [column for column in columns if column not in names]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}; {remedy}")
        for cells in reader:
            if not cells:
                continue  # an empty line
            if len(cells) != len(names):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where there are {len(names)} columns; {remedy}"
                )
            if max(map(len, cells)) > LONGEST_CELL:
                raise InputError(f"{path}, line {reader.line_num}: a cell of over {LONGEST_CELL} characters; {remedy}")
            rows.append((reader.line_num, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; {remedy}") from error
    return rows


def read_json(path: Path, *, remedy: str, most_bytes: int = MOST_BYTES) -> Any:
    """Parse a JSON file.

    Raises
    ------
    InputError
        If it cannot be read, or is no JSON.
    """
    text = read_text(path, remedy=remedy, most_bytes=most_bytes)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error or 'nested too deeply'}); {remedy}") from error


def read_toml(path: Path, *, remedy: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Parse a TOML file.

    Raises
    ------
    InputError
        If it cannot be read, or is no TOML.
    """
    text = read_text(path, remedy=remedy, most_bytes=most_bytes)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no TOML ({error or 'nested too deeply'}); {remedy}") from error
