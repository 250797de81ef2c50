"""The claims of this repository as pytest sees them: which cases there are, and which a selection takes."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import sam_lsac
from sam_lsac.claims import load_claims
from sam_lsac.suite.cases import Case, arms_by_tier, cases_of, row_of, tiers_of

ROOT = Path(__file__).parents[1]
CLAIMS = ROOT / "bench" / "claims.toml"
BOOK = load_claims(CLAIMS)
EVERY = cases_of(BOOK, [claim.id for claim in BOOK.claims])


@cache
def collected(*arguments: str) -> tuple[str, ...]:
    """The ids of what pytest would run in bench/, the timing benchmarks among them."""
    command = [sys.executable, "-m", "pytest", "bench", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    return tuple(line for line in finished.stdout.splitlines() if "::" in line)


def cases(ids: tuple[str, ...]) -> list[str]:
    return sorted(one.rsplit("[", 1)[1].rstrip("]") for one in ids if "test_timing" not in one)


def test_every_claim_and_tier_is_judged_by_exactly_one_test() -> None:
    assert cases(collected()) == sorted(case.id for case in EVERY)


def test_k_lsac_selects_exactly_the_lsac_claims() -> None:
    found = collected("-k", "lsac")
    assert cases(found) == sorted(case.id for case in EVERY if case.claim_id.startswith("LS"))
    assert not [one for one in found if "timing" in one]


def test_k_lsac_and_noisy_selects_that_tier_of_those_claims() -> None:
    wanted = sorted(case.id for case in EVERY if case.claim_id.startswith("LS") and case.tier == "noisy")
    assert cases(collected("-k", "lsac and noisy")) == wanted
    assert wanted[0] == "LS1-noisy"


def test_m_claim_selects_one_claim() -> None:
    assert cases(collected("-m", "claim(id='LS6')")) == ["LS6-env", "LS6-noisy"]


def test_the_bodies_are_assertions() -> None:
    body = '    assert verdict.status in ("supported", "shown"), verdict.reason\n'
    modules = [path for path in (ROOT / "bench").glob("test_*.py") if path.name != "test_timing.py"]
    for path in modules:
        assert path.read_text(encoding="utf-8").endswith(body), path.name
    assert len(modules) == 8


class TestCases:
    def test_a_case_is_named_by_claim_and_tier(self) -> None:
        assert [case.id for case in cases_of(BOOK, ["LS6", "LS2"])] == ["LS6-noisy", "LS6-env", "LS2"]

    def test_all_cases_of_a_claim_are_the_claim(self) -> None:
        assert tiers_of(BOOK, cases_of(BOOK, ["LS2", "LS6"])) == {"LS2": None, "LS6": None}

    def test_some_cases_of_a_claim_are_their_tiers_in_the_claims_order(self) -> None:
        chosen = [
            Case(claim_id="LS1", tier="env"),
            Case(claim_id="DP1", tier="noisy"),
            Case(claim_id="LS1", tier="clean"),
        ]
        assert tiers_of(BOOK, chosen) == {"DP1": ("noisy",), "LS1": ("clean", "env")}

    def test_a_row_is_found_by_its_claim(self) -> None:
        lines = CLAIMS.read_text(encoding="utf-8").splitlines()
        for claim in BOOK.claims:
            assert re.fullmatch(rf'id = "{claim.id}"', lines[row_of(CLAIMS, claim.id) - 1])


def test_the_public_names_are_complete_and_exist() -> None:
    assert sorted(sam_lsac.__all__) == sorted(set(sam_lsac.__all__))
    assert not [name for name in sam_lsac.__all__ if isinstance(getattr(sam_lsac, name), ModuleType)]
    ours = {name for name, value in vars(sam_lsac).items() if getattr(value, "__module__", "").startswith("sam_lsac")}
    assert {name for name in ours if not name.startswith("_")} == set(sam_lsac.__all__)


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        (["LS2", "FL1", "GH1"], {}),  # costs and the gate: no run at all
        (["LS3"], {"clean": ("baseline", "lsac-balanced", "naive-12", "naive-15")}),
        (["SS4"], dict.fromkeys(BOOK.settings.tiers, ("baseline",))),
    ],
)
def test_only_the_arms_and_tiers_of_a_selection_are_run(ids: list[str], wanted: dict[str, tuple[str, ...]]) -> None:
    assert arms_by_tier(BOOK, [BOOK[one] for one in ids], baseline="baseline") == wanted


def test_every_tier_that_is_judged_has_the_runs_of_the_reference() -> None:
    with_runs = [claim for claim in BOOK.claims if arms_by_tier(BOOK, [claim], baseline="baseline")]
    assert with_runs
    assert any("baseline" not in claim.baselines for claim in with_runs)  # whose own arms do not bring it
    for claim in with_runs:
        for arms in arms_by_tier(BOOK, [claim], baseline="baseline").values():
            assert arms[0] == "baseline", claim.id
            assert set(claim.arms) <= set(arms), claim.id
