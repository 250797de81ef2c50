"""The run store on disk: one SQLite row per run, and wherever asked for its waves and latents as side files.

A side file is whole before the row that names it is committed. Every row carries a digest of all
that was written with it, scores and names of side files included, and is held against it when it is read. Processes
share the runs of one store by leases.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sam_lsac.errors import StoreError
from sam_lsac.metrics import Score
from sam_lsac.processes import Process
from sam_lsac.runs.database import Database
from sam_lsac.runs.leases import Leases, in_words
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.rows import (
    SELECT_FILES,
    SELECT_RUNS,
    SELECT_SCORES,
    SELECT_STRAYS,
    row_digest,
    with_nan,
    without_nan,
)
from sam_lsac.runs.side_files import SideFiles
from sam_lsac.runs.store import ReadOnlyStore, RunResult, Store

__all__ = ["SQLiteStore", "open_store"]

POLL_S = 0.5


class SQLiteStore(Store):
    """A database file, with side files in ``<name>.files`` beside it.

    Parameters
    ----------
    path
        Of the database; made where it is missing, unless ``read_only``.
    read_only
        Open without writing anything, also from a folder that cannot be written to.
    notice
        Told in words what is waited for: another process's lock, or its runs.

    Raises
    ------
    StoreError
        If the file is missing, damaged, locked, or of another version.
    """

    def __init__(
        self, path: Path | str, *, read_only: bool = False, notice: Callable[[str], object] | None = None
    ) -> None:
        self.path = Path(path)
        self.location = str(path)
        self.side_files = SideFiles(self.path.with_name(f"{self.path.name}.files"))
        self._is_verified = False
        self._notice = notice or (lambda _words: None)
        if read_only and not self.path.is_file():
            raise StoreError(f"There is no run store at {path}; compute it first, without --replay.")
        self._db = Database(self.path, read_only=read_only, notice=self._notice)
        self._leases = Leases(self._db)
        if not read_only:
            self.side_files.sweep()

    def keys(self) -> set[str]:
        """Keys of all runs that are there; the first call reads them all, and raises StoreError for a damaged one."""
        present = self.stored_keys()
        with self._db.translated():
            if not self._is_verified:
                self._verify(present)
                self._is_verified = True
        return present

    def get(self, keys: Collection[str]) -> dict[str, RunResult]:
        """The results of those of the keys that are there; StoreError where a row is damaged."""
        with self._db.translated():
            stored = self._read(keys)
        return {key: self._result(row, scores, sizes) for key, (row, scores, sizes) in stored.items()}

    def put(self, results: Sequence[RunResult]) -> None:
        """Keep results in one transaction, after their side files are on the disk."""
        for one in results:  # outside of the transaction, since they take long
            for array in one.arrays.values():
                self.side_files.write(array)
        with self._db.locked():
            for one in results:
                # written once more where an upkeep removed it a moment ago, since no row named it yet
                self._insert(
                    one, [(name, self.side_files.write(array), array.nbytes) for name, array in one.arrays.items()]
                )

    @contextmanager
    def lease(self, keys: Collection[str]) -> Iterator[bool]:
        """Keep other processes from computing runs in the block; False where one of them is at work on, or stored."""
        with self._db.locked():
            taken = self._leases.take(keys)
        if not taken:
            yield False
            return
        try:
            with self._leases.renewed():
                yield True
        finally:
            with self._db.locked():
                self._leases.give_back(keys)

    def await_others(self, keys: Collection[str]) -> None:
        """Wait until another process has stored or left at least one of the runs, with a notice."""
        told = ""
        while len(holders := [one for run, one in self.holders().items() if run in keys]) == len(keys):
            if (words := f"waiting for {in_words(holders)}") != told:
                self._notice(words)
                told = words
            time.sleep(POLL_S)

    def holders(self) -> dict[str, Process]:
        """Which process computes which run now."""
        with self._db.translated():
            return self._leases.holders()

    def locked(self) -> AbstractContextManager[None]:
        """One transaction that writes: what is done in the block is kept whole, or not at all after an exception."""
        return self._db.locked()

    def array(self, key: str, name: str) -> NDArray[Any] | None:
        """A kept wave or latent, or None where the run kept none; StoreError where its file is gone or damaged."""
        with self._db.translated():
            row = self._db.execute("SELECT sha256 FROM files WHERE run = ? AND name = ?", (key, name)).fetchone()
        if row is None:
            return None
        return self.side_files.read(row[0])

    def stored_keys(self) -> set[str]:
        """Keys of all runs that are there, damaged ones included."""
        with self._db.translated():
            return {key for (key,) in self._db.execute("SELECT key FROM runs")}

    def faults(self) -> dict[str, str]:
        """What is wrong with which run, by its key: a row that is not what was written, a side file gone or damaged."""
        with self._db.translated():
            found = {key: "its scores or side files are there and its row is not" for (key,) in self._strays()}
            for key in sorted(self.stored_keys(), key=repr):
                if reason := self._fault(key):
                    found[key] = reason
        return found

    def named_files(self) -> dict[str, set[str]]:
        """The runs that name each side file, by its digest."""
        found: dict[str, set[str]] = {}
        with self._db.translated():
            for run, digest in self._db.execute("SELECT run, sha256 FROM files"):
                found.setdefault(digest, set()).add(run)
        return found

    def forget(self, keys: Collection[str]) -> None:
        """Remove runs, or what is left of them; they are missing from then on, and can be computed anew."""
        with self._db.locked():
            for table, column in (("scores", "run"), ("files", "run"), ("runs", "key")):
                statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608  # names of our own
                self._db.executemany(statement, [(key,) for key in keys])

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _insert(self, one: RunResult, files: Sequence[tuple[str, str, int]]) -> None:
        key = one.spec.key
        row = (
            key,
            json.dumps(one.spec.to_json(), sort_keys=True),
            one.noise_digest,
            json.dumps(dict(one.hits), sort_keys=True),
            json.dumps(without_nan(one.probes)),
            float(one.wall_s),
            json.dumps(dict(one.environment), sort_keys=True),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # SQLite keeps no sign of zero, so that the digest must not see one
        scores = [
            (name, None if score.reason else score.value + 0.0, score.reason, int(score.failed))
            for name, score in one.scores.items()
        ]
        digest = row_digest(row, scores, files)
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
            for key, *score in self._db.execute(SELECT_SCORES, wanted):
                scores.setdefault(key, []).append(score)
            for key, *item in self._db.execute(SELECT_FILES, wanted):
                files.setdefault(key, []).append(item)
            for *row, digest in self._db.execute(SELECT_RUNS, wanted):
                key = row[0]
                if row_digest(row, scores.get(key, []), files.get(key, [])) != digest:
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
        if stray := next(self._strays(), None):
            raise self._damaged(stray[0], "its scores or side files are there and its row is not")

    def _strays(self) -> Iterator[tuple[str]]:
        return self._db.execute(f"{SELECT_STRAYS} GROUP BY run")  # of our own

    def _fault(self, key: str) -> str | None:
        try:
            row = self._read([key]).get(key)
            if row is None:
                return "its key is there and its row is not"
            self._result(*row)
        except StoreError as error:
            return str(error)
        digests = self._db.execute("SELECT sha256 FROM files WHERE run = ?", (key,)).fetchall()
        return next((fault for (digest,) in digests if (fault := self.side_files.fault(digest))), None)

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
                probes=with_nan(json.loads(probes)),
                wall_s=wall_s,
                environment=json.loads(environment),
                array_bytes=sizes,
            )
        except (ValueError, TypeError) as error:
            raise self._damaged(key, error) from error


def open_store(path: Path | str, *, replay: bool = False, notice: Callable[[str], object] | None = None) -> Store:
    """Open a run store; with ``replay`` one that forbids to compute.

    Parameters
    ----------
    path
        Of the database.
    replay
        Read only.
    notice
        Told in words what is waited for.

    Raises
    ------
    StoreError
        If the file is damaged, locked or of another version, or, to replay, missing.
    """
    return ReadOnlyStore(SQLiteStore(path, read_only=True)) if replay else SQLiteStore(path, notice=notice)
