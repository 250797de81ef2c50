"""What an option names (a device, a store, a file or a folder to write), tried before anything is loaded."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path

from sam_lsac.errors import InputError, PlanError, StoreError
from sam_lsac.suite.values import shown

__all__ = ["check_cluster", "check_device", "check_new_file", "check_new_folder", "check_store"]


def check_device(option: str, name: str) -> None:
    """Compute one number there: only that shows that a device is more than a name.

    Raises
    ------
    InputError
        If it computes nothing.
    """
    import torch

    try:
        usable = float(torch.ones(1, device=name).add(1.0).item()) == 2.0
        reason = "it computes nothing"
    except Exception as error:  # of whatever type torch or a driver raises
        usable, reason = False, textwrap.shorten(str(error) or type(error).__name__, 100, placeholder=" …")
    if not usable:
        raise InputError(f"{option} {shown(name)} cannot be used here ({reason}); use cpu, or cuda with CUDA.")


def check_cluster(option: str, where: str, *, device: str) -> None:
    """Join a cluster for a moment, which alone shows that it is there and has room for a worker.

    Parameters
    ----------
    option
        Its name, for the error.
    where
        Of `sam_lsac.runs.cluster.joined`.
    device
        On which workers would compute.

    Raises
    ------
    InputError
        If Ray is not installed, no such cluster answers, or none of its nodes has such a device.
    """
    import torch

    from sam_lsac.runs.cluster.join import STARTED_HERE, joined, ray, share_of

    try:
        if where == STARTED_HERE:  # it takes ten seconds, and nobody else's doing can be in the way
            ray()
            return
        with joined(where):
            share_of(torch.device(device).type)
    except PlanError as error:
        raise InputError(f"{option} {where}: {error}") from error


def check_store(option: str, path: Path, *, replay: bool) -> None:
    """Refuse a run store that cannot be read or, unless it is replayed, written.

    Raises
    ------
    StoreError
        If it is no run store, a folder, missing though it is to be replayed, or cannot be written.
    """
    from sam_lsac.runs import SQLiteStore

    if _is_folder(path):
        raise StoreError(f"{option} {path} is a folder; name a file, such as {path / 'store.sqlite'}.")
    if not (replay or (reason := _unwritable(path)) is None):
        raise StoreError(f"{option} {path} cannot be written ({reason}); name another file.")
    if replay and not path.exists():
        raise StoreError(f"--replay: there is no run store at {path}; run once without --replay.")
    if path.exists() and (replay or path.stat().st_size):
        SQLiteStore(path, read_only=True).close()


def check_new_folder(option: str, folder: Path) -> None:
    """Refuse a folder in which nothing can be written; it need not be there yet.

    Raises
    ------
    InputError
        If it is a file, lies below one or cannot be written.
    """
    reason = _unwritable(folder / "file")
    if reason is None:
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{option} {folder} is a file; name a folder.")
    raise InputError(f"{option} {folder} cannot be written ({reason}); name another folder.")


def check_new_file(option: str, path: Path, *, example: str) -> None:
    """Refuse a file that cannot be written, so that what is computed for it is not lost at the end.

    Parameters
    ----------
    option
        Its name, for the error.
    path
        Of the file; its folder must be there.
    example
        A name that such a file might have.

    Raises
    ------
    InputError
        If it is a folder, its folder is not there, or it cannot be written.
    """
    if _is_folder(path):
        raise InputError(f"{option} {path} is a folder; name a file in it, such as {path / example}.")
    reason = _unwritable(path)
    if reason is None and not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it, or name another.")
    if reason is not None:
        raise InputError(f"{option} {path} cannot be written ({reason}); name another file.")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the next look says why
        return False


def _unwritable(path: Path) -> str | None:
    """Why a file could not be written, or None; asked of the system by opening, which alone tells the truth."""
    try:
        if path.exists():
            with path.open("r+b"):
                pass
        home = path.parent
        while not home.exists():
            home = home.parent
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None
