"""Worker processes of this machine, one task each at a time; one that is lost is replaced, and its task done anew.

A worker is a fresh interpreter (`sam_lsac.runs.worker`) with a pipe each way. A thread a worker puts what it says into
one bounded queue: who computes faster than the driver stores waits there. A worker that ends for whatever reason closes
its pipe, which the queue is told of; and one whose driver ends sees its own pipe close, and ends too.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from sam_lsac.errors import PlanError
from sam_lsac.runs.executor import Executor, Reply, Task, pack, unpack

__all__ = ["LocalPool", "ModelSource", "read_frame", "write_frame"]

#: How often one task may lose its worker before it is held to be the reason.
N_TRIES = 3
_LENGTH_BYTES = 8
_POLL_S = 0.2
# One thread each: the processes are what fills the cores. Libraries read these when they are loaded.
_START = """
import os, sys
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path[:] = {path!r}
from sam_lsac.runs.worker import work
work()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where every worker loads the model from.

    Parameters
    ----------
    folder
        Of the checkpoint; its weights are mapped into memory, and so there once for all workers.
    device
        Of torch.
    dtype
        Of the transformer.
    """

    folder: Path
    device: str
    dtype: torch.dtype


class LocalPool(Executor):
    """Processes of this machine.

    Parameters
    ----------
    processes
        So many at most; they are started when there is work for them.
    n_slots
        Tasks under way at once; more than there are processes wait here.
    source
        What each worker loads before its first task; None where tasks need no model.
    """

    def __init__(self, *, processes: int, n_slots: int, source: ModelSource | None) -> None:
        self.n_slots = n_slots
        self._processes = processes
        self._source = source
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker] = []
        self._lost: Counter[int] = Counter()
        self._said: queue.Queue[tuple[_Worker, bytes | None]] = queue.Queue(maxsize=2 * processes)

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the processes that are there now."""
        return tuple(worker.process.pid for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Give a task to a worker that has none, or let it wait."""
        self._waiting.append(task)
        self._feed()

    def take(self) -> Reply:
        """Wait for the next reply.

        Raises
        ------
        PlanError
            If a task lost its worker again and again.
        """
        while True:
            reply = self._heard(*self._said.get())
            if reply is not None:
                return reply

    def arrived(self) -> list[Reply]:
        """What the queue holds."""
        found = []
        while not self._said.empty():
            _, content = self._said.get()
            if content is not None:
                found.append(unpack(content))
        return found

    def close(self) -> None:
        """Kill all workers: they hold nothing that would have to be kept."""
        for worker in self._workers:
            worker.end()
        while any(worker.listening.is_alive() for worker in self._workers):
            self.arrived()  # a full queue holds its writers
            for worker in self._workers:
                worker.listening.join(_POLL_S / len(self._workers))
        self._workers.clear()
        self._waiting.clear()

    def _heard(self, worker: _Worker, content: bytes | None) -> Reply | None:
        if content is None:
            self._replace(worker)
            return None
        reply: Reply = unpack(content)
        if reply.is_last or reply.error is not None:
            worker.task = None
            self._feed()
        return reply

    def _feed(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None:
                if len(self._workers) >= self._processes:
                    return
                idle = _Worker(self._source, self._said)
                self._workers.append(idle)
            idle.give(self._waiting.popleft())

    def _replace(self, worker: _Worker) -> None:
        """Do the task of a worker that has ended once more, first of all."""
        self._workers.remove(worker)
        code = worker.end()
        task = worker.task
        if task is None:
            return
        self._lost[task.number] += 1
        if self._lost[task.number] == N_TRIES:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise PlanError(
                f"{N_TRIES} processes in turn ended while they computed {task.under_way(0)}; the last one {how}. Where "
                "memory runs out, give fewer with --processes."
            )
        self._waiting.appendleft(task)
        self._feed()


class _Worker:
    """One process, and the thread that listens to it."""

    def __init__(self, source: ModelSource | None, said: queue.Queue[tuple[_Worker, bytes | None]]) -> None:
        self.task: Task | None = None
        self._said = said
        self._is_over = threading.Event()
        with _deaf_to_interrupts():
            self.process = subprocess.Popen(  # noqa: S603  # this interpreter, with words of our own
                [sys.executable, "-c", _START.format(path=sys.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        if self.process.stdin is None or self.process.stdout is None:
            raise TypeError("a process that was asked for pipes has them")
        self._tell, self._hear = self.process.stdin, self.process.stdout
        self.listening = threading.Thread(target=self._listen, name="worker", daemon=True)
        self.listening.start()
        self._send(source)

    def give(self, task: Task) -> None:
        """Let it do a task."""
        self.task = task
        self._send(task)

    def end(self) -> int:
        """Kill it, if it is still there, and return its exit code."""
        self._is_over.set()
        self.process.kill()
        code = self.process.wait()
        with suppress(BrokenPipeError):  # what it was told last never arrived
            self._tell.close()
        return code

    def _send(self, what: object) -> None:
        with suppress(BrokenPipeError):  # it has ended; the thread that listens says so
            write_frame(self._tell, pack(what))

    def _listen(self) -> None:
        try:
            with self._hear:
                while (content := read_frame(self._hear)) is not None:
                    self._say(content)
        finally:
            self._say(None)

    def _say(self, content: bytes | None) -> None:
        while not self._is_over.is_set():
            try:
                self._said.put((self, content), timeout=_POLL_S)
            except queue.Full:
                continue
            return


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let a process that is started in the block leave Ctrl-C to the driver, in whose process group it stays."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a new process inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def write_frame(file: IO[bytes], content: bytes) -> None:
    """Write bytes so that the other end knows where they end."""
    file.write(len(content).to_bytes(_LENGTH_BYTES, "big"))
    file.write(content)
    file.flush()


def read_frame(file: IO[bytes]) -> bytes | None:
    """What `write_frame` wrote; None where the other end has ended, also in the middle of it."""
    head = file.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    content = file.read(size)
    return content if len(content) == size else None
