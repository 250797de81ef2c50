"""The executor of a cluster, against actors that live in this process and die when they are told to.

What Ray itself does with real nodes is tried in tests/cluster (``tox -e cluster``), and with one node below.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sam_lsac.errors import CacheError, InputError, PlanError
from sam_lsac.model import load_model, save_checkpoint
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.runs import execute, open_store, plan
from sam_lsac.runs.chunk import chunks_of, examples_of
from sam_lsac.runs.cluster import RayExecutor, executor, host, join
from sam_lsac.runs.executor import Task, pack, unpack
from sam_lsac.runs.local import Here
from sam_lsac.runs.store import RunResult
from sam_lsac.runs.tasks import ChunkTask
from sam_lsac.suite.usable import check_cluster
from tests import tiny_runs
from tests.cluster.drive import mixtures as all_mixtures
from tests.cluster.drive import planned as whole_plan
from tests.cluster.nodes import MARK, ROOT, marked
from tests.test_pool import ALONE, contents, filled

METRICS = ("si_snr",)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(tiny_runs.model(), path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def mixtures():
    return tiny_runs.mixtures(3)


@pytest.fixture(scope="module")
def planned(model, mixtures):
    return plan(tiny_runs.arms("baseline", "lsac", "alone", **ALONE), mixtures, model, seeds=(0,), metrics=METRICS)


@pytest.fixture(scope="module")
def serial(planned, model, mixtures, tmp_path_factory):
    path = tmp_path_factory.mktemp("serial") / "runs.sqlite"
    filled(path, planned, model, mixtures, Here(model), batch_size=1)
    return contents(path)


class LostError(Exception):
    """As Ray says that an actor has died."""


class FailedError(LostError):
    """As Ray says that a call of an actor raised."""

    cause = None


class Cluster:
    """What is used of Ray, in this process: calls of an actor are made when their answers are asked for, in order.

    ``dies(actor, call)`` is asked before each call; ``changed`` may damage what is sent.
    """

    exceptions = SimpleNamespace(RayError=LostError, RayTaskError=FailedError)

    def __init__(self, *, cpus=(1, 1), gpus=(0, 0), dies=lambda actor, call: False, is_full=False):
        self._nodes = [{"Alive": True, "Resources": {"CPU": c, "GPU": g}} for c, g in zip(cpus, gpus, strict=True)]
        self.actors, self.dies, self.is_full, self.most_asked, self.settings = [], dies, is_full, 0, None
        self.changed = lambda content: content

    def is_initialized(self):
        return self.settings is not None

    def init(self, **settings):
        self.settings = settings

    def shutdown(self):
        self.settings = None

    def nodes(self):
        return self._nodes

    def remote(self, actor):
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *given: self._new(actor, given)))

    def _new(self, actor, given):
        self.actors.append(Actor(self, len(self.actors), actor(*given)))
        return self.actors[-1]

    def wait(self, refs, *, num_returns, timeout):
        if self.is_full:
            time.sleep(timeout)
            return [], refs
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref):
        return ref()

    def kill(self, actor):
        actor.is_dead = True


class Actor:
    def __init__(self, cluster, number, inner):
        self.cluster, self.number, self.inner = cluster, number, inner
        self.is_dead, self.n_calls, self.asked = False, 0, deque()

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *given: self._ask(name, given))

    def _ask(self, name, given):
        self.asked.append(name)
        self.cluster.most_asked = max(self.cluster.most_asked, len(self.asked))
        if name == "begin":
            number, content, digest = given
            given = number, self.cluster.changed(content), digest

        def answer():
            assert self.asked.popleft() == name  # in the order in which it was asked
            self.n_calls += 1
            if self.is_dead or self.cluster.dies(self.number, self.n_calls):
                self.is_dead = True
                raise LostError("the actor died")
            return getattr(self.inner, name)(*given)

        return answer


@pytest.fixture
def cluster(monkeypatch):
    """Put a cluster in Ray's place."""

    def put(**settings):
        found = Cluster(**settings)
        for module in (executor, join):
            monkeypatch.setattr(module, "ray", lambda: found)
        return found

    return put


def joined(model, said=None, **settings):
    return RayExecutor(model, where="auto", notice=(said if said is not None else []).append, **settings)


