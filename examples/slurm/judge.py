"""Judge the claims in one job of SLURM: its first task is Ray's head and the driver, and the others join it.

    pip install 'sam_lsac[cluster,slurm]'
    python examples/slurm/judge.py --nodes 4 --gpus-per-node 8 --partition gpu -- bench --model CHECKPOINT --device cuda

What stands after ``--`` goes to pytest. The folder of the job must be one that all nodes see; ``--cluster local`` tries
the same without SLURM, ``--tasks`` nodes of Ray on this machine.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import submitit

ROOT = Path(__file__).resolve().parents[2]
STARTS_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every task of the job does: be a node of Ray; the first one then judges, and the others wait for its end."""

    arguments: tuple[str, ...]  # of pytest
    port: int
    token: str
    n_tasks: int

    def __call__(self) -> int:
        """Return the exit code of pytest; 0 from the other tasks."""
        place = submitit.JobEnvironment()
        over = Path(place.paths.folder) / f"{place.job_id}.over"
        head = f"{place.hostnames[0]}:{self.port}"
        env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0"}
        if place.global_rank > 0:
            wait_until(lambda: answers(*head.split(":")))
            with node(f"--address={head}", env=env) as ray:
                while not over.exists() and ray.poll() is None:
                    time.sleep(1.0)
            return 0
        try:
            with node("--head", f"--port={self.port}", "--include-dashboard=false", env=env):
                wait_until(lambda: n_nodes(head, env) == self.n_tasks)
                judge = [sys.executable, "-m", "pytest", "--executor", "auto", *self.arguments]
                return subprocess.run(judge, cwd=ROOT, env={**env, "RAY_ADDRESS": head}, check=False).returncode
        finally:
            over.touch()


@contextmanager
def node(*arguments, env):
    """A node of Ray, with the processors and GPUs that SLURM gave to this task."""
    cores = len(os.sched_getaffinity(0)) if env.get("SLURM_JOB_ID") else 1
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cores}", *arguments]
    with subprocess.Popen(command, env=env) as ray:
        try:
            yield ray
        finally:
            ray.terminate()


def n_nodes(head, env):
    """How many are there."""
    count = "import ray; ray.init(logging_level='ERROR'); print(sum(one['Alive'] for one in ray.nodes()))"
    asked = subprocess.run(
        [sys.executable, "-c", count], env={**env, "RAY_ADDRESS": head}, capture_output=True, text=True, check=False
    )
    return int(asked.stdout.split()[-1]) if asked.returncode == 0 else 0


def answers(host, port):
    """Whether somebody listens there."""
    with socket.socket() as tried:
        tried.settimeout(5.0)
        return tried.connect_ex((host, int(port))) == 0


def wait_until(holds):
    """Wait for the other nodes."""
    end = time.monotonic() + STARTS_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"the nodes did not find each other within {STARTS_S:.0f} s")
        time.sleep(1.0)


def main():
    """Submit the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "slurm", help="of the job's files and logs")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1, help="a node; more than one only to try")
    parser.add_argument("--gpus-per-node", type=int, default=0)
    parser.add_argument("--cpus-per-task", type=int, default=8)
    parser.add_argument("--minutes", type=int, default=24 * 60)
    parser.add_argument("--partition")
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("arguments", nargs="*", help="of pytest")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the job's file has the token in it
    executor = submitit.AutoExecutor(folder=given.folder, cluster=given.cluster)
    executor.update_parameters(
        name="sam_lsac",
        nodes=given.nodes,
        tasks_per_node=given.tasks,
        gpus_per_node=given.gpus_per_node,
        cpus_per_task=given.cpus_per_task,
        timeout_min=given.minutes,
        **({"slurm_partition": given.partition} if given.partition else {}),
    )
    n_tasks = given.nodes * given.tasks
    arguments = tuple(given.arguments)
    job = executor.submit(Job(arguments=arguments, port=given.port, token=secrets.token_hex(32), n_tasks=n_tasks))
    print(f"job {job.job_id}: {job.paths.stdout}", flush=True)
    return job.results()[0] if given.cluster == "local" else 0


if __name__ == "__main__":
    sys.exit(main())
