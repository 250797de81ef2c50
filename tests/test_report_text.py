"""The report as text: a terminal's table, and Markdown."""

from dataclasses import replace

import pytest

from sam_lsac.claims import Verdict
from sam_lsac.claims.wording import NOTHING
from sam_lsac.report import arms_table, junit_properties, summary_line, terminal_text, to_markdown, verdict_table
from tests.report_sample import simulated_report, with_verdict


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


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
    few = simulated_report(only=("LS2", "SS1"))
    text = verdict_table(few)
    assert [line.split()[0] for line in text.splitlines() if line[:3].rstrip("123") in ("LS", "SS", "DP")] == [
        "SS1", "LS2",
    ]  # fmt: skip
    assert "Not in this run, Conditioning: two pathways for text: DP1, DP2, DP3, DP4, DP5.\n" in text
    assert text.index("LS2 ") < text.index("Not in this run")
    assert summary_line(few).endswith(f"1 inconclusive, 1 shown, {len(few.claims) - 2} outside this run")


def test_the_summary_counts(report):
    assert summary_line(report).endswith(", ".join(f"{n} {name}" for name, n in report.counts.items()))
    assert "24/24/24 mixtures (clean/noisy/env)" in summary_line(report)


def test_arms_have_both_axes_and_each_tiers_deviation(report):
    text = arms_table(report)
    line = next(line for line in text.splitlines() if line.startswith("lsac-balanced "))
    assert line.split()[1:3] == ["27.1%", "3.9%"]
    cells = next(row for row in report.tables.arms if row.arm == "lsac-balanced").cells
    assert all(f"{cell.deviation:.2f} [" in line for cell in cells)


def test_nothing_run_is_said_plainly(bare):
    text = terminal_text(bare)
    assert f"{len(bare.claims)} not run" in text
    assert "have no runs" in text
    assert "layer-\n" not in text


# ------------------------------------------------------------------------------------------------------------- Markdown


def test_markdown_has_every_claim_finding_and_the_environment(report):
    text = to_markdown(report)
    for row in report.claims:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row.id} |")]
        assert f" {row.verdict.status}" in line.split(" | ")[4]
        assert line.count(" | ") == 6
        assert f"- **{row.id}**, {row.verdict.status}: " in text
    assert all(one.title in text and one.ours in text for one in report.caveats)
    assert report.environment.digest in text


def test_markdown_cells_cannot_break_the_table(report):
    rows = (replace(report.claims[0], quote="a | b\n<script>*x*"), *report.claims[1:])
    assert "a \\| b &lt;script>\\*x\\*" in to_markdown(replace(report, claims=rows))


def test_a_wrong_verdict_cannot_hide(report):
    """Every form shows the status of the verdict itself, not one of its own."""
    other = with_verdict(report, "GH1", status="refuted")
    assert verdict_table(other) != verdict_table(report)
    assert to_markdown(other) != to_markdown(report)
    assert junit_properties(Verdict(claim_id="GH1", status="refuted", reason=""))[1] == ("verdict", "refuted")
