"""Tables of the ledger, caveats of the method, environment and files: what a report says besides verdicts."""

import re
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sam_lsac.claims import Arm, Ledger
from sam_lsac.claims.views import Sweep
from sam_lsac.errors import StoreError
from sam_lsac.report import NoiseFloor, build_report, environment, write_report
from sam_lsac.report.caveats import _ceiling, _noise_floor
from sam_lsac.statistics import effect_size
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
OWN_BASELINES = (
    ("naive-12", "baseline"),
    ("lsac-balanced-midpoint", "baseline-midpoint"),
    ("naive-12-ab2", "baseline-ab2"),
)


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


def built(verdicts, ledger=None, *, book=BOOK, **fields):
    context = simulated_context(**fields.pop("context", {}))
    world = Ledger(()) if ledger is None else ledger
    return build_report(book, verdicts, world, context, environment=simulated_environment(context), **fields)


# --------------------------------------------------------------------------------------------------------------- tables


def test_the_table_of_arms_is_that_of_the_ledger(report):
    ledger = simulated_ledger(BOOK)
    rows = {row.arm: row for row in report.tables.arms}
    assert set(rows) >= {"lsac-safe", "naive-10", "deepcache-4", "lsac-balanced-midpoint"}
    for arm, base in OWN_BASELINES:
        assert rows[arm].baseline == base
        for tier, cell in zip(TIERS, rows[arm].cells, strict=True):
            pairs = ledger.paired("si_snr", arm=arm, baseline=base, tier=tier)
            loss = pairs.second - pairs.first
            effect = effect_size(loss)
            assert cell.deviation == pytest.approx(np.abs(pairs.first - pairs.second).mean())
            assert (cell.loss, cell.n) == (pytest.approx(loss.mean()), 24)
            assert (cell.d, cell.d_low, cell.d_high) == (effect.d, effect.low, effect.high)
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
        groups = np.asarray(pairs.groups)
        for row in rows:
            assert row.n == (groups == row.group).sum()
            assert row.deviations["naive-12"] == pytest.approx(pairs.first[groups == row.group].mean())


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


def test_the_table_of_arms_holds_what_claims_test_in_the_metric_of_the_views(report):
    """Not those with curves of their own, nor those that a claim without a test only shows."""
    arms = [row.arm for row in report.tables.arms]
    assert arms == [
        "lsac-safe", "lsac-balanced", "lsac-aggressive", "naive-14", "naive-12", "naive-10", "deepcache-2",
        "deepcache-3", "deepcache-4", "lsac-balanced-midpoint", "lsac-balanced-ab2", "naive-12-midpoint",
        "naive-12-ab2",
    ]  # fmt: skip
    by_stoi = built([], simulated_ledger(BOOK, n=3), book=replace(BOOK, views=replace(BOOK.views, metric="stoi")))
    assert [row.arm for row in by_stoi.tables.arms] == [
        "zero-additive", "zero-cross-attention", "uniform-cross-attention",
    ]  # fmt: skip
    without_curve = built([], simulated_ledger(BOOK, n=3), book=replace(BOOK, views=replace(BOOK.views, sweep=Sweep())))
    assert without_curve.tables.gate == ()
    assert "gate-open" in [row.arm for row in without_curve.tables.arms]


def test_everything_is_compared_with_the_reference_of_the_views():
    """Another reference moves the speakers' table and the freeze curves, and nothing else is said of the first."""
    views = replace(BOOK.views, reference="naive-12", caveats=())
    report = built([], simulated_ledger(BOOK, n=3), book=replace(BOOK, views=views))
    assert (report.reference, report.reference_solver) == ("naive-12", "euler:12")
    assert report.tables.speakers == ()  # no claim compares with it
    base = built([], simulated_ledger(BOOK, n=3)).tables.freezing
    assert [one.estimate for one in report.tables.freezing] != [one.estimate for one in base]


def test_a_grid_that_is_not_given_is_not_drawn():
    report = built([], simulated_ledger(BOOK, n=3))
    assert {(one.series, one.x) for one in report.tables.freezing} == {("stable", 4.0), ("fast", 8.0), ("fast", 12.0)}
    assert GRID


# ----------------------------------------------------------------------------------------------------- caveats


def test_caveats_have_our_figures(report):
    ours = [one.ours for one in report.caveats]
    assert len(ours) == 6
    assert "211.7 GFLOPs per evaluation, 61.2 of them" in ours[0]
    assert "A solve of baseline (euler:16) is 16 of them: 3.39 TFLOPs." in ours[0]  # 16 x 211.7e9
    assert "lsac-balanced saves 27.1 % of layer-steps and 3.9 % of all FLOPs; naive-12 saves 25.0 % of" in ours[1]
    assert "Comparisons of LS1 that hold: 9 of 9 on layer-steps and 0 of 9 on total FLOPs." in ours[1]
    assert "1.17x faster on 10 s and 1.23x faster on 60 s" in ours[2]
    assert "could make the transformer 1.17x faster" in ours[2]  # 1 / (1 - 0.144)
    assert "LS6: 4 of 4" in ours[3]
    assert "midpoint (32 evaluations)" in ours[4]
    assert "ab2 (16 evaluations)" in ours[4]
    assert "Baseline makes 16 evaluations." in ours[4]
    assert "SI-SNR differs by 0.03 dB on average" in ours[5]


def known(floors):
    return SimpleNamespace(extras=SimpleNamespace(noise_floor=floors))


def test_the_noise_floor_says_once_how_it_was_measured():
    floors = [NoiseFloor(metric="si_snr", mean=0.03, largest=0.08, n=24, note="two messages")]
    floors.append(NoiseFloor(metric="stoi", mean=0.001, largest=0.002, n=23, note="two messages"))
    assert _noise_floor(None, known(floors)) == (
        "SI-SNR differs by 0.03 dB on average and 0.08 at most (n = 24). "
        "STOI differs by 0.001 on average and 0.002 at most (n = 23) (two messages)."
    )
    still = [replace(one, mean=0.0, largest=0.0, note="no watermark") for one in floors]
    assert _noise_floor(None, known(still)) == "Nothing moves (no watermark): SI-SNR (n = 24), STOI (n = 23)."
    assert "differs by 0.03" in _noise_floor(None, known([floors[0], still[1]]))


def test_a_bound_is_that_of_the_first_arm_that_caches():
    costs = {"fewer": (0.25, 0.25), "cached": (0.25, 0.05), "both": (0.5, 0.4), "neither": (0.0, 0.0)}
    saved = {arm: SimpleNamespace(layer_steps_saved=steps, flops_saved=flops) for arm, (steps, flops) in costs.items()}
    given = SimpleNamespace(context=SimpleNamespace(costs=saved), extras=SimpleNamespace(speed_limits={}))
    words = _ceiling(SimpleNamespace(arms=("neither", "unknown", "fewer", "cached", "both")), given)
    assert "saves 20.0 % of one layer-step's share" in words  # 0.05 / 0.25
    assert "1.25x faster at most" in words
    assert _ceiling(SimpleNamespace(arms=("fewer", "neither")), given) is None


def test_caveats_without_runs_say_how_to_get_them(bare):
    assert [one.ours for one in bare.caveats] == [None] * 6
    assert all(one.known and one.missing for one in bare.caveats)


def test_equivalence_counts_only_what_is_shown(report):
    judged = [one for one in report.verdict("LS7").findings if one.quantity == "loss" and one.status]
    assert f"LS7: {sum(one.status == 'supported' for one in judged)} of {len(judged)}" in report.caveats[3].ours


# ------------------------------------------------------------------------------------------------ environment and files


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
