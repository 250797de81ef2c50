"""A parser whose mistakes are one line, and readers of the options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from sam_lsac.errors import InputError, SamLsacError
from sam_lsac.suite import values

__all__ = ["Commands", "MistakeError", "Parser", "add_mixture_options", "reader"]

T = TypeVar("T")
#: What `add_subparsers` gives.
Commands = argparse._SubParsersAction


class MistakeError(InputError):
    """A command line that cannot be read; the message begins with the command."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises where the standard one prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        """Raise MistakeError, in one line."""
        said = " ".join(message.split())
        if said.startswith("argument --"):
            option, _, rest = said.removeprefix("argument ").partition(": ")
            said = rest if rest.startswith("--") else f"{option}: {rest}"
        raise MistakeError(f"{self.prog.removeprefix('python -m ')}: {said.rstrip('.')}; {self.prog} --help says more.")


def reader(read: Callable[..., T], option: str, **given: Any) -> Callable[[str], T]:
    """The ``type`` of an argument.

    Parameters
    ----------
    read
        One of `sam_lsac.suite.values`.
    option
        Its first argument.
    **given
        Its others.
    """

    def convert(text: str) -> T:
        try:
            return read(option, text, **given)
        except SamLsacError as error:  # as a ValueError it would lose its words
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def add_mixture_options(parser: argparse.ArgumentParser, *, per_tier: int) -> None:
    """Add the options that say which mixtures a schedule is made from.

    Parameters
    ----------
    parser
        Of a command.
    per_tier
        The default.
    """
    parser.add_argument("--mixtures", default="embedded", help="embedded, or a folder; its calibration subset is used")
    parser.add_argument(
        "--mixtures-per-tier",
        type=reader(values.whole, "--mixtures-per-tier", example=per_tier),
        default=per_tier,
        metavar="N",
        help="mixtures per tier (default: %(default)s)",
    )
    parser.add_argument(
        "--follow-outside",
        action="store_true",
        help="read also files that a table or a link leads out of the mixtures' folder to",
    )
