"""pytest-xdist: the same verdicts and the same report, each run computed once, by the controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suite.conftest import Judged
from tests.suite.rig import Rig, cases_of, make_rig


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, str]:
    """A rig that two workers judged, on an empty store, and what was printed."""
    rig = make_rig(tmp_path_factory.mktemp("workers") / "house")
    summary = {"GITHUB_STEP_SUMMARY": str(rig.folder / "summary.md")}
    finished = rig.pytest("-n", "2", "--junitxml", "junit.xml", env=summary)
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED, finished.stdout + finished.stderr
    return rig, finished.stdout


def test_each_run_is_computed_once_and_by_one_process(shared: tuple[Rig, str]) -> None:
    rig, _ = shared
    keys = [key for _, key in rig.stored]
    assert len(keys) == len(set(keys)) == rig.n_runs() == 18
    assert len({process for process, _ in rig.stored}) == 1


def test_the_report_is_the_same_but_for_its_time(shared: tuple[Rig, str], judged: Judged) -> None:
    assert shared[0].without_time() == judged.rig.without_time()


def test_the_cases_end_the_same(shared: tuple[Rig, str], judged: Judged) -> None:
    _, out = shared
    for printed in (out, judged.finished.stdout):
        assert "2 failed, 3 passed, 3 skipped" in printed
    alone, together = (
        sorted(line for line in printed.splitlines() if line.startswith("SKIPPED"))  # in the order of the workers
        for printed in (judged.finished.stdout, out)
    )
    assert together == alone


def test_both_workers_judged(shared: tuple[Rig, str]) -> None:
    _, out = shared
    assert "2 workers [8 items]" in out or "created: 2/2 workers" in out


def test_header_progress_table_and_summary_come_once(shared: tuple[Rig, str]) -> None:
    rig, out = shared
    for words in ("model: tiny", "0 of 18 runs there, 18 missing", "computed 18 runs", " claims ====", "wrote report/"):
        assert out.count(words) == (1 if "wrote" not in words else 4), words
    assert (rig.folder / "summary.md").read_text(encoding="utf-8").count("MY2") >= 1


def test_properties_travel_to_the_controller(shared: tuple[Rig, str], judged: Judged) -> None:
    mine, theirs = (
        {
            name: [(one.get("name"), one.get("value")) for one in case.iter("property")]
            for name, case in cases_of(folder / "junit.xml").items()
        }
        for folder in (shared[0].folder, judged.rig.folder)
    )
    assert mine == theirs


def test_workers_load_no_model(judged: Judged, tmp_path: Path) -> None:
    """Where only workers are forbidden to load one, all is judged the same."""
    rig = make_rig(tmp_path / "house")
    spy = (rig.folder / "spy.py").read_text(encoding="utf-8")
    in_workers = spy.replace('"SPY_NO_MODEL" in os.environ', '"PYTEST_XDIST_WORKER" in os.environ')
    assert in_workers != spy
    (rig.folder / "spy.py").write_text(in_workers, encoding="utf-8")
    finished = rig.pytest("-n", "1", "--store", str(judged.rig.store), "--replay", "-k", "MY1 or MY3")
    assert "3 passed" in finished.stdout, finished.stdout + finished.stderr
    assert len(rig.stored) == 0
