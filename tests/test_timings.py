"""Times of settings beside the full solve: what is measured of what, and how it is kept."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from sam_lsac.costs import TimeRatio
from sam_lsac.errors import StoreError
from sam_lsac.runs import Arm, SQLiteStore, resolve_arm, timings
from sam_lsac.runs.timings import ArmTime, Timings, time_arm, timing_key
from sam_lsac.suite.timing import stored_times
from tests import tiny_runs

TIME = ArmTime(
    ratio=0.5,
    low=0.45,
    high=0.55,
    level=0.95,
    arm_seconds=(1.0, 1.1, 0.9),
    against_seconds=(2.0, 2.2, 1.8),
    clock="processor",
    device="a processor",
    arm_peak_bytes=7,
    against_peak_bytes=5,
    seconds_of_audio=2.0,
)


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


def arm(solver: str, *edits: dict[str, object], model, **fields):
    return resolve_arm(Arm(name="one", solver=solver, edits=edits, **fields), model)


def test_times_are_read_back_and_a_new_one_replaces_the_former(tmp_path):
    path = tmp_path / "store.sqlite"
    SQLiteStore(path).close()
    assert stored_times(path, {"half": "a"}) == {}
    for time in (TIME, replace(TIME, ratio=0.6)):
        kept = Timings(path)
        kept.put("a", time)
        assert kept.get("a") == time
        assert kept.get("b") is None
        kept.close()
    assert stored_times(path, {"half": "a", "third": "b"}) == {"half": replace(TIME, ratio=0.6)}
    assert stored_times(tmp_path / "none.sqlite", {"half": "a"}) == {}
    assert SQLiteStore(path, read_only=True).keys() == set()


@pytest.mark.parametrize(
    ("statement", "key"),
    [("UPDATE timings SET content = replace(content, '0.5', '0.4')", "a"), ("UPDATE timings SET key = 'b'", "b")],
)
def test_a_time_that_is_not_what_was_written_is_refused(tmp_path, statement, key):
    path = tmp_path / "store.sqlite"
    kept = Timings(path)
    kept.put("a", TIME)
    kept.close()
    with sqlite3.connect(path) as db:
        db.execute(statement)
    with pytest.raises(StoreError, match="is damaged; measure it anew"):
        stored_times(path, {"half": key})


def test_the_arm_is_timed_first_and_the_other_second_each_solved_and_decoded(model, monkeypatch):
    done = []
    solve, decode = timings.solve_batch, timings.decode

    def solving(*args, solver, edits, **fields):
        done.append((solver.text, edits))
        return solve(*args, solver=solver, edits=edits, **fields)

    def decoding(*args, **fields):
        done.append("decoded")
        return decode(*args, **fields)

    def pairs(a, b, *, repeats, device, processor_time):
        assert (repeats, str(device), processor_time) == (3, "cpu", True)
        del done[:]
        a()
        b()
        return TimeRatio(ratio=0.5, low=0.4, high=0.6, level=0.95, a_seconds=(1.0,), b_seconds=(2.0,))

    monkeypatch.setattr(timings, "solve_batch", solving)
    monkeypatch.setattr(timings, "decode", decoding)
    monkeypatch.setattr(timings, "ratio_abab", pairs)
    cached = arm("euler:4", {"kind": "DeepCache", "interval": 2}, model=model)
    found = time_arm(model, cached, arm("euler:8", model=model), tiny_runs.mixtures(1)[0], repeats=3)
    assert done[:4] == [("euler:4", cached.edits), "decoded", ("euler:8", ()), "decoded"]
    assert (found.ratio, found.arm_seconds, found.against_seconds, found.clock) == (0.5, (1.0,), (2.0,), "processor")


def test_every_pair_is_kept(model):
    found = time_arm(
        model, arm("euler:1", model=model), arm("euler:8", model=model), tiny_runs.mixtures(1)[0], repeats=3
    )
    assert len(found.arm_seconds) == len(found.against_seconds) == 3
    assert min(found.arm_seconds) > 0
    assert found.low <= found.ratio <= found.high


def test_a_time_is_of_both_arms_the_length_and_this_checkpoint(model):
    one, full = arm("euler:4", model=model), arm("euler:8", model=model)
    keys = {
        timing_key(model, one, full, seconds_of_audio=2.0),
        timing_key(model, full, one, seconds_of_audio=2.0),
        timing_key(model, one, full, seconds_of_audio=3.0),
        timing_key(
            model, arm("euler:4", {"kind": "DeepCache", "interval": 2}, model=model), full, seconds_of_audio=2.0
        ),
        timing_key(
            model, arm("euler:4", {"kind": "DeepCache", "interval": 4}, model=model), full, seconds_of_audio=2.0
        ),
        timing_key(model, arm("euler:4", model=model, text=False), full, seconds_of_audio=2.0),
    }
    assert len(keys) == 6
    assert timing_key(model, one, full, seconds_of_audio=2.0) in keys
