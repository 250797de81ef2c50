"""What stands behind a verdict is shown in every form: its scope, its groups, its rare failures, and what it lacks."""

import html
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import Finding, Ledger, Row
from sam_lsac.claims.verdict import Groups, Harm
from sam_lsac.claims.wording import MARKS
from sam_lsac.report import (
    build_report,
    compare,
    from_json,
    junit_properties,
    summary_line,
    terminal_text,
    to_html,
    to_json,
    to_markdown,
)
from sam_lsac.report.badge import badge
from sam_lsac.report.evidence import counts, details, groups, harm, reach
from sam_lsac.report.tables import Tables, TierCell
from sam_lsac.report.variance import variance_rows
from tests.report_sample import (
    quick_book,
    simulated_context,
    simulated_environment,
    simulated_ledger,
    simulated_report,
    with_verdict,
)

BOOK = quick_book()
LEAST = {"si_snr": 0.1, "stoi": 0.01}
FOUR = Groups(n_targets=4, n_residuals=4, p_targets=0.03, p_residuals=0.2)
WORST = Harm(worst=0.21, mixture="clean-007", share=2 / 24, share_low=0.01, share_high=0.27, p_sign=0.84)
LOSS = Finding(quantity="loss", tier="clean", metric="si_snr", arm="one", estimate=0.01, n=24, status="supported")


@pytest.fixture(scope="module")
def report():
    """Without figures, which take long to draw."""
    full = simulated_report()
    return replace(full, tables=replace(Tables(), arms=full.tables.arms[:2]))


