"""A worker process of `sam_lsac.runs.pool`: loads the model once, does the tasks that it is told, and says how it went.

It writes to nothing but its pipe. When that closes, since the process that started it has ended in whatever way, it
ends at once.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import IO

import torch

from sam_lsac.model import SAMAudio, load_model
from sam_lsac.runs.executor import Executor, Reply, Task, pack, unpack
from sam_lsac.runs.local import Here
from sam_lsac.runs.pool import ModelSource, read_frame, write_frame

__all__ = ["N_THREADS", "portable", "replies", "work"]

N_THREADS = 1


def work() -> None:
    """Do tasks until the driver ends; standard input and output are the driver's."""
    tell = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not be taken for a reply
    torch.set_num_threads(N_THREADS)
    told: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, told), name="driver", daemon=True).start()
    source: ModelSource | None = unpack(told.get())
    model: SAMAudio | None = None
    while True:
        task: Task = unpack(told.get())
        try:
            if source is not None and model is None:
                model = load_model(source.folder, device=source.device, dtype=source.dtype)
        except Exception as error:  # whatever it is, the driver must hear of it
            write_frame(tell, pack(Reply(number=task.number, error=portable(error))))
            continue
        for reply in replies(task, Here(model)):
            write_frame(tell, pack(reply))


def replies(task: Task, executor: Executor) -> Iterator[Reply]:
    """Do a task: a reply for each part, then one that it is done, or the error with what was being computed.

    Parameters
    ----------
    task
        What to do.
    executor
        Of this process, with nothing else to do; of no use any more after an error.
    """
    n_done = 0
    try:
        executor.submit(task)
        while True:
            reply = executor.take()
            if reply.error is not None:
                raise reply.error
            yield reply
            if reply.is_last:
                return
            n_done += 1
    except Exception as error:  # whatever it is, the driver must hear of it
        error.add_note(f"while computing {task.under_way(n_done)}")
        yield Reply(number=task.number, error=portable(error))


def portable(error: Exception) -> Exception:
    """The error with the place where it was raised as a note, or its words where it is no plain data itself.

    Parameters
    ----------
    error
        As it was raised in this process.
    """
    trace = "".join(traceback.format_exception(error)).rstrip()
    notes = [*getattr(error, "__notes__", ()), f"raised in worker process {os.getpid()}:\n{trace}"]
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # of whatever type its own way of being pickled raises
        again = None
    found = again if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
    found.__dict__.pop("__notes__", None)
    for note in notes:
        found.add_note(note)
    return found


def _listen(hear: IO[bytes], told: queue.Queue[bytes]) -> None:
    while (content := read_frame(hear)) is not None:
        told.put(content)
    os._exit(0)  # the driver is gone; nobody waits for what is under way
