"""The report says what was judged: every claim, its own verdict, figures that are those of the findings."""

from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import Finding, KnownRefutation, Ledger, Verdict
from sam_lsac.claims.views import CaveatRow, Views
from sam_lsac.claims.wording import NOTHING, effect, estimate, figure, number, percent
from sam_lsac.errors import InputError
from sam_lsac.report import AttentionMap, Extras, Player, build_report
from tests.report_sample import (
    quick_book,
    simulated_context,
    simulated_environment,
    simulated_report,
    simulated_verdicts,
)

BOOK = quick_book()
BESIDE = ("deviation beyond 0.5 of the rival's", "worst loss")  # what a claim of no loss needs besides its loss


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


def built(verdicts, book=BOOK, **fields):
    context = simulated_context()
    return build_report(book, verdicts, Ledger(()), context, environment=simulated_environment(context), **fields)


# ------------------------------------------------------------------------------------------------------------- verdicts


def test_every_claim_of_the_book_is_there_with_its_own_verdict(report):
    verdicts = simulated_verdicts()
    assert [row.id for row in report.claims] == [claim.id for claim in BOOK.claims]
    for row, claim, verdict in zip(report.claims, BOOK.claims, verdicts, strict=True):
        assert (row.quote, row.paper, row.section) == (claim.quote, claim.paper, claim.section)
        assert row.verdict == verdict
    assert report.counts == {
        status: sum(verdict.status == status for verdict in verdicts)
        for status in ("supported", "refuted", "inconclusive", "shown", "not run")
    }


def test_the_sample_has_every_status(report):
    assert all(report.counts.values())


def test_a_claim_without_a_verdict_is_not_run_and_never_left_out():
    only = Verdict(claim_id="LS1", status="supported", reason="It is.")
    report = built([only])
    assert len(report.claims) == len(BOOK.claims)
    assert [row.id for row in report.claims if row.selected] == ["LS1"]
    assert report.counts == {"supported": 1, "refuted": 0, "inconclusive": 0, "shown": 0, "not run": 0}
    assert sum(map(len, report.outside.values())) == len(BOOK.claims) - 1
    assert {row.verdict.status for row in report.claims if not row.selected} == {"not run"}


def test_whether_a_claim_was_asked_for_is_no_matter_of_its_reason(report):
    same = simulated_report(only=("LS1",)).claims[0].verdict
    asked = built([same])
    assert [row.id for row in asked.judged] == [same.claim_id]


@pytest.mark.parametrize(
    ("ids", "words"), [(["LS1", "LS1"], "two verdicts"), (["LS99"], "LS99, which the book does not have")]
)
def test_verdicts_that_do_not_fit_the_book_are_errors(ids, words):
    with pytest.raises(InputError, match=words):
        built([Verdict(claim_id=one, status="refuted", reason="no") for one in ids])


def test_a_known_refutation_is_shown_beside_its_claim():
    known = {"simulated": KnownRefutation(reason="loses 2 dB")}
    claims = tuple(replace(claim, known_refutations=known) if claim.id == "LS3" else claim for claim in BOOK.claims)
    report = built([], book=replace(BOOK, claims=claims))
    assert {row.id: row.expected for row in report.claims if row.expected} == {"LS3": "loses 2 dB"}


def test_claims_are_grouped_by_topic_in_the_books_order(report):
    topics = report.topics
    assert [row.id for rows in topics.values() for row in rows] == [claim.id for claim in BOOK.claims]
    assert list(topics) == list(BOOK.views.topics.values())


def test_a_heading_is_that_of_the_longest_prefix_or_the_section():
    book = replace(BOOK, views=Views(topics={"L": "all", "LS": "some"}))
    topics = {row.id: row.topic for row in built([], book=book).claims}
    assert (topics["LS1"], topics["DP1"], topics["FL1"]) == ("some", "Section 4.1", "Section 2.4")


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (Views(reference="base"), "reference 'base' is no arm"),
        (Views(caveats=(CaveatRow(title="A", known="b", missing="c", figures="evaluations"),)), "'evaluation'"),
    ],
)
def test_views_that_name_nothing_are_errors(views, words):
    with pytest.raises(InputError, match=words):
        built([], book=replace(BOOK, views=views))


def test_a_book_without_views_is_reported_too():
    report = built(simulated_verdicts(), book=replace(BOOK, views=Views()))
    assert report.caveats == ()
    assert next(iter(report.topics)) == "Section 4.1"
    assert (report.reference, report.metric) == ("baseline", "si_snr")


# ------------------------------------------------------------------------------------------------------------ headlines


def test_a_judged_claim_has_figures_and_one_that_was_not_run_has_none(report, bare):
    for row in report.claims:
        assert bool(row.ours) == (row.verdict.status != "not run"), row.id
    assert not any(row.ours or row.cost for row in bare.claims)


@pytest.mark.parametrize("claim_id", ["SS1", "SS2", "GH2", "GH3", "GH4", "GH6"])
def test_the_headline_holds_each_tiers_finding(report, claim_id):
    row = next(row for row in report.claims if row.id == claim_id)
    judged = [one for one in row.verdict.findings if one.status and one.quantity not in BESIDE]
    assert {one.tier for one in judged} == {"clean", "noisy", "env"}
    for finding in judged:
        assert any(line.startswith(f"{finding.tier} {figure(finding)}") for line in row.ours), (finding, row.ours)


