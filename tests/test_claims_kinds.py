"""Every kind of claim says the truth on simulated ledgers at its stated rate, and its findings carry the figures."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, ArmCost, Ledger, Row, judge
from sam_lsac.runs.leaks import Leak
from tests.claim_worlds import CASES, PAIRED, losing, make_claim, make_context, make_ledger, rows_of

RUNS = 100
DETERMINISTIC = {"saved-share", "count", "sign", "layers-differ", "state-leak", "table"}  # judged one by one below


def statuses(case, name, world, *, n, runs):
    claim = make_claim(kind=name.split(",")[0], **case.claim)
    context = make_context(**case.context)
    return [judge(claim, make_ledger(world(np.random.default_rng(seed), n)), context).status for seed in range(runs)]


def test_every_kind_is_calibrated():
    assert {name.split(",")[0] for name in CASES} | DETERMINISTIC == set(KINDS)


@pytest.mark.parametrize("name", CASES)
def test_a_true_claim_is_supported_and_a_false_one_refuted(name):
    case = CASES[name]
    assert statuses(case, name, case.true, n=case.n, runs=20).count("supported") >= 19
    assert statuses(case, name, case.false, n=case.n, runs=20).count("refuted") >= 19


@pytest.mark.parametrize("name", CASES)
def test_errors_stay_at_the_stated_rate(name):
    case = CASES[name]
    for world, errors in case.nulls:
        said = statuses(case, name, world, n=case.n, runs=RUNS)
        assert sum(status in errors for status in said) <= 0.05 * RUNS + 3 * math.sqrt(0.05 * 0.95 * RUNS), said


@pytest.mark.parametrize("name", CASES)
def test_too_few_mixtures_are_inconclusive_not_supported(name):
    case = CASES[name]
    said = statuses(case, name, case.weak, n=4, runs=40)
    assert said.count("inconclusive") >= 32, said
    assert statuses(case, name, case.true, n=1, runs=1) == ["inconclusive"]


# ---------------------------------------------------------------------------------------------------- figures, family


def test_findings_of_a_deviation_carry_means_ratio_and_the_papers_figures():
    claim = make_claim(
        kind="smaller-loss", score="deviation", **PAIRED, rivals=["r"],
        figures={"a": "0.19 dB", "r": "0.48 dB", "ratio": "2.5x"},
    )  # fmt: skip
    base = np.arange(10.0)
    wiggle = np.linspace(0.9, 1.1, 10) * np.where(base % 2, 1, -1)  # the sign alternates: only magnitudes tell
    ledger = make_ledger(
        {("baseline", "si_snr"): base, ("a", "si_snr"): base + 0.1 * wiggle, ("r", "si_snr"): base - 0.4 * wiggle}
    )
    verdict = judge(claim, ledger, make_context())
    own, rival, difference, ratio = verdict.findings
    assert (own.arm, own.quantity, own.paper) == ("a", "deviation", "0.19 dB")
    assert (own.estimate, rival.estimate, ratio.estimate) == pytest.approx((0.1, 0.4, 4.0))
    assert difference.estimate == pytest.approx(-0.3)
    assert difference.status == verdict.status == "supported"
    assert (ratio.paper, verdict.n, verdict.n_dropped) == ("2.5x", 10, 0)
    assert "0.1 dB" in verdict.reason
    assert "4.00 times" in verdict.reason


def test_a_loss_is_positive_and_its_d_too():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    verdict = judge(claim, make_ledger(losing(a=(2, 1))(np.random.default_rng(0), 24)), make_context())
    (finding,) = verdict.findings
    assert finding.estimate > 1
    assert finding.d > 1
    assert finding.ci_low > 0
    assert finding.d_low < finding.d < finding.d_high


def test_p_values_are_multiplied_by_the_size_of_the_family():
    claim = make_claim(kind="smaller-loss", score="deviation", **PAIRED, rivals=["r"])
    ledger = make_ledger(losing(a=(0, 0.1), r=(0, 0.4))(np.random.default_rng(1), 12))
    alone = judge(claim, ledger, make_context())
    crowded = judge(replace(claim, family_size=1000), ledger, make_context())
    single, family = (next(f for f in v.findings if f.status) for v in (alone, crowded))
    assert family.p == single.p
    assert family.p_adjusted == pytest.approx(min(1.0, 1000 * single.p))
    assert (alone.status, crowded.status) == ("supported", "inconclusive")


def test_unpaired_runs_would_hide_the_effect():
    """The same figures with the mixtures of one arm exchanged say nothing: pairing is what decides."""
    columns = dict(losing(a=(0.8, 0.2))(np.random.default_rng(2), 24))
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    assert judge(claim, make_ledger(columns), make_context()).status == "supported"
    columns[("a", "si_snr")] = np.random.default_rng(3).permutation(columns[("a", "si_snr")])
    assert judge(claim, make_ledger(columns), make_context()).status != "supported"


def test_a_significant_p_does_not_make_equivalence_and_a_large_p_does_not_make_none():
    claim = make_claim(kind="no-loss", **PAIRED, rivals=["r"])
    tiny = judge(claim, make_ledger(losing(a=(0.1, 0.05), r=(2, 0.2))(np.random.default_rng(4), 24)), make_context())
    assert tiny.status == "refuted"
    assert "a significant loss, although equivalent within the margin" in tiny.reason
    noisy = judge(claim, make_ledger(losing(a=(0, 3.0), r=(9, 0.2))(np.random.default_rng(5), 24)), make_context())
    assert noisy.status == "inconclusive"


def test_a_placebo_arm_is_equivalent():
    base = np.arange(6.0)
    columns = {("baseline", "si_snr"): base, ("a", "si_snr"): base}
    verdict = judge(make_claim(kind="equivalent", **PAIRED), make_ledger(columns), make_context())
    assert verdict.status == "supported"
    assert verdict.findings[0].d == 0.0


def test_each_arm_is_compared_with_its_own_baseline():
    fields = PAIRED | {"arms": ["a", "b"], "baselines": ["baseline", "own-baseline"]}
    columns = dict(losing(a=(0, 0.1), b=(5, 0.1))(np.random.default_rng(6), 24))
    columns[("own-baseline", "si_snr")] = columns[("baseline", "si_snr")] - 5
    ledger = make_ledger(columns)
    assert judge(make_claim(kind="equivalent", **fields), ledger, make_context()).status == "supported"
    shared = judge(make_claim(kind="equivalent", **(fields | {"baselines": ["baseline"]})), ledger, make_context())
    assert shared.status == "refuted"


# ------------------------------------------------------------------------------------------------------------- Pareto


def cost(arm, layer_steps, flops):
    return ArmCost(arm=arm, layer_steps_saved=layer_steps, flops_total=1e12, flops_saved=flops)


PARETO = PAIRED | {"arms": ["a", "b"], "rivals": ["r"], "kind": "pareto"}
GOOD = losing(a=(0, 0.1), b=(0, 0.9), r=(0, 0.5))


def test_pareto_is_decided_by_layer_steps_and_shown_by_flops():
    costs = {"a": cost("a", 0.25, 0.04), "b": cost("b", 0.4, 0.06), "r": cost("r", 0.25, 0.25)}
    verdict = judge(make_claim(**PARETO), make_ledger(GOOD(np.random.default_rng(7), 24)), make_context(costs=costs))
    by_axis = {finding.axis: finding for finding in verdict.findings}
    assert verdict.status == by_axis["layer_steps_saved"].status == "supported"
    assert by_axis["layer_steps_saved"].arm == "a"
    assert by_axis["flops_saved"].status == "refuted"
    assert "no arm saves the 25.0% of r: b saves most, 6.0%" in by_axis["flops_saved"].note


def test_an_arm_that_saves_less_cannot_dominate():
    costs = {"a": cost("a", 0.24, 0.04), "b": cost("b", 0.4, 0.06), "r": cost("r", 0.25, 0.25)}
    verdict = judge(make_claim(**PARETO), make_ledger(GOOD(np.random.default_rng(7), 24)), make_context(costs=costs))
    assert verdict.status == "refuted"  # only b saves enough, and it deviates more


def test_one_rival_that_is_not_dominated_spoils_dominance():
    claim = make_claim(**(PARETO | {"rivals": ["r", "s"]}))
    costs = {arm: cost(arm, 0.25, 0.25) for arm in "abrs"}
    world = losing(a=(0, 0.1), b=(0, 0.9), r=(0, 0.5), s=(0, 0.1))
    assert (
        judge(claim, make_ledger(world(np.random.default_rng(8), 24)), make_context(costs=costs)).status
        == "inconclusive"
    )


def test_pareto_without_costs_is_not_run():
    verdict = judge(make_claim(**PARETO), make_ledger(GOOD(np.random.default_rng(7), 24)), make_context(costs={}))
    assert (verdict.status, "cost of a, b, r" in verdict.reason) == ("not run", True)


# ------------------------------------------------------------------------------- kinds that are judged by arithmetic


@pytest.mark.parametrize(
    ("saved", "status"), [(0.25, "supported"), (0.271, "supported"), (0.19, "refuted"), (0.31, "refuted")]
)
def test_saved_share(saved, status):
    claim = make_claim(kind="saved-share", arms=["a"], targets={"layer_steps_saved": 0.25}, tolerance=0.05)
    verdict = judge(claim, Ledger(()), make_context(costs={"a": cost("a", saved, 0.04)}))
    assert verdict.status == status
    assert {f.axis: f.status for f in verdict.findings} == {"layer_steps_saved": status, "flops_saved": "refuted"}


@pytest.mark.parametrize(("value", "status"), [(212.4e9, "supported"), (212.5e9, "refuted"), (210.3e9, "refuted")])
def test_count(value, status):
    claim = make_claim(kind="count", targets={"flops_per_evaluation": 211.4e9}, tolerance=0.005)
    assert judge(claim, Ledger(()), make_context(flops_per_evaluation=value)).status == status
    assert judge(claim, Ledger(()), make_context()).status == "not run"


@pytest.mark.parametrize(
    ("a", "b", "status"),
    [
        ((0.0, 0.0), (0.0, 0.0), "supported"),
        ((0.0, 0.0), (1e-12, 0.0), "refuted"),
        ((0.0, 0.0), (0.0, 1e-12), "refuted"),
        ((0.0, 0.0), None, "not run"),
    ],
)
def test_a_leak_is_any_other_bit(a, b, status):
    known = {"a": a} | ({} if b is None else {"b": b})
    found = {arm: Leak(repeated=repeated, carried=carried) for arm, (repeated, carried) in known.items()}
    claim = make_claim(kind="state-leak", arms=["a", "b"])
    verdict = judge(claim, Ledger(()), make_context(leaks=found))
    assert verdict.status == status
    if b is None:
        assert "b carries state over was not looked at" in verdict.reason
    else:
        assert [(one.arm, one.quantity) for one in verdict.findings] == [
            (arm, quantity) for arm in "ab" for quantity in ("same mixture again", "mixture after another")
        ]
        assert ("b, mixture after another: off by 1e-12" in verdict.reason) == (b[1] > 0)


@pytest.mark.parametrize(
    ("gate", "status"), [(-0.03, "supported"), (0.01, "refuted"), (0.0, "refuted"), (None, "not run")]
)
def test_sign_of_the_gate(gate, status):
    assert judge(make_claim(kind="sign", direction="negative"), Ledger(()), make_context(gate=gate)).status == status


def test_layers_differ_at_the_stated_rate():
    claim = make_claim(kind="layers-differ", family="f")
    false = 0
    for seed in range(100):
        rates = np.random.default_rng(seed).uniform(size=(24, 6))
        context = make_context(entropy_rates={f"m{i}": tuple(row) for i, row in enumerate(rates)})
        false += judge(claim, Ledger(()), context).status != "inconclusive"
    assert false <= 11
    rates[:, 2] += 0.8
    rates[3, 1] = math.nan
    verdict = judge(claim, Ledger(()), make_context(entropy_rates={f"m{i}": tuple(row) for i, row in enumerate(rates)}))
    assert (verdict.status, verdict.n, verdict.n_dropped) == ("supported", 23, 1)
    assert judge(claim, Ledger(()), make_context()).status == "not run"
    assert judge(claim, Ledger(()), make_context(entropy_rates={"m": (1.0, 2.0, 3.0)})).status == "inconclusive"


def test_a_table_is_complete_or_says_which_cell_is_not():
    claim = make_claim(kind="table", arms=["a"], metrics=["si_snr", "pesq"], tiers=["clean"])
    columns = {(arm, metric): np.arange(3.0) for arm in ("baseline", "a") for metric in ("si_snr", "pesq")}
    assert judge(claim, make_ledger(columns), make_context()).status == "supported"
    columns[("a", "pesq")] = np.full(3, np.nan)
    verdict = judge(claim, make_ledger(columns), make_context())
    assert verdict.status == "inconclusive"
    assert "pesq of a on clean" in verdict.reason
    assert "gone" in verdict.reason


def test_an_effect_that_is_stronger_on_one_tier():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "tiers": ["clean", "env"], "stronger_tier": "env"}
    claim = make_claim(kind="loss-order", **fields)
    for lead, status in ((3.0, "supported"), (1.0, "inconclusive"), (0.3, "refuted")):
        rows = rows_of(losing(a=(1.5, 0.3), r=(0.5, 0.3))(np.random.default_rng(9), 24), tier="clean")
        rows += rows_of(losing(a=(0.5 + lead, 0.3), r=(0.5, 0.3))(np.random.default_rng(10), 24), tier="env")
        assert judge(claim, Ledger(tuple(rows)), make_context()).status == status


def test_seeds_of_one_mixture_are_not_extra_mixtures():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    rows = []
    for seed in range(20):
        rows += rows_of(losing(a=(1.0, 1.0))(np.random.default_rng(seed), 2), seed=seed)
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert (verdict.n, verdict.status) == (2, "inconclusive")


def test_dropped_mixtures_are_counted_in_the_verdict():
    columns = dict(losing(a=(0, 0.1))(np.random.default_rng(11), 24))
    columns[("a", "si_snr")] = columns[("a", "si_snr")].copy()
    columns[("a", "si_snr")][:5] = np.nan
    verdict = judge(make_claim(kind="equivalent", **PAIRED), make_ledger(columns), make_context())
    assert (verdict.status, verdict.n, verdict.n_dropped) == ("supported", 19, 5)
    columns[("a", "si_snr")][:] = np.nan
    nothing = judge(make_claim(kind="equivalent", **PAIRED), make_ledger(columns), make_context())
    assert nothing.status == "inconclusive"
    assert "24 were dropped" in nothing.reason
    assert "gone" in nothing.reason


def test_a_factor_of_something_that_is_not_positive_is_inconclusive():
    row = {"tier": "clean", "group": "g", "seed": 0, "metric": "block_ratio/L01"}
    rows = [
        Row(arm=arm, mixture=f"m{i}", value=value, **row)
        for i in range(4)
        for arm, value in (("baseline", 1.0), ("a", float(i)))
    ]
    claim = make_claim(kind="ratio-change", **(PAIRED | {"metrics": ["block_ratio/L01"], "direction": "increase"}))
    assert judge(claim, Ledger(tuple(rows)), make_context()).status == "inconclusive"
