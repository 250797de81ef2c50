"""A Ray cluster that this process joins, or starts on this machine, and leaves again; what one worker takes of it."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sam_lsac.errors import PlanError
from sam_lsac.processes import usable_cores

__all__ = ["STARTED_HERE", "Share", "joined", "ray", "share_of"]

STARTED_HERE, RUNNING_HERE = "ray", "auto"
_SCHEME = "ray://"
#: For a cluster that is started here. Nothing is sent to anybody, and workers are no nicer than other processes are.
_STARTED: Mapping[str, str] = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
_OBJECT_STORE_BYTES = 512 << 20  # tasks and parts of results lie there for a moment
_ANSWERS_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker takes of a cluster, and how many workers that gives.

    Parameters
    ----------
    n_workers
        From 1.
    n_cpus, n_gpus
        Of each.
    n_nodes
        Which have room for one.
    """

    n_workers: int
    n_cpus: int
    n_gpus: int
    n_nodes: int

    def __str__(self) -> str:
        takes = f"{self.n_gpus} GPU and {self.n_cpus} CPU" if self.n_gpus else f"{self.n_cpus} CPU"
        return f"{self.n_workers} workers of {takes} each on {self.n_nodes} nodes"


def ray() -> Any:
    """The package, imported when it is first needed.

    Raises
    ------
    PlanError
        If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise PlanError("Ray is not installed; pip install 'sam_lsac[cluster]'.") from error


@contextmanager
def joined(where: str) -> Iterator[None]:
    """Be a driver of a cluster in the block; one that was started for it ends with it.

    Parameters
    ----------
    where
        "ray" starts one on this machine alone; "auto" joins the one that runs on it, or that ``RAY_ADDRESS`` names;
        "ray://HOST:PORT" joins another machine's through its Ray Client server. A process that is a driver already
        stays one.

    Raises
    ------
    PlanError
        If Ray is not installed, or no such cluster answers.
    """
    found = ray()
    if found.is_initialized():
        if where != RUNNING_HERE:
            raise PlanError(f"This process has joined a cluster already, and {where} is another; leave it first.")
        yield
        return
    if where.startswith(_SCHEME):
        _require_listening(where)
    with _sigterm_kept(), _environment(_STARTED if where == STARTED_HERE else {}):
        try:
            found.init(**_settings(where))
        except Exception as error:  # of whatever type Ray or a transport raises, a warning among them
            found.shutdown()
            raise PlanError(f"{_refusal(where)} ({shortened(error)}).") from error
    try:
        yield
    finally:
        found.shutdown()


def share_of(device: str) -> Share:
    """What a worker takes of the cluster that this process has joined.

    Beside a GPU it takes an even part of its node's processors, which take the scores.

    Parameters
    ----------
    device
        Type of torch's device: "cpu" or "cuda".

    Raises
    ------
    PlanError
        If the cluster has no room for any, or the device is another.
    """
    nodes = [node["Resources"] for node in ray().nodes() if node["Alive"]]
    if device not in ("cpu", "cuda"):
        raise PlanError(f"A cluster's workers compute on cpu or cuda, and not on {device}; choose one of the two.")
    kind, n_gpus = ("CPU", 0) if device == "cpu" else ("GPU", 1)
    having = [node for node in nodes if node.get(kind, 0) >= 1]
    if not having:
        raise PlanError(f"None of the cluster's {len(nodes)} nodes has a {kind}; start one that has (ray start).")
    n_cpus = 1 if not n_gpus else min(max(1, int(node.get("CPU", 0) // node["GPU"])) for node in having)
    n_workers = sum(int(node[kind]) for node in having)
    return Share(n_workers=n_workers, n_cpus=n_cpus, n_gpus=n_gpus, n_nodes=len(having))


def shortened(error: BaseException) -> str:
    """An error's words as part of a line."""
    last = str(error).strip() or type(error).__name__
    return textwrap.shorten(last, 160, placeholder=" ...").rstrip(".")


def _settings(where: str) -> dict[str, Any]:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if where != STARTED_HERE:
        return quiet | {"address": where}
    return quiet | {
        "address": "local",
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }


def _refusal(where: str) -> str:
    if where == STARTED_HERE:
        return "No cluster could be started here"
    if where == RUNNING_HERE:
        return "No cluster was found here; start one (ray start --head), or set RAY_ADDRESS"
    return f"No cluster answers at {where}; is its Ray the same version as here, and its port that of Ray Client?"


def address(where: str) -> tuple[str, int]:
    """Host and port of an address of Ray Client.

    Raises
    ------
    PlanError
        If it is none.
    """
    try:
        parts = urlsplit(where)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or f"{_SCHEME}{parts.netloc}" != where:
        raise PlanError("a cluster's address is ray://HOST:PORT, such as ray://head:10001")
    return host, port


def _require_listening(where: str) -> None:
    """Refuse at once what Ray itself would try for half a minute."""
    try:
        socket.create_connection(address(where), timeout=_ANSWERS_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlanError(f"Nothing answers at {where} ({reason}); name the head node and its port.") from error


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes the signal for itself; what a session does on it stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """What processes that are started in the block find there."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
