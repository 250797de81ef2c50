"""The recipe for SLURM, with submitit's local executor in SLURM's place: two tasks, two nodes of Ray, one verdict."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.cluster.nodes import MARK, ROOT, end, free_port, marked
from tests.suite.rig import make_rig

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_job_of_two_tasks_judges(request, tmp_path):
    if "cluster" not in request.config.option.markexpr:
        pytest.skip("starts Ray nodes, which takes minutes; run it with tox -e cluster")
    pytest.importorskip("ray", reason="Ray is not installed")
    pytest.importorskip("submitit", reason="submitit is not installed")
    rig, mark = make_rig(tmp_path / "rig"), f"slurm-{time.time_ns()}"
    command = [sys.executable, ROOT / "examples" / "slurm" / "judge.py", "--cluster", "local", "--tasks", "2",
               "--folder", tmp_path / "job", "--port", str(free_port()), "--"]  # fmt: skip
    options = [*rig.options[: rig.options.index("--processes")], "--store", rig.store, "--report", rig.report]
    judged = [rig.folder / "test_house.py", "--rootdir", rig.folder, "-k", "MY1", "-p", "no:cacheprovider"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    env |= {MARK: mark, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    try:
        finished = subprocess.run(
            [*map(str, [*command, *options, *judged])], cwd=tmp_path, env=env, capture_output=True, text=True,
            check=False, timeout=580,
        )  # fmt: skip
        said = "".join(path.read_text(errors="replace") for path in sorted((tmp_path / "job").glob("*.out")))
        assert finished.returncode == 0, finished.stderr + said
        assert "cluster: 2 workers of 1 CPU each on 2 nodes" in said
        assert rig.statuses()["MY1"] == "supported"
        by = time.monotonic() + 60.0
        while marked(mark) and time.monotonic() < by:
            time.sleep(0.2)
        assert marked(mark) == []
    finally:
        end(marked(mark))
