"""The suite itself: which claims a selection takes, what its options refuse, and how a verdict becomes an outcome."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sam_lsac
from sam_lsac.claims import load_claims
from sam_lsac.errors import SamLsacError
from sam_lsac.suite.gather import prepare
from sam_lsac.suite.plugin import Judgement

ROOT = Path(__file__).parents[1]
CLAIMS = ROOT / "bench" / "claims.toml"
GOOD = {
    "model": "embedded",
    "device": "cpu",
    "mixtures": "embedded",
    "per_tier": 1,
    "seeds": None,
    "store": Path("store.sqlite"),
    "replay": False,
}


def run_pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *arguments, "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def collected(*arguments: str) -> list[str]:
    lines = run_pytest("bench", "--collect-only", "-m", "not timing", *arguments).stdout.splitlines()
    return [line.rsplit("[", 1)[1].rstrip("]") for line in lines if "::" in line]


def test_every_claim_is_judged_by_exactly_one_test() -> None:
    assert sorted(collected()) == sorted(claim.id for claim in load_claims(CLAIMS).claims)


def test_k_lsac_selects_exactly_the_lsac_claims() -> None:
    wanted = sorted(claim.id for claim in load_claims(CLAIMS).claims if claim.id.startswith("LS"))
    assert sorted(collected("-k", "lsac")) == wanted
    everything = run_pytest("bench", "--collect-only", "-k", "lsac").stdout.splitlines()
    assert sum("::" in line for line in everything) == len(wanted)  # no timing benchmark among them


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("model", "sam-audio-smal", "sam-audio"),
        ("model", "no/such/folder", "no/such/folder"),
        ("device", "gpu0", "use cpu"),
        ("mixtures", "no-such-folder", "no-such-folder"),
        ("per_tier", 0, "at least 1"),
        ("per_tier", 49, "48"),
        ("seeds", "0,-1", "whole numbers"),
        ("seeds", "1,1", "different"),
        ("seeds", "", "whole numbers"),
        ("replay", True, "without --replay"),
    ],
)
def test_a_bad_option_is_refused_before_anything_runs(option: str, value: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(SamLsacError, match=words):
        prepare(CLAIMS, **(GOOD | {"store": tmp_path / "none.sqlite"} | {option: value}))


def test_pytest_calls_it_a_usage_error() -> None:
    finished = run_pytest("bench", "--model", "no-such-model")
    assert finished.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no-such-model" in finished.stderr


@pytest.mark.parametrize("status", ["inconclusive", "not run"])
def test_an_undecided_claim_is_skipped_and_never_passes(status: str) -> None:
    with pytest.raises(pytest.skip.Exception, match="because"):
        Judgement(claim_id="LS1", status=status, reason="because").must_be_supported()


def test_a_refuted_claim_fails_with_its_figures() -> None:
    with pytest.raises(pytest.fail.Exception, match="3 dB"):
        Judgement(claim_id="LS1", status="refuted", reason="3 dB").must_be_supported()


def test_a_supported_claim_passes() -> None:
    Judgement(claim_id="LS1", status="supported", reason="").must_be_supported()
    assert Judgement(claim_id="LS1", status="supported", reason="").status == "supported"


def test_the_public_names_are_complete_and_exist() -> None:
    assert sorted(sam_lsac.__all__) == sorted(set(sam_lsac.__all__))
    public = {n for n, v in vars(sam_lsac).items() if not n.startswith("_") and not isinstance(v, ModuleType)}
    assert public == set(sam_lsac.__all__)


FOREIGN = """
import importlib.util
import sys
from types import SimpleNamespace

import pytest

from sam_lsac.claims import Verdict

spec = importlib.util.spec_from_file_location("suite", {conftest!r})
suite = sys.modules["suite"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(suite)
pytest_generate_tests, verdict = suite.pytest_generate_tests, suite.verdict


@pytest.fixture(scope="session")
def evidence():
    judged = Verdict(claim_id="XX1", status={status!r}, reason="because", findings=(), n=4, n_dropped=0)
    claim = SimpleNamespace(known_refutation=lambda context: {known!r})
    return SimpleNamespace(book={{"XX1": claim}}, context=None, verdict=lambda claim_id: judged)
"""
JUDGED = """
import pytest


@pytest.mark.claims("XX1")
def test_a_claim(verdict):
    verdict.must_be_supported()
"""


@pytest.mark.parametrize(
    ("status", "known", "outcome"),
    [
        ("supported", "", "1 passed"),
        ("refuted", "", "1 failed"),
        ("inconclusive", "", "1 skipped"),
        ("not run", "", "1 skipped"),
        ("refuted", "it fails here", "1 xfailed"),
        ("supported", "it fails here", "1 failed"),  # a known refutation that starts to hold must be seen
        ("inconclusive", "it fails here", "1 skipped"),
    ],
)
def test_how_a_verdict_becomes_an_outcome(status: str, known: str, outcome: str, tmp_path: Path) -> None:
    conftest = FOREIGN.format(conftest=str(ROOT / "sam_lsac" / "suite" / "plugin.py"), status=status, known=known)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(JUDGED, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  claims\n  claim\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", str(tmp_path), "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.stdout.rstrip().rpartition("\n")[2].startswith(outcome), finished.stdout + finished.stderr
    assert finished.returncode == outcome.endswith(" failed")
