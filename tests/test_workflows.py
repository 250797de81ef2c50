"""Every command of the workflows is run, as it is written, on a scratch repository with a tiny checkpoint."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.suite.rig import CLAIMS, Rig, make_rig

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.name for path in FOLDER.iterdir())
CI_RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALL = re.compile(r"python -m venv \.venv && \.venv/bin/pip install --quiet --editable '\.\[(\w+)\]'")
#: A claim that is refuted would fail the session, as it should; here it is known to be.
KNOWN = CLAIMS.replace('id = "MY2"\n', 'id = "MY2"\nknown_refutations.tiny = "noise is noise"\n')


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """One file: what starts it, its one job, and that job's steps."""

    name: str
    data: dict[Any, Any] = field(repr=False)

    @property
    def starts(self) -> dict[str, Any]:
        """What is below ``on``, which YAML 1.1 takes for the word True."""
        return self.data[True]

    @property
    def job(self) -> dict[str, Any]:
        (found,) = self.data["jobs"].values()
        return found

    @property
    def lines(self) -> list[str]:
        """Every line that a shell runs."""
        texts = [step["run"] for step in self.job["steps"] if "run" in step]
        return [line.strip() for text in texts for line in text.splitlines() if line.strip()]

    def using(self, action: str) -> list[dict[str, Any]]:
        """The arguments of each step that uses an action, such as "actions/cache"."""
        steps = [step for step in self.job["steps"] if step.get("uses", "").split("@")[0] == action]
        return [step.get("with", {}) | {"if": step.get("if", "")} for step in steps]

    def caches(self) -> list[tuple[str, ...]]:
        """The paths of each cache that is restored."""
        found = [*self.using("actions/cache"), *self.using("actions/cache/restore")]
        return [tuple(one["path"].split()) for one in found]


def workflow(name: str) -> Workflow:
    return Workflow(name=name, data=yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))


def tox_command(line: str) -> list[str]:
    """What a line that calls tox runs: the commands of its environment in tox.ini, with what follows the dashes."""
    words = shlex.split(line)
    assert words[:2] == [".venv/bin/tox", "-e"], line
    assert words[3:4] in ([], ["--"]), line
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    section = f"testenv:{words[2]}"
    assert ini.has_section(section), f"tox.ini has no [{section}]"
    given = shlex.join(words[4:])
    commands = ini[section]["commands"].replace("{work_dir}", ".tox").splitlines()
    filled = (re.sub(r"\{posargs(?::([^}]*))?\}", lambda found: given or found.group(1) or "", one) for one in commands)
    return [one.strip() for one in filled if one.strip()]


