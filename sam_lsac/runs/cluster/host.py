"""A worker of a cluster: holds a model, and does the tasks that it is sent, one at a time.

Ray makes it an actor. Before it takes a task, it holds what it has against what the driver has: the package's source to
the byte, the versions of libraries, and the checkpoint that it loaded itself. A task arrives as bytes with their
digest, and is held against its runs besides, edit by edit and mixture by mixture (`sam_lsac.runs.tasks`).
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sam_lsac.errors import PlanError, SamLsacError
from sam_lsac.model import SAMAudio, load_model
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.runs.environment import LIBRARIES, environment_of
from sam_lsac.runs.executor import Executor, Reply, Task, pack, unpack
from sam_lsac.runs.local import local_executor
from sam_lsac.runs.versions import package_version
from sam_lsac.runs.worker import N_THREADS, portable, replies

__all__ = ["Host", "Wanted", "wanted_of"]

_EMBEDDED = "embedded"
_SAME_VERSION = "install the same version on every node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the driver has, and each worker must have too.

    Parameters
    ----------
    package
        Digest of the source.
    libraries
        Versions by name.
    name, folder
        Of the checkpoint; where a worker has no such folder, it loads what is known by the name.
    checkpoint
        Its digest.
    device
        Type of torch's device.
    dtype
        Of the transformer.
    """

    package: str
    libraries: Mapping[str, str]
    name: str
    folder: str
    checkpoint: str
    device: str
    dtype: str


def wanted_of(model: SAMAudio) -> Wanted:
    """What workers must have to compute what this process would.

    Parameters
    ----------
    model
        Loaded from a folder.

    Raises
    ------
    PlanError
        If it is in memory alone.
    """
    if model.folder is None:
        raise PlanError(
            "This model is in memory alone, where no worker can load it; save_checkpoint(...) it, and load_model(...) "
            "it from there."
        )
    weight = model.proj.weight
    return Wanted(
        package=package_version(),
        libraries=_libraries(model),
        name=str(model.name),
        folder=str(model.folder.resolve()),
        checkpoint=checkpoint_digest(model),
        device=weight.device.type,
        dtype=str(weight.dtype).removeprefix("torch."),
    )


class Host:
    """Does tasks, and says part by part what came of them.

    Parameters
    ----------
    wanted
        Fields of `Wanted`.
    n_cpus
        Processors that are its own.
    """

    def __init__(self, wanted: Mapping[str, object], n_cpus: int) -> None:
        self._given = wanted
        self._n_cpus = n_cpus
        self._here = f"{platform.node()}, process {os.getpid()}"
        self._model: SAMAudio | None = None
        self._executor: Executor | None = None
        self._environment: Mapping[str, str] = {}
        self._replies: Iterator[Reply] = iter(())

    def ready(self) -> str | None:
        """Load and check what tasks need, once; None where all is well, else what is not, in words."""
        if self._model is not None:
            return None
        try:
            self._model = self._load()
        except SamLsacError as error:
            return f"A worker cannot compute this plan ({self._here}): {error}"
        self._environment = environment_of(self._model)
        return None

    def begin(self, number: int, content: bytes, digest: str) -> bytes | None:
        """Begin a task, and give the first reply.

        Parameters
        ----------
        number
            Of the task.
        content
            The task, packed.
        digest
            SHA-256 of the content.
        """
        self._replies = self._work(number, content, digest)
        return self.go_on()

    def go_on(self) -> bytes | None:
        """The next reply of the task, packed; None where there is none any more."""
        reply = next(self._replies, None)
        return None if reply is None else pack(reply)

    def _load(self) -> SAMAudio:
        torch.set_num_threads(N_THREADS)
        if (package := package_version()) != self._given["package"]:
            raise _other("source of sam_lsac", package, self._given["package"], _SAME_VERSION)
        wanted = Wanted(**self._given)  # type: ignore[arg-type]  # made by the same source, as was just seen
        model = load_model(_place(wanted), device=wanted.device, dtype=getattr(torch, wanted.dtype))
        for name, version in _libraries(model).items():
            if version != wanted.libraries[name]:
                raise _other(name, version, wanted.libraries[name], _SAME_VERSION)
        if (digest := checkpoint_digest(model)) != wanted.checkpoint:
            remedy = f"put the driver's checkpoint into {model.folder}, and begin again"
            raise _other("checkpoint", digest, wanted.checkpoint, remedy)
        return model

    def _work(self, number: int, content: bytes, digest: str) -> Iterator[Reply]:
        try:
            task = _read(content, digest)
            executor = self._own_executor()
        except Exception as error:  # whatever it is, the driver must hear of it
            yield Reply(number=number, error=portable(error))
            return
        for reply in replies(task, executor):
            if reply.error is not None:
                self._end()
            results = [replace(one, environment={**self._environment, **one.environment}) for one in reply.results]
            yield replace(reply, results=results)

    def _own_executor(self) -> Executor:
        """Solves here; beside a GPU, the processors take the scores."""
        if self._model is None:
            raise PlanError("A worker was sent a task before it was ready; ask it to be first.")
        if self._executor is None:
            is_beside_gpu = self._model.proj.weight.device.type != "cpu"
            processes = self._n_cpus if is_beside_gpu else 1
            self._executor = local_executor(self._model, processes=processes, notice=str)
        return self._executor

    def _end(self) -> None:
        """Drop what an error left half done."""
        if self._executor is not None:
            self._executor.close()
        self._executor = None


def _libraries(model: SAMAudio) -> dict[str, str]:
    found = environment_of(model)
    return {name: found[name] for name in LIBRARIES}


def _place(wanted: Wanted) -> str:
    """Where this node has the checkpoint."""
    if Path(wanted.folder).is_dir():
        return wanted.folder
    if wanted.name == _EMBEDDED or "/" in wanted.name:  # the wheel's own, or a repository of the hub
        return wanted.name
    raise PlanError(f"there is no checkpoint folder {wanted.folder} here; put it at the same place on every node.")


def _read(content: bytes, digest: str) -> Task:
    if hashlib.sha256(content).hexdigest() != digest:
        raise PlanError("A task arrived other than it was sent; run the same command again.")
    try:
        task: Task = unpack(content)
    except (ImportError, AttributeError) as error:
        raise PlanError(f"A task names what this node does not have ({error}); install it on every node.") from error
    return task


def _other(what: str, here: str, there: object, remedy: str) -> PlanError:
    return PlanError(f"its {what} is {here[:12]!r}, and the driver's {str(there)[:12]!r}; {remedy}.")
