"""Two Ray nodes on this machine, real to the last process: whatever dies, the store is that of one process to the bit.

Run with ``tox -e cluster``: to start and to lose nodes takes minutes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sam_lsac.model import load_model, save_checkpoint
from sam_lsac.runs.local import Here
from tests import tiny_runs
from tests.cluster.drive import mixtures, planned
from tests.cluster.nodes import ROOT, Nodes, marked
from tests.test_pool import contents, filled

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _on_request_only(request):
    if "cluster" not in request.config.option.markexpr:
        pytest.skip("starts Ray nodes, which takes minutes; run it with tox -e cluster")
    pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(tiny_runs.model(), path)
    return path


@pytest.fixture(scope="module")
def serial(folder, tmp_path_factory):
    """What one process computes, with one thread as workers do."""
    path = tmp_path_factory.mktemp("serial") / "runs.sqlite"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model = load_model(folder)
    filled(path, planned(model), model, mixtures(), Here(model))
    torch.set_num_threads(before)
    return contents(path)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and one more node."""
    with Nodes() as found:
        found.start()
        found.start()
        yield found
    assert marked(found.name) == []


def drive(nodes, folder, store, *arguments, where="auto"):
    """What a driver said at its end."""
    command = [sys.executable, "-m", "tests.cluster.drive", str(folder), str(store), where, *arguments]
    env = nodes.environment("driver")
    finished = subprocess.run(
        command, cwd=store.parent, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    print(json.dumps(found))
    return found


def lost(found):
    return sum("was lost" in words for words in found["said"])


def n_rows(store):
    return len(contents(store)["runs"])


def test_a_worker_that_is_killed(nodes, folder, serial, tmp_path):
    found = drive(nodes, folder, tmp_path / "runs.sqlite", nodes.name, "worker")
    assert found["error"] is None
    assert len(found["killed"]) == 1
    assert lost(found) >= 1
    assert found["said"][0] == "cluster: 2 workers of 1 CPU each on 2 nodes"
    assert n_rows(tmp_path / "runs.sqlite") == found["runs"]
    assert contents(tmp_path / "runs.sqlite") == serial
    assert not set(found["killed"]) & set(marked(nodes.name))


def test_a_node_that_is_killed(nodes, folder, serial, tmp_path):
    third = nodes.start()
    found = drive(nodes, folder, tmp_path / "runs.sqlite", third, "all")
    assert found["error"] is None
    assert found["slots"] == 3
    assert len(found["killed"]) > 1  # all of the node, its worker among them
    assert lost(found) >= 1
    assert marked(third) == []
    assert n_rows(tmp_path / "runs.sqlite") == found["runs"]
    assert contents(tmp_path / "runs.sqlite") == serial


def test_from_another_machine_through_ray_client(nodes, folder, serial, tmp_path):
    where = f"ray://127.0.0.1:{nodes.client_port}"
    found = drive(nodes, folder, tmp_path / "runs.sqlite", nodes.name, "worker", where=where)
    assert found["error"] is None
    assert len(found["killed"]) == 1
    assert lost(found) >= 1
    assert contents(tmp_path / "runs.sqlite") == serial


def test_a_node_with_other_source_computes_nothing(nodes, folder, tmp_path):
    shutil.copytree(ROOT / "sam_lsac", tmp_path / "other" / "sam_lsac", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "other" / "sam_lsac" / "runs" / "tasks.py"
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    nodes.start(PYTHONPATH=str(tmp_path / "other"))
    found = drive(nodes, folder, tmp_path / "runs.sqlite")
    assert "its source of sam_lsac is" in found["error"]
    assert "install the same version on every node" in found["error"]
    assert Path(tmp_path / "runs.sqlite").exists()
