"""A scratch repository that judges claims of its own, end to end in seconds.

What a user of the plugin would have: a ``conftest.py`` of one line, a claims file with a few small claims, a test
module, a checkpoint folder and a folder of stems. `make_rig` writes all of it, and `Rig.pytest` runs pytest there in a
process of its own, a fork in which everything is imported already or a new interpreter, strict about markers and
warnings::

    rig = make_rig(tmp_path)
    finished = rig.pytest("-k", "noisy")
    assert finished.returncode == 0, finished.stdout

The claims are about noise and a random model, chosen so that every verdict occurs and each is certain: MY1 is
supported on both tiers, MY2 refuted on both, MY3 has no tiers and is shown without runs, MY4 is not about this
model, and MY5 is inconclusive on both tiers.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sam_lsac.model import save_checkpoint
from tests import tiny_runs
from tests.processes import run_python

__all__ = ["CLAIMS", "ROOT", "Rig", "cases_of", "make_rig"]

#: Of this repository.
ROOT = Path(__file__).resolve().parents[2]
TIERS = ("clean", "noisy")
PER_TIER = 3
N_SAMPLES = 16 * tiny_runs.HOP

CLAIMS = """\
[settings]
alpha = 0.05
power = 0.8
theta = 0.5
smallest_effects = { si_snr = 0.1 }
smallest_factor = 1.1
missing_share = 0.1
tiers = ["clean", "noisy"]
seeds = [0]
bootstrap_seed = 0
bootstrap_resamples = 99

[arms.baseline]
solver = "euler:4"

[arms.lsac]
solver = "euler:4"
edits = [{ kind = "LSAC", level = "balanced" }]

[arms.naive]
solver = "euler:3"

[[claims]]
id = "MY1"
section = "1"
quote = "LSAC stays within the margin"
paper = ""
kind = "equivalent"
applies_to = "any"
arms = ["lsac"]
metrics = ["si_snr"]
tiers = ["clean", "noisy"]
margin = 200.0
family = "mine"

[[claims]]
id = "MY2"
section = "1"
quote = "LSAC separates noise from noise to 1000 dB"
paper = ""
kind = "at-least"
applies_to = "any"
arms = ["lsac"]
metrics = ["si_snr"]
tiers = ["clean", "noisy"]
bound = 1000.0
saves = 0.01
family = "hers"

[[claims]]
id = "MY3"
section = "2"
quote = "LSAC saves layer-steps"
paper = ""
kind = "saved-share"
applies_to = "any"
arms = ["lsac"]

[[claims]]
id = "MY4"
section = "2"
quote = "Of another model"
paper = ""
kind = "equivalent"
applies_to = "22-layers"
arms = ["lsac"]
metrics = ["si_snr"]
tiers = ["clean"]
margin = 1.0
family = "theirs"

