"""The report as text: a terminal's table, Markdown, JSON that is read back strictly, and comparisons of two."""

import json
import math
from dataclasses import replace

import pytest

from sam_lsac.claims import Finding, Verdict
from sam_lsac.claims.wording import NOTHING
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report import (
    arms_table,
    compare,
    from_json,
    junit_properties,
    summary_line,
    terminal_text,
    to_json,
    to_markdown,
    verdict_table,
)
from sam_lsac.report.model import NOT_SELECTED
from tests.report_sample import simulated_report


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


def with_verdict(report, claim_id, **fields):
    """Return the report with one verdict changed."""
    rows = tuple(
        replace(row, verdict=replace(row.verdict, **fields)) if row.id == claim_id else row for row in report.claims
    )
    return replace(report, claims=rows)


# ------------------------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_line_is_wider_than_the_terminal(report, width):
    text = terminal_text(report, width=width, reasons=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in arms_table(report, width=max(width, 100))


def test_every_claim_has_its_verdict_and_n_on_its_own_line(report):
    lines = verdict_table(report).splitlines()
    for row in report.claims:
        (line,) = [line for line in lines if line.startswith(f"{row.id} ")]
        assert row.verdict.status in line
        assert line.rstrip().endswith(str(row.verdict.n or NOTHING))


def test_a_pipe_gets_no_colour_and_a_terminal_does(report):
    assert "\x1b" not in terminal_text(report)
    assert "\x1b[32m✓ supported" in terminal_text(report, colour=True)


def test_reasons_follow_for_what_was_refuted_or_is_inconclusive(report):
    text = " ".join(verdict_table(report, reasons=True).split())
    for row in report.claims:
        told = f"{row.id} {row.verdict.status}: {' '.join(row.verdict.reason.split())}" in text
        assert told == (row.verdict.status in ("refuted", "inconclusive")), row.id


def test_our_figures_stand_in_the_table(report):
    text = verdict_table(report, width=200)
    for row in report.claims:
        assert all(line in text for line in row.ours), row.id


def test_claims_that_were_not_selected_share_a_line(report):
    text = verdict_table(with_verdict(report, "DP1", status="not run", reason=NOT_SELECTED))
    assert not any(line.startswith("DP1 ") for line in text.splitlines())
    assert "Not in this run: DP1." in text


def test_the_summary_counts(report):
    assert summary_line(report).endswith("17 supported, 1 refuted, 5 inconclusive, 2 not run")
    assert "24/24/24 mixtures (clean/noisy/env)" in summary_line(report)


def test_arms_have_both_axes_and_each_tiers_deviation(report):
    text = arms_table(report)
    line = next(line for line in text.splitlines() if line.startswith("lsac-balanced "))
    assert line.split()[1:3] == ["27.1%", "3.9%"]
    cells = next(row for row in report.tables.arms if row.arm == "lsac-balanced").cells
    assert all(f"{cell.deviation:.2f} [" in line for cell in cells)


def test_nothing_run_is_said_plainly(bare):
    text = terminal_text(bare)
    assert "25 not run" in text
    assert "have no runs" in text
    assert "layer-\n" not in text


# ------------------------------------------------------------------------------------------------------------- Markdown


def test_markdown_has_every_claim_finding_and_the_environment(report):
    text = to_markdown(report)
    for row in report.claims:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row.id} |")]
        assert f" {row.verdict.status} |" in line
        assert line.count(" | ") == 6
        assert f"- **{row.id}**, {row.verdict.status}: " in text
    assert all(one.title in text and one.ours in text for one in report.caveats)
    assert report.environment.digest in text


def test_markdown_cells_cannot_break_the_table(report):
    rows = (replace(report.claims[0], quote="a | b\n<script>*x*"), *report.claims[1:])
    assert "a \\| b<br>&lt;script>\\*x\\*" in to_markdown(replace(report, claims=rows))


# ----------------------------------------------------------------------------------------------------------------- JSON


def test_json_is_read_back_as_the_same_report(report, bare, tmp_path):
    for one in (report, bare):
        text = to_json(one)
        assert from_json(text) == one
        file = tmp_path / "report.json"
        file.write_text(text, encoding="utf-8")
        assert from_json(file) == one
        assert from_json(str(file)) == one
    assert list(json.loads(text))[:2] == ["schema", "version"]


def test_infinities_survive_and_nan_becomes_null(report):
    odd = Finding(quantity="loss", estimate=1.0, d=math.inf, d_low=-math.inf, p=math.nan)
    read = from_json(to_json(with_verdict(report, "LS3", findings=(odd,)))).verdict("LS3").findings[0]
    assert (read.d, read.d_low, read.p) == (math.inf, -math.inf, None)


def broken(report, path, value):
    """Return the report's JSON with one place changed; `value` is put there, or removed if it is ..."""
    data = json.loads(to_json(report))
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("version",), 2, "version 2 and this code reads 1"),
        (("version",), ..., "version None"),
        (("schema",), "other", "is not a report"),
        (("claims", 0, "verdct"), "x", "unknown key 'verdct': did you mean 'verdict'"),
        (("claims", 0, "verdict", "reason"), ..., "reason is missing"),
        (("claims", 0, "verdict", "status"), "passed", "must be one of 'supported'"),
        (("claims", 0, "verdict", "n"), 2.5, "must be a whole number"),
        (("claims", 0, "verdict", "n"), True, "must be a whole number"),
        (("claims", 0, "verdict", "findings", 0, "estimate"), "much", "must be a number"),
        (("claims", 0, "quote"), 3, "must be a text"),
        (("claims", 0, "verdict"), [], "must be an object"),
        (("claims",), {}, "must be a list"),
        (("claims", 0, "id"), "DP2", "there twice"),
        (("claims", 0, "verdict", "claim_id"), "DP2", "DP1 has the verdict of DP2"),
        (("environment", "mixtures"), 3, "must be an object"),
        (("alpha",), None, "must be a number"),
    ],
)  # fmt: skip
def test_json_that_is_not_a_report_is_a_store_error(report, path, value, words):
    with pytest.raises(StoreError, match=words):
        from_json(broken(report, path, value))


