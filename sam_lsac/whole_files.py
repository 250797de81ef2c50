"""Files that take their names when they are whole: after whatever fault there is the whole file, or none.

A file is written under a hidden name in its own folder, which says which process writes it; then it is synced and
renamed. An error, Ctrl-C and a full disk remove the hidden file at once; what ``kill -9`` leaves, `remove_abandoned`
removes, since the process in its name is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from sam_lsac.processes import Process

__all__ = ["abandoned", "remove_abandoned", "whole_files", "write_whole"]

#: No file rests so long between two writes; one of a machine that cannot be asked is then taken for abandoned.
ABANDONED_S = 86_400.0
_HIDDEN = re.compile(r"\.sam_lsac\.[0-9a-f]{16}\.(?P<host>[\w.-]*)-(?P<pid>\d{1,20})\.tmp", re.ASCII)


@contextlib.contextmanager
def whole_files(*finals: Path) -> Iterator[tuple[Path, ...]]:
    """Give the hidden names to write under; on leaving, all files take their own names, or none does.

    Parameters
    ----------
    *finals
        The files' own names, in folders that exist. What lies there is replaced.

    Yields
    ------
    tuple of Path
        One for each; all of them must be written and closed inside the block.

    Raises
    ------
    OSError
        If a file cannot be written; then neither hidden nor final files are left.
    """
    hidden = tuple(_hidden(final) for final in finals)
    named: list[Path] = []
    try:
        yield hidden
        for path in hidden:
            _sync(path)
        for path, final in zip(hidden, finals, strict=True):
            path.replace(final)
            named.append(final)
        for folder in {final.parent for final in finals}:
            _sync_folder(folder)
    except BaseException:
        for path in (*hidden, *(named if len(named) < len(finals) else ())):  # all that are named are whole
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def write_whole(final: Path, content: bytes | str) -> None:
    """Write a file of known content, in UTF-8 where it is text, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    raw = content.encode() if isinstance(content, str) else content
    with whole_files(final) as (path,):
        path.write_bytes(raw)


def abandoned(folder: Path) -> list[Path]:
    """The hidden files in a folder whose writers have ended; those of other programs are never among them.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    return [path for path in sorted(folder.glob(".sam_lsac.*.tmp")) if _is_abandoned(path)]


def remove_abandoned(folder: Path) -> int:
    """Remove the hidden files whose writers have ended, and return how many there were.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    found = abandoned(folder)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _hidden(final: Path) -> Path:
    writer = Process.this()
    return final.with_name(f".sam_lsac.{secrets.token_hex(8)}.{writer.host}-{writer.pid}.tmp")


def _is_abandoned(path: Path) -> bool:
    named = _HIDDEN.fullmatch(path.name)
    if named is None:
        return False
    try:
        age_s = time.time() - path.lstat().st_mtime
    except FileNotFoundError:  # its writer has just renamed it
        return False
    return age_s > ABANDONED_S or Process(host=named["host"], pid=int(named["pid"])).is_gone


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename last; Windows cannot open folders and needs no such thing."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
