"""The run store on disk: one SQLite row per run, and wherever asked for its waves and latents as side files.

The database is in WAL mode: readers and one writer at a time do not disturb each other, and what was committed
survives ``kill -9``. A side file is named by the SHA-256 of its content, written under a temporary name in the same
folder, synced and renamed before the row that names it is committed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import StoreError
from sam_lsac.metrics import Score
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.store import ReadOnlyStore, RunResult, Store

__all__ = ["SQLiteStore", "open_store"]

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C534143  # "LSAC"
BUSY_S = 60.0
_SCHEMA = (
    """CREATE TABLE runs (
        key TEXT PRIMARY KEY, spec TEXT NOT NULL, noise_digest TEXT, hits TEXT NOT NULL, probes TEXT NOT NULL,
        wall_s REAL NOT NULL, environment TEXT NOT NULL, finished TEXT NOT NULL)""",
    """CREATE TABLE scores (
        run TEXT NOT NULL REFERENCES runs(key), metric TEXT NOT NULL, value REAL, reason TEXT,
        PRIMARY KEY (run, metric), CHECK ((value IS NULL) = (reason IS NOT NULL)))""",
    """CREATE TABLE files (
        run TEXT NOT NULL REFERENCES runs(key), name TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (run, name))""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class SQLiteStore(Store):
    """A database file, with side files in ``<name>.files`` beside it.

    Parameters
    ----------
    path
        Of the database; made where it is missing, unless ``read_only``.
    read_only
        Open without writing anything, also from a folder that cannot be written to.

    Raises
    ------
    StoreError
        If the file is missing, damaged, locked, or of another version.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.location = str(path)
        self._files = self.path.with_name(f"{self.path.name}.files")
        if read_only and not self.path.is_file():
            raise StoreError(f"There is no run store at {path}; compute it first, without --replay.")
        with self._translated():
            self._db = self._connect(read_only)
            try:
                self._prepare(read_only)
            except BaseException:
                self._db.close()
                raise

    def keys(self) -> set[str]:
        """Keys of all runs that are there."""
        with self._translated():
            return {key for (key,) in self._db.execute("SELECT key FROM runs")}

    def get(self, keys: Collection[str]) -> dict[str, RunResult]:
        """The results of those of the keys that are there; StoreError where a row is damaged."""
        wanted = set(keys)
        with self._translated():
            self._db.execute("BEGIN")  # both tables as of one moment
            try:
                runs = self._db.execute("SELECT key, spec, noise_digest, hits, probes, wall_s, environment FROM runs")
                rows = {row[0]: row for row in runs if row[0] in wanted}
                scores: dict[str, dict[str, Score]] = {key: {} for key in rows}
                for run, metric, value, reason in self._db.execute("SELECT run, metric, value, reason FROM scores"):
                    if run in scores:
                        scores[run][metric] = Score(math.nan if value is None else value, reason)
            finally:
                self._db.execute("COMMIT")
        return {key: self._result(row, scores[key]) for key, row in rows.items()}

    def put(self, results: Sequence[RunResult]) -> None:
        """Keep results in one transaction, after their side files are on the disk."""
        digests = [{name: self._write(array) for name, array in one.arrays.items()} for one in results]
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for one, files in zip(results, digests, strict=True):
                    self._insert(one, files)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def array(self, key: str, name: str) -> NDArray[Any] | None:
        """A kept wave or latent, or None where the run kept none; StoreError where its file is gone or damaged."""
        with self._translated():
            row = self._db.execute("SELECT sha256 FROM files WHERE run = ? AND name = ?", (key, name)).fetchone()
        if row is None:
            return None
        path = self._files / f"{row[0]}.npy"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read; restore it, or compute into a new store.") from error
        if hashlib.sha256(content).hexdigest() != row[0]:
            raise StoreError(f"{path} is damaged: its content is not what its name says; restore it, or delete it.")
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        return array

    def close(self) -> None:
        """Close the database."""
        self._db.close()

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
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement in _SCHEMA if self._is_empty() else ():  # of two processes one makes them
                    self._db.execute(statement)
            finally:
                self._db.execute("COMMIT")
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise StoreError(f"{self.location} is a database of another program; name another file for the run store.")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.location} has schema {version}, and this version of sam_lsac reads schema {SCHEMA_VERSION}; "
                "move it away and compute anew, or use the version that wrote it."
            )
        self._db.execute("PRAGMA synchronous = FULL")

    def _is_empty(self) -> bool:
        return not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def _insert(self, one: RunResult, files: Mapping[str, str]) -> None:
        key = one.spec.key
        row = (
            key,
            json.dumps(one.spec.to_json(), sort_keys=True),
            one.noise_digest,
            json.dumps(dict(one.hits), sort_keys=True),
            json.dumps(_without_nan(one.probes)),
            one.wall_s,
            json.dumps(dict(one.environment), sort_keys=True),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        done = self._db.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", row)
        if not done.rowcount:
            return
        scores = [
            (key, name, None if score.reason else score.value, score.reason) for name, score in one.scores.items()
        ]
        self._db.executemany("INSERT INTO scores VALUES (?,?,?,?)", scores)
        self._db.executemany("INSERT INTO files VALUES (?,?,?)", [(key, *item) for item in files.items()])

    def _result(self, row: tuple[Any, ...], scores: dict[str, Score]) -> RunResult:
        key, spec_text, noise_digest, hits, probes, wall_s, environment = row
        try:
            spec = RunSpec.from_json(json.loads(spec_text))
            if spec.key != key or set(scores) != set(spec.metrics):
                raise ValueError("the row is not what its key says")
            return RunResult(
                spec=spec,
                scores={name: scores[name] for name in spec.metrics},
                noise_digest=noise_digest,
                hits=json.loads(hits),
                probes=_with_nan(json.loads(probes)),
                wall_s=wall_s,
                environment=json.loads(environment),
            )
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"Run {key} in {self.location} is damaged ({error}); delete it and compute anew."
            ) from error

    def _write(self, array: NDArray[Any]) -> str:
        """Write a side file and return the digest that names it."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        final = self._files / f"{digest}.npy"
        if final.exists():  # renamed only once it was whole
            return digest
        try:
            self._files.mkdir(exist_ok=True)
            temporary = self._files / f".{digest}.{os.getpid()}.tmp"
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
            _sync_folder(self._files)
        except OSError as error:
            raise StoreError(
                f"{final} cannot be written ({error}); free some space or choose another store."
            ) from error
        return digest

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                remedy = "another process is writing; wait for it"
            else:
                remedy = "check that the folder exists, is writable and has space, or name another store"
            raise StoreError(f"{self.location}: {error}; {remedy}.") from error
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.location} is damaged or no run store ({error}); move it away and compute anew."
            ) from error


def open_store(path: Path | str, *, replay: bool = False) -> Store:
    """Open a run store; with ``replay`` one that forbids to compute.

    Raises
    ------
    StoreError
        If the file is damaged, locked or of another version, or, to replay, missing.
    """
    return ReadOnlyStore(SQLiteStore(path, read_only=True)) if replay else SQLiteStore(path)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; Windows cannot open folders and needs no such thing."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value
