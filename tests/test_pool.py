"""Many processes: the stores that they fill are those of one process to the bit, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from sam_lsac.errors import CacheError, PlanError
from sam_lsac.model import load_model, save_checkpoint
from sam_lsac.runs import Progress, execute, local_executor, open_store, plan
from sam_lsac.runs.chunk import chunks_of, examples_of
from sam_lsac.runs.executor import Reply, Task, pack, unpack
from sam_lsac.runs.local import Here, ScoredElsewhere
from sam_lsac.runs.pool import LocalPool, ModelSource
from sam_lsac.runs.tasks import ChunkTask
from tests import tiny_runs
from tests.processes import start
from tests.test_failures import BURST

METRICS = ("si_snr", "si_snri", "stoi")
ARMS = ("baseline", "lsac", "naive", "shuffled", "lsac-midpoint")
#: An edit that decides by a whole batch, so that its runs are alone and need waves of chunks before them.
ALONE = {"alone": {"edits": ({"kind": "TeaCache", "threshold": 1e6},)}}
#: Says when and how long, and the digest that covers it.
PASSING = ("wall_s", "finished", "digest")


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
        *tiny_runs.mixtures(2),
        tiny_runs.mixture(2, n_samples=24 * tiny_runs.HOP),
        tiny_runs.mixture(3, spans=()),
    ]


@pytest.fixture(scope="module")
def planned(model, mixtures):
    return plan(tiny_runs.arms(*ARMS, "alone", **ALONE), mixtures, model, seeds=(0,), metrics=METRICS)


@pytest.fixture(scope="module")
def serial(planned, model, mixtures, tmp_path_factory):
    path = tmp_path_factory.mktemp("serial") / "runs.sqlite"
    filled(path, planned, model, mixtures, Here(model))
    return path


@pytest.fixture(scope="module")
def source(folder):
    return ModelSource(folder=folder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def pool(source):
    """Two processes that compute chunks, for tests after which nothing is under way."""
    with LocalPool(processes=2, n_slots=2, source=source) as found:
        yield found


@pytest.fixture(scope="module")
def scored(model):
    """Two processes that score, for tests after which nothing is under way."""
    with ScoredElsewhere(model, LocalPool(processes=2, n_slots=4, source=None)) as found:
        yield found


@pytest.fixture(scope="module")
def bare():
    """One process without a model, for tests after which nothing is under way."""
    with LocalPool(processes=1, n_slots=1, source=None) as found:
        yield found


def filled(path, planned, model, mixtures, executor, **options):
    """Compute a plan into a store, with waves and latents of some; what progress was told."""
    told: list[Progress] = []
    given = {"batch_size": 2, "keep": lambda spec: spec.mixture != "clean-000", "progress": told.append} | options
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
                tuple((name, row[name]) for name in row.keys() if name not in PASSING)  # noqa: SIM118
                for row in raw.execute(f"SELECT * FROM {table}")  # noqa: S608  # names of our own
            )
            for table in ("runs", "scores", "files")
        }
    raw.close()
    side = path.with_name(f"{path.name}.files")
    found["bytes"] = {
        file.relative_to(side).as_posix(): file.read_bytes() for file in side.rglob("*") if file.is_file()
    }
    return found


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


class TestEqualToOneProcess:
    def test_chunks_in_processes(self, serial, planned, model, mixtures, pool, tmp_path):
        path = tmp_path / "runs.sqlite"
        told = filled(path, planned, model, mixtures, pool)
        assert len(pool.pids) == 2
        assert contents(path) == contents(serial)
        assert sum(one.runs for one in told) == len(planned.runs)

    def test_scores_in_processes(self, serial, planned, model, mixtures, scored, tmp_path):
        path = tmp_path / "runs.sqlite"
        told = filled(path, planned, model, mixtures, scored)
        assert contents(path) == contents(serial)
        assert sum(one.runs for one in told) == len(planned.runs)

    def test_scores_that_are_there_before_it_is_seen_that_nothing_more_is_solved(
        self, serial, planned, model, mixtures, tmp_path
    ):
        """With one slot each score is awaited before more is solved, so that the end of a chunk is seen last."""
        path = tmp_path / "runs.sqlite"
        filled(path, planned, model, mixtures, ScoredElsewhere(model, Here(model)))
        assert contents(path) == contents(serial)

    @pytest.mark.parametrize("executor", ["pool", "scored"])
    def test_what_is_not_finite_fails_alike(self, model, mixtures, tmp_path, executor, request):
        given = mixtures[:2]
        planned = plan(
            tiny_runs.arms("baseline", "spans", "burst", burst=BURST), given, model, seeds=(0,), metrics=METRICS
        )
        one, other = tmp_path / "one.sqlite", tmp_path / "other.sqlite"
        filled(one, planned, model, given, Here(model))
        filled(other, planned, model, given, request.getfixturevalue(executor))
        assert contents(other) == contents(one)
        with open_store(other) as store:
            burst = store.get([spec.key for spec in planned.arms["burst"]]).values()
        assert all(score.failed for run in burst for score in run.scores.values())

    def test_the_second_half_is_compared_with_waves_of_the_first(self, model, mixtures, pool, tmp_path):
        named = tiny_runs.arms("baseline", "lsac", "naive")
        planned = plan(named, mixtures[:2], model, seeds=(0,), metrics=METRICS)
        first = plan({"baseline": named["baseline"]}, mixtures[:2], model, seeds=(0,), metrics=METRICS, known=named)
        whole, halves = tmp_path / "whole.sqlite", tmp_path / "halves.sqlite"
        filled(whole, planned, model, mixtures, Here(model))
        filled(halves, first, model, mixtures, Here(model))
        filled(halves, planned, model, mixtures, pool)
        assert contents(halves) == contents(whole)


class TestLosses:
    def test_a_killed_worker_is_replaced_and_its_chunk_computed_by_another(
        self, serial, planned, model, mixtures, pool, tmp_path
    ):
        killed = []

        def kill(stored):
            if stored.computed and not killed:
                killed.append(pool.pids[0])
                os.kill(killed[0], signal.SIGKILL)

        path = tmp_path / "runs.sqlite"
        filled(path, planned, model, mixtures, pool, progress=kill)
        assert killed[0] not in pool.pids
        assert contents(path) == contents(serial)

    def test_a_task_that_kills_whoever_does_it_ends_the_plan(self, monkeypatch):
        monkeypatch.setattr("sam_lsac.runs.pool.N_TRIES", 2)
        with LocalPool(processes=1, n_slots=1, source=None) as pool:
            pool.submit(Deadly(number=0))
            with pytest.raises(PlanError, match=r"2 processes in turn .* computed something deadly.*signal 9"):
                soon(pool.take)

    def test_an_error_comes_back_with_its_run_and_what_was_finished_is_stored(self, model, mixtures, source, tmp_path):
        idle = {"idle": {"edits": ({"kind": "DeepCache", "interval": 1},)}}
        planned = plan(tiny_runs.arms("baseline", "idle", **idle), mixtures[:2], model, seeds=(0,), metrics=("si_snr",))
        with open_store(tmp_path / "runs.sqlite") as store:
            with (
                LocalPool(processes=1, n_slots=2, source=source) as own,
                pytest.raises(CacheError, match="reused nothing") as raised,
            ):
                execute(planned, model, mixtures, store, executor=own)
            assert store.missing(planned) == planned.arms["idle"]
            with store.lease([spec.key for spec in planned.arms["idle"]]) as is_free:
                assert is_free
        notes = "".join(raised.value.__notes__)
        assert "DeepCache(interval=1) on clean-000, clean-001, seed 0" in notes
        assert "raised in worker process" in notes

    def test_an_error_of_no_plain_data_comes_back_in_words(self, bare):
        bare.submit(Failing(number=7))
        reply = bare.take()
        assert reply.number == 7
        assert "OddError: 1 and 2" in str(reply.error)

    def test_another_checkpoint_in_the_folder_is_refused(self, mixtures, tmp_path):
        save_checkpoint(tiny_runs.model(), tmp_path / "model")
        model = load_model(tmp_path / "model")
        planned = plan(tiny_runs.arms("baseline"), mixtures[:1], model, seeds=(0,), metrics=("si_snr",))
        save_checkpoint(tiny_runs.model(1), tmp_path / "model")
        with (
            local_executor(model, processes=2, notice=print) as executor,
            open_store(tmp_path / "runs.sqlite") as store,
            pytest.raises(PlanError, match="made for checkpoint"),
        ):
            execute(planned, model, mixtures, store, executor=executor)

    def test_another_mixture_under_the_plans_name_is_refused(self, model, mixtures):
        chunk = chunk_of(model, mixtures[:1])
        task = ChunkTask(number=0, chunk=(replace(chunk[0], given=mixtures[1]),), waves={}, keep={})
        with pytest.raises(PlanError, match=r"mixture 'clean-000' that arrived .* is not that of the plan"):
            next(task.parts(model))


class TestWorkers:
    def test_each_computes_with_one_thread_and_prints_into_no_reply(self, bare):
        bare.submit(Looking(number=0))
        assert bare.take().results == [{"torch": 1, "OMP_NUM_THREADS": "1"}]
        assert bare.take().is_last

    def test_the_weights_are_mapped_from_the_checkpoints_file(self, folder, pool):
        pool.submit(Looking(number=0))
        pool.take()
        pool.take()
        maps = [Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in pool.pids]
        assert any(str(folder / "model.safetensors") in one for one in maps)  # the other may still be starting

    def test_none_is_left_after_the_end(self):
        with LocalPool(processes=2, n_slots=4, source=None) as pool:
            for number in range(4):
                pool.submit(Looking(number=number))
            pool.take()
            pids = pool.pids
        assert len(pids) == 2
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    def test_they_end_with_their_driver(self, tmp_path):
        said = tmp_path / "pid"
        process = start(driver, said)
        wait_until(lambda: said.exists() and said.read_text(encoding="utf-8"))
        pid = int(said.read_text(encoding="utf-8"))
        assert Path(f"/proc/{pid}/cmdline").read_bytes()
        process.kill()
        wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())

    def test_a_model_in_memory_alone_stays_in_this_process(self):
        told = []
        assert isinstance(local_executor(tiny_runs.model(), processes=2, notice=told.append), Here)
        assert "in memory alone" in told[0]

    def test_one_process_is_this_one(self, model):
        assert isinstance(local_executor(model, processes=1, notice=print), Here)
        with pytest.raises(PlanError, match="at least 1"):
            local_executor(model, processes=0, notice=print)

    def test_a_read_only_view_of_a_dictionary_goes_through_as_one(self):
        again = unpack(pack({"inner": MappingProxyType({"a": (1, 2)})}))["inner"]
        assert again == {"a": (1, 2)}
        assert isinstance(again, MappingProxyType)

    def test_what_travels_arrives_as_it_was(self, model, mixtures):
        chunk = tuple(chunk_of(model, mixtures[:2]))
        again = unpack(pack(ChunkTask(number=3, chunk=chunk, waves={"a": "none"}, keep={"b": ("target",)})))
        assert [spec.key for spec in again.specs] == [spec.key for one in chunk for spec in one.specs]
        assert [one.given.digest for one in again.chunk] == [one.given.digest for one in chunk]
        assert (again.number, again.waves, again.keep) == (3, {"a": "none"}, {"b": ("target",)})


class TestDriver:
    """Against an executor that does all in this process and misbehaves in one way."""

    def test_parts_that_come_twice_are_stored_and_told_once(self, serial, planned, model, mixtures, tmp_path):
        path = tmp_path / "runs.sqlite"
        told = filled(path, planned, model, mixtures, Stubborn(model, times=2))
        assert sum(one.runs for one in told) == len(planned.runs)
        assert contents(path) == contents(serial)

    def test_a_part_that_never_comes_is_noticed(self, planned, model, mixtures, tmp_path):
        with pytest.raises(PlanError, match="runs of a chunk never came back"):
            filled(tmp_path / "runs.sqlite", planned, model, mixtures, Stubborn(model, times=0))

    def test_an_error_of_a_task_ends_the_plan(self, planned, model, mixtures, tmp_path):
        with pytest.raises(CacheError, match="it went wrong"):
            filled(tmp_path / "runs.sqlite", planned, model, mixtures, Erring(model))

    @pytest.mark.parametrize("n_slots", [3, 99])
    def test_tasks_under_way_are_bounded_and_leased_and_begin_after_what_they_need(
        self, serial, planned, model, mixtures, tmp_path, n_slots
    ):
        """Also where there is room for all of them at once."""
        path = tmp_path / "runs.sqlite"
        executor = Watching(model, path, n_slots=n_slots)
        filled(path, planned, model, mixtures, executor)
        assert contents(path) == contents(serial)
        assert 3 <= executor.most <= n_slots
        alone = [task for task in executor.tasks if task.waves]
        assert alone
        assert all(isinstance(wave, np.ndarray) for task in alone for wave in task.waves.values())

    def test_runs_compared_with_anothers_work_wait_for_it(self, serial, planned, model, mixtures, tmp_path):
        path = tmp_path / "runs.sqlite"
        baseline = [spec.key for spec in planned.arms["baseline"] if spec.mixture == "clean-000" and spec.seed == 0]
        with open_store(path) as other, ExitStack() as held:
            held.enter_context(other.lease(baseline))
            filled(path, planned, model, mixtures, Releasing(model, held))
        assert contents(path) == contents(serial)


def soon(call, *, within_s=250.0):
    """Do a call that must not wait for ever: its outcome, or an error when the time is over."""
    done = queue.SimpleQueue()

    def work():
        try:
            done.put((call(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    result, error = done.get(timeout=within_s)
    if error is not None:
        raise error
    return result


class Deadly(Task):
    """Kills its worker."""

    def __init__(self, *, number):
        self.number = number

    def parts(self, model):
        os.kill(os.getpid(), signal.SIGKILL)
        yield []

    def under_way(self, n_done):
        return "something deadly"


class Failing(Deadly):
    """Raises what cannot be pickled."""

    def parts(self, model):
        raise OddError(1, 2)
        yield []


class Looking(Deadly):
    """Says what its worker computes with."""

    def parts(self, model):
        print("a library that prints")
        yield [{"torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}]


class OddError(Exception):
    """Cannot be made of its own words."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


