"""The run store on disk: one SQLite row per run, and wherever asked for its waves and latents as side files.

The database is in WAL mode: readers and one writer at a time do not disturb each other, and what was committed
survives ``kill -9``. A side file is whole before the row that names it is committed. Every row carries a digest of all
that was written with it, scores and names of side files included, and is held against it when it is read.
"""

from __future__ import annotations

import hashlib
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

from numpy.typing import NDArray

from sam_lsac.errors import StoreError
from sam_lsac.metrics import Score
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.side_files import SideFiles
from sam_lsac.runs.store import ReadOnlyStore, RunResult, Store

__all__ = ["SQLiteStore", "open_store"]

SCHEMA_VERSION = 3
APPLICATION_ID = 0x4C534143  # "LSAC"
BUSY_S = 60.0
_SCHEMA = (
    """CREATE TABLE runs (
        key TEXT PRIMARY KEY, spec TEXT NOT NULL, noise_digest TEXT, hits TEXT NOT NULL, probes TEXT NOT NULL,
        wall_s REAL NOT NULL, environment TEXT NOT NULL, finished TEXT NOT NULL, digest TEXT NOT NULL)""",
    """CREATE TABLE scores (
        run TEXT NOT NULL REFERENCES runs(key), metric TEXT NOT NULL, value REAL, reason TEXT,
        failed INTEGER NOT NULL, PRIMARY KEY (run, metric), CHECK ((value IS NULL) = (reason IS NOT NULL)))""",
    """CREATE TABLE files (
        run TEXT NOT NULL REFERENCES runs(key), name TEXT NOT NULL, sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL, PRIMARY KEY (run, name))""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_SELECT_RUNS = """SELECT key, spec, noise_digest, hits, probes, wall_s, environment, finished, digest FROM runs
    WHERE key IN (SELECT value FROM json_each(?))"""
_SELECT_SCORES = "SELECT run, metric, value, reason, failed FROM scores WHERE run IN (SELECT value FROM json_each(?))"
_SELECT_FILES = "SELECT run, name, sha256, bytes FROM files WHERE run IN (SELECT value FROM json_each(?))"
_SELECT_STRAYS = """SELECT run FROM (SELECT run FROM scores UNION SELECT run FROM files)
    WHERE run NOT IN (SELECT key FROM runs)"""


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
        self._files = SideFiles(self.path.with_name(f"{self.path.name}.files"))
        self._is_verified = False
        if read_only and not self.path.is_file():
            raise StoreError(f"There is no run store at {path}; compute it first, without --replay.")
        with self._translated():
            self._db = self._connect(read_only)
            try:
                self._prepare(read_only)
            except BaseException:
                self._db.close()
                raise
        if not read_only:
            self._files.sweep()

    def keys(self) -> set[str]:
        """Keys of all runs that are there; the first call reads them all, and raises StoreError for a damaged one."""
        with self._translated():
            present = {key for (key,) in self._db.execute("SELECT key FROM runs")}
            if not self._is_verified:
                self._verify(present)
                self._is_verified = True
        return present

    def get(self, keys: Collection[str]) -> dict[str, RunResult]:
        """The results of those of the keys that are there; StoreError where a row is damaged."""
        with self._translated():
            stored = self._read(keys)
        return {key: self._result(row, scores, sizes) for key, (row, scores, sizes) in stored.items()}

    def put(self, results: Sequence[RunResult]) -> None:
        """Keep results in one transaction, after their side files are on the disk."""
        written = [
            [(name, self._files.write(array), array.nbytes) for name, array in one.arrays.items()] for one in results
        ]
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for one, files in zip(results, written, strict=True):
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
        return self._files.read(row[0])

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

    def _insert(self, one: RunResult, files: Sequence[tuple[str, str, int]]) -> None:
        key = one.spec.key
        row = (
            key,
            json.dumps(one.spec.to_json(), sort_keys=True),
            one.noise_digest,
            json.dumps(dict(one.hits), sort_keys=True),
            json.dumps(_without_nan(one.probes)),
            float(one.wall_s),
            json.dumps(dict(one.environment), sort_keys=True),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # SQLite keeps no sign of zero, so that the digest must not see one
        scores = [
            (name, None if score.reason else score.value + 0.0, score.reason, int(score.failed))
            for name, score in one.scores.items()
        ]
        digest = _digest(row, scores, files)
        done = self._db.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", (*row, digest))
        if not done.rowcount:
            return
        self._db.executemany("INSERT INTO scores VALUES (?,?,?,?,?)", [(key, *score) for score in scores])
        self._db.executemany("INSERT INTO files VALUES (?,?,?,?)", [(key, *item) for item in files])

    def _read(self, keys: Collection[str]) -> dict[str, tuple[tuple[Any, ...], dict[str, Score], dict[str, int]]]:
        """Rows of the keys that are there, with scores and sizes of files, each held against its digest."""
        wanted = (json.dumps(list(keys)),)
        scores: dict[str, list[Any]] = {}
        files: dict[str, list[Any]] = {}
        found = {}
        self._db.execute("BEGIN")  # all tables as of one moment
        try:
            for key, *score in self._db.execute(_SELECT_SCORES, wanted):
                scores.setdefault(key, []).append(score)
            for key, *item in self._db.execute(_SELECT_FILES, wanted):
                files.setdefault(key, []).append(item)
            for *row, digest in self._db.execute(_SELECT_RUNS, wanted):
                key = row[0]
                if _digest(row, scores.get(key, []), files.get(key, [])) != digest:
                    raise self._damaged(key, "it is not what was written")
                given = {
                    name: Score(math.nan if value is None else value, why, bool(failed))
                    for name, value, why, failed in scores[key]
                }
                found[key] = (tuple(row), given, {name: size for name, _, size in files.get(key, [])})
        finally:
            self._db.execute("COMMIT")
        return found

    def _verify(self, present: set[str]) -> None:
        """Raise for a row that is not what was written, and for what is left of one whose key was damaged."""
        if lost := present - set(self._read(present)):
            raise self._damaged(min(lost), "its key is there and its row is not")
        if stray := self._db.execute(_SELECT_STRAYS).fetchone():
            raise self._damaged(stray[0], "its scores or side files are there and its row is not")

    def _damaged(self, key: str, reason: object) -> StoreError:
        return StoreError(
            f"Run {key} in {self.location} is damaged ({reason}); restore the file, or move it away and compute anew."
        )

    def _result(self, row: tuple[Any, ...], scores: dict[str, Score], sizes: dict[str, int]) -> RunResult:
        key, spec_text, noise_digest, hits, probes, wall_s, environment, *_ = row
        try:
            spec = RunSpec.from_json(json.loads(spec_text))
            if spec.key != key or {name for name in scores if "/" not in name} != set(spec.metrics):
                raise ValueError("the row is not what its key says")
            return RunResult(
                spec=spec,
                scores={name: scores[name] for name in (*spec.metrics, *(one for one in scores if "/" in one))},
                noise_digest=noise_digest,
                hits=json.loads(hits),
                probes=_with_nan(json.loads(probes)),
                wall_s=wall_s,
                environment=json.loads(environment),
                array_bytes=sizes,
            )
        except (ValueError, TypeError) as error:
            raise self._damaged(key, error) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                remedy = "another process is writing; wait for it"
            elif "decode" in str(error):
                remedy = "it is damaged; restore the file, or move it away and compute anew"
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


def _digest(row: Sequence[Any], scores: Sequence[Sequence[Any]], files: Sequence[Sequence[Any]]) -> str:
    """SHA-256 in hex of all that a run's rows hold, in whatever order the tables give them."""
    content = [list(row), *(sorted((list(one) for one in table), key=repr) for table in (scores, files))]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()  # damage can make bytes of text


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