def test_a_comparison_shows_arm_rival_and_ratio_in_this_order(report):
    row = next(row for row in report.claims if row.id == "LS4")
    arm, rival, control = (one for one in row.verdict.findings if one.quantity == "deviation")
    ratio = next(one for one in row.verdict.findings if one.quantity == "ratio")
    assert (arm.arm, rival.arm, control.arm) == ("lsac-balanced", "naive-12", "naive-15")
    assert row.ours == (f"noisy {figure(arm)} against {figure(rival)}", f"noisy ratio {figure(ratio)}; {ratio.note}")


def test_the_pareto_headline_counts_both_axes_and_shows_the_weakest(report):
    row = next(row for row in report.claims if row.id == "LS1")
    mine = [one for one in row.verdict.findings if one.axis == "layer_steps_saved"]
    assert row.ours[0] == f"{sum(one.status == 'supported' for one in mine)} of 9 dominated by layer-steps"
    assert row.ours[1] == "0 of 9 dominated by total FLOPs"
    worst = max((one for one in mine if one.tier == "clean"), key=lambda one: one.ci_high)
    assert row.ours[2] == f"clean difference at worst {figure(worst)}"


def test_costs_and_counts_are_in_their_units(report):
    ours = {row.id: row.ours for row in report.claims}
    assert ours["LS2"] == (
        "27.1 % of layer-steps", "3.9 % of total FLOPs", "13.6 % of self-attention FLOPs",
    )  # fmt: skip
    assert ours["FL1"] == ("211.7 GFLOPs (+0.14%)", "self-attention 61.2 GFLOPs (-0.33%)")
    assert ours["GH1"] == ("gate -0.41",)


def test_cost_names_both_axes_and_the_runs(report):
    cost = {row.id: row.cost for row in report.claims}
    assert cost["LS3"] == ("saves 27.1 % of layer-steps", "3.9 % of FLOPs", "96 runs")  # 4 arms of 24 mixtures
    assert cost["DP2"] == ("144 runs",)
    assert cost["DP4"] == ()


# --------------------------------------------------------------------------------------------------- wording and extras


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.187, "0.19"), (-14.6, "-14.60"), (0.00123, "0.0012"), (0.0, "0.00"), (-1e-15, "0.00"), (123.4, "123.4"),
     (None, NOTHING), (float("inf"), "∞"), (12345.0, "1.23e+04")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_an_interval_sets_the_decimals():
    assert estimate(0.1874, 0.15, 0.24, unit="dB") == "0.19 dB [0.15, 0.24]"
    assert estimate(0.02431, 0.0162, 0.0324) == "0.024 [0.016, 0.032]"
    assert estimate(-0.001, -0.04, 0.04) == "0.00 [-0.04, 0.04]"
    assert estimate(1.0, 1.0, 1.0) == "1.00 [1.00, 1.00]"
    assert estimate(2.0, None, None) == "2.00"
    assert estimate(None, 0.0, 1.0) == NOTHING
    assert (effect(0.3), effect(-0.001), effect(None), effect(float("-inf"))) == ("+0.30", "0.00", NOTHING, "-∞")
    assert (percent(0.2708), percent(None)) == ("27.1 %", NOTHING)


def test_figures_have_the_unit_of_their_quantity():
    assert (
        figure(Finding(quantity="loss", metric="sar", estimate=1.0, ci_low=0.5, ci_high=1.5)) == "1.00 dB [0.50, 1.50]"
    )
    assert figure(Finding(quantity="factor", metric="block_ratio/L06", estimate=1.66)) == "x1.66"
    assert figure(Finding(quantity="ratio", metric="si_snr", estimate=2.5)) == "x2.50"
    assert figure(Finding(quantity="lead in loss", metric="stoi", estimate=0.5)) == "0.50"


@pytest.mark.parametrize(
    "build",
    [
        lambda: AttentionMap(mixture="m", layer=0, step=1, condition="before", weights=np.ones((2, 3))),
        lambda: AttentionMap(mixture="m", layer=0, step=1, condition="before", weights=np.full((2, 2), np.nan)),
        lambda: AttentionMap(mixture="m", layer=0, step=1, condition="x", weights=np.eye(2), span=np.ones(3, bool)),
        lambda: Player(mixture="m", tier="clean", prompt="p", sample_rate=0, tracks={}),
        lambda: Player(mixture="m", tier="clean", prompt="p", sample_rate=8000, tracks={"a": np.array([np.nan])}),
        lambda: Player(mixture="m", tier="clean", prompt="p", sample_rate=8000, tracks={"a": np.zeros((2, 9))}),
        lambda: Extras(entropy={"clean": np.zeros(3)}),
        lambda: Extras(entropy={"clean": np.full((2, 2), np.inf)}),
    ],
)
def test_extras_that_cannot_be_shown_are_errors(build):
    with pytest.raises(InputError):
        build()