def read(text):
    """The words of a form, without its tags and its marks of Markdown."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\\", "").split())


FORMS = pytest.mark.parametrize(
    "form",
    [lambda report: terminal_text(report, reasons=True, width=160), to_markdown, to_html],
    ids=["terminal", "markdown", "html"],
)


# ---------------------------------------------------------------------------------------------------------------- words


def test_groups_are_counted_with_their_p_values():
    assert groups(FOUR) == "4 target groups p 0.03, 4 residual groups p 0.2"
    assert groups(Groups(n_targets=1, n_residuals=0)) == "1 target group without a test"
    assert groups(replace(FOUR, p_targets=1e-9)).startswith("4 target groups p < 0.0001, ")


def test_harm_names_the_worst_mixture_and_counts_those_beyond_the_smallest_effect():
    words = harm(replace(LOSS, harm=WORST), LEAST)
    assert words == "worst mixture clean-007 +0.21 dB; 2 of 24 lose more than 0.1 dB [1 %, 27 %]; sign test p 0.84"
    assert harm(LOSS, LEAST) == ""
    assert "more than 0.01 [" in harm(replace(LOSS, harm=WORST, metric="stoi"), LEAST)
    assert "more than the smallest effect [" in harm(replace(LOSS, harm=WORST), {})


def test_what_is_lacking_is_counted_by_its_sort():
    assert counts(replace(LOSS, n_failed=2, n_dropped=1, n_excluded=3)) == "2 failed, 1 dropped, 3 left out"
    assert counts(LOSS) == ""
    assert counts(TierCell(tier="clean", n=3, n_dropped=0, n_failed=1), runs=True) == "1 run failed"
    assert counts(TierCell(tier="clean", n=3, n_dropped=2, n_failed=4), runs=True) == "4 runs failed, 2 dropped"


def test_details_are_of_the_weakest_test_over_groups_and_of_the_worst_loss(report):
    tests = [
        replace(LOSS, arm=arm, groups=replace(FOUR, p_targets=of_targets, p_residuals=of_residuals))
        for arm, of_targets, of_residuals in (("a", 0.03, 0.2), ("b", 0.01, 0.4))
    ]
    small = replace(LOSS, arm="c", metric="stoi", harm=replace(WORST, worst=0.05, mixture="clean-001"))
    large = replace(LOSS, arm="d", harm=WORST)
    verdict = replace(report.verdict("LS4"), findings=(*tests, large, small), scope="these", n_failed=2)
    scope, weakest, worst = details(verdict, LEAST)
    assert scope == "speaks of these; 2 failed"
    assert weakest == "clean b: 4 target groups p 0.01, 4 residual groups p 0.4"
    assert worst.startswith("clean c: worst mixture clean-001")  # 5 smallest effects, and the other 2.1
    assert details(replace(verdict, findings=(), scope="", n_failed=0), LEAST) == ()


# ------------------------------------------------------------------------------------------------------- in every form


@FORMS
def test_every_form_says_what_a_verdict_covers_and_how_many_failed(form, report):
    told = with_verdict(report, "LS4", scope="recordings of these four", n_failed=3, n_dropped=1)
    assert "speaks of recordings of these four; 3 failed, 1 dropped" in read(form(told))
    assert "these four" not in read(form(report))


@pytest.mark.parametrize("form", [to_markdown, to_html], ids=["markdown", "html"])
def test_long_forms_say_groups_and_worst_mixture_of_a_claim(form, report):
    told = read(form(with_verdict(report, "LS4", findings=(replace(LOSS, groups=FOUR, harm=WORST),))))
    assert groups(FOUR) in told
    assert harm(replace(LOSS, harm=WORST), LEAST) in told


def test_a_terminal_has_one_line_at_most_for_what_a_claim_covers(report):
    wide = terminal_text(report, reasons=True, width=400).splitlines()
    said = [line for line in wide if "speaks of " in line]
    assert said
    ids = [claim_id for line in said for claim_id in line.split(":")[0].split(", ")]
    assert sorted(ids) == sorted(row.id for row in report.judged if reach(row.verdict))


def test_json_and_junit_carry_all_of_it(report):
    finding = replace(LOSS, groups=FOUR, harm=WORST, n_excluded=2, n_failed=1)
    told = with_verdict(report, "LS4", scope="these", pairs_needed=70, n_failed=1, findings=(finding,))
    assert from_json(to_json(told)).verdict("LS4") == told.verdict("LS4")
    row = next(row for row in json.loads(to_json(told))["claims"] if row["id"] == "LS4")["verdict"]
    assert (row["scope"], row["pairs_needed"], row["n_failed"]) == ("these", 70, 1)
    assert row["findings"][0]["harm"]["mixture"] == "clean-007"
    assert row["findings"][0]["groups"]["p_residuals"] == 0.2
    properties = dict(junit_properties(told.verdict("LS4")))
    assert (properties["scope"], properties["pairs_needed"], properties["n_failed"]) == ("these", "70", "1")


# ---------------------------------------------------------------------------------------------------------------- shown


def test_a_claim_that_is_shown_is_neither_supported_nor_refuted(report):
    before = report.counts
    assert before["shown"] == sum(row.verdict.status == "shown" for row in report.judged) > 0
    for status in ("supported", "refuted"):
        row = next(row for row in report.judged if row.verdict.status == status)
        after = with_verdict(report, row.id, status="shown")
        assert after.counts == before | {status: before[status] - 1, "shown": before["shown"] + 1}
        assert f"{before[status] - 1} {status}" in badge(after)
        assert "shown" not in badge(after)
        assert f"{before['shown'] + 1} shown" in summary_line(after)
    assert len(set(MARKS.values())) == len(MARKS) == len(before)


@FORMS
def test_every_form_marks_it_and_its_tiers(form, report):
    before = read(form(with_verdict(report, "LS4", tiers={})))
    told = read(form(with_verdict(report, "LS4", status="shown", tiers={"noisy": "shown"})))
    for words in (f"{MARKS['shown']} noisy", f"{MARKS['shown']} shown"):
        assert told.count(words) == before.count(words) + 1


def test_a_claim_that_is_not_judged_any_more_has_vanished_and_one_that_is_now_is_added(report):
    shown = with_verdict(report, "LS4", status="shown", tiers={})
    judged = with_verdict(report, "LS4", tiers={})
    unrun = with_verdict(report, "LS4", status="not run", tiers={})
    kinds = {
        (old, new): [one.kind for one in compare(olds, news).changes]
        for old, olds in (("shown", shown), ("judged", judged), ("not run", unrun))
        for new, news in (("shown", shown), ("judged", judged), ("not run", unrun))
        if old != new
    }
    assert kinds == {
        ("shown", "judged"): ["added"],
        ("judged", "shown"): ["vanished"],
        ("shown", "not run"): ["vanished"],
        ("not run", "shown"): ["added"],
        ("judged", "not run"): ["vanished"],
        ("not run", "judged"): ["added"],
    }


# --------------------------------------------------------------------------------------------------------------- tables


def silent(row):
    return replace(row, value=math.nan, reason="the estimate is silent", failed=True)


def built(rows, book=BOOK):
    context = simulated_context()
    return build_report(book, [], Ledger(tuple(rows)), context, environment=simulated_environment(context))


def test_the_table_of_arms_counts_failed_runs_by_arm_and_tier():
    rows = simulated_ledger(BOOK, n=4, only=("baseline", "naive-12", "naive-14")).rows
    again = [replace(row, seed=1) for row in rows]  # a second seed is another run
    fails = {("clean-000", 0), ("clean-000", 1), ("clean-002", 0)}
    rows = [
        silent(row) if row.arm == "naive-12" and (row.mixture, row.seed) in fails else row for row in (*rows, *again)
    ]
    report = built(rows)
    found = {(row.arm, cell.tier): (cell.n_failed, cell.n) for row in report.tables.arms for cell in row.cells}
    assert found[("naive-12", "clean")] == (3, 4)  # each once, though no metric has a figure; none is left out
    assert {where: failed for where, (failed, _) in found.items() if failed} == {("naive-12", "clean"): 3}
    bare = replace(report, tables=replace(Tables(), arms=report.tables.arms))
    assert "3 runs failed" in terminal_text(bare)
    assert "(3 runs failed)" in to_markdown(bare)
    assert "(3 runs failed)" in read(to_html(bare))


def test_an_arm_that_fails_everywhere_is_still_a_row():
    rows = simulated_ledger(BOOK, n=3, only=("baseline", "naive-12")).rows
    report = built([silent(row) if row.arm == "naive-12" else row for row in rows if row.tier == "clean"])
    (row,) = report.tables.arms
    assert [cell.n_failed for cell in row.cells] == [3, 0, 0]


def two_way(*, mixture, seed, rest, arms=("baseline", "lsac-balanced"), n=300, n_seeds=3, tier="clean"):
    """Figures with these standard deviations; the losses have half of them, from draws of their own."""
    rng = np.random.default_rng(5)
    own, loss = (
        scale
        * (
            mixture * rng.standard_normal((n, 1))
            + seed * np.array([-1.0, 0.0, 1.0])[:n_seeds]
            + rest * rng.standard_normal((n, n_seeds))
        )
        for scale in (1.0, 0.5)
    )
    figures = {arms[0]: own} | dict.fromkeys(arms[1:], own - loss)
    return [
        Row(arm=arm, tier=tier, mixture=f"{tier}-{i}", group="g", seed=s, metric="si_snr", value=float(values[i, s]))
        for arm, values in figures.items()
        for i in range(n)
        for s in range(n_seeds)
    ]


def test_variance_is_told_apart_by_mixture_seed_and_rest():
    """The seeds' effects are -1, 0 and 1: a variance of 1."""
    own, loss = variance_rows(BOOK, Ledger(tuple(two_way(mixture=3.0, seed=1.0, rest=0.5))))
    assert (own.arm, own.versus, own.n_mixtures, own.n_seeds) == ("baseline", "", 300, 3)
    assert (own.mixture, own.seed, own.rest) == pytest.approx((9.0, 1.0, 0.25), rel=0.2)
    assert (loss.arm, loss.versus) == ("lsac-balanced", "baseline")
    assert (loss.mixture, loss.seed, loss.rest) == pytest.approx((9.0 / 4, 1.0 / 4, 0.25 / 4), rel=0.2)


