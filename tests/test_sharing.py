"""Processes on one store share its work: every run is computed once, by whoever took it, and waiting is said."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import torch

from sam_lsac.errors import StoreError
from sam_lsac.processes import Process
from sam_lsac.runs import SQLiteStore, database, execute, leases, open_store, plan
from sam_lsac.runs.leases import in_words
from tests import tiny_runs
from tests.processes import start
from tests.test_store import plan_of, result, spec

ARMS = {name: arm for name, arm in tiny_runs.arms().items() if name in ("baseline", "lsac", "naive")}


def work():
    """The same in every process: model, plan and mixtures."""
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(8)
    return model, plan(ARMS, mixtures, model, seeds=(0, 1), metrics=("si_snr",)), mixtures


def compute(folder, name, wait_s):
    """Compute the plan in a process of its own; write down what it put into the store, and what it was told."""
    torch.set_num_threads(1)
    put, (model, planned, mixtures) = SQLiteStore.put, work()
    with (folder / f"{name}.log").open("a") as log:

        def write(**line):
            print(json.dumps(line), file=log, flush=True)

        def spied(store, results):
            put(store, results)
            write(put=[one.spec.key for one in results])
            time.sleep(wait_s)

        SQLiteStore.put = spied
        seen = []
        with SQLiteStore(folder / "runs.sqlite", notice=lambda words: write(told=words)) as store:
            execute(
                planned,
                model,
                mixtures,
                store,
                batch_size=2,
                progress=lambda one: seen.append((one.runs, one.computed)),
            )
        write(seen=seen)


def finish(process):
    process.join(timeout=120)
    assert process.exitcode == 0


def logged(folder, name, kind):
    lines = (json.loads(line) for line in (folder / f"{name}.log").read_text().splitlines())
    return [line[kind] for line in lines if kind in line]


def stored(path):
    with SQLiteStore(path, read_only=True) as store:
        return {
            key: (run.noise_digest, run.hits, {name: score for name, score in run.scores.items() if not score.reason})
            for key, run in store.get(store.keys()).items()
        }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds."""
    path = tmp_path_factory.mktemp("alone") / "runs.sqlite"
    model, planned, mixtures = work()
    with open_store(path) as store:
        execute(planned, model, mixtures, store, batch_size=2)
    return stored(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left that began together."""
    folder = tmp_path_factory.mktemp("both")
    for process in [start(compute, folder, name, 0.1) for name in ("one", "other")]:
        finish(process)
    return folder


class TestTwoProcesses:
    def test_every_run_is_computed_once_and_both_compute(self, folder, alone):
        shares = [[key for keys in logged(folder, name, "put") for key in keys] for name in ("one", "other")]
        assert all(shares)
        assert sorted(shares[0] + shares[1]) == sorted(alone)

    def test_they_find_what_one_process_finds(self, folder, alone):
        assert stored(folder / "runs.sqlite") == alone

    def test_both_see_all_of_it_done(self, folder, alone):
        for name in ("one", "other"):
            (seen,) = logged(folder, name, "seen")
            computed = sum(runs for runs, computed in seen if computed)
            assert computed < sum(runs for runs, _ in seen) <= len(alone)  # what was there at its start it does not see
            assert computed == sum(len(keys) for keys in logged(folder, name, "put"))

    def test_nothing_is_leased_afterwards(self, folder):
        with SQLiteStore(folder / "runs.sqlite") as store:
            assert store.holders() == {}


def test_the_work_of_a_killed_process_is_taken_over_at_once(tmp_path, alone):
    killed = start(compute, tmp_path, "killed", 60.0)
    log = tmp_path / "killed.log"
    began = time.monotonic()
    while not (log.exists() and log.read_text()):
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    with SQLiteStore(tmp_path / "runs.sqlite", read_only=True) as store:
        assert set(store.holders().values()) == {Process(host=Process.this().host, pid=killed.pid)}
    killed.kill()
    killed.join()
    finish(start(compute, tmp_path, "heir", 0.0))
    assert logged(tmp_path, "heir", "told") == []
    found = stored(tmp_path / "runs.sqlite")
    assert {key: run[:2] for key, run in found.items()} == {key: run[:2] for key, run in alone.items()}


class TestLeases:
    @pytest.fixture
    def stores(self, tmp_path):
        with SQLiteStore(tmp_path / "runs.sqlite") as one, SQLiteStore(tmp_path / "runs.sqlite") as other:
            yield one, other

    def test_one_of_two_gets_a_run_and_the_other_may_when_it_is_given_back(self, stores):
        one, other = stores
        with one.lease(["a", "b"]) as first, other.lease(["b", "c"]) as second, other.lease(["c"]) as third:
            assert (first, second, third) == (True, False, True)
        with other.lease(["b", "c"]) as again:
            assert again

    def test_a_run_that_is_stored_is_nobodys(self, stores):
        one, other = stores
        one.put([result(0)])
        with other.lease([spec(0).key, spec(1).key]) as is_ours:
            assert not is_ours
        with other.lease([spec(1).key]) as is_ours:
            assert is_ours

    def test_an_exception_gives_it_back(self, stores):
        one, other = stores
        with pytest.raises(KeyboardInterrupt), one.lease(["a"]):
            raise KeyboardInterrupt
        with other.lease(["a"]) as is_ours:
            assert is_ours

    @pytest.mark.parametrize(
        ("host", "age_s", "lives"),
        [
            ("another-machine", 0.0, True),
            ("another-machine", leases.EXPIRES_S + 1, False),
            (None, 0.0, False),  # a process of this machine that has ended
        ],
    )
    def test_the_dead_hold_nothing(self, stores, tmp_path, host, age_s, lives):
        one, other = stores
        ended = int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)
        with one.lease(["a"]):
            with sqlite3.connect(tmp_path / "runs.sqlite") as raw:
                changes = (host or Process.this().host, ended, time.time() - age_s)
                raw.execute("UPDATE leases SET host = ?, pid = ?, renewed = ?", changes)
            raw.close()
            with other.lease(["a"]) as is_ours:
                assert is_ours != lives

    def test_who_is_at_work_for_long_keeps_its_lease(self, stores, monkeypatch):
        one, other = stores
        monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.02)
        monkeypatch.setattr(leases, "EXPIRES_S", 0.5)
        with one.lease(["a"]):
            began = time.monotonic()
            while time.monotonic() - began < 1.0:
                with other.lease(["a"]) as is_ours:
                    assert not is_ours
                time.sleep(0.05)

    def test_what_is_given_back_leaves_the_owners_other_leases(self, stores):
        one, other = stores
        with one.lease(["a"]):
            with one.lease(["b"]) as is_ours:
                assert is_ours
            with other.lease(["a"]) as is_free:
                assert not is_free
            with other.lease(["b"]) as is_free:
                assert is_free

    def test_an_owner_renews_its_own_leases_alone(self, stores, tmp_path, monkeypatch):
        monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.02)
        with stores[0].lease(["a"]):
            raw = sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)
            raw.execute("INSERT INTO leases VALUES ('b', 'somebody', 'another-machine', 1, 5.0)")
            raw.execute("UPDATE leases SET renewed = 5.0")
            began = time.monotonic()
            while raw.execute("SELECT renewed FROM leases WHERE run = 'a'").fetchone() == (5.0,):
                assert time.monotonic() - began < 30
                time.sleep(0.02)
            assert raw.execute("SELECT renewed FROM leases WHERE run = 'b'").fetchone() == (5.0,)
            raw.close()

    def test_waiting_ends_with_the_first_run_that_is_free_and_is_said_once(self, tmp_path, stores):
        one, _ = stores
        told, held, free = [], threading.Event(), threading.Event()

        def hold():
            with SQLiteStore(tmp_path / "runs.sqlite") as holding, holding.lease(["a"]):
                held.set()
                free.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        began = time.monotonic()
        threading.Timer(0.8, free.set).start()
        with SQLiteStore(tmp_path / "runs.sqlite", notice=told.append) as waiting, one.lease(["b"]):
            waiting.await_others(["a", "b"])
            assert time.monotonic() - began >= 0.8
        assert told == [f"waiting for 2 runs of {Process.this()}"]
        holder.join()

    def test_the_words(self):
        here, there = Process(host="here", pid=1), Process(host="there", pid=2)
        assert in_words([here, there, here]) == "2 runs of process 1 on here and 1 run of process 2 on there"


def test_a_lock_that_is_held_is_waited_for_with_a_notice(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "NOTICE_S", 0.1)
    told = []
    with SQLiteStore(tmp_path / "runs.sqlite", notice=told.append) as store:
        writer = sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None, check_same_thread=False)
        writer.execute("BEGIN IMMEDIATE")
        threading.Timer(0.7, writer.execute, ("ROLLBACK",)).start()
        store.put([result(0)])
        assert store.keys() == {spec(0).key}
        assert told
        assert all("waiting for the lock on" in words for words in told)
        writer.close()


def test_a_new_store_is_made_once_by_many_who_begin_together(tmp_path):
    errors = []
    ready = threading.Barrier(8)

    def begin(seed):
        try:
            ready.wait()
            with SQLiteStore(tmp_path / "runs.sqlite") as store:
                store.put([result(seed)])
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with SQLiteStore(tmp_path / "runs.sqlite") as store:
        assert store.missing(plan_of(*range(8))) == ()