def on_rig(line: str, rig: Rig, *, fresh: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell reads it, word for word but for the folder of tests and what there is to judge."""
    words = re.fullmatch(r"(?:(?:\.(?:venv|tox/shared)/bin/)?python -m )?pytest bench/? (.*)", line)
    assert words, line
    rest = words.group(1).replace("--device cuda", "--device cpu")
    shell = ["bash", "-euc", f"printf '%s\\0' {rest}"]
    read = subprocess.run(shell, env=rig.environment(**env), capture_output=True, text=True, check=True)
    given = read.stdout.split("\0")[:-1]
    own = [] if "--model" in given else ["--model", str(rig.checkpoint)]
    arguments = ["-m", "pytest", "test_house.py", "-pno:benchmark", "-pno:cacheprovider", *given, *own]
    arguments += ["--claims", str(rig.claims), "--mixtures", str(rig.mixtures)]
    return rig.python(*arguments, env=env, fresh=fresh)


def n_cases(junit: Path) -> int:
    return len(list(ET.parse(junit).iter("testcase")))  # noqa: S314  # written by pytest, a moment ago


def assert_uploaded(flow: Workflow, folder: Path) -> None:
    """What is uploaded and cached is what the commands left."""
    (upload,) = flow.using("actions/upload-artifact")
    assert upload["if"] == "always()"
    files = {path.name for path in (folder / upload["path"]).iterdir()}
    assert {"report.html", "report.md", "report.json", "junit.xml"} <= files


@pytest.mark.parametrize("name", NAMES)
class TestForm:
    def test_no_command_is_left_unchecked(self, name: str) -> None:
        for line in workflow(name).lines:
            assert line == "bash .ci/run" or INSTALL.fullmatch(line) or " -m pytest bench " in line, line

    def test_one_concurrency_group_and_a_time_limit(self, name: str) -> None:
        flow = workflow(name)
        assert flow.data["concurrency"]["group"]
        assert 0 < flow.job["timeout-minutes"] <= 360

    def test_no_history_is_fetched(self, name: str) -> None:
        (checkout,) = workflow(name).using("actions/checkout")
        assert checkout["fetch-depth"] == 1

    def test_the_python_is_the_projects(self, name: str) -> None:
        (setup,) = workflow(name).using("actions/setup-python")
        assert f">={setup['python-version']}" == PROJECT["requires-python"]

    def test_the_store_is_cached(self, name: str) -> None:
        assert any("runs" in paths for paths in workflow(name).caches())

    def test_what_is_hashed_is_there(self, name: str) -> None:
        for call in re.findall(r"hashFiles\(([^)]*)\)", (FOLDER / name).read_text(encoding="utf-8")):
            for pattern in re.findall(r"'([^']+)'", call):
                assert any(ROOT.glob(pattern)), pattern

    def test_variables_of_the_commands_are_set(self, name: str) -> None:
        flow = workflow(name)
        used = {word for line in flow.lines for word in re.findall(r"\$\{?(\w+)", line)}
        assert used <= set(flow.job.get("env", {}))


def test_the_gpu_judges_every_week_and_nobody_else_writes_its_store() -> None:
    flow = workflow("gpu.yml")
    (timer,) = flow.starts["schedule"]
    assert re.fullmatch(r"\d{1,2} \d{1,2} \* \* [0-6]", timer["cron"])
    assert "${{" not in flow.data["concurrency"]["group"]  # whatever starts it
    assert not flow.data["concurrency"].get("cancel-in-progress")
    assert flow.starts["workflow_dispatch"]["inputs"]["model"]["default"] in flow.job["env"]["MODEL"]


def test_the_gpu_keeps_weights_runs_and_reports_even_where_a_claim_is_refuted() -> None:
    flow = workflow("gpu.yml")
    assert flow.caches() == [(".cache/huggingface",), ("runs", "report/history")]
    assert flow.job["env"]["HF_HOME"].endswith("/.cache/huggingface")
    restored = {one["path"]: one["key"] for one in flow.using("actions/cache/restore")}
    saved = {one["path"]: one["key"] for one in flow.using("actions/cache/save")}
    assert restored == saved
    assert all(one["if"].startswith("always()") for one in flow.using("actions/cache/save"))
    assert flow.using("actions/cache") == []  # saves only where the job succeeds
    (runs,) = [one for one in flow.using("actions/cache/restore") if "runs" in one["path"]]
    assert runs["key"].startswith(runs["restore-keys"])
    assert "github.run_id" in runs["key"]  # a cache is never written twice


@pytest.mark.parametrize("name", NAMES)
def test_what_is_installed_is_what_the_project_offers(name: str) -> None:
    lines = workflow(name).lines
    extras = [found.group(1) for found in map(INSTALL.fullmatch, lines) if found]
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert bool(extras) != ("bash .ci/run" in lines)  # which makes its own environment


def test_ci_run_does_what_the_readme_tells_people_to_do() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    told = re.findall(r"pip install -q tox && (\.venv/bin/tox -e .*)$", README, flags=re.MULTILINE)
    ran = re.findall(r"^\.venv/bin/tox .*$", CI_RUN, flags=re.MULTILINE)
    assert len(told) == 2
    for line in told:
        assert tox_command(line)
        assert any(one.startswith(line) for one in ran), line
    for line in ran:
        assert tox_command(line)


@pytest.mark.slow
def test_ci_computes_judges_and_uploads(tmp_path: Path) -> None:
    flow, rig = workflow("ci.yml"), make_rig(tmp_path / "house")
    ran = [line for line in CI_RUN.splitlines() if line.startswith(".venv/bin/tox -e bench")]
    (computes,) = [command for line in ran for command in tox_command(line)]
    finished = on_rig(computes, rig, fresh=True)  # as it is: in an interpreter that has imported nothing
    assert finished.returncode == 0, finished.stdout + finished.stderr
    n_runs = rig.n_runs()
    assert n_runs > 0
    assert flow.lines[0] == "bash .ci/run"
    (replays,) = flow.lines[1:]
    finished = on_rig(replays, rig)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert rig.n_runs() == n_runs
    assert n_cases(rig.report / "junit.xml") == 4  # MY1 on two tiers, MY3 and MY4
    assert_uploaded(flow, rig.folder)
    assert all((rig.folder / path).exists() for paths in flow.caches() for path in paths)


@pytest.mark.slow
def test_the_gpu_judges_compares_and_uploads(tmp_path: Path) -> None:
    flow, rig = workflow("gpu.yml"), make_rig(tmp_path / "house", claims=KNOWN)
    (judges,) = [line for line in flow.lines if " -m pytest " in line]
    assert '--model "$MODEL" --device cuda ' in judges
    first = on_rig(judges, rig, MODEL=str(rig.checkpoint))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing to compare with: no report in" in first.stdout
    assert n_cases(rig.report / "junit.xml") == 8
    assert_uploaded(flow, rig.folder)
    kept = [path for paths in flow.caches() for path in paths if "huggingface" not in path]
    assert all(any((rig.folder / path).iterdir()) for path in kept)

    n_runs = rig.n_runs()
    (old,) = (rig.report / "history").glob("*.json")
    second = on_rig(judges, rig, MODEL=str(rig.checkpoint))
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"compared with report/history/{old.name}" in second.stdout
    assert rig.n_runs() == n_runs

    for path in (rig.report / "history").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"supported"', '"refuted"'), encoding="utf-8")
    third = on_rig(judges, rig, MODEL=str(rig.checkpoint))
    assert third.returncode == pytest.ExitCode.TESTS_FAILED
    assert "FAILED --report-fail-on flip" in third.stdout


@pytest.mark.parametrize("line", re.findall(r"^    (\S*(?: -m )?pytest bench/? .*)$", README, flags=re.MULTILINE))
def test_the_readme_s_commands_have_options_that_exist(line: str, tmp_path: Path) -> None:
    words = re.findall(r" -k (\w+)", line)  # of this repository's claims, which a scratch one does not have
    assert all((ROOT / "bench" / f"test_{word}.py").is_file() for word in words)
    line = re.sub(r" -k \w+", "", line)
    finished = on_rig(f"{line} --collect-only -q", make_rig(tmp_path / "house"))
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_readme_has_commands_for_a_checkpoint_and_for_ci() -> None:
    for option in ("--device cuda", "--report-fail-on flip"):
        assert re.search(rf"^    \S*(?: -m )?pytest bench/? .*{option}", README, flags=re.MULTILINE)
