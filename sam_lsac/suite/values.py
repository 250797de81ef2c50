"""From an option's text to its value, for pytest and the commands alike: a wrong one is refused in one sentence."""

from __future__ import annotations

import errno
import math
from pathlib import Path

from sam_lsac.errors import InputError

__all__ = ["number", "path", "seed", "shown", "whole"]

FIRST_SEED_TOO_LARGE = 2**63
LONGEST_SHOWN = 60  # characters of a wrong value


def whole(option: str, text: str, *, example: int, least: int = 1) -> int:
    """Return a whole number that is large enough.

    Parameters
    ----------
    option
        Its name, for the error.
    text
        As given.
    example
        What the error offers.
    least
        The smallest.

    Raises
    ------
    InputError
        If the text is none, or longer than any such number can be.
    """
    if not is_whole(text) or int(text) < least:
        raise InputError(f"{option} {shown(text)}: give a whole number, at least {least}, such as {example}.")
    return int(text)


def seed(option: str, text: str) -> int:
    """Return a seed of noise.

    Raises
    ------
    InputError
        If the text is no whole number from 0 to 2 ** 63 - 1.
    """
    if not is_seed(text):
        raise InputError(f"{option} {shown(text)}: give a whole number from 0 to 2 ** 63 - 1, such as 0.")
    return int(text)


def number(option: str, text: str, *, unit: str, example: float) -> float:
    """Return a finite number above 0.

    Parameters
    ----------
    option
        Its name, for the error.
    text
        As given.
    unit, example
        What the error offers.

    Raises
    ------
    InputError
        If the text is no such number.
    """
    try:
        value = float(text) if len(text) <= LONGEST_SHOWN else math.nan
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise InputError(f"{option} {shown(text)}: give a number of {unit} above 0, such as {example:g}.")
    return value


def path(option: str, text: str, *, remedy: str = "give a path") -> Path:
    """Return a path that a file system can have.

    Raises
    ------
    InputError
        If the text is empty, holds a NUL or is too long.
    """
    if not text.strip() or "\0" in text:
        raise InputError(f"{option} {shown(text)}: {remedy}.")
    try:
        Path(text).lstat()
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):  # of the others, whoever opens it says more
            raise InputError(f"{option} {shown(text)}: {error.strerror}; {remedy}.") from None
    return Path(text)


def is_seed(text: str) -> bool:
    """Whether a text is a whole number from 0 to 2 ** 63 - 1."""
    return is_whole(text) and int(text) < FIRST_SEED_TOO_LARGE


def is_whole(text: str) -> bool:
    """Whether a text is a whole number of a length that Python's int() takes."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_SHOWN


def shown(text: str) -> str:
    """A wrong value as an error repeats it, on one line and not too long."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…")
