"""The run store: what goes in comes out, whatever happens to the process or the file."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac import whole_files
from sam_lsac.errors import PlanError, StoreError
from sam_lsac.metrics import Score
from sam_lsac.runs import Plan, ReadOnlyStore, RunResult, RunSpec, SQLiteStore, database, open_store
from tests.test_plan import SPEC


def spec(seed=0):
    return replace(SPEC, seed=seed, metrics=("si_snr", "stoi"))


def result(seed=0, **changes):
    values = {
        "spec": spec(seed),
        "scores": {"si_snr": Score(1.5 + seed), "stoi": Score(math.nan, "estimate is silent", failed=True)},
        "noise_digest": "d" * 64,
        "hits": {"transformer.layers.1.attention": 2},
        "probes": {"layers": [0, 1], "steps": [1], "block_ratio": [[1.25], [math.nan]]},
        "wall_s": 0.25,
        "environment": {"torch": "2"},
    }
    return RunResult(**(values | changes))


def plan_of(*seeds):
    return Plan(arms={"baseline": tuple(spec(seed) for seed in seeds)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.sqlite"


@pytest.fixture
def store(path):
    with open_store(path) as opened:
        yield opened


class TestRows:
    def test_what_goes_in_comes_out(self, store):
        store.put([result(0), result(1)])
        found = store.get([spec(1).key, "no such key"])
        assert set(found) == {spec(1).key}
        got = found[spec(1).key]
        assert got.spec == spec(1)
        assert got.scores["si_snr"] == Score(2.5)
        assert math.isnan(got.scores["stoi"].value)
        assert got.scores["stoi"].reason == "estimate is silent"
        assert got.scores["stoi"].failed
        assert not got.scores["si_snr"].failed
        assert (got.noise_digest, got.hits, got.wall_s) == ("d" * 64, {"transformer.layers.1.attention": 2}, 0.25)
        assert got.probes["block_ratio"][0] == [1.25]
        assert math.isnan(got.probes["block_ratio"][1][0])
        assert got.environment == {"torch": "2"}

    def test_figures_keep_every_bit(self, store):
        value = float(np.nextafter(1 / 3, 1))
        store.put([result(scores={"si_snr": Score(value), "stoi": Score(-0.0)})])
        assert store.get(store.keys())[spec().key].scores["si_snr"].value == value

    def test_they_are_there_for_the_next_who_opens(self, path):
        with open_store(path) as first:
            first.put([result(0)])
        with open_store(path) as second:
            assert second.keys() == {spec(0).key}

    def test_a_key_keeps_its_first_result(self, store):
        store.put([result(0)])
        store.put([result(0, scores={"si_snr": Score(9.0), "stoi": Score(1.0)}), result(1)])
        assert store.get(store.keys())[spec(0).key].scores["si_snr"] == Score(1.5)
        assert store.keys() == {spec(0).key, spec(1).key}

    def test_of_several_results_all_go_in_or_none(self, store):
        with pytest.raises(TypeError):
            store.put([result(0), result(1, hits={"site": object()})])
        assert store.keys() == set()
        store.put([result(0)])  # and the store still works
        assert store.keys() == {spec(0).key}

    def test_a_score_without_value_or_reason_cannot_go_in(self, store, path):
        store.put([result(0)])
        with sqlite3.connect(path) as raw, pytest.raises(sqlite3.IntegrityError):
            raw.execute("UPDATE scores SET reason = NULL")
        raw.close()


class TestMissing:
    def test_it_is_what_is_planned_and_not_there(self, store):
        assert store.missing(plan_of(0, 1, 2)) == (spec(0), spec(1), spec(2))
        store.put([result(1)])
        assert store.missing(plan_of(0, 1, 2)) == (spec(0), spec(2))
        store.put([result(0), result(2)])
        assert store.missing(plan_of(0, 1, 2)) == ()
        store.require(plan_of(0, 1, 2))

    def test_a_missing_run_is_an_error_with_the_number_and_the_command(self, store):
        store.put([result(1)])
        with pytest.raises(
            PlanError, match=r"2 of 3 runs are not in .*runs\.sqlite; .*without --replay.*pytest bench/"
        ):
            store.require(plan_of(0, 1, 2))


class TestReplay:
    def test_it_gives_what_is_there_and_takes_nothing(self, path):
        with open_store(path) as store:
            store.put([result(0, arrays={"target": np.arange(3.0)})])
        with open_store(path, replay=True) as replay:
            assert replay.get(replay.keys())[spec().key].scores["si_snr"] == Score(1.5)
            assert np.array_equal(replay.array(spec().key, "target"), np.arange(3.0))
            replay.require_writable(plan_of(0))
            with pytest.raises(PlanError, match="1 of 2 runs"):
                replay.require_writable(plan_of(0, 1))
            with pytest.raises(StoreError, match="without --replay"):
                replay.put([result(1)])

    def test_any_store_can_be_wrapped(self, store):
        store.put([result(0)])
        wrapped = ReadOnlyStore(store)
        assert wrapped.keys() == store.keys()
        assert wrapped.location == store.location
        store.require_writable(plan_of(0, 1))
        with pytest.raises(PlanError, match="1 of 2 runs"):
            wrapped.require_writable(plan_of(0, 1))

    def test_a_run_is_read_once_and_all_come_in_one_order(self, store, monkeypatch):
        store.put([result(place) for place in range(3)])
        keys = sorted(store.keys())
        expected = list(store.get(keys))
        asked = []
        read = store.get
        monkeypatch.setattr(store, "get", lambda some: asked.extend(some) or read(some))
        wrapped = ReadOnlyStore(store)
        first = wrapped.get([keys[1]])
        for order in (keys, keys[::-1]):
            assert list(wrapped.get(order)) == expected
        assert wrapped.get({keys[1], "no such run"})[keys[1]] is first[keys[1]]
        assert sorted(one for one in asked if one != "no such run") == keys

    def test_a_store_that_is_not_there_is_not_made(self, path):
        with pytest.raises(StoreError, match="compute it first"):
            open_store(path, replay=True)
        assert not path.exists()

    def test_it_opens_from_a_folder_that_cannot_be_written_to(self, path, monkeypatch):
        with open_store(path) as store:
            store.put([result(0)])
        monkeypatch.setattr(os, "access", lambda *_: False)
        with open_store(path, replay=True) as replay:
            assert replay.keys() == {spec(0).key}
        assert [item.name for item in path.parent.iterdir()] == [path.name]


class TestSideFiles:
    def test_arrays_come_back_exactly_and_equal_ones_share_a_file(self, store, path):
        wave = np.random.default_rng(0).normal(size=100).astype(np.float32)
        latents = np.arange(12.0).reshape(3, 4).T  # not contiguous
        store.put([result(0, arrays={"target": wave, "latents": latents}), result(1, arrays={"target": wave.copy()})])
        assert np.array_equal(store.array(spec(0).key, "latents"), latents)
        assert store.array(spec(1).key, "target").dtype == np.float32
        assert store.array(spec(1).key, "latents") is None
        files = sorted(path.with_name("runs.sqlite.files").iterdir())
        assert len(files) == 2
        assert all(file.suffix == ".npy" for file in files)  # nothing temporary is left

    def test_a_damaged_file_is_an_error_and_not_a_wave(self, store, path):
        store.put([result(0, arrays={"target": np.arange(100.0)})])
        (file,) = path.with_name("runs.sqlite.files").iterdir()
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(StoreError, match="is damaged"):
            store.array(spec(0).key, "target")
        file.unlink()
        with pytest.raises(StoreError, match="restore it"):
            store.array(spec(0).key, "target")

    @pytest.mark.parametrize(("error", "seen"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, StoreError)])
    def test_a_write_that_fails_leaves_no_row_and_no_file(self, store, path, monkeypatch, error, seen):
        def fail(*_):
            raise error

        monkeypatch.setattr(whole_files.os, "fsync", fail)
        with pytest.raises(seen):
            store.put([result(0, arrays={"target": np.arange(100.0)})])
        monkeypatch.undo()
        assert store.keys() == set()
        assert list(path.with_name("runs.sqlite.files").iterdir()) == []
        store.put([result(0, arrays={"target": np.arange(100.0)})])
        assert np.array_equal(store.array(spec(0).key, "target"), np.arange(100.0))

    def test_what_a_killed_process_left_is_removed_by_the_next_that_writes(self, path):
        child = os.fork()
        if child == 0:
            with open_store(path) as store:
                whole_files.os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
                store.put([result(0, arrays={"target": np.arange(100.0)})])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        folder = path.with_name("runs.sqlite.files")
        assert [file.suffix for file in folder.iterdir()] == [".tmp"]
        with open_store(path, replay=True):
            assert len(list(folder.iterdir())) == 1  # a replay changes nothing
        with open_store(path) as store:
            assert list(folder.iterdir()) == []
            assert store.keys() == set()

    def test_a_file_that_another_process_is_writing_is_left_alone(self, store, path):
        store.put([result(0, arrays={"target": np.arange(3.0)})])
        folder = path.with_name("runs.sqlite.files")
        token = "0" * 16
        dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
        here, pid = platform.node(), int(dead.stdout)
        ours = folder / f".sam_lsac.{token}.{here}-{os.getpid()}.tmp"
        theirs = folder / f".sam_lsac.{token}.another-machine-{pid}.tmp"
        gone = folder / f".sam_lsac.{token}.{here}-{pid}.tmp"
        other = folder / "notes.tmp"
        for file in (ours, theirs, gone, other):
            file.write_bytes(b"half")
        open_store(path).close()
        assert {file.name for file in folder.glob("*.tmp")} | {file.name for file in folder.glob(".*.tmp")} == {
            ours.name,
            theirs.name,
            other.name,
        }
        for file in (ours, theirs, other):
            old = time.time() - whole_files.ABANDONED_S - 60
            os.utime(file, (old, old))
        open_store(path).close()
        assert [file.name for file in folder.iterdir() if file.suffix == ".tmp"] == [other.name]
        assert np.array_equal(store.array(spec(0).key, "target"), np.arange(3.0))


class TestOthersAtWork:
    def test_a_reader_sees_the_last_commit_while_another_writes(self, store, path):
        store.put([result(0)])
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM scores")
        with open_store(path, replay=True) as reader:
            assert reader.get(reader.keys())[spec(0).key].scores["si_snr"] == Score(1.5)
        assert store.keys() == {spec(0).key}
        writer.execute("ROLLBACK")
        writer.close()

    def test_writers_wait_for_each_other_and_lose_nothing(self, path):
        failures = []

        def write(first):
            try:
                with open_store(path) as own:
                    for seed in range(first, first + 20):
                        own.put([result(seed)])
            except Exception as error:  # threads swallow them
                failures.append(error)

        threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with open_store(path) as opened:
            assert opened.keys() == {spec(seed).key for seed in range(40)}

    def test_a_lock_that_is_never_released_is_an_error_with_the_remedy(self, store, path, monkeypatch):
        monkeypatch.setattr(database, "BUSY_S", 0.05)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with SQLiteStore(path) as late, pytest.raises(StoreError, match="wait for it"):
            late.put([result(0)])
        writer.close()


class TestWrongFiles:
    def test_another_schema_is_refused_with_the_remedy(self, path):
        open_store(path).close()
        with sqlite3.connect(path) as raw:
            raw.execute("PRAGMA user_version = 99")
        raw.close()
        for replay in (False, True):
            with pytest.raises(StoreError, match=r"schema 99.*move it away"):
                open_store(path, replay=replay)

    def test_the_database_of_another_program_is_refused_and_left_alone(self, path):
        with sqlite3.connect(path) as raw:
            raw.execute("CREATE TABLE mine (x)")
        raw.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="another program"):
            open_store(path)
        assert path.read_bytes() == before

    def test_a_file_that_is_no_database_is_refused_and_left_alone(self, path):
        path.write_bytes(b"not a database at all" * 100)
        with pytest.raises(StoreError, match="no run store"):
            open_store(path)
        assert path.read_bytes() == b"not a database at all" * 100

    def test_a_folder_in_its_place_is_refused(self, path):
        path.mkdir()
        with pytest.raises(StoreError, match="name another store"):
            open_store(path)

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE runs SET spec = '{'",
            "UPDATE runs SET spec = '{}'",
            "UPDATE runs SET hits = 'x'",
            "DELETE FROM scores WHERE metric = 'stoi'",
        ],
    )
    def test_a_damaged_row_is_an_error(self, store, path, damage):
        store.put([result(0)])
        with sqlite3.connect(path) as raw:
            raw.execute(damage)
        raw.close()
        with pytest.raises(StoreError, match="is damaged"):
            store.get(store.keys())

    def test_a_row_under_another_key_is_an_error(self, store, path):
        store.put([result(0)])
        altered = json.dumps({**spec(0).to_json(), "seed": 7})
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE runs SET spec = ?", (altered,))
        raw.close()
        with pytest.raises(StoreError, match="not what was written"):
            store.get([spec(0).key])

    def test_a_row_whose_key_would_be_another_today_is_an_error(self, store, monkeypatch):
        store.put([result(0)])
        monkeypatch.setattr(RunSpec, "key", property(lambda self: "of another version"))
        with pytest.raises(StoreError, match="not what its key says"):
            store.get(store.keys())


def flips(content, text):
    """Copies of a file, each with one byte of one occurrence of a text changed, in a low bit and in the highest."""
    first = content.find(text)
    assert first >= 0
    while first >= 0:
        for offset, bit in itertools.product((0, len(text) // 2, len(text) - 1), (0x01, 0x80)):
            damaged = bytearray(content)
            damaged[first + offset] ^= bit
            yield bytes(damaged)
        first = content.find(text, first + 1)


class TestFlippedBytes:
    """A byte of the file that is not what was written is reported, on a replay and before anything is computed."""

    @pytest.fixture
    def whole(self, path):
        with open_store(path) as store:
            store.put([result(seed, arrays={"target": np.arange(3.0)}) for seed in (0, 1)])
        return path.read_bytes()

    def reported(self, path):
        for replay in (True, False):
            with pytest.raises(StoreError, match=r"damaged|malformed"), open_store(path, replay=replay) as store:
                store.missing(plan_of(0, 1))
            with pytest.raises(StoreError, match=r"damaged|malformed"), open_store(path, replay=replay) as store:
                store.get([spec(0).key])
                store.get([spec(1).key])
                store.keys()  # where the run seems not to be there
        return True

    @pytest.mark.parametrize(
        "text",
        [
            b"euler:16",
            b"estimate is silent",
            b"transformer.layers.1.attention",
            b"block_ratio",
            b"d" * 64,
            b'"torch": "2"',
        ],
        ids=lambda text: text[:12].decode(),
    )
    def test_in_the_text_of_a_row(self, path, whole, text):
        for damaged in flips(whole, text):
            path.write_bytes(damaged)
            assert self.reported(path)

    @pytest.mark.parametrize("value", [1.5, 2.5])
    def test_in_a_score(self, path, whole, value):
        for damaged in flips(whole, struct.pack(">d", value)):
            path.write_bytes(damaged)
            assert self.reported(path)

    def test_in_the_digest_itself(self, path, whole):
        with sqlite3.connect(path) as raw:
            (digest,) = raw.execute("SELECT digest FROM runs").fetchone()
        raw.close()
        for damaged in flips(whole, digest.encode()):
            path.write_bytes(damaged)
            assert self.reported(path)

    @pytest.mark.parametrize("text", [spec(0).key, "si_snr", "target"], ids=("key", "metric", "side file"))
    def test_in_what_also_stands_in_an_index(self, path, whole, text):
        # where the index alone is wrong, a row may still be read as it was; never as missing, and never wrong
        seen = set()
        for damaged in flips(whole, text.encode()):
            path.write_bytes(damaged)
            try:
                with open_store(path, replay=True) as store:
                    missing = store.missing(plan_of(0, 1))
                    found = store.get([spec(0).key, spec(1).key])
                    waves = [store.array(spec(seed).key, "target") for seed in (0, 1)]
            except StoreError:
                seen.add("reported")
            else:
                assert missing == ()
                assert [found[spec(seed).key].scores["si_snr"] for seed in (0, 1)] == [Score(1.5), Score(2.5)]
                assert all(np.array_equal(wave, np.arange(3.0)) for wave in waves)
                seen.add("read as it was")
        assert "reported" in seen

    def test_a_row_that_was_deleted_leaves_scores_that_are_reported(self, path, whole):
        with sqlite3.connect(path) as raw:
            raw.execute("DELETE FROM runs WHERE key = ?", (spec(0).key,))
        raw.close()
        with pytest.raises(StoreError, match="its row is not"), open_store(path) as store:
            store.missing(plan_of(0, 1))
