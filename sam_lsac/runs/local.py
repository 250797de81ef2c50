"""Executors of this machine: this process alone, this process with scores taken in others, or others for all.

All three give results that are equal to the bit, as long as each computes with the same number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from sam_lsac.errors import PlanError
from sam_lsac.model import SAMAudio
from sam_lsac.runs.executor import Executor, Reply, Task
from sam_lsac.runs.pool import LocalPool, ModelSource
from sam_lsac.runs.store import RunResult
from sam_lsac.runs.tasks import ChunkTask, solved_only

__all__ = ["Here", "ScoredElsewhere", "local_executor"]


def local_executor(model: SAMAudio, *, processes: int, notice: Callable[[str], object]) -> Executor:
    """Return the executor that fits a model.

    With several processes each computes whole chunks on a CPU; elsewhere this one solves, and the others score.

    Parameters
    ----------
    model
        Not edited otherwise meanwhile.
    processes
        That compute, from 1; with 1 all is done in this process.
    notice
        Told why fewer are used, if so.

    Raises
    ------
    PlanError
        If there is to be no process.
    """
    if processes < 1:
        raise PlanError(f"processes = {processes} leaves nobody to compute; give at least 1.")
    if processes == 1:
        return Here(model)
    weight = model.proj.weight
    if weight.device.type != "cpu":
        return ScoredElsewhere(model, LocalPool(processes=processes - 1, n_slots=2 * (processes - 1), source=None))
    if model.folder is None:
        notice("this model is in memory alone, where no other process can load it: all runs are computed in this one")
        return Here(model)
    source = ModelSource(folder=model.folder.resolve(), device="cpu", dtype=weight.dtype)
    return LocalPool(processes=processes, n_slots=processes, source=source)


class Here(Executor):
    """All in this process, one task after another.

    Parameters
    ----------
    model
        Not edited otherwise meanwhile; None where tasks need none.
    """

    n_slots = 1

    def __init__(self, model: SAMAudio | None) -> None:
        self._model = model
        self._tasks: deque[tuple[Task, Iterator[list[RunResult]]]] = deque()

    def submit(self, task: Task) -> None:
        """Keep a task for `take`."""
        self._tasks.append((task, task.parts(self._model)))

    def take(self) -> Reply:
        """Compute the next part; errors are raised where they are."""
        task, parts = self._tasks[0]
        for results in parts:
            return Reply(number=task.number, results=results)
        self._tasks.popleft()
        return Reply(number=task.number, is_last=True)


class ScoredElsewhere(Executor):
    """Chunks are solved in this process, and scored by a pool meanwhile.

    Parameters
    ----------
    model
        Not edited otherwise meanwhile.
    pool
        For tasks that need no model. No more than its slots are filled, so that waves never heap up.
    """

    n_slots = 2  # while the scores of one chunk are outstanding, the next is solved

    def __init__(self, model: SAMAudio, pool: Executor) -> None:
        self._model = model
        self._pool = pool
        self._solving: deque[tuple[int, Iterator[Task]]] = deque()
        self._numbers = count()
        self._chunk_of: dict[int, int] = {}  # chunks by the tasks of theirs that are being scored

    def submit(self, task: Task) -> None:
        """Keep a chunk for `take`.

        Raises
        ------
        TypeError
            If the task is no chunk.
        """
        if not isinstance(task, ChunkTask):
            raise TypeError(f"{type(task).__name__} is no chunk, which alone is solved here")
        self._solving.append((task.number, solved_only(self._model, task, numbers=self._numbers)))

    def take(self) -> Reply:
        """Solve as long as there is room, and wait for scores where there is none."""
        while True:
            if self._solving and len(self._chunk_of) < self._pool.n_slots:
                if (reply := self._solve()) is not None:
                    return reply
            elif (reply := self._scored(self._pool.take())) is not None:
                return reply

    def arrived(self) -> list[Reply]:
        """Scores that are there already."""
        return [found for one in self._pool.arrived() if (found := self._scored(one)) is not None]

    def close(self) -> None:
        """End the pool."""
        self._pool.close()

    def _solve(self) -> Reply | None:
        """Solve one more variant of the oldest chunk."""
        number, variants = self._solving[0]
        for task in variants:
            self._chunk_of[task.number] = number
            self._pool.submit(task)
            return None
        self._solving.popleft()
        return None if number in self._chunk_of.values() else Reply(number=number, is_last=True)

    def _scored(self, reply: Reply) -> Reply | None:
        """What a reply of the pool means for its chunk."""
        number = self._chunk_of[reply.number]
        if reply.error is not None or not reply.is_last:
            return Reply(number=number, results=reply.results, error=reply.error)
        del self._chunk_of[reply.number]
        is_under_way = any(one == number for one, _ in self._solving) or number in self._chunk_of.values()
        return None if is_under_way else Reply(number=number, is_last=True)
