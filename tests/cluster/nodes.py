"""Ray nodes on this machine, each a process tree of its own, which end whatever happens.

A process is known by a mark in its environment, which all that Ray starts inherits; nobody else's is ever touched.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sam_lsac.runs.cluster import RayExecutor
from sam_lsac.runs.executor import Task

__all__ = ["MARK", "ROOT", "Nodes", "marked", "warm"]

ROOT = Path(__file__).resolve().parents[2]
MARK = "SAM_LSAC_NODE"
STARTS_S = 120.0
#: A dead node is noticed within seconds; the times are long enough for a machine that does other work too.
SYSTEM = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3, "health_check_timeout_ms": 3000}


def marked(mark: str, *, title: str = "") -> list[int]:
    """Processes that inherited a mark that begins so, and whose command line begins with a title."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if not folder.name.isdigit() or f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                continue
            if (command := (folder / "cmdline").read_bytes()) and command.startswith(title.encode()):
                found.append(int(folder.name))
    return found


def warm(executor: RayExecutor) -> None:
    """Wait until as many workers as there may be have begun, and have nothing to do."""
    for number in range(executor.n_slots):
        executor.submit(Idle(number=-1 - number))
    while any(worker.asked for worker in executor._workers):
        for worker in executor._heard(timeout_s=1.0):
            executor._hear(worker)
    assert len(executor._workers) == executor.n_slots
    executor._said.clear()


class Idle(Task):
    """No work at all."""

    def __init__(self, *, number):
        self.number = number

    def parts(self, model):
        yield from ()

    def under_way(self, n_done):
        return "nothing"


def end(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Nodes:
    """A cluster of one processor a node; to be left as a context manager."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets need a short path
        self._token = secrets.token_hex(32)
        self._started: list[subprocess.Popen[bytes]] = []
        self.port, self.client_port = free_port(), free_port()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_by = time.monotonic() + STARTS_S
        while pids := marked(self.name):
            end(pids)
            assert time.monotonic() < end_by, pids
            time.sleep(0.1)
        for started in self._started:
            started.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, part: str, **more: str) -> dict[str, str]:
        """For a process of the cluster, or a driver of it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_", "COV_"))}
        return kept | {
            MARK: f"{self.name}-{part}",
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else they wait for whatever else the machine does
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        } | more  # fmt: skip

    def start(self, **environment: str) -> str:
        """Start one more node, the head first, and return what its processes are marked with."""
        part = f"node{len(self._started)}"
        if not self._started:
            own = ["--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}",
                   "--include-dashboard=false", f"--temp-dir={self._folder}",
                   f"--system-config={json.dumps(SYSTEM)}"]  # fmt: skip
        else:
            own = [f"--address=127.0.0.1:{self.port}"]
        log = self._folder / f"{part}.log"
        common = ["--block", "--num-cpus=1", "--num-gpus=0", f"--object-store-memory={100 << 20}"]
        with log.open("wb") as out:
            started = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *own, *common],
                env=self.environment(part) | environment, cwd=self._folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._started.append(started)
        end_by = time.monotonic() + STARTS_S
        while b"Ray runtime started" not in log.read_bytes():
            assert started.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end_by, log.read_text(errors="replace")
            time.sleep(0.2)
        return f"{self.name}-{part}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
