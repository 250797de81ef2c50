"""The order of the work in time: chunks go to an executor as it has room, and what comes back is stored.

A chunk begins when the waves that it needs of other chunks are in the store. Its runs are leased from then until all of
them are stored, so that no other process on the same store begins them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from numpy.typing import NDArray

from sam_lsac.errors import PlanError, SamLsacError, StoreError
from sam_lsac.runs.chunk import Example
from sam_lsac.runs.executor import Executor, Reply
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.store import RunResult, Store
from sam_lsac.runs.tasks import ChunkTask

__all__ = ["Turn"]


class Turn:
    """One pass over chunks.

    Parameters
    ----------
    store
        Gives leases and waves; the driver alone writes to it.
    executor
        Does the work.
    keep
        Which arrays of a run are kept.
    keep_results
        Stores what came back.

    Attributes
    ----------
    postponed
        Runs that were not begun, since another process is at work on a run that they are compared with.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        keep: Callable[[RunSpec], tuple[str, ...]],
        keep_results: Callable[[Sequence[RunResult]], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._keep = keep
        self._keep_results = keep_results
        self._under_way: dict[int, _Begun] = {}
        self._numbers = count()
        self.postponed: frozenset[str] = frozenset()

    def compute(self, chunks: Iterable[Sequence[Example]]) -> set[str]:
        """Compute the chunks that no other process is at work on, and return the keys of their runs.

        Raises
        ------
        SamLsacError
            The first error of a task; what was finished before it is stored.
        """
        waiting = [_Chunk.of(chunk) for chunk in chunks]
        ours: set[str] = set()
        theirs: set[str] = set()
        with ExitStack() as leases:  # those that are left after an exception
            try:
                while waiting or self._under_way:
                    chunk = self._next(waiting, theirs)
                    if chunk is not None:
                        waiting.remove(chunk)
                        found = ours if self._begin(chunk, leases) else theirs
                        found |= chunk.keys
                    elif self._under_way:
                        self._take()
                    else:  # all that waits needs a wave that another process is computing
                        break
            except Exception:
                self._rescue()
                raise
        self.postponed = frozenset(key for chunk in waiting for key in chunk.keys)
        return ours

    def _next(self, waiting: Sequence[_Chunk], theirs: set[str]) -> _Chunk | None:
        """A chunk that can begin now."""
        if len(self._under_way) >= self._executor.n_slots:
            return None
        unfinished = {key for begun in self._under_way.values() for key in begun.specs if key not in begun.done}
        unfinished |= theirs
        for chunk in waiting:
            if not chunk.needs & unfinished:
                return chunk
            unfinished |= chunk.keys
        return None

    def _begin(self, chunk: _Chunk, leases: ExitStack) -> bool:
        """Lease a chunk's runs and hand it over; False where they are another's."""
        lease = ExitStack()
        if not lease.enter_context(self._store.lease(chunk.keys)):
            lease.close()
            return False
        leases.push(lease)
        number = next(self._numbers)
        begun = _Begun(lease=lease, specs={spec.key: spec for one in chunk.examples for spec in one.specs})
        self._under_way[number] = begun
        arms = {key: arm for spec in begun.specs.values() for arm, key in spec.references}
        task = ChunkTask(
            number=number,
            chunk=tuple(chunk.examples),
            waves={key: self._wave(arms[key], key) for key in chunk.needs},
            keep={key: self._keep(spec) for key, spec in begun.specs.items()},
        )
        self._executor.submit(task)
        return True

    def _take(self) -> None:
        reply = self._executor.take()
        self._store_results(reply)
        if reply.error is not None:
            raise reply.error
        if reply.is_last:
            begun = self._under_way.pop(reply.number)
            if lost := begun.specs.keys() - begun.done:
                raise PlanError(f"{len(lost)} runs of a chunk never came back; run the same command again.")
            begun.lease.close()

    def _store_results(self, reply: Reply) -> None:
        """Keep what is new of a reply: a chunk that was begun twice gives its first parts twice."""
        begun = self._under_way[reply.number]
        new = [one for one in reply.results if one.spec.key not in begun.done]
        if new:
            self._keep_results(new)
            begun.done.update(one.spec.key for one in new)

    def _rescue(self) -> None:
        """Store what the executor has finished already, when an error ends the plan; an interrupt must not wait."""
        for reply in self._executor.arrived():
            if reply.number in self._under_way:
                self._store_results(reply)

    def _wave(self, arm: str, key: str) -> NDArray[Any] | str | SamLsacError:
        """The wave of a reference, or why it has none; what is wrong is raised where the wave is needed."""
        try:
            return _stored_wave(self._store, arm, key)
        except SamLsacError as error:
            return error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Chunk:
    examples: Sequence[Example]
    keys: frozenset[str]
    needs: frozenset[str]  # keys of references that are not in it

    @classmethod
    def of(cls, examples: Sequence[Example]) -> _Chunk:
        specs = [spec for one in examples for spec in one.specs]
        keys = frozenset(spec.key for spec in specs)
        needs = frozenset(key for spec in specs for _, key in spec.references) - keys
        return cls(examples=examples, keys=keys, needs=needs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Begun:
    lease: ExitStack
    specs: dict[str, RunSpec]
    done: set[str] = field(default_factory=set)


def _stored_wave(store: Store, arm: str, key: str) -> NDArray[Any] | str:
    """The wave of a run that others are compared with, or why it has none."""
    result = store.get({key}).get(key)
    if result is None:
        raise PlanError(
            f"The run of {arm!r} that others are compared with is neither in {store.location} nor in the plan; make "
            "the plan with plan(...), which adds it."
        )
    try:
        wave = store.array(key, "target")
    except StoreError as error:
        raise StoreError(f"Nothing can be compared with {arm!r}, whose wave is needed: {error}") from error
    if wave is not None:
        return wave
    if none := next((score.reason for score in result.scores.values() if score.reason), None):
        return none
    raise StoreError(
        f"{store.location} has the run of {arm!r} without its wave: no arm named it as a reference when it was "
        "computed; compute into a new store."
    )