class TestStore:
    def test_is_that_of_one_process(self, cluster, serial, planned, model, mixtures, tmp_path):
        ray = cluster(cpus=(2, 1))
        said = []
        with joined(model, said) as found:
            assert found.n_slots == 3
            told = filled(tmp_path / "runs.sqlite", planned, model, mixtures, found, batch_size=1)
        assert contents(tmp_path / "runs.sqlite") == serial
        assert sum(one.runs for one in told) == len(planned.runs)
        assert said == ["cluster: 3 workers of 1 CPU each on 2 nodes"]
        assert len(ray.actors) == 3
        assert all(actor.is_dead for actor in ray.actors)  # at the end
        assert ray.most_asked <= 3  # two parts, and the one after the end of the task before
        assert not ray.is_initialized()

    @pytest.mark.parametrize("call", [2, 3, 4, 5])
    def test_is_the_same_where_a_worker_is_lost(self, call, cluster, serial, planned, model, mixtures, tmp_path):
        ray = cluster(dies=lambda actor, n: (actor, n) == (1, call))
        said = []
        with joined(model, said) as found:
            told = filled(tmp_path / "runs.sqlite", planned, model, mixtures, found, batch_size=1)
        assert contents(tmp_path / "runs.sqlite") == serial
        assert sum(one.runs for one in told) == len(planned.runs)
        assert len(ray.actors) == 3
        assert said[1:] == ["a worker of the cluster was lost; what it computed is computed anew"]

    def test_says_where_a_run_was_computed(self, cluster, planned, model, mixtures, tmp_path, monkeypatch):
        there = {"device": "a worker's", "torch": "0.0"}
        cluster()
        with open_store(tmp_path / "runs.sqlite") as store, joined(model) as found:
            monkeypatch.setattr(host, "environment_of", lambda _: dict.fromkeys(host.LIBRARIES, "1") | there)
            monkeypatch.setattr(host, "_libraries", lambda _: found._wanted["libraries"])
            execute(planned, model, mixtures, store, executor=found)
            for one in store.get(store.keys()).values():
                assert one.environment["device"] == "a worker's"
                assert one.environment["python"]

    def test_says_what_its_memory_had_room_for(self, cluster, planned, model, mixtures, tmp_path, monkeypatch):
        at = PreparedVelocity.at

        def one_at_once(self, time, x):
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return at(self, time, x)

        monkeypatch.setattr(PreparedVelocity, "at", one_at_once)
        cluster()
        with open_store(tmp_path / "runs.sqlite") as store, joined(model) as found:
            execute(planned, model, mixtures, store, executor=found)
            assert "1" in {one.environment.get("at_once") for one in store.get(store.keys()).values()}


class TestLosses:
    def test_a_task_that_loses_every_worker_ends_the_plan(self, cluster, planned, model, mixtures, tmp_path):
        ray = cluster(cpus=(1, 0), dies=lambda actor, call: call == 3)
        with (
            joined(model) as found,
            pytest.raises(PlanError, match=r"3 workers in turn were lost while they computed euler.*the actor died"),
        ):
            filled(tmp_path / "runs.sqlite", planned, model, mixtures, found)
        assert len(ray.actors) == executor.N_TRIES

    def test_idle_workers_that_are_lost_with_another_get_no_task(self, cluster, model):
        ray = cluster(cpus=(4, 1))
        with joined(model) as found:
            for number in range(5):
                found.submit(Counting(number=number, n_parts=1 if number < 4 else 9))
            n_ended = 0
            while n_ended < 4:
                n_ended += found.take().is_last
            for _ in range(2):  # so that none of the others has anything to say any more
                assert found.take().number == 4
            for actor in ray.actors:
                actor.is_dead = True
            while not (reply := found.take()).is_last:
                assert reply.error is None
        assert reply.number == 4
        assert len(ray.actors) == 6

    def test_workers_that_never_begin_end_the_plan(self, cluster, model):
        cluster(dies=lambda actor, call: True)
        with joined(model) as found:
            found.submit(Counting(number=0, n_parts=1))
            with pytest.raises(PlanError, match=r"3 workers in turn ended while they began; .* Ray's logs"):
                found.take()

    def test_a_cluster_that_has_no_room_is_waited_for_and_then_refused(self, cluster, model, monkeypatch):
        monkeypatch.setattr(executor, "_POLL_S", 0.01)
        ray = cluster(is_full=True)
        with joined(model, patience_s=0.2) as found:
            found.submit(Counting(number=0, n_parts=1))
            begun = time.monotonic()
            with pytest.raises(PlanError, match=r"no worker .* a free share of 1 CPU and 0 GPU; start a node"):
                found.take()
            assert time.monotonic() - begun > 0.2
            ray.is_full = False
            assert found.take().results  # and where it has, the work goes on

    def test_an_error_ends_its_own_task_alone_and_says_where(self, cluster, model, mixtures):
        cluster(cpus=(1, 0))
        idle = {"idle": {"edits": ({"kind": "DeepCache", "interval": 1},)}}
        with joined(model) as found:
            found.submit(task_of(model, mixtures[:1], **idle))
            found.submit(Counting(number=1, n_parts=1))
            replies = [found.take()]
            while not replies[-1].is_last:
                replies.append(found.take())
        (error,) = [reply.error for reply in replies if reply.error]
        assert isinstance(error, CacheError)
        assert "DeepCache(interval=1) on clean-000, seed 0" in "".join(error.__notes__)
        assert "raised in worker process" in "".join(error.__notes__)
        assert replies[-1].number == 1

    def test_what_was_said_is_kept_when_a_plan_ends(self, cluster, model):
        ray = cluster()
        with joined(model) as found:
            for number in range(2):
                found.submit(Counting(number=number, n_parts=3))
            found.take()
            ray.actors[0].is_dead = True
            assert {reply.number for reply in found.arrived()} == {1}


