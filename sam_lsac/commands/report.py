"""``report``: compare a report with an older one, or print the schema of one."""

from __future__ import annotations

import argparse

from sam_lsac.commands.arguments import Commands, reader
from sam_lsac.errors import InputError
from sam_lsac.suite import values

__all__ = ["NAME", "add"]

NAME = "report"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="compare a report with an older one; a flipped verdict is exit code 1")
    parser.add_argument(
        "new", type=reader(values.path, "NEW.json"), nargs="?", metavar="NEW.json", help="report.json of this release"
    )
    parser.add_argument(
        "--compare", type=reader(values.path, "--compare"), metavar="OLD.json", help="report.json of the last one"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a report.json instead")
    parser.set_defaults(run=_run, kept=lambda _options: "nothing was written")


def _run(options: argparse.Namespace) -> int:
    from sam_lsac.report.compare import compare
    from sam_lsac.report.json import schema_text

    if options.schema:
        print(schema_text(), end="")
        return 0
    if options.new is None or options.compare is None:
        raise InputError("two reports are needed: python -m sam_lsac report NEW.json --compare OLD.json.")
    comparison = compare(options.compare, options.new)
    print(comparison)
    return int(comparison.fails("flip"))
