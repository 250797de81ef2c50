"""Reports of earlier runs, kept one file each in a folder, and found again by number, name or "last".

A file is called ``NNNN_CHECKPOINT_DIGEST_UTC.json``: names in order are reports in order.
"""

import re
from pathlib import Path

from sam_lsac.errors import InputError, StoreError
from sam_lsac.records import nearest
from sam_lsac.report.json import from_json, to_json
from sam_lsac.report.model import Report
from sam_lsac.report.write import write_whole

__all__ = ["autosave", "last", "resolve"]

NAME = re.compile(r"(\d{4,})_.+\.json")
LAST = "last"


def autosave(report: Report, folder: Path | str) -> Path:
    """Keep a report under the next number, whole or not at all, and return its file.

    Raises
    ------
    StoreError
        If the folder cannot be written to.
    """
    home = Path(folder)
    numbers = [_number(file) for file in _files(home)]
    seen = report.environment
    checkpoint = re.sub(r"[^A-Za-z0-9.-]+", "-", seen.checkpoint).strip("-.")[:40] or "checkpoint"
    moment = re.sub(r"[^0-9T]", "", seen.created.split("+")[0])
    name = f"{max(numbers, default=0) + 1:04d}_{checkpoint}_{seen.digest[:8]}_{moment}Z.json"
    return write_whole(home / name, to_json(report))


def last(folder: Path | str) -> Path | None:
    """Return the newest report of a folder, or None where there is none.

    Raises
    ------
    StoreError
        If that file is no report that this code reads; the sentence names it.
    """
    files = _files(Path(folder))
    return _readable(files[-1]) if files else None


def resolve(name: str, folder: Path | str) -> Path:
    """Return the report that a user means.

    Parameters
    ----------
    name
        "last", a number, a file name in the folder (with or without .json), or the path of any report.json.
    folder
        Of the kept reports.

    Raises
    ------
    InputError
        If there is none; the sentence names the nearest, or says how to keep one.
    StoreError
        If the file is no report that this code reads; the sentence names it.
    """
    home = Path(folder)
    if name == LAST:
        newest = last(home)
        if newest is None:
            raise InputError(f"no report is kept in {home} yet: run once with --report-autosave, or name a report.json")
        return newest
    files = _files(home)
    for file in reversed(files):
        if name in (file.name, file.stem) or (name.isdecimal() and int(name) == _number(file)):
            return _readable(file)
    if Path(name).is_file():
        return _readable(Path(name))
    near = nearest(name, [file.name for file in files])
    advice = f"did you mean {near!r}?" if near else f"{LAST!r}, a number or a file of {home} is known, or a path"
    raise InputError(f"there is no report {name!r}: {advice}")


def _files(home: Path) -> list[Path]:
    """Return the kept reports, oldest first; by number, so that the ten-thousandth is the last too."""
    if not home.is_dir():
        return []
    return sorted((one for one in home.iterdir() if NAME.fullmatch(one.name)), key=lambda one: (_number(one), one.name))


def _number(file: Path) -> int:
    return int(file.name.split("_")[0])


def _readable(file: Path) -> Path:
    try:
        from_json(file)
    except (InputError, StoreError) as error:
        raise StoreError(f"{file} cannot be compared with ({error}); remove it, or name another report") from error
    return file
