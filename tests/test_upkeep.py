"""Looking after a store: ``check`` finds what is wrong, ``clean`` removes what may go, ``export`` loses nothing."""

from __future__ import annotations

import csv
import json
import math
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from sam_lsac.__main__ import main
from sam_lsac.metrics import Score
from sam_lsac.processes import Process
from sam_lsac.runs import RunSpec, SQLiteStore, upkeep
from tests.test_store import plan_of, result, spec

#: A row that is not what was written.
SPOIL = "UPDATE runs SET wall_s = 9 WHERE key = '{key}'"


@pytest.fixture
def path(tmp_path):
    """Two runs, one of them with two arrays."""
    path = tmp_path / "runs.sqlite"
    with SQLiteStore(path) as store:
        store.put([result(0, arrays={"target": np.arange(3.0), "latents": np.zeros((2, 2))}), result(1)])
    return path


@pytest.fixture
def command(path, capsys):
    """Run ``store``; exit code and standard output, whose errors must be one line."""

    def run(*arguments, store=path):
        code = main(["store", *arguments, "--store", str(store)])
        captured = capsys.readouterr()
        assert captured.err.count("\n") == (code == 2)
        return code, captured.out + captured.err

    return run


def side_files(path):
    return path.with_name(f"{path.name}.files")


def alter(path, statement):
    with sqlite3.connect(path) as raw:
        raw.execute(statement)
    raw.close()


def bytes_of(path):
    return {
        file: file.read_bytes()
        for file in path.parent.rglob("*")
        if file.is_file() and not file.name.endswith(("-shm", "-wal"))
    }


def ended():
    """The number of a process of this machine that has ended."""
    found = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(found.stdout)


