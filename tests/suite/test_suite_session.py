"""A whole session on a scratch repository: what is selected, computed, printed, written, and how it ends."""

from __future__ import annotations

import re

import pytest

from tests.suite.conftest import Judged
from tests.suite.rig import CLAIMS, TESTS, cases_of, make_rig

ARMS, PER_TIER, TIERS = 3, 3, 2
STATUSES = {"MY1": "supported", "MY2": "refuted", "MY3": "shown", "MY4": "not run", "MY5": "inconclusive"}


class TestFirstJudgement:
    def test_every_case_ends_as_its_verdict_says(self, judged: Judged) -> None:
        assert judged.finished.returncode == pytest.ExitCode.TESTS_FAILED
        assert "2 failed, 3 passed, 3 skipped" in judged.finished.stdout
        for case in ("MY2-clean", "MY2-noisy"):
            assert f"FAILED test_house.py::test_steps[{case}]" in judged.finished.stdout
        assert "Finding(" not in judged.finished.stdout  # a failure says its reason, not every figure behind it

    def test_what_is_shown_and_not_judged_passes_and_is_counted_apart(self, judged: Judged) -> None:
        assert "1 supported, 1 refuted, 1 inconclusive, 1 shown, 1 not run" in " ".join(judged.finished.stdout.split())
        case = cases_of(judged.rig.folder / "junit.xml")["test_lsac[MY3]"]
        assert not [one.tag for one in case if one.tag != "properties"]

    def test_the_report_has_the_verdict_of_each_claim_over_its_tiers(self, judged: Judged) -> None:
        assert judged.rig.statuses() == STATUSES

    def test_the_header_says_what_is_judged_and_what_is_missing(self, judged: Judged) -> None:
        out = judged.finished.stdout
        assert re.search(r"^model: tiny \([0-9a-f]{12}\), cpu, float32$", out, re.MULTILINE)
        assert "mixtures: 3 clean, 3 noisy; seeds: 0; cases: 8 of claims.toml" in out
        assert "store: runs/store.sqlite, 0 of 18 runs there, 18 missing" in out
        assert out.index("store: ") < out.index("first 2 of 18 runs in") < out.index("test_house.py ")

    def test_after_the_first_batch_there_is_an_estimate(self, judged: Judged) -> None:
        assert re.search(
            r"first 2 of 18 runs in \d+ s, start-up included: at that rate the other 16 take at most \d+ s",
            judged.finished.stdout,
        )
        assert re.search(r"computed 18 runs in \d+ s", judged.finished.stdout)

    def test_each_run_is_computed_once(self, judged: Judged) -> None:
        keys = [key for _, key in judged.rig.stored]
        assert len(keys) == len(set(keys)) == judged.rig.n_runs() == ARMS * PER_TIER * TIERS

    def test_a_skip_points_at_the_claims_row(self, judged: Judged) -> None:
        rows = judged.rig.claims.read_text(encoding="utf-8").splitlines()
        for claim_id in ("MY4", "MY5"):
            line = rows.index(f'id = "{claim_id}"') + 1
            assert f"SKIPPED [1] claims.toml:{line}: {claim_id}-clean " in judged.finished.stdout

    def test_the_table_comes_once_and_the_files_are_there(self, judged: Judged) -> None:
        assert judged.finished.stdout.count(" claims ====") == 1
        for name in ("report.html", "report.md", "report.json"):
            assert f"wrote report/{name}" in judged.finished.stdout
            assert (judged.rig.report / name).stat().st_size > 0

    def test_a_badge_stands_beside_the_report(self, judged: Judged) -> None:
        (badge,) = judged.rig.report.glob("*.svg")
        assert "<svg" in badge.read_text(encoding="utf-8")
        assert f"wrote report/{badge.name}" in judged.finished.stdout

    def test_autosave_keeps_the_report(self, judged: Judged) -> None:
        (kept,) = (judged.rig.report / "history").iterdir()
        assert kept.read_bytes() == (judged.rig.report / "report.json").read_bytes()

    def test_github_gets_a_summary_that_names_every_judged_claim(self, judged: Judged) -> None:
        summary = (judged.rig.folder / "summary.md").read_text(encoding="utf-8")
        for claim_id in ("MY1", "MY2", "MY3", "MY5"):
            assert claim_id in summary


