"""Many processes: the stores that they fill are those of one process to the bit, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_lsac.errors import CacheError, PlanError, StoreError
from sam_lsac.metrics import Score
from sam_lsac.model import load_model, save_checkpoint
from sam_lsac.runs import Executor, Progress, execute, local_executor, open_store, plan
from sam_lsac.runs.chunk import chunks_of, examples_of
from sam_lsac.runs.executor import Reply, pack, unpack
from sam_lsac.runs.local import Here, ScoredElsewhere
from sam_lsac.runs.pool import N_TRIES, LocalPool, ModelSource
from sam_lsac.runs.tasks import ChunkTask
from tests import tiny_runs

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("si_snr", "si_snri", "stoi")
ARMS = ("baseline", "lsac", "freeze-late", "naive", "uniform", "spans", "shuffled", "midpoint", "lsac-midpoint")
#: An edit that decides by a whole batch, so that its runs are alone and need waves of chunks before them.
ALONE = {"alone": {"edits": ({"kind": "DynamicAttentionCache", "threshold": 0.5},)}}
#: Decides nothing: when, and how long.
PASSING = ("wall_s", "created")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(tiny_runs.model(), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def mixtures():
    """Of two lengths, one without spans."""
    return [
        *tiny_runs.mixtures(3),
        tiny_runs.mixture(3, n_samples=24 * tiny_runs.HOP),
        tiny_runs.mixture(4, spans=()),
    ]


@pytest.fixture(scope="module")
def planned(model, mixtures):
    return plan(tiny_runs.arms(*ARMS), mixtures, model, seeds=(0, 5), metrics=METRICS)


@pytest.fixture(scope="module")
def serial(planned, model, mixtures, tmp_path_factory):
    path = tmp_path_factory.mktemp("serial") / "runs.sqlite"
    filled(path, planned, model, mixtures, Here(model))
    return path


@pytest.fixture
def pool(folder):
    """Two processes that compute chunks."""
    source = ModelSource(folder=folder, device="cpu", dtype=torch.float32)
    with LocalPool(processes=2, n_slots=2, source=source) as found:
        yield found


def filled(path, planned, model, mixtures, executor, **options):
    """Compute a plan into a store, with waves and latents of some; what progress was told."""
    told: list[Progress] = []
    given = {"batch_size": 2, "keep": lambda spec: spec.seed == 5, "progress": told.append} | options
    with open_store(path) as store:
        n_missing = len(store.missing(planned))
        assert execute(planned, model, mixtures, store, executor=executor, **given) == n_missing
    return told


def contents(path):
    """All rows of a store but for what says when and how long, and the bytes of its side files."""
    with sqlite3.connect(path) as raw:
        raw.row_factory = sqlite3.Row
        found = {
            table: sorted(
                tuple((name, row[name]) for name in row.keys() if name not in (*PASSING, "digest"))  # noqa: SIM118
                for row in raw.execute(f"SELECT * FROM {table}")
            )
            for table in ("runs", "scores", "files")
        }
    raw.close()
    side = path.with_name(f"{path.name}.files")
    found["bytes"] = {file.relative_to(side).as_posix(): file.read_bytes() for file in side.rglob("*") if file.is_file()}
    return found


class TestEqualToOneProcess:
    def test_chunks_in_processes(self, serial, planned, model, mixtures, pool, tmp_path):
        path = tmp_path / "runs.sqlite"
        told = filled(path, planned, model, mixtures, pool)
        assert len(pool.pids) == 2
        assert contents(path) == contents(serial)
        assert sum(one.runs for one in told) == len(planned.runs)

    def test_scores_in_processes(self, serial, planned, model, mixtures, tmp_path):
        path = tmp_path / "runs.sqlite"
        with ScoredElsewhere(model, LocalPool(processes=2, n_slots=4, source=None)) as executor:
            told = filled(path, planned, model, mixtures, executor)
        assert contents(path) == contents(serial)
        assert sum(one.runs for one in told) == len(planned.runs)

    @pytest.mark.parametrize("scored", [False, True])
    def test_what_is_not_finite_fails_alike(self, folder, mixtures, tmp_path, scored):
        save_checkpoint(spoiled(), tmp_path / "model")
        model = load_model(tmp_path / "model")
        given = mixtures[:2]
        planned = plan(tiny_runs.arms("baseline", "lsac"), given, model, seeds=(0,), metrics=METRICS)
        one, other = tmp_path / "one.sqlite", tmp_path / "other.sqlite"
        filled(one, planned, model, given, Here(model))
        pool = LocalPool(processes=1, n_slots=2, source=None)
        source = ModelSource(folder=tmp_path / "model", device="cpu", dtype=torch.float32)
        there = ScoredElsewhere(model, pool) if scored else LocalPool(processes=1, n_slots=1, source=source)
        with there as executor:
            filled(other, planned, model, given, executor)
        assert contents(other) == contents(one)
        with open_store(other) as store:
            assert all(s.failed for run in store.get(store.keys()).values() for s in run.scores.values())

    def test_the_second_half_is_compared_with_waves_of_the_first(self, serial, planned, model, mixtures, pool, tmp_path):
        path = tmp_path / "runs.sqlite"
        few = plan(
            {name: arm for name, arm in tiny_runs.arms("baseline").items()},
            mixtures,
            model,
            seeds=(0, 5),
            metrics=METRICS,
            known=tiny_runs.arms(*ARMS),
        )
        filled(path, few, model, mixtures, Here(model))
        filled(path, planned, model, mixtures, pool)
        assert scores(path) == scores(serial)