class TestCheck:
    def test_a_whole_store(self, path, command):
        before = bytes_of(path)
        code, out = command("check")
        assert code == 0
        assert "2 runs, 2 side files" in out
        assert "2 euler:16" in out
        assert "every row and side file is what was written" in out
        assert bytes_of(path) == before

    @pytest.mark.parametrize(
        ("damage", "key"),
        [
            ("UPDATE runs SET wall_s = 9 WHERE key = '{key}'", 0),
            ("UPDATE scores SET value = 9 WHERE run = '{key}' AND metric = 'si_snr'", 1),
            ("DELETE FROM scores WHERE run = '{key}' AND metric = 'stoi'", 1),
            ("DELETE FROM runs WHERE key = '{key}'", 0),
            ("UPDATE files SET name = 'other' WHERE run = '{key}' AND name = 'target'", 0),
        ],
    )
    def test_every_damaged_row_is_named_and_no_other(self, path, command, damage, key):
        alter(path, damage.format(key=spec(key).key))
        code, out = command("check")
        assert code == 1
        assert [line.split(": ")[1] for line in out.splitlines() if line.startswith("damaged: ")] == [spec(key).key]

    @pytest.mark.parametrize("how", ["flip", "cut", "gone"])
    def test_a_side_file_that_is_not_what_was_written(self, path, command, how):
        for file in sorted(side_files(path).iterdir()):
            content = file.read_bytes()
            if how == "gone":
                file.unlink()
            else:
                file.write_bytes(content[:-1] if how == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
            code, out = command("check")
            assert code == 1
            assert f"damaged: {spec(0).key}: {file}" in out
            file.write_bytes(content)
        assert command("check")[0] == 0

    def test_what_nobody_names_and_what_is_half_written_is_counted(self, path, command):
        (side_files(path) / f"{'0' * 64}.npy").write_bytes(b"orphan")
        (side_files(path) / f".sam_lsac.{'0' * 16}.{Process.this().host}-{ended()}.tmp").write_bytes(b"half")
        code, out = command("check")
        assert code == 0
        assert "1 side files that no run names; remove them with `store clean`" in out
        assert "1 files left half written" in out

    def test_who_is_at_work(self, path, command):
        with SQLiteStore(path) as store, store.lease(["one", "two"]):
            assert f"at work: 2 runs of process {os.getpid()}" in command("check")[1]
        assert "at work" not in command("check")[1]

    @pytest.mark.parametrize("content", [None, b"", b"garbage" * 100, b"SQLite format 3\0" + b"\xff" * 200])
    @pytest.mark.parametrize("action", ["check", "clean", "export"])
    def test_what_is_no_store_is_refused_in_one_line_and_left_alone(self, tmp_path, command, action, content):
        other = tmp_path / "other"
        if content is not None:
            other.write_bytes(content)
        before = sorted(tmp_path.iterdir())
        assert command(action, store=other)[0] == 2
        assert command(action, store=tmp_path)[0] == 2
        assert sorted(tmp_path.iterdir()) == before
        assert content is None or other.read_bytes() == content


class TestClean:
    def test_only_what_nobody_needs_goes(self, path, command):
        before = bytes_of(path)
        mine = side_files(path) / f".sam_lsac.{'1' * 16}.{Process.this().host}-{os.getpid()}.tmp"
        foreign = side_files(path) / "notes.txt"
        for file in (mine, foreign):
            file.write_bytes(b"stays")
        for name in (f"{'0' * 64}.npy", f".sam_lsac.{'0' * 16}.{Process.this().host}-{ended()}.tmp"):
            (side_files(path) / name).write_bytes(b"goes")
        code, out = command("clean")
        assert (code, out) == (
            0,
            "removed 1 side files that no run named, 1 files left half written and 0 damaged runs\n",
        )
        assert set(side_files(path).iterdir()) == {mine, foreign} | {file for file in before if file.suffix == ".npy"}
        assert command("check")[0] == 0

    def test_a_run_that_is_put_while_orphans_go_keeps_its_arrays(self, path, monkeypatch):
        """An array lies there before its row does; an upkeep in between may take it for an orphan."""
        array = np.arange(7.0)
        with SQLiteStore(path) as store:
            begin = store._db._begin

            def cleaned_first():
                monkeypatch.undo()
                assert upkeep.clean(path).orphans == 1
                begin()

            monkeypatch.setattr(store._db, "_begin", cleaned_first)
            store.put([result(2, arrays={"target": array})])
            assert np.array_equal(store.array(spec(2).key, "target"), array)

    def test_damaged_runs_go_on_request_and_are_missing_then(self, path, command):
        alter(path, SPOIL.format(key=spec(0).key))
        assert "0 damaged runs" in command("clean")[1]
        assert command("check")[0] == 1
        code, out = command("clean", "--damaged")
        assert code == 0
        assert "removed 2 side files that no run named" in out
        assert "1 damaged runs" in out
        assert command("check")[0] == 0
        with SQLiteStore(path) as store:
            assert store.missing(plan_of(0, 1)) == (spec(0),)

    def test_a_store_that_is_not_there_is_not_made(self, tmp_path, command):
        code, out = command("clean", store=tmp_path / "none")
        assert (code, "There is no run store" in out) == (2, True)
        assert not (tmp_path / "none").exists()


class TestExport:
    def test_lines_of_json_say_all_that_was_put(self, path, command):
        code, out = command("export")
        assert code == 0
        rows = {row["key"]: row for row in map(json.loads, out.splitlines())}
        assert set(rows) == {spec(0).key, spec(1).key}
        for seed in (0, 1):
            row, put = rows[spec(seed).key], result(seed)
            assert RunSpec.from_json(row["spec"]) == put.spec
            scores = {
                name: Score(math.nan if one["value"] is None else one["value"], one["reason"])
                for name, one in row["scores"].items()
            }
            assert scores["si_snr"] == put.scores["si_snr"]
            assert scores["stoi"].reason == put.scores["stoi"].reason
            assert (row["hits"], row["wall_s"], row["noise_digest"]) == (put.hits, put.wall_s, put.noise_digest)
            assert row["probes"]["block_ratio"] == [[1.25], [None]]

    def test_csv_has_a_column_for_everything_and_no_formula(self, path, command, tmp_path):
        with SQLiteStore(path) as store:
            named = {"spec": RunSpec.from_json({**spec(7).to_json(), "group": '=HYPERLINK("x")', "tier": "@x"})}
            store.put([result(7, **named)])
        code, _ = command("export", "--format", "csv", "--out", str(tmp_path / "runs.csv"))
        assert code == 0
        with (tmp_path / "runs.csv").open(newline="") as file:
            rows = {row["key"]: row for row in csv.DictReader(file)}
        assert len(rows) == 3
        assert rows[spec(1).key]["si_snr"] == "2.5"
        assert (rows[spec(1).key]["stoi"], rows[spec(1).key]["stoi_reason"]) == ("", "estimate is silent")
        odd = next(row for row in rows.values() if row["seed"] == "7")
        assert (odd["group"], odd["tier"]) == ('\'=HYPERLINK("x")', "'@x")

    def test_a_damaged_run_is_an_error_and_not_left_out(self, path, command, tmp_path):
        alter(path, SPOIL.format(key=spec(0).key))
        code, out = command("export", "--out", str(tmp_path / "runs.jsonl"))
        assert (code, "is damaged" in out) == (2, True)
        assert not (tmp_path / "runs.jsonl").exists()

    def test_a_file_that_cannot_be_written(self, command, tmp_path):
        assert command("export", "--out", str(tmp_path))[0] == 2
        assert command("export", "--out", str(tmp_path / "none" / "runs"))[0] == 2
