"""Who computes what: runs that a process has begun are leased to it, so that another on the same store takes others.

A lease ends when its owner gives it back, when its process is known to have ended, or when it was not renewed for a
minute: its owner renews it every ten seconds, from a thread and a connection of its own. A process that was only
stopped and goes on later computes in vain, and spoils nothing: the first result of a run is kept.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager

from sam_lsac.processes import Process
from sam_lsac.runs.database import Database

__all__ = ["Leases"]

EXPIRES_S = 60.0
RENEWED_EVERY_S = 10.0
_TABLE = """CREATE TABLE IF NOT EXISTS leases (
    run TEXT PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, renewed REAL NOT NULL)"""
_IS_THERE = "SELECT count(*) FROM sqlite_master WHERE name = 'leases'"
_AMONG = "(SELECT value FROM json_each(?))"


class Leases:
    """The table of leases of one store, as one owner sees it.

    Parameters
    ----------
    database
        Of the store.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._owner = secrets.token_hex(16)

    def take(self, runs: Collection[str]) -> bool:
        """Lease runs, all or none: none where one of them is leased or stored; inside a transaction that writes."""
        self._db.execute(_TABLE)
        self.drop_dead()
        wanted = json.dumps(list(runs))
        for table, column in (("leases", "run"), ("runs", "key")):
            taken = f"SELECT 1 FROM {table} WHERE {column} IN {_AMONG} LIMIT 1"  # noqa: S608  # names of our own
            if self._db.execute(taken, (wanted,)).fetchone():
                return False
        me, now = Process.this(), time.time()
        rows = [(run, self._owner, me.host, me.pid, now) for run in dict.fromkeys(runs)]
        self._db.executemany("INSERT INTO leases VALUES (?,?,?,?,?)", rows)
        return True

    def give_back(self, runs: Collection[str]) -> None:
        """End this owner's leases of some runs; it may hold others."""
        mine = f"DELETE FROM leases WHERE owner = ? AND run IN {_AMONG}"  # noqa: S608  # names of our own
        self._db.execute(mine, (self._owner, json.dumps(list(runs))))

    def holders(self) -> dict[str, Process]:
        """Who computes which run now; the dead are left out, and nothing is written."""
        if not self._db.execute(_IS_THERE).fetchone()[0]:
            return {}
        rows = self._db.execute("SELECT run, host, pid, renewed FROM leases").fetchall()
        owners = ((run, Process(host=host, pid=pid), renewed) for run, host, pid, renewed in rows)
        return {run: owner for run, owner, renewed in owners if not _is_dead(owner, renewed)}

    def drop_dead(self) -> int:
        """End the leases of processes that have ended, and return how many there were."""
        if not self._db.execute(_IS_THERE).fetchone()[0]:
            return 0
        alive = self.holders()
        rows = [run for (run,) in self._db.execute("SELECT run FROM leases") if run not in alive]
        self._db.executemany("DELETE FROM leases WHERE run = ?", [(run,) for run in rows])
        return len(rows)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the leases of this owner until the block is left."""
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(over,), name="leases", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()

    def _renew(self, over: threading.Event) -> None:
        while not over.wait(RENEWED_EVERY_S):
            try:
                with closing(sqlite3.connect(self._db.path, timeout=RENEWED_EVERY_S, isolation_level=None)) as database:
                    database.execute("UPDATE leases SET renewed = ? WHERE owner = ?", (time.time(), self._owner))
            except sqlite3.Error:  # locked for long, or gone: the next time, or never; the owner itself will see
                continue


def in_words(holders: Collection[Process]) -> str:
    """Who is waited for, such as "12 runs of process 4711 on host"."""
    counts = Counter(holders)
    return " and ".join(f"{n} run{'s' * (n > 1)} of {process}" for process, n in counts.items())


def _is_dead(owner: Process, renewed: float) -> bool:
    return owner.is_gone or time.time() - renewed > EXPIRES_S
