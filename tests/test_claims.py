"""The ledger pairs and drops in one place, and a verdict says why."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_lsac.claims import (
    ArmCost,
    Context,
    Ledger,
    Row,
    judge,
    load_claims,
)
from sam_lsac.errors import ClaimError, InputError
from sam_lsac.metrics import METRICS, Metric
from tests.claim_worlds import leaking, quickly, register, rows_of

CLAIMS = Path(__file__).parents[1] / "bench" / "claims.toml"
BOOK = load_claims(CLAIMS)


# ---------------------------------------------------------------------------------------------------------- the ledger


def one(arm, mixture, value, *, seed=0, tier="clean", metric="si_snr", group="g", **fields):
    return Row(arm=arm, tier=tier, mixture=mixture, group=group, seed=seed, metric=metric, value=value, **fields)


def test_pairs_are_matched_by_mixture_whatever_the_order_of_the_rows():
    rows = [one("a", "m2", 5.0), one("baseline", "m1", 1.0), one("a", "m1", 2.0), one("baseline", "m2", 3.0)]
    pairs = Ledger(tuple(rows)).paired("si_snr", arm="a", baseline="baseline", tier="clean")
    assert pairs.mixtures == ("m1", "m2")
    assert pairs.first.tolist() == [2.0, 5.0]
    assert pairs.second.tolist() == [1.0, 3.0]


def test_seeds_are_averaged_and_deviations_are_taken_per_seed_before():
    rows = [one("baseline", "m", 10.0, seed=s) for s in (0, 1)]
    rows += [
        one("a", "m", 11.0, seed=0),
        one("a", "m", 9.0, seed=1),
        one("r", "m", 12.0, seed=0),
        one("r", "m", 12.0, seed=1),
    ]
    ledger = Ledger(tuple(rows))
    assert ledger.paired("si_snr", arm="a", baseline="baseline", tier="clean").first.tolist() == [10.0]
    deviations = ledger.deviations("si_snr", arm="a", rival="r", baseline="baseline", tier="clean")
    assert (deviations.first.tolist(), deviations.second.tolist()) == ([1.0], [2.0])


def test_only_seeds_that_all_arms_have_are_used():
    rows = [one("baseline", "m", 0.0, seed=0), one("baseline", "m", 100.0, seed=1), one("a", "m", 1.0, seed=0)]
    rows += [one("baseline", "n", 0.0, seed=0), one("a", "n", 1.0, seed=1)]
    pairs = Ledger(tuple(rows)).paired("si_snr", arm="a", baseline="baseline", tier="clean")
    assert (pairs.mixtures, pairs.second.tolist(), pairs.n_dropped) == (("m",), [0.0], 1)
    assert "no noise seed" in pairs.reasons[0]


def test_a_mixture_without_a_figure_in_either_arm_is_dropped_and_counted():
    rows = [one(arm, f"m{i}", float(i)) for arm in ("a", "baseline") for i in range(3)]
    rows += [one("a", "m3", math.nan, reason="pesq: silent"), one("baseline", "m3", 1.0), one("baseline", "m4", 1.0)]
    rows += [
        one("a", "m5", 1.0, seed=0),
        one("baseline", "m5", 1.0),
        one("baseline", "m5", math.nan, seed=1, reason="x"),
    ]
    rows += [one("a", "m5", 1.0, seed=1)]
    pairs = Ledger(tuple(rows)).paired("si_snr", arm="a", baseline="baseline", tier="clean")
    assert (pairs.n, pairs.n_dropped, pairs.n_excluded, pairs.failed) == (3, 2, 1, ())
    assert pairs.reasons == ("m3: si_snr of a: pesq: silent", "m4: no si_snr of a")
    assert pairs.excluded == ("m5: si_snr of baseline: x",)


def failed(arm, mixture, **fields):
    return one(arm, mixture, math.nan, reason="the output is silent", failed=True, **fields)


@pytest.mark.parametrize(("metric", "worst"), [("si_snr", -7.0), ("distortion", 9.0)])
def test_a_failed_run_keeps_its_place_with_the_worst_figure_of_the_tier(metric, worst, monkeypatch):
    row = Metric(name="distortion", label="D", unit="dB", higher_is_better=False, score=METRICS["sar"].score)
    register(monkeypatch, row)
    rows = [one(arm, f"m{i}", float(i), metric=metric) for arm in ("a", "baseline") for i in (0, 1)]
    rows += [failed("a", "m2", metric=metric), one("baseline", "m2", 2.0, metric=metric)]
    rows += [one("r", "m0", -7.0, metric=metric), one("s", "m1", 9.0, metric=metric)]  # of any arm
    rows += [one("r", "e0", value, metric=metric, tier="env") for value in (-99.0,)]
    rows += [one("s", "e0", 99.0, metric=metric, tier="env")]  # not of another tier
    rows += [one("r", "m0", value, metric="stoi") for value in (-50.0,)]  # not of another metric
    pairs = Ledger(tuple(rows)).paired(metric, arm="a", baseline="baseline", tier="clean")
    assert (pairs.mixtures, pairs.first.tolist()) == (("m0", "m1", "m2"), [0.0, 1.0, worst])
    assert (pairs.failed, pairs.reasons) == ((f"m2: {metric} of a: the output is silent",), ())


def test_a_run_that_fails_where_its_baseline_does_is_not_its_own_failure():
    rows = [one(arm, f"m{i}", float(i)) for arm in ("a", "r", "baseline") for i in range(3)]
    rows += [failed("a", "m3"), failed("baseline", "m3"), one("r", "m3", 1.0)]
    rows += [one("a", "m4", 1.0), failed("baseline", "m4"), failed("r", "m4")]
    ledger = Ledger(tuple(rows))
    pairs = ledger.paired("si_snr", arm="a", baseline="baseline", tier="clean")
    assert (pairs.n, pairs.n_dropped, pairs.failed) == (3, 2, ())
    beside = ledger.abreast("si_snr", arm="a", rival="r", tier="clean")  # neither is a baseline
    assert (beside.n, len(beside.failed)) == (5, 2)


def test_a_failure_does_not_hide_that_another_figure_is_missing():
    rows = [one(arm, f"m{i}", float(i)) for arm in ("a", "r", "baseline") for i in range(3)]
    rows += [failed("a", "m3"), one("r", "m3", math.nan, reason="too short"), one("baseline", "m3", 1.0)]
    pairs = Ledger(tuple(rows)).deviations("si_snr", arm="a", rival="r", baseline="baseline", tier="clean")
    assert (pairs.n, pairs.n_dropped, pairs.failed) == (3, 1, ())
    assert np.isfinite(pairs.first).all()


def test_one_failed_seed_of_several_counts_as_one_of_them():
    rows = [one(arm, "m0", 4.0, seed=seed) for arm in ("a", "baseline") for seed in (0, 1)]
    rows += [one("a", "m1", 6.0, seed=0), failed("a", "m1", seed=1)]
    rows += [one("baseline", "m1", 8.0, seed=seed) for seed in (0, 1)]
    pairs = Ledger(tuple(rows)).paired("si_snr", arm="a", baseline="baseline", tier="clean")
    assert (pairs.first.tolist(), pairs.n_dropped) == ([4.0, 5.0], 0)


def test_where_every_run_of_a_metric_failed_nothing_is_compared():
    rows = [failed(arm, f"m{i}") for arm in ("a", "r") for i in range(3)]
    ledger = Ledger(tuple(rows))
    pairs = ledger.abreast("si_snr", arm="a", rival="r", tier="clean")
    assert (pairs.n, pairs.n_dropped) == (0, 3)


def absent(arm, mixture, **fields):
    return one(arm, mixture, math.nan, reason="the target does not speak", **fields)


WHOLE = [one(arm, f"m{i}", float(i)) for arm in ("a", "r", "baseline") for i in range(3)]


@pytest.mark.parametrize(
    ("rows", "paired", "abreast"),  # n, dropped, excluded
    [
        ([absent(arm, "m3") for arm in ("a", "r", "baseline")], (3, 0, 1), (3, 0, 1)),
        ([absent("baseline", "m3")], (3, 0, 1), (3, 0, 0)),  # whatever rows there are: no arm has one
        ([absent("baseline", "m3"), one("a", "m3", 1.0), one("r", "m3", 1.0)], (3, 0, 1), (4, 0, 0)),
        ([absent("baseline", "m3"), failed("a", "m3"), one("r", "m3", 1.0)], (3, 0, 1), (4, 0, 0)),
        ([one("baseline", "m3", 1.0), absent("a", "m3"), absent("r", "m3")], (3, 1, 0), (3, 0, 1)),
        ([one("baseline", "m3", 1.0), absent("a", "m3"), one("r", "m3", 1.0)], (3, 1, 0), (3, 1, 0)),
        ([one("baseline", "m3", 1.0), absent("a", "m3"), failed("r", "m3")], (3, 1, 0), (3, 1, 0)),
        ([one("baseline", "m3", 1.0), absent("a", "m3")], (3, 1, 0), (3, 1, 0)),
        ([absent("baseline", "m3", seed=1), absent("a", "m3", seed=2), absent("r", "m3")], (3, 0, 1), (3, 0, 1)),
        # a seed that the others do not have says nothing of those that all have
        (
            [one(arm, "m3", 1.0) for arm in ("a", "r", "baseline")] + [absent("baseline", "m3", seed=1)],
            (4, 0, 0),
            (4, 0, 0),
        ),
        ([one(arm, "m3", 1.0) for arm in ("a", "r", "baseline")] + [absent("r", "m3", seed=1)], (4, 0, 0), (4, 0, 0)),
    ],
)
def test_a_mixture_is_excluded_where_no_column_or_not_the_baseline_has_the_figure(rows, paired, abreast):
    ledger = Ledger((*WHOLE, *rows))
    beside = ledger.paired("si_snr", arm="a", baseline="baseline", tier="clean")
    both = ledger.abreast("si_snr", arm="a", rival="r", tier="clean")
    assert [(one.n, one.n_dropped, one.n_excluded) for one in (beside, both)] == [paired, abreast]
    assert all(reason.endswith("the target does not speak") for one in (beside, both) for reason in one.excluded)


def test_a_sweep_excludes_a_mixture_on_which_one_of_its_metrics_exists_nowhere():
    x, y = ([(name, arm) for arm in ("a", "r")] for name in ("block_ratio/mean", "si_snr"))
    spans = [one(arm, f"m{i}", 1.0, metric="block_ratio/mean") for arm in ("a", "r") for i in range(3)]
    there = [one(arm, "m3", 1.0) for arm in ("a", "r")]
    for gone, wanted in ((("a", "r"), (6, 0, 1)), (("r",), (6, 1, 0))):
        rows = [*WHOLE, *spans, *there, *(absent(arm, "m3", metric="block_ratio/mean") for arm in gone)]
        rows += [one(arm, "m3", 1.0, metric="block_ratio/mean") for arm in ("a", "r") if arm not in gone]
        pairs = Ledger(tuple(rows)).points(x, y, tier="clean")
        assert (pairs.n, pairs.n_dropped, pairs.n_excluded) == wanted


def test_tiers_and_metrics_are_kept_apart():
    rows = [
        one("a", "m", 1.0),
        one("baseline", "m", 1.0),
        one("a", "e", 1.0, tier="env"),
        one("a", "m", 1.0, metric="stoi"),
    ]
    ledger = Ledger(tuple(rows))
    assert ledger.paired("si_snr", arm="a", baseline="baseline", tier="clean").n == 1
    assert ledger.paired("si_snr", arm="a", baseline="baseline", tier="env").n == 0
    assert ledger.has("stoi", arm="a", tier="clean")
    assert not ledger.has("stoi", arm="baseline", tier="clean")


@pytest.mark.parametrize(
    "rows",
    [
        lambda: [one("a", "m", 1.0), one("a", "m", 1.0)],
        lambda: [one("a", "m", 1.0), one("b", "m", 1.0, tier="env")],
        lambda: [one("a", "m", 1.0), one("b", "m", 1.0, group="h")],
        lambda: [one("a", "m", math.nan)],
        lambda: [one("a", "m", 1.0, reason="why")],
        lambda: [one("a", "m", math.inf)],
        lambda: [one("a", "m", 1.0, failed=True)],
        lambda: [one("a", "m", 1.0), one("b", "m", 1.0, residual_group="h")],
    ],
)
def test_rows_that_contradict_each_other_are_errors(rows):
    with pytest.raises(InputError):
        Ledger(tuple(rows()))


@pytest.mark.parametrize("change", [{"layer_steps_saved": 25.0}, {"flops_saved": math.nan}, {"flops_total": 0.0}])
def test_a_cost_that_is_no_fraction_is_an_error(change):
    with pytest.raises(InputError, match="is 25 %"):
        ArmCost(**({"arm": "a", "layer_steps_saved": 0.2, "flops_total": 1.0, "flops_saved": 0.1} | change))


# -------------------------------------------------------------------------------------------------- the whole notebook

SAVED = {"lsac-safe": 0.125, "lsac-balanced": 0.271, "lsac-aggressive": 0.385}
SAVED |= {"baseline": 0.0, "baseline-midpoint": -1.0, "baseline-ab2": 0.0}
SAVED |= {"lsac-balanced-midpoint": 1 - 2 * (1 - 0.271), "lsac-balanced-ab2": 0.271}
LAYER_STEPS = SAVED | {"naive-14": 0.125, "naive-12": 0.25, "naive-10": 0.375}
LAYER_STEPS |= {"naive-12-midpoint": -0.5, "naive-12-ab2": 0.25}
FLOPS = LAYER_STEPS | {"lsac-safe": 0.018, "lsac-balanced": 0.039, "lsac-aggressive": 0.056}


def world(rng, losses, *, n=24, tiers=("clean", "noisy", "env"), drop=()):
    """Return a ledger of the acceleration arms, each with (mean, sd) of its signed loss."""
    rows = []
    for tier in tiers:
        base = 8 + 4 * rng.standard_normal(n)
        columns = {("baseline", "si_snr"): base}
        for arm, (mean, sd) in losses.items():
            columns[(arm, "si_snr")] = base - mean - sd * rng.standard_normal(n)
        rows += rows_of({key: value for key, value in columns.items() if key[0] not in drop}, tier=tier)
    return Ledger(tuple(rows))


def context(**fields):
    costs = {
        arm: ArmCost(arm=arm, layer_steps_saved=LAYER_STEPS[arm], flops_total=1e12, flops_saved=FLOPS[arm])
        for arm in LAYER_STEPS
    }
    return Context(**({"checkpoint": "toy", "digest": "0", "n_layers": 12, "is_small": False, "costs": costs} | fields))


QUIET = dict.fromkeys(
    ("lsac-safe", "lsac-balanced", "lsac-aggressive", "deepcache-2", "deepcache-3", "deepcache-4"), (0.0, 0.05)
)
AS_CLAIMED = QUIET | {"naive-15": (0.2, 0.2), "naive-14": (0.4, 0.2), "naive-12": (1.0, 0.25), "naive-10": (2.0, 0.3)}
TRUNCATED = ("naive-15", "naive-14", "naive-12", "naive-10")
REVERSED = dict.fromkeys(QUIET, (1.5, 0.2)) | dict.fromkeys(TRUNCATED, (0.0, 0.05))
NOTHING = dict.fromkeys(AS_CLAIMED, (0.0, 0.3))


def verdicts(losses, *, n=24, seed=0):
    quick = replace(BOOK.settings, bootstrap_resamples=199)
    claims = [replace(BOOK[f"LS{i}"], settings=quick) for i in range(1, 8)]
    ledger = world(np.random.default_rng(seed), losses, n=n)
    return {claim.id: judge(claim, ledger, context()) for claim in claims}


def test_a_world_as_the_paper_claims_is_supported():
    said = verdicts(AS_CLAIMED)
    assert {name: v.status for name, v in said.items() if name != "LS7"} == dict.fromkeys(
        ("LS1", "LS3", "LS4", "LS5", "LS6"), "supported"
    ) | {"LS2": "shown"}
    assert said["LS7"].status == "inconclusive"  # 24 mixtures cannot show |d| < 0.2
    assert "mixtures" in said["LS7"].reason


def test_a_world_turned_round_is_refuted():
    said = verdicts(REVERSED)
    assert {name: v.status for name, v in said.items() if name != "LS2"} == dict.fromkeys(
        ("LS1", "LS3", "LS4", "LS5", "LS6", "LS7"), "refuted"
    )


def test_a_world_without_effects_supports_nothing_that_needs_one():
    for seed in range(8):
        with quickly():
            said = verdicts(NOTHING, seed=seed)
        assert [name for name in ("LS1", "LS3", "LS4", "LS5", "LS6", "LS7") if said[name].status == "supported"] == []


def test_a_few_mixtures_are_inconclusive():
    weak = {arm: (0.1 * mean, 0.4) for arm, (mean, _) in AS_CLAIMED.items()}
    said = verdicts(weak, n=4)
    assert {said[name].status for name in ("LS1", "LS3", "LS4", "LS5", "LS6", "LS7")} == {"inconclusive"}


def test_every_reason_is_a_sentence_with_figures():
    for verdict in verdicts(AS_CLAIMED).values():
        assert verdict.reason.endswith(".")
        assert any(c.isdigit() for c in verdict.reason)


def test_what_was_not_run_is_never_supported():
    nothing = [judge(claim, Ledger(()), context(costs={})) for claim in BOOK.claims]
    assert {verdict.status for verdict in nothing} == {"not run"}
    assert {verdict.scope for verdict in nothing} == {""}
    assert all(verdict.reason for verdict in nothing)
    partial = world(np.random.default_rng(0), AS_CLAIMED, drop={"naive-12"})
    verdict = judge(BOOK["LS1"], partial, context())
    assert (verdict.status, "naive-12 on clean" in verdict.reason) == ("not run", True)
    one_tier = world(np.random.default_rng(0), AS_CLAIMED, tiers=("clean",))
    assert judge(BOOK["LS3"], one_tier, context()).status == "supported"
    assert judge(BOOK["LS4"], one_tier, context()).status == "not run"


@pytest.mark.parametrize(
    ("applies_to", "fields", "runs"),
    [
        ("any", {}, True),
        ("small", {}, False),
        ("small", {"is_small": True}, True),
        ("22-layers", {}, False),
        ("22-layers", {"n_layers": 22}, True),
    ],
)
def test_a_claim_about_another_model_is_not_run(applies_to, fields, runs):
    claim = replace(BOOK["LS3"], applies_to=applies_to)
    verdict = judge(claim, world(np.random.default_rng(0), AS_CLAIMED), context(**fields))
    assert (verdict.status == "not run") is not runs
    if not runs:
        assert "toy" in verdict.reason


def test_an_unknown_kind_is_an_error_when_judged_too():
    with pytest.raises(ClaimError, match="choose from"):
        judge(replace(BOOK["LS3"], kind="guess"), Ledger(()), context())


@pytest.mark.parametrize("layers", [12, 22])
def test_every_claim_of_the_file_can_be_judged(layers):
    rng = np.random.default_rng(12)
    rows = []
    for tier in BOOK.settings.tiers:
        base = rng.uniform(1, 5, size=8)
        columns = dict.fromkeys((arm, metric) for claim in BOOK.claims for _, arm, metric in claim.columns)
        rows += rows_of({column: base + rng.uniform(0, 0.5, size=8) for column in columns}, tier=tier)
    arms = dict.fromkeys(arm for claim in BOOK.claims for arm in (*claim.arms, *claim.rivals))
    costs = {arm: ArmCost(arm=arm, layer_steps_saved=0.5, flops_total=1e12, flops_saved=0.5) for arm in arms}
    measured = context(
        n_layers=layers,
        costs=costs | context().costs,
        leaks=leaking(**dict.fromkeys(arms, (0.0, 0.0)))["leaks"],
        gate=-0.1,
        flops_per_evaluation=211.5e9,
        self_attention_flops_per_evaluation=61.2e9,
        entropy_rates={f"m{i}": tuple(rng.uniform(size=layers)) for i in range(8)},
    )
    quick = replace(BOOK.settings, bootstrap_resamples=199)
    claims = [replace(claim, settings=quick) for claim in BOOK.claims]
    said = [judge(claim, Ledger(tuple(rows)), measured) for claim in claims]
    elsewhere = {"DP4", "LS8"} if layers == 12 else set()
    assert {verdict.claim_id for verdict in said if verdict.status == "not run"} == elsewhere
    for verdict in said:
        assert verdict.reason.endswith(".")
