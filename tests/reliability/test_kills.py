"""Processes that end in the middle, killed, stopped by a signal or out of space: nothing is lost, and nothing left."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_lsac.__main__ import main
from sam_lsac.errors import StoreError
from sam_lsac.model import save_checkpoint
from sam_lsac.runs import SQLiteStore, execute, open_store, plan
from sam_lsac.runs.upkeep import check, clean
from tests import tiny_runs
from tests.processes import start
from tests.reliability.conftest import is_full
from tests.test_store import result

ARMS = {name: arm for name, arm in tiny_runs.arms().items() if name in ("baseline", "lsac", "naive", "deepcache")}
N_KILLS = 50 if is_full() else 4


def run_of(path):
    """Compute the whole plan into a store, with waves; the same whoever does it."""
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(4)
    planned = plan(ARMS, mixtures, model, seeds=(0,), metrics=("si_snr",))
    with open_store(path) as store:
        execute(planned, model, mixtures, store, batch_size=2, keep=lambda _: True)


def contents(path):
    """Everything of a store but the times: scores, noise, hits and waves to the bit."""
    with SQLiteStore(path, read_only=True) as store:
        runs = store.get(store.keys())
        return {
            key: (
                run.noise_digest,
                json.dumps(dict(run.hits), sort_keys=True),
                [(name, repr(score)) for name, score in run.scores.items()],
                store.array(key, "target").tobytes(),
            )
            for key, run in runs.items()
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What one process stores that nobody disturbs, and how long it takes."""
    path = tmp_path_factory.mktemp("undisturbed") / "runs.sqlite"
    started = start(run_of, path)
    began = time.monotonic()
    started.join(timeout=300)
    assert started.exitcode == 0
    return contents(path), time.monotonic() - began


def test_kills_of_a_run(undisturbed, tmp_path, tally):
    whole, took_s = undisturbed
    rng = np.random.default_rng(0)
    path, in_a_row = tmp_path / "runs.sqlite", 0
    for _ in range(N_KILLS):
        tally.count("cases")
        process = start(run_of, path)
        process.join(timeout=float(rng.uniform(0, took_s)))
        process.kill()
        process.join()
        in_a_row += 1
        if path.exists() and path.stat().st_size:
            holdings = check(path)  # raises where a table cannot be read
            assert holdings.is_whole
            found = contents(path)
            assert all(whole[key] == one for key, one in found.items())
            if len(found) == len(whole) or in_a_row == 10:
                finished(path, whole, tally)
                shutil.rmtree(path.parent)
                path.parent.mkdir()
                in_a_row = 0
    finished(path, whole, tally)


def finished(path: Path, whole, tally) -> None:
    """An undisturbed process goes on, finds what is missing, and leaves what would have been there without kills."""
    last = start(run_of, path)
    last.join(timeout=300)
    assert last.exitcode == 0
    assert contents(path) == whole
    clean(path)
    holdings = check(path)
    tally.count("files left", len(holdings.orphans) + len(holdings.unfinished))
    assert not holdings.orphans
    assert not holdings.unfinished


