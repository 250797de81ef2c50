"""The database under a run store: opened as one of ours or refused, its locks waited for, its errors ours.

It is in WAL mode: readers and one writer at a time do not disturb each other, and what was committed survives
``kill -9``.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sam_lsac.errors import StoreError
from sam_lsac.runs.rows import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

__all__ = ["Database"]

BUSY_S = 60.0
NOTICE_S = 2.0  # a lock that is held for less is no news
POLL_S = 0.5


class Database:
    """A connection to the file.

    Parameters
    ----------
    path
        Of the file; made where it is missing, unless ``read_only``.
    read_only
        Open without writing anything, also from a folder that cannot be written to.
    notice
        Told in words of a lock that is waited for.

    Raises
    ------
    StoreError
        If the file is damaged, locked, or no run store of this version.
    """

    def __init__(self, path: Path, *, read_only: bool, notice: Callable[[str], object]) -> None:
        self.path = path
        self._notice = notice
        with self.translated():
            self._connection = self._connect(read_only)
            try:
                self._prepare(read_only)
            except BaseException:
                self._connection.close()
                raise

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Execute one statement; errors of SQLite go through, see `translated`."""
        return self._connection.execute(statement, values)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each row."""
        self._connection.executemany(statement, rows)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One transaction that writes: what is done in the block is kept whole, or not at all after an exception."""
        with self.translated():
            self._begin()
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of SQLite in the block into ours, with the remedy."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                remedy = "another process is writing; wait for it"
            elif "decode" in str(error):
                remedy = "it is damaged; restore the file, or move it away and compute anew"
            else:
                remedy = "check that the folder exists, is writable and has space, or name another store"
            raise StoreError(f"{self.path}: {error}; {remedy}.") from error
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a schema that is no text
            raise StoreError(
                f"{self.path} is damaged or no run store ({error}); move it away and compute anew."
            ) from error

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        if not read_only:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        # WAL needs a writable folder even to read, unless the file is declared to be at rest
        at_rest = not os.access(self.path.parent, os.W_OK) and not self.path.with_name(f"{self.path.name}-wal").exists()
        address = f"file:{quote(str(self.path.resolve()))}?mode=ro{'&immutable=1' if at_rest else ''}"
        return sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, uri=True)

    def _prepare(self, read_only: bool) -> None:
        """Make the tables of a new database; refuse another program's and another version's, and leave them so."""
        if self._is_empty() and not read_only:
            self._patiently("PRAGMA journal_mode = WAL")
            self._begin()
            try:
                for statement in SCHEMA if self._is_empty() else ():  # of two processes one makes them
                    self._connection.execute(statement)
            finally:
                self._connection.execute("COMMIT")
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is a database of another program; name another file for the run store.")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema {version}, and this version of sam_lsac reads schema {SCHEMA_VERSION}; "
                "move it away and compute anew, or use the version that wrote it."
            )
        self._connection.execute("PRAGMA synchronous = FULL")

    def _begin(self) -> None:
        """Take the right to write."""
        self._patiently("BEGIN IMMEDIATE")

    def _patiently(self, statement: str) -> None:
        """Wait for a lock that another process holds, and say so."""
        began = time.monotonic()
        self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * min(NOTICE_S, BUSY_S))}")
        try:
            while True:
                try:
                    self._connection.execute(statement)
                except sqlite3.OperationalError as error:
                    waited_s = time.monotonic() - began
                    if "locked" not in str(error) or waited_s >= BUSY_S:
                        raise
                    self._notice(f"waiting for the lock on {self.path} ({waited_s:.0f} of {BUSY_S:.0f} s)")
                    time.sleep(min(POLL_S, BUSY_S))  # also where SQLite itself does not wait
                else:
                    return
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_S)}")

    def _is_empty(self) -> bool:
        return not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
