"""The suite itself: which claims a selection takes, what its options refuse, and how a verdict becomes an outcome."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sam_lsac
from bench.evidence import prepare
from conftest import Judgement
from sam_lsac.claims import load_claims
from sam_lsac.errors import SamLsacError

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