class TestChecks:
    """On a worker, before it computes."""

    def test_what_is_the_same_is_taken(self, model):
        assert asked(model) is None

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"package": "0" * 64}, r"its source of sam_lsac is .* the driver's '000000000000'; install the same"),
            ({"libraries": {**dict.fromkeys(host.LIBRARIES, ""), "torch": "0.1"}}, r"its torch is .* driver's '0.1'"),
            ({"checkpoint": "0" * 64}, r"its checkpoint is .* put the driver's checkpoint into"),
            ({"folder": "/no/such/folder", "name": "mine"}, r"no checkpoint folder /no/such/folder here; put it"),
        ],
        ids=["source", "libraries", "checkpoint", "folder"],
    )
    def test_what_differs_is_named_with_its_remedy(self, change, words, model):
        if "libraries" in change:
            real = host.wanted_of(model).libraries
            change = {"libraries": {**real, "torch": "0.1"}}
        with pytest.raises(PlanError, match=words):
            raise PlanError(asked(model, **change))

    def test_another_checkpoint_in_the_folder_ends_the_plan(self, cluster, planned, mixtures, tmp_path):
        save_checkpoint(tiny_runs.model(), tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        save_checkpoint(tiny_runs.model(1), tmp_path / "model")
        cluster()
        with joined(loaded) as found, pytest.raises(PlanError, match=r"its checkpoint is .* and the driver's"):
            filled(tmp_path / "runs.sqlite", planned, loaded, mixtures, found)

    def test_what_arrives_changed_is_not_computed(self, cluster, planned, model, mixtures, tmp_path):
        ray = cluster()
        ray.changed = lambda content: content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]
        with joined(model) as found, pytest.raises(PlanError, match="arrived other than it was sent"):
            filled(tmp_path / "runs.sqlite", planned, model, mixtures, found)

    def test_an_edit_of_another_version_is_not_computed(self, model, mixtures):
        task = task_of(model, mixtures[:1], arm={"edits": ({"kind": "LSAC", "level": "balanced"},)})
        (one,) = task.chunk
        other = replace(one, specs=tuple(replace(spec, versions=((name, "0"),))
                                         for spec in one.specs for name, _ in spec.versions))  # fmt: skip
        with pytest.raises(PlanError, match="made for another source of CacheAttention than the one here"):
            next(replace(task, chunk=(other,)).parts(model))

    def test_a_task_of_a_module_that_is_not_there_is_an_error_of_ours(self, model):
        found = host.Host(fields_of(model), 1)
        assert found.ready() is None
        content = pack(Counting(number=3, n_parts=1)).replace(b"test_cluster", b"test_clutter")
        error = unpack(found.begin(3, content, executor._digest(content))).error
        assert "install it on every node" in str(error)

    def test_a_model_in_memory_alone_is_refused(self, cluster):
        cluster()
        with pytest.raises(PlanError, match="in memory alone"):
            joined(tiny_runs.model())