[[claims]]
id = "MY5"
section = "2"
quote = "Three steps stay within a hair's breadth of four"
paper = ""
kind = "equivalent"
applies_to = "any"
arms = ["naive"]
metrics = ["si_snr"]
tiers = ["clean", "noisy"]
margin = 1e-9
family = "theirs"
"""
TESTS = '''\
"""Claims of a house of its own."""

import pytest


@pytest.mark.claims("MY1", "MY3", "MY4")
def test_lsac(verdict) -> None:
    assert verdict.status in ("supported", "shown"), verdict.reason


@pytest.mark.claims("MY2", "MY5")
def test_steps(verdict) -> None:
    assert verdict.status == "supported", verdict.reason
'''
SETTINGS = """\
[pytest]
addopts = --strict-markers --strict-config -ra
filterwarnings = error
"""
#: A second plugin, for tests that must see inside: which process stores which run, and when.
SPY = '''\
"""Writes down each run that is stored, with the process; waits after the first batch, and forbids models, if told."""

import json
import os
import time
from pathlib import Path

from sam_lsac.runs import sqlite

LOG = Path(__file__).with_name("stored.jsonl")
put = sqlite.SQLiteStore.put


def spied(store, results):
    put(store, results)
    with LOG.open("a") as log:
        log.writelines(json.dumps([os.getpid(), one.spec.key]) + "\\n" for one in results)
    time.sleep(float(os.environ.get("SPY_WAIT_S", "0")))


sqlite.SQLiteStore.put = spied

if "SPY_NO_MODEL" in os.environ:
    from sam_lsac.suite import gather

    def load_model(*_, **__):
        raise AssertionError("a model was loaded")

    gather.load_model = load_model
'''


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A scratch repository.

    Parameters
    ----------
    folder
        Its root.
    checkpoint
        A checkpoint folder of the tiny random model of ``tests/tiny_runs.py``.
    mixtures
        A folder of stems, `PER_TIER` mixtures of each of `TIERS`.
    """

    folder: Path
    checkpoint: Path
    mixtures: Path

    @property
    def claims(self) -> Path:
        """The claims file, which a test may rewrite."""
        return self.folder / "claims.toml"

    @property
    def store(self) -> Path:
        """Where runs are kept unless an option says otherwise."""
        return self.folder / "runs" / "store.sqlite"

    @property
    def report(self) -> Path:
        """The folder of the report unless an option says otherwise."""
        return self.folder / "report"

    @property
    def options(self) -> list[str]:
        """What every run of pytest on the claims needs."""
        given = {"--claims": self.claims, "--model": self.checkpoint, "--mixtures": self.mixtures, "--processes": 1}
        return [word for option, value in given.items() for word in (option, str(value))]

    def arguments(self, *more: str) -> list[str]:
        """Python's for a run of pytest on the claims; no other plugin leaves anything in the folder or takes time."""
        others = [f"-pno:{name}" for name in ("anyio", "benchmark", "cacheprovider", "hypothesispytest")]
        return ["-m", "pytest", *others, "-p", "spy", *self.options, *more]

    @property
    def stored(self) -> list[tuple[int, str]]:
        """Process and key of every run that was put into a store, in that order, over all commands."""
        log = self.folder / "stored.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [(process, key) for process, key in map(json.loads, lines)]

    def environment(self, **changes: str) -> dict[str, str]:
        """This process's environment, without what makes pytest or the suite behave otherwise, and with changes."""
        inherited = ("PYTEST_", "GITHUB_", "COLUMNS", "CI")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
        return kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}", "OMP_NUM_THREADS": "1"} | changes

    def pytest(
        self, *arguments: str, env: Mapping[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run pytest on the claims in the scratch repository; its output is no terminal.

        Parameters
        ----------
        arguments
            Of pytest, beside what every run has.
        env
            Changes of the environment.
        fresh
            In a new interpreter, as a user would; it takes seconds to import everything.
        """
        return self.python(*self.arguments(*arguments), env=env, fresh=fresh)

    def python(
        self, *arguments: str, env: Mapping[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run Python on arguments in the scratch repository, as `pytest` does."""
        environment = self.environment(**(env or {}))
        if not fresh:
            return run_python(arguments, cwd=self.folder, env=environment)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def n_runs(self, store: Path | None = None) -> int:
        """How many runs a store holds; 0 where there is none."""
        path = store or self.store
        if not path.exists():
            return 0
        with sqlite3.connect(path) as database:
            return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])

    def statuses(self, folder: Path | None = None) -> dict[str, str]:
        """Verdicts by claim, as report.json has them."""
        return {row["id"]: row["verdict"]["status"] for row in self.report_data(folder)["claims"]}

    def report_data(self, folder: Path | None = None) -> dict[str, Any]:
        """What report.json holds."""
        found: dict[str, Any] = json.loads(((folder or self.report) / "report.json").read_text(encoding="utf-8"))
        return found

    def without_time(self, folder: Path | None = None) -> dict[str, Any]:
        """What report.json holds, but for the moment in which it was made."""
        found = self.report_data(folder)
        del found["environment"]["created"]
        return found


def make_rig(folder: Path, *, claims: str = CLAIMS, tests: str = TESTS, per_tier: int = PER_TIER) -> Rig:
    """Write a scratch repository into a folder.

    Parameters
    ----------
    folder
        Made where it is missing.
    claims
        Of the claims file.
    tests
        Of ``test_house.py``.
    per_tier
        Mixtures of each of `TIERS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rig = Rig(folder=folder, checkpoint=folder / "tiny", mixtures=folder / "stems")
    (folder / "conftest.py").write_text('pytest_plugins = ["sam_lsac.suite.plugin"]\n', encoding="utf-8")
    (folder / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
    (folder / "spy.py").write_text(SPY, encoding="utf-8")
    (folder / "test_house.py").write_text(tests, encoding="utf-8")
    rig.claims.write_text(claims, encoding="utf-8")
    save_checkpoint(tiny_runs.model(), rig.checkpoint)
    for index, tier in enumerate(TIERS):
        for number in range(per_tier):
            _write_stems(rig.mixtures / f"{tier}-{number}", tier, seed=max(10, per_tier) * index + number)
    return rig


def _write_stems(folder: Path, tier: str, seed: int) -> None:
    """One mixture of two noises; the target sounds in its first half."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for name in ("target", "residual"):
        wave = generator.normal(0.0, 0.1, N_SAMPLES)
        if name == "target":
            wave[N_SAMPLES // 2 :] *= 1e-3
        soundfile.write(folder / f"{name}.wav", wave, tiny_runs.RATE, subtype="FLOAT")
    notes = {"prompt": "dog barking", "tier": tier, "group": f"dog {seed}"}
    (folder / "mixture.json").write_text(json.dumps(notes), encoding="utf-8")


def cases_of(junit: Path) -> dict[str, ET.Element]:
    """The test cases of a JUnit file by name."""
    tree = ET.parse(junit)  # noqa: S314  # written by pytest, a moment ago
    return {case.get("name", ""): case for case in tree.iter("testcase")}
