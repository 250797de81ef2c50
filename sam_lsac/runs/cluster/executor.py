"""The executor of a cluster: workers that Ray places, one task each at a time; what a lost one did is done anew.

A worker is an actor (`sam_lsac.runs.cluster.host`) that gives a task's parts one by one: two calls are under way to
each, so that it computes the next part while the driver stores the last one, and no more wait for the driver than that.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from sam_lsac.errors import PlanError
from sam_lsac.model import SAMAudio
from sam_lsac.runs.cluster.host import Host, wanted_of
from sam_lsac.runs.cluster.join import STARTED_HERE, joined, ray, share_of, shortened
from sam_lsac.runs.executor import Executor, Reply, Task, pack, unpack

__all__ = ["RayExecutor"]

#: How often one task may lose its worker before it is held to be the reason, and how often a worker may fail to begin.
N_TRIES = 3
#: How long a session waits for a first worker, or for another one when all are lost.
PATIENCE_S = 300.0
_POLL_S = 0.5
#: One thread each, as everywhere: the workers are what fills the cores.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class RayExecutor(Executor):
    """Workers of a Ray cluster, which is joined at once and left at the end.

    Parameters
    ----------
    model
        Loaded from a folder; workers load it themselves, and compute on a device of the same type.
    where
        Of `sam_lsac.runs.cluster.join.joined`.
    notice
        Told how many workers there are, and which is lost.
    patience_s
        How long to wait where no worker is there.

    Raises
    ------
    PlanError
        If the cluster cannot be joined or has no room for a worker, or the model is in memory alone.
    """

    def __init__(
        self, model: SAMAudio, *, where: str, notice: Callable[[str], object], patience_s: float = PATIENCE_S
    ) -> None:
        self._wanted = asdict(wanted_of(model))
        self._notice = notice
        self._patience_s = patience_s
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._said: deque[Reply] = deque()
        self._lost: Counter[int] = Counter()
        self._n_failed = 0  # beginnings in turn
        self._there_at = time.monotonic()  # when a worker was last there
        with ExitStack() as stack:
            stack.enter_context(joined(where))
            self._share = share_of(self._wanted["device"])
            self._left = stack.pop_all()
        self._host = self._actors(where)
        self.n_slots = self._share.n_workers
        notice(f"cluster: {self._share}")

    def submit(self, task: Task) -> None:
        """Send a task to a worker that has none, or let it wait for one."""
        self._waiting.append(task)
        self._feed()

    def take(self) -> Reply:
        """Wait for the next reply: a part of a task, or its end.

        Raises
        ------
        PlanError
            If a task lost its worker again and again, a worker's code, libraries or checkpoint are not the driver's, or
            no worker is there for long.
        """
        while not self._said:
            for worker in self._heard(timeout_s=_POLL_S):
                self._hear(worker)
            self._require_workers()
        return self._said.popleft()

    def arrived(self) -> list[Reply]:
        """What workers have said already; no task is begun for it."""
        found = list(self._said)
        self._said.clear()
        for worker in self._heard(timeout_s=0):
            ref, is_reply = worker.asked.popleft()
            with suppress(ray().exceptions.RayError):
                said = ray().get(ref)
                found += [unpack(said)] if is_reply and said is not None else []
        return found

    def close(self) -> None:
        """End all workers, which hold nothing that would have to be kept, and leave the cluster."""
        with self._left:
            for worker in self._workers:
                worker.end()
            self._workers.clear()
            self._waiting.clear()

    def _heard(self, *, timeout_s: float) -> list[_Worker]:
        """Workers of whose answers the oldest is there."""
        oldest = {worker.asked[0][0]: worker for worker in self._workers if worker.asked}
        if not oldest:
            return []
        ready, rest = ray().wait(list(oldest), num_returns=1, timeout=timeout_s)
        if ready and rest:  # so that none is served before the others for being first in the list
            ready += ray().wait(rest, num_returns=len(rest), timeout=0)[0]
        return [oldest[ref] for ref in ready]

    def _hear(self, worker: _Worker) -> None:
        ref, is_reply = worker.asked.popleft()
        failures = ray().exceptions
        try:
            said = ray().get(ref)
        except failures.RayTaskError as error:
            raise PlanError(
                f"A worker could not begin ({shortened(error.cause or error)}); install sam_lsac, the same version as "
                "here, on every node."
            ) from error
        except failures.RayError as error:
            self._replace(worker, shortened(error))
            return
        if not is_reply:
            if said is not None:
                raise PlanError(said)
            worker.is_ready = worker.was_ready = True
            self._n_failed = 0
            self._feed()
        elif said is not None:
            self._keep(worker, unpack(said))

    def _keep(self, worker: _Worker, reply: Reply) -> None:
        self._said.append(reply)
        if reply.is_last or reply.error is not None:
            worker.task = None
            self._feed()
        else:
            worker.ask_on()

    def _feed(self) -> None:
        """Give tasks to those that can do one, and begin so many workers as there is work for."""
        for worker in self._workers:
            if self._waiting and worker.is_ready and worker.task is None:
                worker.give(self._waiting.popleft())
        n_more = len(self._waiting) - sum(not worker.is_ready for worker in self._workers)
        for _ in range(min(n_more, self.n_slots - len(self._workers))):
            self._workers.append(_Worker(self._host.remote(self._wanted, self._share.n_cpus)))

    def _actors(self, where: str) -> Any:
        """The class of which Ray makes workers."""
        # others than this machine have their own paths; here they are those of this process, as for a local pool
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} if where == STARTED_HERE else {}
        return (
            ray()
            .remote(Host)
            .options(
                num_cpus=self._share.n_cpus,
                num_gpus=self._share.n_gpus,
                max_restarts=0,  # the driver itself begins another one, which is asked first what it has
                runtime_env={"env_vars": _ONE_THREAD | paths},
            )
        )

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Do the task of a lost worker once more, first of all; who else was lost with it gets none meanwhile."""
        self._workers.remove(worker)
        worker.end()
        for other in self._workers:
            if other.is_ready and other.task is None:
                other.ask_ready()
        task = worker.task
        if task is None:
            self._count_failed(worker, reason)
        else:
            self._lost[task.number] += 1
            if self._lost[task.number] == N_TRIES:
                raise PlanError(
                    f"{N_TRIES} workers in turn were lost while they computed {task.under_way(worker.n_parts)}; the "
                    f"last one: {reason}. Where memory runs out, give each worker more of it."
                )
            self._notice("a worker of the cluster was lost; what it computed is computed anew")
            self._waiting.appendleft(task)
        self._feed()

    def _count_failed(self, worker: _Worker, reason: str) -> None:
        self._n_failed += not worker.was_ready
        self._notice("a worker of the cluster was lost, which had nothing to do")
        if self._n_failed == N_TRIES:
            raise PlanError(
                f"{N_TRIES} workers in turn ended while they began; the last one: {reason}. See Ray's logs of the node."
            )

    def _require_workers(self) -> None:
        now = time.monotonic()
        if any(worker.is_ready for worker in self._workers):
            self._there_at = now
        elif now - self._there_at > self._patience_s:
            raise PlanError(
                f"For {self._patience_s:.0f} s no worker of the cluster has been there: it needs a free share of "
                f"{self._share.n_cpus} CPU and {self._share.n_gpus} GPU; start a node, or end what else runs there."
            )


class _Worker:
    """An actor, and what it was asked."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.asked: deque[tuple[Any, bool]] = deque()  # the answer to come, and whether it is a reply
        self.task: Task | None = None
        self.n_parts = 0
        self.is_ready = self.was_ready = False
        self.ask_ready()

    def give(self, task: Task) -> None:
        """Let it do a task."""
        content = pack(task)
        self.task, self.n_parts = task, 0
        self.asked.append((self._actor.begin.remote(task.number, content, _digest(content)), True))
        self.asked.append((self._actor.go_on.remote(), True))

    def ask_on(self) -> None:
        """Ask for one part more than it is asked for already."""
        self.n_parts += 1
        self.asked.append((self._actor.go_on.remote(), True))

    def ask_ready(self) -> None:
        """Ask whether it can do tasks; it gets none before it has said so."""
        self.is_ready = False
        self.asked.append((self._actor.ready.remote(), False))

    def end(self) -> None:
        """Kill it, if it is still there."""
        with suppress(Exception):  # Ray's own, and a transport's where the cluster itself is gone
            ray().kill(self._actor)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
