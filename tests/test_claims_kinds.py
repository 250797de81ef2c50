"""Every kind of claim says the truth on simulated ledgers at its stated rate, and its findings carry the figures."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, ArmCost, Ledger, Row, judge
from sam_lsac.errors import ClaimError
from sam_lsac.statistics import contrast_test
from tests.claim_worlds import (
    CASES,
    LEAKS,
    PAIRED,
    leaking,
    losing,
    make_claim,
    make_context,
    make_ledger,
    quickly,
    rows_of,
)

RUNS = 40
DETERMINISTIC = {"saved-share", "count", "sign", "layers-settle", "state-leak", "table"}  # judged one by one below


def statuses(case, name, world, *, n, runs):
    claim = make_claim(kind=name.split(",")[0], **case.claim)
    context = make_context(**case.context)
    ledgers = [make_ledger(world(np.random.default_rng(seed), n)) for seed in range(runs)]
    with quickly():
        return [judge(claim, ledger, context).status for ledger in ledgers]


def test_every_kind_is_calibrated():
    assert {name.split(",")[0] for name in CASES} | DETERMINISTIC == set(KINDS)


@pytest.mark.parametrize("name", CASES)
def test_a_true_claim_is_supported_and_a_false_one_refuted(name):
    case = CASES[name]
    assert statuses(case, name, case.true, n=case.n, runs=8).count("supported") >= 7
    assert statuses(case, name, case.false, n=case.n, runs=8).count("refuted") >= 7


@pytest.mark.parametrize("name", CASES)
def test_errors_stay_at_the_stated_rate(name):
    case = CASES[name]
    for world, errors in case.nulls:
        said = statuses(case, name, world, n=case.n_null, runs=RUNS)
        assert sum(status in errors for status in said) <= 0.05 * RUNS + 3 * math.sqrt(0.05 * 0.95 * RUNS), said


@pytest.mark.parametrize("name", CASES)
def test_too_few_mixtures_are_inconclusive_not_supported(name):
    case = CASES[name]
    said = statuses(case, name, case.weak, n=4, runs=20)
    assert said.count("inconclusive") >= 16, said
    assert statuses(case, name, case.true, n=1, runs=1) == ["inconclusive"]


# ---------------------------------------------------------------------------------------------------- figures, family


@pytest.mark.parametrize("name", CASES)
def test_what_a_verdict_only_shows_decides_nothing(name):
    """Ends of intervals and numbers of mixtures are left out by `quickly`, which the laws above rely on."""
    case = CASES[name]
    claim, context = make_claim(kind=name.split(",")[0], **case.claim), make_context(**case.context)
    for world in (case.true, case.false, case.nulls[0][0]):
        ledger = make_ledger(world(np.random.default_rng(7), 24))
        whole = judge(claim, ledger, context)
        with quickly():
            bare = judge(claim, ledger, context)
        assert [one.status for one in bare.findings] == [one.status for one in whole.findings]
        assert [one.p for one in bare.findings] == [one.p for one in whole.findings]
        assert (bare.status, bare.scope) == (whole.status, whole.scope)


def test_findings_of_a_deviation_carry_means_ratio_and_the_papers_figures():
    claim = make_claim(
        kind="smaller-loss", score="deviation", **PAIRED, rivals=["r"], controls=["s"],
        figures={"a": "0.19 dB", "r": "0.48 dB", "ratio": "2.5x"},
    )  # fmt: skip
    base = np.arange(10.0)
    wiggle = np.linspace(0.9, 1.1, 10) * np.where(base % 2, 1, -1)  # the sign alternates: only magnitudes tell
    columns = {arm: base + size * wiggle for arm, size in {"a": 0.1, "r": -0.4, "s": 0.2}.items()}
    ledger = make_ledger({("baseline", "si_snr"): base} | {(arm, "si_snr"): one for arm, one in columns.items()})
    verdict = judge(claim, ledger, make_context())
    own, rival, difference, ratio, control, beside = verdict.findings
    assert (own.arm, own.quantity, own.paper) == ("a", "deviation", "0.19 dB")
    assert (own.estimate, rival.estimate, ratio.estimate) == pytest.approx((0.1, 0.4, 4.0))
    assert difference.estimate == pytest.approx(-0.3)
    assert difference.status == verdict.status == "supported"
    assert (ratio.paper, verdict.n, verdict.n_dropped) == ("2.5x", 10, 0)
    assert ratio.note == "the paper's 2.50 lies outside it"
    assert (control.arm, control.estimate, control.status) == ("s", pytest.approx(0.2), None)
    assert (beside.arm, beside.versus, beside.estimate, beside.paper) == ("s", "a", pytest.approx(2.0), "")
    assert "0.1 dB" in verdict.reason
    assert "4.00 times" in verdict.reason


def test_a_loss_is_positive_and_its_d_too():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    verdict = judge(claim, make_ledger(losing(a=(2, 1))(np.random.default_rng(0), 24)), make_context())
    for finding in verdict.findings:
        assert finding.estimate > 1
        assert finding.d > 1
        assert finding.ci_low > 0
        assert finding.d_low < finding.d < finding.d_high


def test_p_values_are_multiplied_by_the_size_of_the_family():
    claim = make_claim(kind="smaller-loss", score="deviation", **PAIRED, rivals=["r"])
    crowd = replace(claim, relatives=("any",) * 1000)
    ledger = make_ledger(losing(a=(0, 0.1), r=(0, 0.4))(np.random.default_rng(1), 12))
    alone, crowded = judge(claim, ledger, make_context()), judge(crowd, ledger, make_context())
    single, family = (next(f for f in v.findings if f.status) for v in (alone, crowded))
    assert family.p == single.p
    assert family.p_adjusted == pytest.approx(min(1.0, 1000 * single.p))
    assert (alone.status, crowded.status) == ("supported", "inconclusive")


def test_unpaired_runs_would_hide_the_effect():
    """The same figures with the mixtures of one arm exchanged say nothing: pairing is what decides."""
    columns = dict(losing(a=(0.2, 0.2), r=(1, 0.3))(np.random.default_rng(2), 24))
    claim = make_claim(kind="smaller-loss", score="loss", **PAIRED, rivals=["r"])
    assert judge(claim, make_ledger(columns), make_context()).status == "supported"
    columns[("r", "si_snr")] = np.random.default_rng(3).permutation(columns[("r", "si_snr")])
    assert judge(claim, make_ledger(columns), make_context()).status == "inconclusive"


def test_a_significant_p_does_not_make_equivalence_and_a_large_p_does_not_make_none():
    claim = make_claim(kind="equivalent", **PAIRED)
    tiny = judge(claim, make_ledger(losing(a=(0.05, 0.02))(np.random.default_rng(4), 24)), make_context())
    assert tiny.status == "supported"
    assert tiny.findings[0].ci_low > 0.0  # a loss, and one that is too small to matter
    noisy = judge(claim, make_ledger(losing(a=(0, 3.0))(np.random.default_rng(4), 24)), make_context())
    assert noisy.status == "inconclusive"
    assert noisy.findings[0].ci_low < 0.0 < noisy.findings[0].ci_high


def test_each_arm_is_compared_with_its_own_baseline():
    fields = PAIRED | {"arms": ["a", "b"], "baselines": ["baseline", "own-baseline"]}
    columns = dict(losing(a=(0, 0.1), b=(5, 0.1))(np.random.default_rng(6), 24))
    columns[("own-baseline", "si_snr")] = columns[("baseline", "si_snr")] - 5
    ledger = make_ledger(columns)
    assert judge(make_claim(kind="equivalent", **fields), ledger, make_context()).status == "supported"
    shared = judge(make_claim(kind="equivalent", **(fields | {"baselines": ["baseline"]})), ledger, make_context())
    assert shared.status == "refuted"


@pytest.mark.parametrize("kind", ["no-loss", "effect-table"])
def test_a_kind_that_judges_rivals_too_has_one_baseline(kind):
    """A rival has no baseline of its own, so a file that gives each arm one is refused when it is read."""
    both = {"arms": ["a", "b"], "baselines": ["baseline", "own-baseline"], "matched": {"a": "r", "b": "r"}}
    with pytest.raises(ClaimError, match="exactly 1 baselines"):
        make_claim(kind=kind, **(PAIRED | both), rivals=["r"])


# ------------------------------------------------------------------------------------------------------------- Pareto


def cost(arm, layer_steps, flops):
    return ArmCost(arm=arm, layer_steps_saved=layer_steps, flops_total=1e12, flops_saved=flops)


PARETO = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "matched": {"a": "r", "b": "s"}, "kind": "pareto"}
GOOD = losing(a=(0, 0.1), b=(0, 0.2), r=(0, 0.5), s=(0, 0.9))
CHEAP = {"a": (0.25, 0.04), "b": (0.4, 0.06), "r": (0.25, 0.25), "s": (0.3, 0.3)}


def pareto(world, *, seed=7, costs=(), **fields):
    known = {arm: cost(arm, *shares) for arm, shares in (CHEAP | dict(costs)).items()}
    ledger = make_ledger(world(np.random.default_rng(seed), 24))
    return judge(make_claim(**(PARETO | fields)), ledger, make_context(costs=known))


def test_pareto_is_decided_by_layer_steps_and_shown_by_flops():
    verdict = pareto(GOOD)
    assert verdict.status == "supported"
    assert [(one.arm, one.axis, one.status) for one in verdict.findings] == [
        ("a", "layer_steps_saved", "supported"),
        ("b", "layer_steps_saved", "supported"),
        ("a", "flops_saved", "refuted"),
        ("b", "flops_saved", "refuted"),
    ]
    assert verdict.findings[2].note == "saves 4.0% against 25.0%"


def test_pareto_needs_every_arm_beside_its_own_rival():
    assert pareto(losing(a=(0, 0.1), b=(0, 0.9), r=(0, 0.5), s=(0, 0.2))).status == "refuted"
    assert pareto(losing(a=(0, 0.1), b=(0, 0.5), r=(0, 0.5), s=(0, 0.5))).status == "inconclusive"
    assert pareto(losing(a=(0, 0.3), b=(0, 0.2), r=(0, 0.9), s=(0, 0.9))).status == "supported"
    crossed = {"matched": {"a": "s", "b": "r"}}  # b saves 40 % beside 25 %, a 25 % beside 30 %
    assert pareto(GOOD, **crossed).status == "refuted"


@pytest.mark.parametrize(("share", "status"), [(0.25, "supported"), (0.25 - 1e-12, "supported"), (0.24, "refuted")])
def test_an_arm_that_saves_less_dominates_nothing(share, status):
    verdict = pareto(GOOD, costs={"a": (share, 0.04)})
    assert verdict.status == status
    first = verdict.findings[0]
    assert (first.status, first.p is None) == (status, status == "refuted")


def test_pareto_shows_controls_that_decide_nothing():
    world = losing(a=(0, 0.1), b=(0, 0.2), r=(0, 0.5), s=(0, 0.9), control=(0, 0.01))
    verdict = pareto(world, controls=["control"])
    beside = [one for one in verdict.findings if one.versus == "control"]
    assert (verdict.status, [one.status for one in beside], [one.arm for one in beside]) == (
        "supported", [None, None], ["a", "b"],
    )  # fmt: skip
    assert all(one.estimate > 0 for one in beside)


def test_pareto_without_costs_is_not_run():
    verdict = judge(make_claim(**PARETO), make_ledger(GOOD(np.random.default_rng(7), 24)), make_context(costs={}))
    assert (verdict.status, "cost of a, b, r, s" in verdict.reason) == ("not run", True)


# ------------------------------------------------------------------------------- kinds that are judged by arithmetic


def test_saved_share_is_shown_on_every_axis():
    claim = make_claim(kind="saved-share", arms=["a"], figures={"a": "~25 %"})
    verdict = judge(claim, Ledger(()), make_context())
    assert {one.axis: (one.estimate, one.paper, one.status) for one in verdict.findings} == {
        "layer_steps_saved": (0.25, "~25 %", None),
        "flops_saved": (0.04, "~25 %", None),
        "self_attention_flops_saved": (0.13, "~25 %", None),
    }
    assert verdict.status == "shown"
    assert judge(claim, Ledger(()), make_context(costs={})).status == "not run"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (212.4e9, "supported"), (212.5e9, "refuted"), (210.3e9, "refuted"),
        (None, "not run"), (0.0, "not run"), (-1.0, "not run"), (math.nan, "not run"), (math.inf, "not run"),
    ],
)  # fmt: skip
def test_count(value, status):
    claim = make_claim(kind="count", targets={"flops_per_evaluation": 211.4e9}, tolerance=0.005)
    assert judge(claim, Ledger(()), make_context(flops_per_evaluation=value)).status == status


def test_a_count_holds_where_all_of_its_quantities_do():
    targets = {"flops_per_evaluation": 211.4e9, "self_attention_flops_per_evaluation": 61.4e9}
    claim = make_claim(kind="count", targets=targets, tolerance=0.005)
    for own, status in ((61.4e9, "supported"), (62.0e9, "refuted"), (None, "not run")):
        context = make_context(flops_per_evaluation=211.4e9, self_attention_flops_per_evaluation=own)
        assert judge(claim, Ledger(()), context).status == status


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_any_other_bit(name):
    arms, status = LEAKS[name]
    claim = make_claim(kind="state-leak", arms=["a", "b"])
    verdict = judge(claim, Ledger(()), make_context(**leaking(**arms)))
    assert verdict.status == status
    if status == "not run":
        missing = ", ".join(arm for arm in "ab" if arm not in arms)
        assert f"{missing} carries state over was not looked at" in verdict.reason
    else:
        found = [(one.arm, one.quantity, one.estimate) for one in verdict.findings]
        quantities = ("same mixture again", "mixture after another")
        wanted = [(arm, q, off) for arm in "ab" for q, off in zip(quantities, arms[arm], strict=True)]
        assert found == wanted
        assert [one.note for one in verdict.findings] == [
            "bit-equal" if off == 0.0 else f"off by {off:g} of the output's RMS" for *_, off in wanted
        ]


@pytest.mark.parametrize(
    ("gate", "status"),
    [(-0.03, "supported"), (0.01, "refuted"), (0.0, "refuted"), (None, "not run"), (math.nan, "not run")],
)
def test_sign_of_the_gate(gate, status):
    assert judge(make_claim(kind="sign", direction="negative"), Ledger(()), make_context(gate=gate)).status == status


def test_a_table_is_shown_and_says_which_cell_has_no_mean():
    claim = make_claim(kind="table", arms=["a"], metrics=["si_snr", "pesq"], tiers=["clean"])
    columns = {(arm, metric): np.arange(3.0) for arm in ("baseline", "a") for metric in ("si_snr", "pesq")}
    full = judge(claim, make_ledger(columns), make_context())
    assert (full.status, [one.estimate for one in full.findings]) == ("shown", [1.0] * 4)
    columns[("a", "pesq")] = np.full(3, np.nan)
    verdict = judge(claim, make_ledger(columns), make_context())
    assert verdict.status == "shown"
    assert "pesq of a on clean" in verdict.reason
    assert "gone" in verdict.reason


def test_a_table_counts_failed_outputs():
    claim = make_claim(kind="table", arms=["a"], metrics=["si_snr"], tiers=["clean"])
    columns = {("baseline", "si_snr"): np.arange(4.0), ("a", "si_snr"): np.array([np.nan, 5.0, 6.0, 7.0])}
    failed = [replace(row, failed=row.reason is not None) for row in make_ledger(columns).rows]
    verdict = judge(claim, Ledger(tuple(failed)), make_context())
    assert (verdict.n_failed, verdict.findings[1].n_failed) == (1, 1)
    assert verdict.findings[1].estimate == pytest.approx((0.0 + 5.0 + 6.0 + 7.0) / 4)  # the worst of all runs
    assert "failed outputs among them: 1" in verdict.reason


# ------------------------------------------------------------------------------------------------------ single figures


def test_an_effect_that_is_stronger_on_one_tier():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "tiers": ["clean", "env"], "stronger_tier": "env"}
    claim = make_claim(kind="loss-order", **fields)
    for lead, status in ((3.0, "supported"), (1.0, "inconclusive"), (0.3, "refuted")):
        rows = rows_of(losing(a=(1.5, 0.3), r=(0.5, 0.3))(np.random.default_rng(9), 24), tier="clean")
        rows += rows_of(losing(a=(0.5 + lead, 0.3), r=(0.5, 0.3))(np.random.default_rng(10), 24), tier="env")
        assert judge(claim, Ledger(tuple(rows)), make_context()).status == status


def test_seeds_of_one_mixture_are_not_extra_mixtures():
    claim = make_claim(kind="labelled-loss", label="large", **PAIRED)
    rows, losses = [], []
    for seed in range(20):
        columns = losing(a=(0.3, 1.0))(np.random.default_rng(seed), 6)
        losses.append(columns["baseline", "si_snr"] - columns["a", "si_snr"])
        rows += rows_of(columns, seed=seed)
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert verdict.n == 6
    assert verdict.findings[0].p == pytest.approx(contrast_test(np.mean(losses, axis=0)).p_greater)


@pytest.mark.parametrize("n", [1, 2])
def test_mixtures_that_are_too_few_for_a_test_are_inconclusive(n):
    verdict = judge(
        make_claim(kind="equivalent", **PAIRED), make_ledger(losing(a=(0, 1))(np.random.default_rng(0), n)),
        make_context(),
    )  # fmt: skip
    assert (verdict.status, verdict.findings) == ("inconclusive", ())
    assert f"Only {n} mixtures" in verdict.reason


def test_dropped_mixtures_are_counted_in_the_verdict():
    columns = dict(losing(a=(0, 0.1))(np.random.default_rng(11), 24))
    columns[("a", "si_snr")] = columns[("a", "si_snr")].copy()
    columns[("a", "si_snr")][:2] = np.nan
    verdict = judge(make_claim(kind="equivalent", **PAIRED), make_ledger(columns), make_context())
    assert (verdict.status, verdict.n, verdict.n_dropped) == ("supported", 22, 2)
    columns[("a", "si_snr")][:] = np.nan
    nothing = judge(make_claim(kind="equivalent", **PAIRED), make_ledger(columns), make_context())
    assert nothing.status == "inconclusive"
    assert "24 have none" in nothing.reason
    assert "gone" in nothing.reason


@pytest.mark.parametrize(("rising", "still"), [("a", "baseline"), ("baseline", "a")])
def test_a_factor_of_something_that_is_not_positive_is_inconclusive(rising, still):
    row = {"tier": "clean", "group": "g", "seed": 0, "metric": "block_ratio/L01"}
    rows = [
        Row(arm=arm, mixture=f"m{i}", value=value, **row)
        for i in range(4)
        for arm, value in ((still, 1.0), (rising, float(i)))
    ]
    claim = make_claim(kind="ratio-change", **(PAIRED | {"metrics": ["block_ratio/L01"], "direction": "increase"}))
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert (verdict.status, "must be above zero in every mixture" in verdict.reason) == ("inconclusive", True)
