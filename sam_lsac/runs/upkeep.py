"""Looking after a run store: what it holds, whether all of it is what was written, and what may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_lsac.errors import StoreError
from sam_lsac.runs.leases import in_words
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.rows import without_nan
from sam_lsac.runs.sqlite import SQLiteStore

__all__ = ["Cleaned", "Holdings", "check", "clean", "exported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a store holds.

    Parameters
    ----------
    n_runs
        Rows, damaged ones included.
    counts
        Runs that are whole, by checkpoint and what was done.
    faults
        What is wrong, by the run's key.
    n_side_files, side_bytes
        Arrays that lie beside the database, and their size.
    orphans
        Of these, digests that no run names.
    unfinished
        Files that processes left half written that have ended.
    working
        What other processes compute at this moment, in words; empty where none does.
    """

    n_runs: int
    counts: dict[tuple[str, str], int]
    faults: dict[str, str]
    n_side_files: int
    side_bytes: int
    orphans: tuple[str, ...]
    unfinished: tuple[Path, ...]
    working: str

    @property
    def is_whole(self) -> bool:
        """Whether every row and every side file is what was written."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What `clean` removed.

    Parameters
    ----------
    orphans, unfinished, runs
        Side files that no run named; files that were half written; damaged runs.
    """

    orphans: int
    unfinished: int
    runs: int


def check(path: Path | str) -> Holdings:
    """Read every row and every side file of a store, each held against its digest; nothing is changed.

    Raises
    ------
    StoreError
        If the file is no run store, or so damaged that its tables cannot be read.
    """
    with SQLiteStore(path, read_only=True) as store:
        faults = store.faults()
        keys = store.stored_keys()
        specs = [one.spec for one in store.get(keys - set(faults)).values()]
        files = store.side_files
        digests = files.digests()
        return Holdings(
            n_runs=len(keys),
            counts=dict(Counter((spec.checkpoint, _arm(spec)) for spec in specs)),
            faults=faults,
            n_side_files=len(digests),
            side_bytes=sum(files.n_bytes(digest) for digest in digests),
            orphans=tuple(sorted(digests - set(store.named_files()))),
            unfinished=tuple(files.abandoned()),
            working=in_words(store.holders().values()),
        )


def clean(path: Path | str, *, damaged: bool = False) -> Cleaned:
    """Remove side files that no run names and files that were left half written.

    Other processes may go on meanwhile: while orphans are counted and removed, nobody else can write.

    Parameters
    ----------
    path
        Of the store.
    damaged
        Remove damaged runs too, so that they count as missing and are computed anew.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    if not Path(path).is_file():
        raise StoreError(f"There is no run store at {path}; name the file of one.")
    with SQLiteStore(path, read_only=True) as reading:
        unfinished = len(reading.side_files.abandoned())
    with SQLiteStore(path) as store:  # which removes what is unfinished
        faults = store.faults() if damaged else {}
        if faults:
            store.forget(faults)
        with store.locked():
            orphans = store.side_files.digests() - set(store.named_files())
            for digest in orphans:
                store.side_files.remove(digest)
    return Cleaned(orphans=len(orphans), unfinished=unfinished, runs=len(faults))


def exported(path: Path | str) -> Iterator[dict[str, Any]]:
    """Give every run of a store as plain data, in the order of their keys.

    Yields
    ------
    dict
        ``key``, ``spec``, ``scores`` (by metric ``value`` and ``reason``, of which one is None), ``noise_digest``,
        ``hits``, ``probes``, ``wall_s`` and ``environment``; NaN is None.

    Raises
    ------
    StoreError
        If the store cannot be read, or a run in it is damaged.
    """
    with SQLiteStore(path, read_only=True) as store:
        for key in sorted(store.keys()):
            (run,) = store.get([key]).values()
            yield {
                "key": key,
                "spec": run.spec.to_json(),
                "scores": {
                    metric: {"value": None if score.reason else score.value, "reason": score.reason}
                    for metric, score in run.scores.items()
                },
                "noise_digest": run.noise_digest,
                "hits": dict(run.hits),
                "probes": without_nan(run.probes),
                "wall_s": run.wall_s,
                "environment": dict(run.environment),
            }


def _arm(spec: RunSpec) -> str:
    """Solver and edits in a few words."""
    edits = [edit["kind"] for edit in spec.to_json()["edits"]]
    inputs = [*(["with spans"] if spec.spans else []), *([] if spec.text else ["without text"])]
    return " ".join([spec.solver, *edits, *inputs])
