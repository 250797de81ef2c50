"""Options: what each refuses, in one sentence, before anything is loaded, and without leaving anything behind."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from sam_lsac.__main__ import main
from sam_lsac.errors import SamLsacError
from sam_lsac.processes import usable_cores
from sam_lsac.runs import SQLiteStore
from sam_lsac.suite.options import HOUSE_CLAIMS, Options, add_options, check_options, read_options
from tests.suite.conftest import Judged
from tests.suite.rig import ROOT, Rig, make_rig


def read(*arguments: str, root: Path) -> Options:
    """Read a command line as an ordinary parser does."""
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument)
    found = vars(parser.parse_args(arguments))
    return read_options(lambda name: found[name.removeprefix("--").replace("-", "_")], root=root)


def refused(*arguments: str, root: Path) -> str:
    """The one sentence with which a command line is refused."""
    before = sorted(root.rglob("*"))
    with pytest.raises(SamLsacError) as caught:
        check_options(read(*arguments, root=root))
    assert sorted(root.rglob("*")) == before  # nothing was written
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_without_options_all_is_below_the_root_folder(tmp_path: Path) -> None:
    options = read(root=tmp_path)
    assert options.store == tmp_path / "runs" / "store.sqlite"
    assert options.report == tmp_path / "report"
    assert options.history == tmp_path / "report" / "history"
    assert options.claims == HOUSE_CLAIMS == ROOT / "bench" / "claims.toml"
    assert (options.model, options.device, options.mixtures, options.per_tier) == ("embedded", "cpu", "embedded", 24)
    assert (options.seeds, options.replay, options.autosave) == (None, False, False)
    assert (options.compare, options.fail_on) == (None, "never")
    check_options(options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), (" 3, 1,2", (3, 1, 2)), (str(2**63 - 1), (2**63 - 1,)), ("007", (7,))]
)
def test_seeds_are_read(text: str, seeds: tuple[int, ...], tmp_path: Path) -> None:
    assert read("--seeds", text, root=tmp_path).seeds == seeds


@pytest.mark.parametrize(
    "text", ["", "0,", "0,-1", "1.5", "a", str(2**63), "9" * 5000, "0" * 5000, "٣", "²", "1 2", "1_0"]
)
def test_what_is_no_seed_is_refused(text: str, tmp_path: Path) -> None:
    assert "give whole numbers from 0 to 2 ** 63 - 1" in refused(f"--seeds={text}", root=tmp_path)


def test_a_seed_that_comes_twice_is_refused(tmp_path: Path) -> None:
    assert "different" in refused("--seeds", "1,01", root=tmp_path)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "9" * 5000, "٣"])
def test_what_is_no_number_of_mixtures_is_refused(text: str, tmp_path: Path) -> None:
    assert "--mixtures-per-tier" in refused(f"--mixtures-per-tier={text}", root=tmp_path)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many"])
def test_what_is_no_number_of_processes_is_refused(text: str, tmp_path: Path) -> None:
    assert "--processes" in refused(f"--processes={text}", root=tmp_path)


def test_there_are_as_many_processes_as_cores_unless_given(tmp_path: Path) -> None:
    assert read(root=tmp_path).processes == usable_cores() == len(os.sched_getaffinity(0))
    assert read("--processes", "3", root=tmp_path).processes == 3


@pytest.mark.parametrize(
    "where", ["", "Ray", "cluster", "ray:/head:1", "ray://", "ray://head", "ray://head:", "10.0.0.1:6379"]
)
def test_what_is_no_executor_is_refused(where: str, tmp_path: Path) -> None:
    assert "choose from local, ray, auto, or ray://HOST:PORT" in refused(f"--executor={where}", root=tmp_path)


def test_a_cluster_and_a_number_of_processes_are_one_too_many(tmp_path: Path) -> None:
    assert "leave one of the two out" in refused("--executor", "auto", "--processes", "2", root=tmp_path)
    assert (
        read("--executor", "local", "--processes", "2", root=tmp_path).executor
        == "local"
        == read(root=tmp_path).executor
    )


def test_a_cluster_needs_ray_and_must_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for where in ("ray", "auto", "ray://head:10001"):
        words = refused("--executor", where, root=tmp_path)
        assert words == f"--executor {where}: Ray is not installed; pip install 'sam_lsac[cluster]'."


def test_what_is_replayed_needs_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    SQLiteStore(tmp_path / "store").close()
    check_options(read("--executor", "auto", "--replay", "--store", str(tmp_path / "store"), root=tmp_path))


@pytest.mark.parametrize("name", ["", "x", "gpu0", "xla", "meta", "cuda:99", "cpu,cuda", "\n"])
def test_a_device_that_computes_nothing_is_refused(name: str, tmp_path: Path) -> None:
    assert "use cpu, or cuda with CUDA" in refused(f"--device={name}", root=tmp_path)


def test_cuda_is_refused_where_there_is_none(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("is about a machine without CUDA, and this one has it")
    assert "--device 'cuda' cannot be used here" in refused("--device", "cuda", root=tmp_path)


class TestStore:
    def test_a_folder(self, tmp_path: Path) -> None:
        assert "is a folder; name a file" in refused("--store", str(tmp_path), root=tmp_path)

    @pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\0" + b"\xff" * 200])
    def test_garbage(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "store").write_bytes(content)
        assert "store" in refused("--store", str(tmp_path / "store"), root=tmp_path)
        assert (tmp_path / "store").read_bytes() == content

    def test_the_database_of_another_program(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "store") as database:
            database.execute("CREATE TABLE theirs (x)")
        database.close()
        assert "another program" in refused("--store", str(tmp_path / "store"), root=tmp_path)

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "cannot be written" in refused("--store", str(tmp_path / "file" / "store"), root=tmp_path)

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        assert "cannot be written" in refused("--store", "/proc/no-such/store", root=tmp_path)

    def test_to_replay_it_must_be_there(self, tmp_path: Path) -> None:
        assert "run once without --replay" in refused("--replay", root=tmp_path)

    @pytest.mark.parametrize("value", ["", " ", "a\0b"])
    def test_no_path(self, value: str, tmp_path: Path) -> None:
        assert "give a path" in refused(f"--store={value}", root=tmp_path)

    def test_a_store_and_an_empty_file_are_taken(self, tmp_path: Path) -> None:
        SQLiteStore(tmp_path / "store").close()
        (tmp_path / "empty").touch()
        for name in ("store", "empty"):
            check_options(read("--store", str(tmp_path / name), root=tmp_path))


class TestReport:
    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "is a file; name a folder" in refused("--report", str(tmp_path / "file"), root=tmp_path)

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "cannot be written" in refused("--report", str(tmp_path / "file" / "report"), root=tmp_path)

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        assert "cannot be written" in refused("--report", "/proc/no-such", root=tmp_path)

    def test_compare_without_a_name_is_with_the_last(self, tmp_path: Path) -> None:
        assert read("--report-compare", root=tmp_path).compare == "last"

    def test_a_comparison_with_nothing(self, tmp_path: Path) -> None:
        assert "old.json" in refused("--report-compare", str(tmp_path / "old.json"), root=tmp_path)

    def test_a_comparison_with_what_is_no_report(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_text("{}", encoding="utf-8")
        assert "--report-compare" in refused("--report-compare", str(tmp_path / "old.json"), root=tmp_path)

    def test_a_folder_that_compare_swallowed(self, tmp_path: Path) -> None:
        words = refused("--report-compare", str(tmp_path), root=tmp_path)
        assert "write --report-compare=last" in words

    def test_failing_on_what_is_not_looked_for(self, tmp_path: Path) -> None:
        assert "add --report-compare" in refused("--report-fail-on", "flip", root=tmp_path)

    def test_failing_on_what_does_not_exist(self, tmp_path: Path) -> None:
        assert "choose from never, flip" in refused("--report-fail-on", "flips", root=tmp_path)


def usage_error(rig: Rig, *arguments: str, **options: Any) -> str:
    """Run pytest, expect a usage error in one line, with nothing run and nothing written."""
    before = sorted(path for path in rig.folder.rglob("*") if "__pycache__" not in path.parts)
    finished = rig.pytest(*arguments, **options)
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR, finished.stdout + finished.stderr
    (line,) = [line for line in finished.stderr.splitlines() if line.strip()]
    assert line.startswith("ERROR: ")
    assert "Traceback" not in finished.stdout
    assert "passed" not in finished.stdout
    assert "failed" not in finished.stdout
    assert sorted(path for path in rig.folder.rglob("*") if "__pycache__" not in path.parts) == before
    return line


class TestPytest:
    """A few of the above through pytest, with and without xdist, and what only a session can find."""

    @pytest.mark.parametrize("workers", ["0", "1"])
    def test_a_bad_option_is_a_usage_error(self, workers: str, tmp_path: Path) -> None:
        line = usage_error(make_rig(tmp_path / "house"), "-n", workers, "--device", "meta")
        assert "--device 'meta' cannot be used here" in line

    def test_a_claim_that_does_not_exist_is_a_usage_error(self, tmp_path: Path) -> None:
        tests = 'import pytest\n\n\n@pytest.mark.claims("MY11")\ndef test_it(verdict) -> None:\n    pass\n'
        assert "did you mean 'MY1'?" in usage_error(make_rig(tmp_path / "house", tests=tests))

    def test_a_replay_that_misses_runs_is_refused_with_their_number(self, judged: Judged, tmp_path: Path) -> None:
        rig = make_rig(tmp_path / "house")
        copy = sqlite3.connect(tmp_path / "part.sqlite")
        with sqlite3.connect(judged.rig.store) as whole:
            whole.backup(copy)
        with copy:
            one = "SELECT key FROM runs WHERE spec LIKE '%euler:3%' AND spec LIKE '%noisy-1%'"
            for table, column in (("scores", "run"), ("files", "run"), ("runs", "key")):
                copy.execute(f"DELETE FROM {table} WHERE {column} IN ({one})")  # noqa: S608  # names of our own
        copy.close()
        finished = rig.pytest("--replay", "--store", str(tmp_path / "part.sqlite"))
        assert "1 of 18 runs are not in" in finished.stderr
        assert "runs there" not in finished.stdout  # it had not begun
        assert not rig.report.exists()

    @pytest.mark.parametrize("selection", ["MY1", "MY3"])
    def test_a_replay_says_first_what_is_wrong_with_a_checkpoint_that_no_run_vouches_for(
        self, judged: Judged, tmp_path: Path, selection: str
    ) -> None:
        rig = make_rig(tmp_path / "house")  # MY3 is judged without runs
        weights = rig.checkpoint / "text_encoder" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        line = usage_error(rig, "--replay", "-k", selection, "--store", str(judged.rig.store))
        assert "model.safetensors could not be read as weights" in line

    def test_a_replay_imports_no_network_of_text_and_nothing_of_hypothesis(
        self, judged: Judged, tmp_path: Path
    ) -> None:
        rig = make_rig(tmp_path / "house")
        words = "import gc\nimport sys\n\n\ndef pytest_unconfigure():\n"
        words += "    print('there:', *sorted({*NAMES} & set(sys.modules)))\n"
        words += "    print('frozen:', gc.get_freeze_count() > 100_000, gc.isenabled())\n"
        names = ("transformers.models.t5.modeling_t5", "torch._dynamo", "hypothesis", "sam_lsac.report.html")
        conftest = rig.folder / "conftest.py"
        conftest.write_text(f"{conftest.read_text()}\nNAMES = {names!r}\n{words}", encoding="utf-8")
        options = ["--replay", "--store", str(judged.rig.store), "--report", str(tmp_path / "report"), "-k", "MY1"]
        finished = rig.pytest(*options, "-p", "hypothesispytest", fresh=True)
        assert "there: sam_lsac.report.html\nfrozen: True True\n" in finished.stdout, finished.stdout

    def test_mixtures_of_no_tier_that_is_judged_are_refused(self, tmp_path: Path) -> None:
        rig = make_rig(tmp_path / "house")
        for notes in rig.mixtures.glob("*/mixture.json"):
            notes.write_text('{"prompt": "dog barking"}', encoding="utf-8")
        assert "none is of tier clean, noisy" in usage_error(rig)


class TestFollowOutside:
    """Links out of the mixtures' folder are refused, and followed where that was asked for."""

    def linked(self, folder: Path) -> Rig:
        rig = make_rig(folder)
        for notes in rig.mixtures.glob("*/target.wav"):
            elsewhere = folder / f"{notes.parent.name}.wav"
            notes.rename(elsewhere)
            notes.symlink_to(elsewhere)
        return rig

    def test_pytest(self, tmp_path: Path) -> None:
        rig = self.linked(tmp_path / "house")
        assert "leads out of" in (line := usage_error(rig))
        assert "--follow-outside" in line
        assert rig.pytest("--follow-outside", "-k", "MY1 and clean").returncode == 0

    @pytest.mark.parametrize("command", ["calibrate", "tune"])
    def test_commands(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rig = self.linked(tmp_path / "house")
        for notes in rig.mixtures.glob("*/mixture.json"):
            notes.write_text('{"prompt": "dog barking", "subset": "calibration"}', encoding="utf-8")
        options = ["--model", str(rig.checkpoint), "--mixtures", str(rig.mixtures), "--out", str(tmp_path / "out")]
        assert main([command, *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "leads out of" in line
        assert main([command, *options, "--follow-outside"]) == 0