def test_variance_needs_several_seeds_and_leaves_out_mixtures_that_lack_one():
    rows = two_way(mixture=1.0, seed=0.0, rest=1.0, n=6)
    assert list(variance_rows(BOOK, Ledger(tuple(row for row in rows if row.seed == 0)))) == []
    holed = [silent(row) if (row.mixture, row.seed) == ("clean-1", 2) else row for row in rows]
    assert [row.n_mixtures for row in variance_rows(BOOK, Ledger(tuple(holed)))] == [5, 5]
    assert [row.n_mixtures for row in variance_rows(BOOK, Ledger(tuple(rows)))] == [6, 6]


def test_the_loss_is_of_an_arm_that_was_run():
    rows = two_way(mixture=1.0, seed=0.0, rest=1.0, n=6, arms=("baseline", "naive-14"))
    assert [row.arm for row in variance_rows(BOOK, Ledger(tuple(rows)))] == ["baseline"]  # no claim is about it
    rows = two_way(mixture=1.0, seed=0.0, rest=1.0, n=6, arms=("baseline", "zero-additive"))
    assert [row.arm for row in variance_rows(BOOK, Ledger(tuple(rows)))] == ["baseline", "zero-additive"]
    rows = two_way(mixture=1.0, seed=0.0, rest=1.0, n=6, arms=("baseline", "zero-additive", "lsac-balanced"))
    assert [row.arm for row in variance_rows(BOOK, Ledger(tuple(rows)))] == [
        "baseline",
        "lsac-balanced",
    ]  # of most claims


def test_the_loss_is_of_the_arm_of_most_claims_against_the_reference_itself():
    claim = next(one for one in BOOK.claims if one.arms == ("lsac-balanced",) and one.baselines == ("baseline",))
    elsewhere = replace(claim, arms=("zero-additive",), baselines=("baseline-ab2",))
    book = replace(BOOK, claims=(elsewhere, elsewhere, claim))
    rows = two_way(mixture=1.0, seed=0.0, rest=1.0, n=6, arms=("baseline", "zero-additive", "lsac-balanced"))
    assert [row.arm for row in variance_rows(book, Ledger(tuple(rows)))] == ["baseline", "lsac-balanced"]


def test_where_the_variance_lies_is_shown_and_read_back():
    report = built(two_way(mixture=3.0, seed=1.0, rest=0.5, n=40))
    bare = replace(report, tables=Tables(arms=report.tables.arms, variances=report.tables.variances))
    assert from_json(to_json(bare)).tables.variances == report.tables.variances
    for form in (to_markdown, to_html):
        text = read(form(bare))
        assert "loss of lsac-balanced against baseline" in text
        assert f"{math.sqrt(report.tables.variances[0].mixture):.2f}" in text
