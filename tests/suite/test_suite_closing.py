"""The end of a session: what changed since an older report, and when that makes it fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.suite.conftest import Judged


@pytest.fixture
def older(judged: Judged, tmp_path: Path) -> Path:
    """A report in which the noisy tier of MY1, and with it MY1, was refuted."""
    data = judged.rig.report_data()
    verdict = next(row["verdict"] for row in data["claims"] if row["id"] == "MY1")
    verdict["status"] = verdict["tiers"]["noisy"] = "refuted"
    path = tmp_path / "older.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_flip_fails_the_session_where_that_was_asked_for(judged: Judged, older: Path, tmp_path: Path) -> None:
    options = ["--replay", "-k", "MY1", "--report", str(tmp_path / "report"), "--report-compare", str(older)]
    asked = judged.rig.pytest(*options, "--report-fail-on", "flip")
    assert "2 passed" in asked.stdout
    assert asked.returncode == pytest.ExitCode.TESTS_FAILED
    assert "MY1 ✗ refuted -> ✓ supported" in asked.stdout
    assert "FAILED --report-fail-on flip: a verdict flipped or vanished" in asked.stdout
    unasked = judged.rig.pytest(*options)
    assert unasked.returncode == 0
    assert "MY1 ✗ refuted -> ✓ supported" in unasked.stdout


def test_the_last_report_of_the_history_is_compared_before_this_one_joins_it(judged: Judged, tmp_path: Path) -> None:
    options = ["--replay", "-k", "MY1", "--report", str(tmp_path / "report"), "--report-autosave"]
    first = judged.rig.pytest(*options, "--report-compare", "--report-fail-on", "flip")
    assert first.returncode == 0
    assert "nothing to compare with: no report in" in first.stdout
    (kept,) = (tmp_path / "report" / "history").glob("*.json")
    text = kept.read_text(encoding="utf-8")
    data = json.loads(text)
    verdict = next(row["verdict"] for row in data["claims"] if row["id"] == "MY1")
    verdict["status"] = verdict["tiers"]["noisy"] = "refuted"
    kept.write_text(json.dumps(data), encoding="utf-8")
    second = judged.rig.pytest(*options, "--report-compare=last", "--report-fail-on", "flip")
    assert f"compared with {kept}" in second.stdout
    assert second.returncode == pytest.ExitCode.TESTS_FAILED
    assert len(list((tmp_path / "report" / "history").glob("*.json"))) == 2
