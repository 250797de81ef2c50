"""The report says what was judged: every claim, its own verdict, figures that are those of the findings."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import Finding, KnownRefutation, Ledger, Verdict, judge
from sam_lsac.claims.claim import Arm
from sam_lsac.claims.wording import NOTHING, effect, estimate, figure, number, percent
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report import AttentionMap, Extras, NoiseFloor, Player, build_report, environment, write_report
from sam_lsac.report.caveats import _floor
from sam_lsac.statistics import paired_test
from tests.claim_worlds import rows_of
from tests.report_sample import (
    GRID,
    TIERS,
    quick_book,
    simulated_context,
    simulated_environment,
    simulated_ledger,
    simulated_report,
)

BOOK = quick_book()


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


def built(verdicts, ledger=None, **fields):
    context = simulated_context(**fields.pop("context", {}))
    world = Ledger(()) if ledger is None else ledger
    return build_report(BOOK, verdicts, world, context, environment=simulated_environment(context), **fields)


# ------------------------------------------------------------------------------------------------------------- verdicts


def test_every_claim_of_the_book_is_there_with_its_own_verdict(report):
    ledger, context = simulated_ledger(BOOK), simulated_context()
    verdicts = [judge(claim, ledger, context) for claim in BOOK.claims]
    assert [row.id for row in report.claims] == [claim.id for claim in BOOK.claims]
    for row, claim, verdict in zip(report.claims, BOOK.claims, verdicts, strict=True):
        assert (row.quote, row.paper, row.section) == (claim.quote, claim.paper, claim.section)
        assert row.verdict == verdict
    assert report.counts == {
        status: sum(verdict.status == status for verdict in verdicts)
        for status in ("supported", "refuted", "inconclusive", "not run")
    }


def test_the_sample_has_every_status(report):
    assert all(report.counts.values())


def test_a_claim_without_a_verdict_is_not_run_and_never_left_out():
    only = Verdict(claim_id="LS1", status="supported", reason="It is.")
    report = built([only])
    assert len(report.claims) == len(BOOK.claims)
    assert [row.id for row in report.claims if row.selected] == ["LS1"]
    assert report.counts == {"supported": 1, "refuted": 0, "inconclusive": 0, "not run": len(BOOK.claims) - 1}


@pytest.mark.parametrize(
    ("ids", "words"), [(["LS1", "LS1"], "two verdicts"), (["LS99"], "LS99, which the book does not have")]
)
def test_verdicts_that_do_not_fit_the_book_are_errors(ids, words):
    with pytest.raises(InputError, match=words):
        built([Verdict(claim_id=one, status="refuted", reason="no") for one in ids])


def test_a_known_refutation_is_shown_beside_its_claim():
    known = {"simulated": KnownRefutation(reason="loses 2 dB")}
    claims = tuple(replace(claim, known_refutations=known) if claim.id == "LS3" else claim for claim in BOOK.claims)
    context = simulated_context()
    report = build_report(
        replace(BOOK, claims=claims), [], Ledger(()), context, environment=simulated_environment(context)
    )
    assert {row.id: row.expected for row in report.claims if row.expected} == {"LS3": "loses 2 dB"}


def test_claims_are_grouped_by_topic_in_the_books_order(report):
    topics = report.topics
    assert [row.id for rows in topics.values() for row in rows] == [claim.id for claim in BOOK.claims]
    assert len(topics) == 5


# ------------------------------------------------------------------------------------------------------------ headlines


def test_a_judged_claim_has_figures_and_one_that_was_not_run_has_none(report, bare):
    for row in report.claims:
        assert bool(row.ours) == (row.verdict.status != "not run"), row.id
    assert not any(row.ours or row.cost for row in bare.claims)


@pytest.mark.parametrize("claim_id", ["SS1", "SS2", "GH2", "GH3", "GH4", "GH6"])
def test_the_headline_holds_each_tiers_finding(report, claim_id):
    row = next(row for row in report.claims if row.id == claim_id)
    for finding in row.verdict.findings:
        assert any(line.startswith(f"{finding.tier} {figure(finding)}") for line in row.ours), (finding, row.ours)


def test_a_comparison_shows_arm_rival_and_ratio_in_this_order(report):
    row = next(row for row in report.claims if row.id == "LS4")
    arm, rival = (one for one in row.verdict.findings if one.quantity == "deviation")
    ratio = next(one for one in row.verdict.findings if one.quantity == "ratio")
    assert (arm.arm, rival.arm) == ("lsac-balanced", "naive-12")
    assert row.ours == (f"noisy {figure(arm)} against {figure(rival)}", f"noisy ratio {figure(ratio)}")


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
    assert cost["LS3"] == ("saves 27.1 % of layer-steps", "3.9 % of FLOPs", "72 runs")  # 3 arms of 24 mixtures
    assert cost["DP2"] == ("144 runs",)
    assert cost["DP4"] == ()


# --------------------------------------------------------------------------------------------------------------- tables


def test_the_table_of_arms_is_that_of_the_ledger(report):
    ledger = simulated_ledger(BOOK)
    rows = {row.arm: row for row in report.tables.arms}
    assert set(rows) >= {"lsac-safe", "naive-10", "deepcache-4", "lsac-balanced-midpoint"}
    for arm, base in (("naive-12", "baseline"), ("lsac-balanced-midpoint", "baseline-midpoint")):
        assert rows[arm].baseline == base
        for tier, cell in zip(TIERS, rows[arm].cells, strict=True):
            pairs = ledger.paired("si_snr", arm=arm, baseline=base, tier=tier)
            test = paired_test(pairs.second, pairs.first)
            assert cell.deviation == pytest.approx(np.abs(pairs.first - pairs.second).mean())
            assert (cell.loss, cell.d, cell.n) == (pytest.approx(test.mean), pytest.approx(test.d), 24)
            assert cell.deviation_low < cell.deviation < cell.deviation_high
    assert (rows["lsac-balanced-midpoint"].evaluations, rows["naive-14"].evaluations) == (32, 14)
    assert (rows["lsac-balanced"].layer_steps_saved, rows["naive-12"].flops_saved) == (0.271, 0.25)


def test_arms_without_costs_or_with_one_mixture_are_shown_as_unknown():
    one = Ledger(tuple(row for row in simulated_ledger(BOOK, n=3).rows if row.mixture.endswith("000")))
    report = built([], one, context={"costs": {}})
    row = next(row for row in report.tables.arms if row.arm == "lsac-balanced")
    assert row.layer_steps_saved is None
    assert {(cell.n, cell.deviation) for cell in row.cells} == {(1, None)}


def test_a_mixture_that_was_dropped_is_counted():
    rows = simulated_ledger(BOOK, n=5, only=("baseline", "naive-12")).rows
    holed = [
        replace(row, value=np.nan, reason="silent") if row.mixture == "clean-000" and row.arm == "naive-12" else row
        for row in rows
    ]
    cells = built([], Ledger(tuple(holed))).tables.arms[0].cells
    assert [(cell.n, cell.n_dropped) for cell in cells] == [(4, 1), (5, 0), (5, 0)]


def test_speakers_share_out_the_mixtures_of_each_tier(report):
    ledger = simulated_ledger(BOOK)
    for tier in TIERS:
        rows = [row for row in report.tables.speakers if row.tier == tier]
        assert [row.group for row in rows] == ["g0", "g1", "g2"]
        assert sum(row.n for row in rows) == 24
        pairs = ledger.deviations("si_snr", arm="naive-12", rival="naive-12", baseline="baseline", tier=tier)
        weighted = sum(row.n * row.deviations["naive-12"] for row in rows) / 24
        assert weighted == pytest.approx(pairs.first.mean())


def test_freeze_curves_come_from_the_book_and_from_the_grid(report):
    points = {(one.series, one.tier, one.x) for one in report.tables.freezing}
    assert {("stable", "clean", 4.0), ("fast", "env", 8.0), ("moderate", "noisy", 10.0)} <= points
    assert len(points) == len(report.tables.freezing) == 3 * 7 * 3


def test_single_layers_are_named_by_their_numbers():
    arm = Arm(
        name="freeze-L03-8",
        solver="euler:16",
        edits=({"kind": "FreezeSelfAttention", "layers": [3], "step": 8},),
    )
    columns = {("baseline", "si_snr"): np.arange(4.0), (arm.name, "si_snr"): np.arange(4.0) - 0.5}
    points = built([], Ledger(tuple(rows_of(columns))), arms={arm.name: arm}).tables.freezing
    assert [(one.series, one.x, one.estimate) for one in points] == [("L03", 8.0, pytest.approx(0.5))]


def test_the_gates_sweep_has_15_points_per_metric_and_tier(report):
    for series in ("block_ratio/mean", "si_snr"):
        for tier in TIERS:
            mine = [one for one in report.tables.gate if (one.series, one.tier) == (series, tier)]
            assert np.allclose(sorted(one.x for one in mine), np.linspace(-1, 1, 15), atol=1e-6)


def test_block_ratios_are_means_by_layer_arm_and_form() -> None:
    ledger = simulated_ledger(BOOK)
    report = built([], ledger)
    arms = ["baseline-spans", "gate-open", "gate-open-shuffled"]
    layers = sorted({row.metric.split("/")[1] for row in ledger.rows if row.metric.startswith("block_ratio/L")})
    assert [(row.tier, row.layer) for row in report.tables.block_ratios] == [(t, x) for t in TIERS for x in layers]
    for row in report.tables.block_ratios:
        for form, values in {"block_ratio": row.means, "block_ratio_sum": row.sums}.items():
            assert list(values) == arms
            for arm, value in values.items():
                mine = [
                    one.value
                    for one in ledger.rows
                    if (one.metric, one.arm, one.tier) == (f"{form}/{row.layer}", arm, row.tier)
                ]
                assert value == pytest.approx(np.mean(mine))
                assert row.n == len(mine)


def test_a_grid_that_is_not_given_is_not_drawn():
    report = built([], simulated_ledger(BOOK, n=3))
    assert {(one.series, one.x) for one in report.tables.freezing} == {("stable", 4.0), ("fast", 8.0), ("fast", 12.0)}
    assert GRID


# ----------------------------------------------------------------------------------------------------- the six findings


def test_the_six_findings_have_our_figures(report):
    ours = [one.ours for one in report.caveats]
    assert len(ours) == 6
    assert "211.7 GFLOPs per evaluation, 61.2 of them" in ours[0]
    assert "3.39 TFLOPs" in ours[0]  # 16 x 211.7e9
    assert "27.1 % of layer-steps and 3.9 % of all FLOPs; naive-12 saves 25.0 % and 25.0 %" in ours[1]
    assert "0 of 9 naive runs on total FLOPs" in ours[1]
    assert "1.17x faster on 10 s and 1.23x faster on 60 s" in ours[2]
    assert "could make the transformer 1.17x faster" in ours[2]  # 1 / (1 - 0.144)
    assert "LS6: 4 of 4" in ours[3]
    assert "midpoint (32 evaluations)" in ours[4]
    assert "SI-SNR differs by 0.03 dB on average" in ours[5]


def test_the_noise_floor_says_once_how_it_was_measured():
    floors = [NoiseFloor(metric="si_snr", mean=0.03, largest=0.08, n=24, note="two messages")]
    floors.append(NoiseFloor(metric="stoi", mean=0.001, largest=0.002, n=23, note="two messages"))
    assert _floor(floors) == (
        "SI-SNR differs by 0.03 dB on average and 0.08 at most (n = 24). "
        "STOI differs by 0.001 on average and 0.002 at most (n = 23) (two messages)."
    )
    still = [replace(one, mean=0.0, largest=0.0, note="no watermark") for one in floors]
    assert _floor(still) == "Nothing moves (no watermark): SI-SNR (n = 24), STOI (n = 23)."
    assert "differs by 0.03" in _floor([floors[0], still[1]])


def test_findings_without_runs_say_how_to_get_them(bare):
    assert [one.ours for one in bare.caveats] == [None] * 6
    assert all(one.known and one.missing for one in bare.caveats)


def test_equivalence_counts_only_what_is_shown(report):
    judged = [one for one in report.verdict("LS7").findings if one.quantity == "loss" and one.status]
    assert f"LS7: {sum(one.status == 'supported' for one in judged)} of {len(judged)}" in report.caveats[3].ours


# -------------------------------------------------------------------------------------------------- wording and extras


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


# ---------------------------------------------------------------------------------------------- environment and files


def git(folder, *arguments):
    who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_the_environment_names_commit_checkpoint_mixtures_and_seeds(tmp_path):
    git(tmp_path, "init")
    file = tmp_path / "file.txt"
    file.write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one", "--no-gpg-sign")
    rows = rows_of({("baseline", "stoi"): np.zeros(3), ("a", "stoi"): np.zeros(3)})
    rows += rows_of({("a", "stoi"): np.zeros(2)}, tier="env", seed=7)
    seen = environment(simulated_context(), Ledger(tuple(rows)), root=tmp_path)
    assert re.fullmatch(r"[0-9a-f]{12}", seen.git_commit)
    assert (seen.checkpoint, seen.digest, seen.n_layers) == ("simulated", "5" * 64, 12)
    assert (dict(seen.mixtures), seen.seeds, seen.n_runs) == ({"clean": 3, "env": 2}, (0, 7), 8)
    assert (seen.device, seen.accelerator, seen.driver) == ("cpu", "none", "none")
    assert seen.packages["numpy"] == np.__version__
    file.write_text("two")
    assert environment(simulated_context(), Ledger(()), root=tmp_path).git_commit == f"{seen.git_commit} + changes"


def test_outside_a_repository_the_commit_is_unknown(tmp_path):
    assert environment(simulated_context(), Ledger(()), root=tmp_path).git_commit == "unknown"


def test_writing_makes_three_files_and_replaces_them(bare, tmp_path):
    report = replace(bare, claims=bare.claims[:3])
    folder = tmp_path / "deep" / "folder"
    files = write_report(report, folder)
    assert [file.name for file in files] == ["report.html", "report.md", "report.json"]
    before = [file.read_text(encoding="utf-8") for file in files]
    assert sorted(one.name for one in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    write_report(bare, folder)
    assert all(file.read_text(encoding="utf-8") != text for file, text in zip(files, before, strict=True))


def test_a_folder_that_cannot_be_written_to_is_a_store_error(bare, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="give another folder"):
        write_report(bare, tmp_path / "file")
