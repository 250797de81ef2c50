"""``store``: what a run store holds, whether it is whole, what may go, and its rows for other programs."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_lsac.commands.arguments import Commands, reader
from sam_lsac.commands.calibration import write_result
from sam_lsac.legible import legible
from sam_lsac.suite import values
from sam_lsac.suite.usable import check_new_file

if TYPE_CHECKING:
    from sam_lsac.runs.upkeep import Holdings

__all__ = ["NAME", "add"]

NAME = "store"
#: What a spreadsheet takes for a formula at the beginning of a cell.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(NAME, help="look after a run store: check it, clean it, export its rows")
    actions = parser.add_subparsers(dest="action", required=True)
    checking = actions.add_parser("check", help="verify every row and side file; damage is exit code 1")
    cleaning = actions.add_parser("clean", help="remove side files that no run names, and what was left half written")
    cleaning.add_argument("--damaged", action="store_true", help="remove damaged runs too, to be computed anew")
    exporting = actions.add_parser("export", help="write every run as a line of JSON, or as a row of CSV")
    exporting.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    exporting.add_argument("--out", type=reader(values.path, "--out"), metavar="FILE", help="default: standard output")
    for action, run in ((checking, _check), (cleaning, _clean), (exporting, _export)):
        action.add_argument("--store", type=reader(values.path, "--store"), required=True, metavar="FILE")
        action.set_defaults(run=run, kept=_kept)


def _check(options: argparse.Namespace) -> int:
    from sam_lsac.runs.upkeep import check

    found = check(options.store)
    print("\n".join(legible(line) for line in _lines(options.store, found)))
    return 0 if found.is_whole else 1


def _lines(path: Path, found: Holdings) -> Iterator[str]:
    yield f"{path}: {found.n_runs} runs, {found.n_side_files} side files of {found.side_bytes / 1e6:.1f} MB"
    for (checkpoint, arm), count in sorted(found.counts.items()):
        yield f"  {count:6} {arm} (checkpoint {checkpoint[:12]})"
    for key, reason in found.faults.items():
        yield f"damaged: {key}: {reason}"
    if found.working:
        yield f"at work: {found.working}"
    left = [(len(found.orphans), "side files that no run names"), (len(found.unfinished), "files left half written")]
    yield from (f"{count} {what}; remove them with `store clean`" for count, what in left if count)
    if found.faults:
        yield f"{len(found.faults)} runs are damaged; remove them with `store clean --damaged`, and compute them anew"
    else:
        yield "every row and side file is what was written"


def _clean(options: argparse.Namespace) -> int:
    from sam_lsac.runs.upkeep import clean

    found = clean(options.store, damaged=options.damaged)
    print(
        f"removed {found.orphans} side files that no run named, {found.unfinished} files left half written and "
        f"{found.runs} damaged runs"
    )
    return 0


def _export(options: argparse.Namespace) -> int:
    from sam_lsac.runs.upkeep import exported

    if options.out is not None:
        check_new_file("--out", options.out, example="runs.jsonl")
    rows = exported(options.store)
    lines = _csv(rows) if options.format == "csv" else (f"{json.dumps(row, allow_nan=False)}\n" for row in rows)
    if options.out is None:
        sys.stdout.writelines(lines)
    else:
        write_result(options.out, "".join(lines))
    return 0


def _csv(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """One line a run: the fields of its spec, then value and reason of every metric that any run has."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    for row in [dict(zip(names, names, strict=True)), *flat]:
        line = io.StringIO()
        csv.DictWriter(line, names, lineterminator="\n").writerow({name: _cell(one) for name, one in row.items()})
        yield line.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"key": row["key"]} | row["spec"]
    for metric, score in row["scores"].items():
        found |= {metric: score["value"], f"{metric}_reason": score["reason"]}
    return found | {name: row[name] for name in ("noise_digest", "wall_s")}


def _cell(value: Any) -> Any:
    """A value of a cell; no text in it is a formula to a spreadsheet."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _kept(options: argparse.Namespace) -> str:
    return f"{options.store} is whole; the same command begins anew"
