"""Two reports side by side, and the reports of earlier runs."""

from dataclasses import replace

import pytest

from sam_lsac.claims import Finding
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report import compare, to_json
from tests.report_sample import simulated_report, with_verdict


@pytest.fixture(scope="module")
def report():
    return simulated_report()


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