class TestJoining:
    @pytest.mark.parametrize(
        ("cpus", "gpus", "device", "share"),
        [
            ((2, 3), (0, 0), "cpu", (5, 1, 0, 2)),
            ((16, 0.5), (0, 0), "cpu", (16, 1, 0, 1)),
            ((16, 12, 64), (2, 4, 0), "cuda", (6, 3, 1, 2)),
            ((1, 8), (2, 1), "cuda", (3, 1, 1, 2)),
        ],
    )
    def test_a_worker_takes_a_core_or_a_gpu_with_its_part_of_the_cores(self, cpus, gpus, device, share, cluster):
        cluster(cpus=cpus, gpus=gpus)
        found = join.share_of(device)
        assert (found.n_workers, found.n_cpus, found.n_gpus, found.n_nodes) == share

    def test_a_cluster_without_the_device_is_refused(self, cluster):
        cluster()
        with pytest.raises(PlanError, match="None of the cluster's 2 nodes has a GPU; start one"):
            join.share_of("cuda")
        with pytest.raises(PlanError, match="cpu or cuda, and not on mps"):
            join.share_of("mps")

    def test_a_driver_stays_one(self, cluster):
        ray = cluster()
        ray.init()
        with join.joined("auto"):
            pass
        assert ray.is_initialized()
        with pytest.raises(PlanError, match="joined a cluster already"), join.joined("ray"):
            pass

    def test_a_cluster_that_is_started_here_sends_nothing_to_anybody(self, cluster, monkeypatch):
        ray = cluster()
        seen = []
        monkeypatch.setattr(ray, "init", lambda **_: seen.append(join.os.environ["RAY_USAGE_STATS_ENABLED"]))
        monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
        with join.joined("ray"):
            pass
        assert seen == ["0"]
        assert "RAY_USAGE_STATS_ENABLED" not in join.os.environ

    def test_without_ray_the_remedy_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        for where in ("ray", "auto", "ray://127.0.0.1:1"):
            with pytest.raises(InputError, match=rf"^--executor {where}: Ray is not installed; pip install 'sam_lsac"):
                check_cluster("--executor", where, device="cpu")

    @pytest.mark.parametrize("where", ["ray://127.0.0.1:1", "ray://no-such-host.invalid:10001"])
    def test_who_does_not_answer_is_named_at_once(self, where, cluster):
        cluster()
        begun = time.monotonic()
        with pytest.raises(
            InputError, match=rf"^--executor {where}: Nothing answers at {where} \(.*name the head node"
        ):
            check_cluster("--executor", where, device="cpu")
        assert time.monotonic() - begun < 2 * join._ANSWERS_S

    @pytest.mark.parametrize("where", ["ray://", "ray://host", "ray://host:port", "ray://host:0", "ray://host:1/x"])
    def test_what_is_no_address_is_refused(self, where):
        with pytest.raises(PlanError, match="a cluster's address is ray://HOST:PORT"):
            join.address(where)

    def test_what_ray_refuses_is_one_line(self, cluster, monkeypatch):
        ray = cluster()

        def init(**_):
            raise ConnectionError("no\n  instance\n" * 50)

        monkeypatch.setattr(ray, "init", init)
        with pytest.raises(
            InputError, match=r"^--executor auto: No cluster was found here; start one .*no instance no"
        ) as one:
            check_cluster("--executor", "auto", device="cpu")
        assert "\n" not in str(one.value)
        assert len(str(one.value)) < 400


@pytest.mark.slow
def test_a_real_cluster_of_one_node_loses_a_worker_and_leaves_no_process(folder, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed; pip install 'sam_lsac[cluster]'")
    mark = f"alone-{tmp_path.name}-{time.time_ns()}"
    command = [sys.executable, "-m", "tests.cluster.drive", str(folder), str(tmp_path / "runs.sqlite"), "ray"]
    env = {name: value for name, value in join.os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    env |= {MARK: mark, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    finished = subprocess.run(
        [*command, mark, "worker"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["error"] is None
    assert len(found["killed"]) == 1
    assert any("was lost" in words for words in found["said"])
    loaded = load_model(folder)
    filled(tmp_path / "serial.sqlite", whole_plan(loaded), loaded, all_mixtures(), Here(loaded))
    assert contents(tmp_path / "runs.sqlite") == contents(tmp_path / "serial.sqlite")
    end_by = time.monotonic() + 30.0
    while left := marked(mark):
        assert time.monotonic() < end_by, left
        time.sleep(0.1)


class Counting(Task):
    """Gives so many parts of nothing much."""

    def __init__(self, *, number, n_parts):
        self.number, self._n_parts = number, n_parts

    def parts(self, model):
        spec = plan(tiny_runs.arms("baseline"), tiny_runs.mixtures(1), model, seeds=(0,), metrics=METRICS).runs[0]
        for _ in range(self._n_parts):
            yield [RunResult(spec=spec, scores={}, noise_digest="")]

    def under_way(self, n_done):
        return f"part {n_done}"


def task_of(model, given, **more):
    """The runs of some arms on some mixtures, as one chunk."""
    made = plan(
        tiny_runs.arms(*(more or ("baseline",)), **more), given, model, seeds=(0,), metrics=METRICS, baseline="none"
    )
    examples, _ = examples_of(made.runs, model, given)
    (chunk,) = chunks_of(examples, 8)
    return ChunkTask(number=0, chunk=tuple(chunk), waves={}, keep={spec.key: () for spec in made.runs})


def fields_of(model, **changes):
    return {name: getattr(host.wanted_of(model), name) for name in host.Wanted.__slots__} | changes


def asked(model, **changes):
    """What a worker answers."""
    return host.Host(fields_of(model, **changes), 1).ready()