class Stubborn(Here):
    """Says every part so many times; of none, one of each chunk."""

    def __init__(self, model, *, times):
        super().__init__(model)
        self._times = times
        self._again = []

    def take(self):
        if self._again:
            return self._again.pop()
        reply = super().take()
        if reply.is_last:
            return reply
        if not self._times:
            return super().take()
        self._again = [reply] * (self._times - 1)
        return reply


class Erring(Here):
    """Gives an error in place of a task's first part, and is not to be asked again."""

    def take(self):
        number = self._tasks.popleft()[0].number
        assert not number
        return Reply(number=number, error=CacheError("it went wrong"))


class Watching(Here):
    """Notes what is under way, and that it is leased."""

    def __init__(self, model, path, *, n_slots):
        super().__init__(model)
        self.n_slots = n_slots
        self.tasks, self.most, self._path = [], 0, path

    def submit(self, task):
        with open_store(self._path) as other, other.lease([spec.key for spec in task.specs]) as is_free:
            assert not is_free
        self.tasks.append(task)
        super().submit(task)
        self.most = max(self.most, len(self._tasks))


class Releasing(Here):
    """Lets another process end when half a dozen parts are there."""

    def __init__(self, model, held):
        super().__init__(model)
        self._held = held
        self._parts = count()

    def take(self):
        if next(self._parts) == 6:
            self._held.close()
        return super().take()


def driver(said):
    """Has a pool of one process, tells which, and stays."""
    pool = LocalPool(processes=1, n_slots=1, source=None)
    pool.submit(Looking(number=0))
    pool.take()
    said.write_text(str(pool.pids[0]), encoding="utf-8")
    time.sleep(600)


def chunk_of(model, given):
    """The runs of a few arms on some mixtures."""
    planned = plan(tiny_runs.arms("baseline", "lsac"), given, model, seeds=(0,), metrics=("si_snr",))
    examples, _ = examples_of(planned.runs, model, given)
    (chunk,) = chunks_of(examples, 8)
    return chunk


def wait_until(holds, seconds=60.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