class TestJUnit:
    def test_every_case_has_its_verdict_and_figures_as_properties(self, judged: Judged) -> None:
        cases = cases_of(judged.rig.folder / "junit.xml")
        assert len(cases) == 8
        for name, case in cases.items():
            found = {one.get("name"): one.get("value") for one in case.iter("property")}
            claim_id, _, tier = name.partition("[")[2].rstrip("]").partition("-")
            assert found["claim"] == claim_id
            assert found["verdict"] == STATUSES[claim_id]
            assert found.get("tier", "") == tier
            assert found["reason"]

    def test_the_figures_are_those_of_the_case_s_own_tier(self, judged: Judged) -> None:
        cases = cases_of(judged.rig.folder / "junit.xml")
        for tier, other in (("clean", "noisy"), ("noisy", "clean")):
            names = [one.get("name", "") for one in cases[f"test_lsac[MY1-{tier}]"].iter("property")]
            assert any(f"/{tier}/" in name for name in names)
            assert not any(f"/{other}/" in name for name in names)

    def test_outcomes_are_failures_and_skips_and_never_errors(self, judged: Judged) -> None:
        cases = cases_of(judged.rig.folder / "junit.xml")
        assert not [name for name, case in cases.items() if case.find("error") is not None]
        assert sum(case.find("failure") is not None for case in cases.values()) == 2
        assert sum(case.find("skipped") is not None for case in cases.values()) == 3


def test_k_selects_computes_and_judges_one_tier(tmp_path) -> None:
    rig = make_rig(tmp_path / "house")
    finished = rig.pytest("-k", "lsac and noisy", "-p", "no:xdist", "-q")  # and xdist may be absent
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "1 passed, 7 deselected" in finished.stdout
    assert "mixtures: 3 noisy;" in finished.stdout
    assert rig.n_runs() == 2 * PER_TIER  # the baseline and LSAC, on noisy alone
    verdict = next(row["verdict"] for row in rig.report_data()["claims"] if row["id"] == "MY1")
    assert verdict["tiers"] == {"noisy": "supported"}
    assert verdict["status"] == "not run"  # a claim about two tiers is not shown by one
    assert {finding["tier"] for finding in verdict["findings"]} == {"noisy"}


def test_a_shown_case_is_called_so_where_each_is_named(tmp_path) -> None:
    rig = make_rig(tmp_path / "house")
    finished = rig.pytest("-k", "MY3 or (MY1 and noisy)", "-v")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"test_lsac\[MY3\] SHOWN", finished.stdout)
    assert re.search(r"test_lsac\[MY1-noisy\] PASSED", finished.stdout)
    assert "2 passed, 6 deselected" in finished.stdout
    (rig.folder / "test_house.py").write_text(
        TESTS.replace('in ("supported", "shown")', '== "supported"'), encoding="utf-8"
    )
    strict = rig.pytest("-k", "MY3")
    assert "1 failed, 7 deselected" in strict.stdout  # shown is not supported


def test_a_known_refutation_is_a_strict_xfail_of_its_case_alone(tmp_path) -> None:
    known = 'known_refutations = { tiny = { tiers = ["noisy"], reason = "it is noise" } }\n'
    claims = CLAIMS
    for claim_id in ("MY1", "MY2"):
        claims = claims.replace(f'id = "{claim_id}"\n', f'id = "{claim_id}"\n{known}')
    finished = make_rig(tmp_path / "house", claims=claims).pytest("-k", "MY1 or MY2")
    assert "2 failed, 1 passed, 4 deselected, 1 xfailed" in finished.stdout
    assert "XFAIL test_house.py::test_steps[MY2-noisy] - it is noise" in finished.stdout
    assert "FAILED test_house.py::test_steps[MY2-clean]" in finished.stdout
    assert re.search(r"FAILED test_house.py::test_lsac\[MY1-noisy\] - \[XPASS\(strict\)\] it is noise", finished.stdout)


def test_a_session_without_claims_loads_no_model_and_says_nothing(tmp_path) -> None:
    rig = make_rig(tmp_path / "house")
    (rig.folder / "test_plain.py").write_text("def test_plain() -> None:\n    assert True\n", encoding="utf-8")
    for selection in (["test_plain.py"], ["-k", "plain"]):
        finished = rig.pytest(*selection, "--device", "no-such", env={"SPY_NO_MODEL": "1"})
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "model:" not in finished.stdout
        assert "claims ====" not in finished.stdout
    assert not rig.report.exists()
    assert not rig.store.exists()
