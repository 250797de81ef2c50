"""Arrays beside a run store, one file each, named by the SHA-256 of its content.

A file is written under a temporary name in the same folder, synced and renamed: under its own name it is always whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import StoreError

__all__ = ["SideFiles"]

#: No file takes so long to write; a temporary one that is older was left by a process that died, on whatever machine.
ABANDONED_S = 3600.0
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.(?P<host>.*)-(?P<pid>\d+)-\d+\.tmp")


class SideFiles:
    """The folder of a store's arrays.

    Parameters
    ----------
    folder
        Made with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, array: NDArray[Any]) -> str:
        """Write an array and return the digest that names it; equal ones share a file.

        Raises
        ------
        StoreError
            If it cannot be written; then nothing is left of it.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        final = self._path(digest)
        if final.exists():  # renamed only once it was whole
            return digest
        writer = f"{platform.node()}-{os.getpid()}-{threading.get_ident()}"
        temporary = self.folder / f".{digest}.{writer}.tmp"
        with self._translated(final):
            self.folder.mkdir(exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(self.folder)
        return digest

    def read(self, digest: str) -> NDArray[Any]:
        """Read an array.

        Raises
        ------
        StoreError
            If its file is gone or damaged.
        """
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read; restore it, or compute into a new store.") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"{path} is damaged: its content is not what its name says; restore it, or delete it.")
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        return array

    def sweep(self) -> None:
        """Remove the temporary files of processes that died in a write.

        Raises
        ------
        StoreError
            If one cannot be removed.
        """
        for path in self.folder.glob("*.tmp"):
            with self._translated(path):
                if _is_abandoned(path):
                    path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.npy"

    @contextmanager
    def _translated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error}); free some space or choose another store.") from error


def _is_abandoned(path: Path) -> bool:
    written = _TEMPORARY.fullmatch(path.name)
    if written is None:
        return False
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # its writer has just renamed it
        return False
    return age_s > ABANDONED_S or (written["host"] == platform.node() and not _is_alive(int(written["pid"])))


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine lives; taken for granted where the system cannot be asked without harm."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last; Windows cannot open folders and needs no such thing."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
