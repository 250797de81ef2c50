"""The seam between what is to be computed and where: tasks go to an executor, and replies come back.

The driver alone knows the store. It hands over tasks, each whole in itself, and takes replies in the order in which
they are there. Where the work is done (this process, others of this machine, a cluster) is the executor's matter.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sam_lsac.model import SAMAudio
from sam_lsac.runs.store import RunResult

__all__ = ["Executor", "Reply", "Task", "pack", "unpack"]


class Task(ABC):
    """A piece of work that needs nothing but a model, and may be done twice.

    Attributes
    ----------
    number
        What its replies are known by.
    """

    number: int

    @abstractmethod
    def parts(self, model: SAMAudio | None) -> Iterator[list[RunResult]]:
        """Do the work, and give results as soon as they are there."""

    @abstractmethod
    def under_way(self, n_done: int) -> str:
        """What is being computed after so many parts, in words, for an error."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reply:
    """What comes back of a task, once a part and once more at its end.

    Parameters
    ----------
    number
        Of the task.
    results
        One part; empty at the end.
    is_last
        Whether the task is done.
    error
        What ended it instead.
    """

    number: int
    results: Sequence[RunResult] = ()
    is_last: bool = False
    error: Exception | None = None


class Executor(ABC):
    """Where tasks are done. To be closed, also after an exception: leave it as a context manager.

    Attributes
    ----------
    n_slots
        Tasks that it is worth having under way at once; the driver submits no more.
    """

    n_slots: int

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Begin a task, or keep it until there is room."""

    @abstractmethod
    def take(self) -> Reply:
        """Wait for the next reply of any task, in order of completion.

        A task whose worker was lost is done anew from its beginning, so that parts of it may come twice. An error ends
        its own task alone; where there is nothing left that could do a task, it is the call that raises.
        """

    def arrived(self) -> list[Reply]:
        """The replies that are there already, without waiting; asked for when a plan ends early."""
        return []

    def close(self) -> None:  # noqa: B027  # nothing to end where all is done in this process
        """End all work at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pack(what: object) -> bytes:
    """Turn a task, a reply or anything else of plain data into bytes, for a process of the same code."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
    # read-only views of dictionaries are no data of their own to pickle
    pickler.dispatch_table = copyreg.dispatch_table | {MappingProxyType: _read_only}
    pickler.dump(what)
    return file.getvalue()


def unpack(content: bytes) -> Any:
    """What `pack` was given; only ever for bytes of a process of one's own."""
    return pickle.loads(content)  # noqa: S301  # written above, by a process that this one started or was started by


def _read_only(mapping: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return _view, (dict(mapping),)


def _view(content: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(content)  # its own class has no name that pickle could look up