@pytest.mark.parametrize("text", ["{", '{"schema": NaN}', '{"schema": "sam_lsac.report", "version": Infinity}'])
def test_text_that_is_not_json_is_a_store_error(text):
    with pytest.raises(StoreError, match="is not JSON"):
        from_json(text)


def test_a_missing_file_and_a_binary_one_are_errors_with_a_remedy(tmp_path):
    with pytest.raises(InputError, match=r"pass the report\.json"):
        from_json(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="write the report again"):
        from_json(tmp_path / "binary.json")


def test_junit_gets_the_verdict_and_every_figure(report):
    verdict = report.verdict("LS3")
    properties = dict(junit_properties(verdict))
    assert (properties["claim"], properties["verdict"], properties["n"]) == ("LS3", verdict.status, "24")
    assert properties["deviation/clean/si_snr/lsac-balanced/baseline"].endswith("]")
    assert len(junit_properties(verdict)) == 5 + len(verdict.findings)


# ----------------------------------------------------------------------------------------------------------- comparison


def test_a_report_does_not_differ_from_itself(report):
    comparison = compare(to_json(report), report)
    assert (comparison.changes, comparison.notes, comparison.exit_code) == ((), (), 0)
    assert str(comparison) == "No verdict flipped, no effect moved."


def test_a_flip_is_listed_and_fails(report):
    comparison = compare(report, with_verdict(report, "LS4", status="refuted"))
    (change,) = comparison.changes
    assert (change.kind, change.claim_id, change.before, change.after) == ("flipped", "LS4", "supported", "refuted")
    assert comparison.exit_code == 1
    assert "LS4 ✓ supported -> ✗ refuted" in str(comparison)
    assert "1 flipped, 0 vanished, 0 added, 0 moved." in str(comparison)


def test_a_claim_that_is_gone_or_no_longer_judged_has_vanished(report):
    gone = replace(report, claims=tuple(row for row in report.claims if row.id != "LS8"))
    unrun = with_verdict(report, "LS4", status="not run", findings=())
    for new, claim_id in ((gone, "LS8"), (unrun, "LS4")):
        comparison = compare(report, new)
        assert [(one.kind, one.claim_id) for one in comparison.changes] == [("vanished", claim_id)]
        assert comparison.exit_code == 1
        back = compare(new, report)
        assert [(one.kind, one.claim_id) for one in back.changes] == [("added", claim_id)]
        assert back.exit_code == 0


def moved_by(report, shift):
    verdict = report.verdict("LS4")
    first, *rest = verdict.findings
    width = first.ci_high - first.ci_low
    by = shift * width
    other = replace(first, estimate=first.estimate + by, ci_low=first.ci_low + by, ci_high=first.ci_high + by)
    return with_verdict(report, "LS4", findings=(other, *rest))


def test_an_effect_is_moved_where_the_intervals_do_not_overlap(report):
    assert compare(report, moved_by(report, 0.9)).changes == ()
    for shift in (1.1, -1.1):
        comparison = compare(report, moved_by(report, shift))
        assert [(one.kind, one.claim_id) for one in comparison.changes] == [("moved", "LS4")]
        assert comparison.exit_code == 0
        assert "LS4 deviation SI-SNR lsac-balanced against baseline noisy:" in str(comparison)


def test_a_figure_without_interval_moves_when_it_changes_beyond_rounding(report):
    def gate(value):
        return with_verdict(report, "GH1", findings=(Finding(quantity="gate", estimate=value),))

    assert compare(gate(-0.4), gate(-0.4 * (1 + 1e-9))).changes == ()
    assert [one.kind for one in compare(gate(-0.4), gate(-0.5)).changes] == ["moved"]


def test_other_checkpoints_mixtures_and_levels_are_noted(report):
    seen = replace(report.environment, checkpoint="other", digest="6" * 64, mixtures={"clean": 3})
    words = str(compare(report, replace(report, environment=seen, alpha=0.01)))
    assert "The checkpoints differ: simulated (555555555555) and other (666666666666)." in words
    assert "The mixtures differ" in words
    assert "The level or the margin differs" in words


def test_a_comparison_needs_a_report(tmp_path, report):
    with pytest.raises(InputError):
        compare(tmp_path / "old.json", report)
    with pytest.raises(StoreError):
        compare("{}", report)


def test_a_wrong_verdict_cannot_hide(report):
    """Every form shows the status of the verdict itself, not one of its own."""
    other = with_verdict(report, "GH1", status="refuted")
    assert verdict_table(other) != verdict_table(report)
    assert to_markdown(other) != to_markdown(report)
    assert junit_properties(Verdict(claim_id="GH1", status="refuted", reason=""))[1] == ("verdict", "refuted")
