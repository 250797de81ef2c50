"""A scratch repository that was judged once, for every test that only looks at what that left."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import pytest

from tests.suite.rig import Rig, make_rig


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A rig and how its first judgement ended: all claims, nothing in the store before, output to a pipe, all anew."""

    rig: Rig
    finished: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The first judgement, with a JUnit file (junit.xml), GitHub's summary (summary.md) and a report in the history."""
    rig = make_rig(tmp_path_factory.mktemp("judged") / "house")
    summary = {"GITHUB_STEP_SUMMARY": str(rig.folder / "summary.md")}
    finished = rig.pytest("--junitxml", "junit.xml", "--report-autosave", env=summary, fresh=True)
    return Judged(rig=rig, finished=finished)