def separation_of(folder, options):
    """``separate`` in a process of its own, with many windows."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started deaf to these
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    arguments = ["separate", str(folder / "in.wav"), "--model", str(folder / "model"), "--prompt", "dog"]
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    window = ["--window", "0.2", "--overlap", "0.05", "--solver", "euler:4"]
    os._exit(main([*arguments, "--out", str(folder / "out"), *window, *options]))


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tiny_runs.model(), tmp_path / "model")
    wave = np.random.default_rng(0).normal(0.0, 0.1, 120 * tiny_runs.RATE)
    soundfile.write(tmp_path / "in.wav", wave, tiny_runs.RATE, subtype="FLOAT")
    return tmp_path


def until_it_writes(folder, process):
    """Wait until there is audio in a hidden file."""
    began = time.monotonic()
    while not any(file.stat().st_size > 1000 for file in (folder / "out").glob(".*")):
        assert process.is_alive()
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def visible(folder):
    return sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_separation_that_is_stopped_says_so_and_leaves_nothing(folder, number, code, tally):
    tally.count("cases")
    process = start(separation_of, folder, [])
    until_it_writes(folder, process)
    os.kill(process.pid, number)
    process.join(timeout=60)
    assert process.exitcode == code
    left = list((folder / "out").iterdir()) if (folder / "out").exists() else []
    tally.count("files left", len(left))
    assert left == []
    assert not (folder / "out").exists()  # it made the folder, and takes it back
    (line,) = (folder / "log").read_text().splitlines()
    assert line == (
        f"sam_lsac separate: stopped; in {folder / 'out'} nothing was written, since a separation is kept whole or not "
        "at all; the same command begins anew."
    )


def test_a_separation_that_is_stopped_keeps_what_was_there(folder):
    (folder / "out").mkdir()
    for name in ("in.target.wav", "in.residual.wav"):
        (folder / "out" / name).write_bytes(b"before")
    process = start(separation_of, folder, ["--overwrite"])
    until_it_writes(folder, process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=60)
    assert process.exitcode == 143
    assert "the files there are as they were" in (folder / "log").read_text()
    assert visible(folder) == ["in.residual.wav", "in.target.wav"]
    assert {path.read_bytes() for path in (folder / "out").iterdir()} == {b"before"}


def test_what_a_killed_separation_left_goes_with_the_next(folder, tally):
    for _ in range(3):
        tally.count("cases")
        process = start(separation_of, folder, [])
        until_it_writes(folder, process)
        process.kill()
        process.join()
        assert visible(folder) == []
        assert len(list((folder / "out").iterdir())) == 2  # of this one alone
    soundfile.write(folder / "in.wav", np.random.default_rng(0).normal(0.0, 0.1, 4000), tiny_runs.RATE)
    last = start(separation_of, folder, [])
    last.join(timeout=120)
    assert last.exitcode == 0, (folder / "log").read_text()
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["in.residual.wav", "in.target.wav"]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 1 MB, or a bound on the size of a file where none can be mounted."""
    home = tmp_path / "small"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(home)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        yield home
        subprocess.run(["umount", str(home)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield home
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_a_separation_at_once(folder, full_disk, capsys, tally):
    tally.count("cases")
    options = ["--out", str(full_disk / "out"), "--solver", "euler:1", "--window", "0.4", "--overlap", "0.1"]
    code = main(["separate", str(folder / "in.wav"), "--model", str(folder / "model"), "--prompt", "dog", *options])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert "free some space there" in line
    tally.count("own errors")
    tally.count("files left", len(list(full_disk.iterdir())))
    assert list(full_disk.iterdir()) == []


def test_a_full_disk_leaves_a_store_as_it_was(full_disk, tally):
    path = full_disk / "runs.sqlite"
    with SQLiteStore(path) as store:
        store.put([result(0, arrays={"target": np.zeros(10)})])
        kept = 1
        with pytest.raises(StoreError, match="space"):
            for seed in range(1, 100):
                tally.count("cases")
                store.put([result(seed, arrays={"target": np.random.default_rng(seed).normal(size=8000)})])
                kept += 1
        tally.count("own errors")
    holdings = check(path)
    assert holdings.is_whole
    assert holdings.n_runs == kept > 1
    tally.count("files left", len(holdings.unfinished))
    assert not holdings.unfinished
    assert len(holdings.orphans) <= 1  # an array that was whole before its row could not be written
    assert clean(path).orphans == len(holdings.orphans)


def test_a_full_disk_is_an_error_of_one_line(full_disk, tmp_path, capsys, tally):
    tally.count("cases")
    path = tmp_path / "runs.sqlite"
    with SQLiteStore(path) as store:
        store.put([result(seed) for seed in range(3000)])
    code = main(["store", "export", "--store", str(path), "--out", str(full_disk / "runs.jsonl")])
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, "free some space" in line) == (2, True)
    tally.count("own errors")
    tally.count("files left", len(list(full_disk.iterdir())))
    assert list(full_disk.iterdir()) == []


def test_a_read_only_place_is_refused_before_anything_is_read(folder, capsys, tally):
    """Also by root, whom permissions do not stop: nothing can be made in /proc."""
    model, prompt = ["--model", str(folder / "none")], ["--prompt", "dog"]
    commands = [
        ["separate", str(folder / "in.wav"), *model, *prompt, "--out", "/proc/out"],
        ["calibrate", *model, "--out", "/proc/out"],
        ["tune", *model, "--out", "/proc/out"],
    ]
    for arguments in commands:
        tally.count("cases")
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "/proc/out cannot be written" in line
        tally.count("own errors")
