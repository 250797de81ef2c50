"""Arrays beside a run store, one file each, named by the SHA-256 of its content.

Under its own name a file is always whole: see `sam_lsac.whole_files`.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import StoreError
from sam_lsac.whole_files import abandoned, remove_abandoned, write_whole

__all__ = ["SideFiles"]

_DIGEST = re.compile("[0-9a-f]{64}")


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
        with self._translated(final):
            self.folder.mkdir(exist_ok=True)
            write_whole(final, content)
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
        return _array(content, path)

    def fault(self, digest: str) -> str | None:
        """Why an array cannot be read, or None; nothing is kept in memory."""
        path = self._path(digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        return None if found == digest else f"{path} is damaged: its content is not what its name says"

    def digests(self) -> set[str]:
        """Of all arrays that lie here."""
        return {path.stem for path in self.folder.glob("*.npy") if _DIGEST.fullmatch(path.stem)}

    def n_bytes(self, digest: str) -> int:
        """Size of an array's file; 0 where another process has just removed it."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def abandoned(self) -> list[Path]:
        """What processes left half written that died.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        with self._translated(self.folder):
            return abandoned(self.folder)

    def remove(self, digest: str) -> None:
        """Remove an array that no run names any more.

        Raises
        ------
        StoreError
            If it cannot be removed.
        """
        with self._translated(self._path(digest)):
            self._path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what processes left half written that died.

        Raises
        ------
        StoreError
            If something cannot be removed.
        """
        with self._translated(self.folder):
            remove_abandoned(self.folder)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.npy"

    @contextmanager
    def _translated(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error}); free some space or choose another store.") from error


def _array(content: bytes, path: Path) -> NDArray[Any]:
    """The array in a file's content, whose header is not believed a size that the content does not have."""
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a header in an old form, which is never written
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of NumPy's format")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or is_fortran or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError("its header does not fit its length")
        return np.ndarray(shape, dtype, buffer=content, offset=file.tell()).copy()
    except Exception as error:  # of whatever type the parser of Python that NumPy hands a header to raises
        raise StoreError(f"{path} holds no array ({error}); restore it, or compute into a new store.") from error
