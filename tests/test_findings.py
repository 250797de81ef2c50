"""What stands in a finding, by hand: mean, intervals, d, p values of what it could say, requirements, and words."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sam_lsac.caching import classify_layers
from sam_lsac.claims import KINDS, Ledger, headline, judge
from sam_lsac.statistics import contrast_test, effect_size, group_test, mean_interval, ratio_interval
from tests.claim_worlds import (
    CASES,
    HALVED,
    PAIRED,
    TWICE,
    factors,
    fidelities,
    losing,
    make_claim,
    make_context,
    make_ledger,
    rows_of,
    solvers,
)

RIVAL = PAIRED | {"rivals": ["r"]}
MATCHED = RIVAL | {"matched": {"a": "r"}}
BOTH = PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"]}


def ledger_of(**losses):
    """Return a ledger of SI-SNR where each arm loses these figures [n] against a baseline that varies."""
    base = 10.0 + 4.0 * np.random.default_rng(99).standard_normal(len(next(iter(losses.values()))))
    table = {("baseline", "si_snr"): base} | {(arm, "si_snr"): base - loss for arm, loss in losses.items()}
    return make_ledger(table)


def crowd(claim, size=5):
    return replace(claim, relatives=("any",) * size)


def skewed(rng, n=24, *, mean=0.0):
    """Return figures that lean to one side, of exactly this mean."""
    values = rng.lognormal(size=n)
    return values - values.mean() + mean


def evidence(name, world, *, n=24, seed=0):
    case = CASES[name]
    claim = make_claim(kind=name.split(",")[0], **case.claim)
    ledger = make_ledger(world(np.random.default_rng(seed), n))
    return KINDS[claim.kind].find(claim, ledger, make_context(**case.context))


# ------------------------------------------------------------------------------------------------ figures of a contrast


def test_a_loss_that_can_only_refute_has_the_p_value_of_a_loss():
    """Mean, interval and d are those of the loss at alpha, whatever the family; p is what a refutation would take."""
    rng = np.random.default_rng(0)
    loss = skewed(rng, mean=0.6)
    verdict = judge(crowd(make_claim(kind="no-loss", **MATCHED)), ledger_of(a=loss, r=3 + loss), make_context())
    own, test, effect = verdict.findings[1], contrast_test(loss), effect_size(loss)
    assert (own.quantity, own.arm, own.status) == ("loss", "a", None)
    assert (own.estimate, own.ci_low, own.ci_high) == pytest.approx((test.mean, test.ci_low, test.ci_high))
    assert (own.d, own.d_low, own.d_high) == pytest.approx((effect.d, effect.low, effect.high), abs=1e-5)
    assert own.p == pytest.approx(test.p_greater)
    assert own.p_adjusted == pytest.approx(5 * 3 * test.p_greater)  # three contradictions in each of a family of five
    assert 0.05 < own.p_adjusted < 1.0
    targets, residuals = [i % 3 for i in range(24)], [i % 5 for i in range(24)]
    assert (own.groups.n_targets, own.groups.n_residuals) == (3, 5)
    assert own.groups.p_targets == pytest.approx(group_test(loss, targets).p_greater)
    assert own.groups.p_residuals == pytest.approx(group_test(loss, residuals).p_greater)


@pytest.mark.parametrize(("named", "n_groups"), [(0, 0), (23, 5), (24, 5)])
def test_groups_are_tested_where_every_mixture_has_one(named, n_groups):
    """A mixture whose residual is nobody's belongs to no group, which is not a group of its own."""
    rows = [
        row if int(row.mixture[-3:]) < named else replace(row, residual_group="")
        for row in ledger_of(a=np.linspace(-1, 1.2, 24), r=np.linspace(1, 3, 24)).rows
    ]
    verdict = judge(make_claim(kind="no-loss", **MATCHED), Ledger(tuple(rows)), make_context())
    for one in (found.groups for found in verdict.findings if found.groups):
        assert (one.n_targets, one.p_targets is None) == (3, False)
        assert (one.n_residuals, one.p_residuals is None) == (n_groups, named < 24)


def test_a_share_is_shown_as_it_is_and_tested_below_zero():
    """The arm's deviation less half of its rival's: the claim sees it below zero."""
    rng = np.random.default_rng(1)
    own, rival = np.abs(skewed(rng, mean=1.0)), 2.5 + 0.1 * rng.standard_normal(24)
    verdict = judge(make_claim(kind="no-loss", **MATCHED), ledger_of(a=own, r=rival), make_context())
    figures, found = own - 0.5 * np.abs(rival), verdict.findings[0]
    effect = effect_size(figures)
    assert (found.estimate, found.d) == pytest.approx((figures.mean(), effect.d))
    assert found.estimate < 0 < found.p == pytest.approx(contrast_test(-figures).p_greater)


def test_what_is_left_out_of_a_finding_is_counted_by_its_sort():
    rows = []
    for row in ledger_of(a=np.linspace(0, 1, 24), r=np.linspace(1, 3, 24)).rows:
        place = int(row.mixture[-3:])
        gone = place < 3 or (place == 5 and row.arm == "a")
        failed = place in (7, 8) and row.arm == "a"
        lost = {"value": np.nan, "reason": "silent" if failed else "gone", "failed": failed}
        rows.append(replace(row, **lost) if gone or failed else row)
    verdict = judge(make_claim(kind="smaller-loss", score="loss", **RIVAL), Ledger(tuple(rows)), make_context())
    (found,) = [one for one in verdict.findings if one.status]
    assert (found.n, found.n_excluded, found.n_dropped, found.n_failed) == (20, 3, 1, 2)
    assert (verdict.n, verdict.n_dropped, verdict.n_failed) == (20, 1, 2)


def test_the_papers_figure_beside_a_finding_is_that_of_its_arm():
    claim = make_claim(kind="no-loss", **MATCHED, figures={"a": "0.1 dB", "r": "0.9 dB"})
    verdict = judge(claim, ledger_of(a=np.linspace(-1, 1, 24), r=np.linspace(1, 3, 24)), make_context())
    assert {one.arm: one.paper for one in verdict.findings if one.quantity == "loss"} == {"a": "0.1 dB", "r": "0.9 dB"}


def test_the_papers_figure_of_a_cell_comes_before_those_of_its_arm_and_of_its_tier():
    claim = make_claim(kind="equivalent", **PAIRED, figures={"clean/a": "cell", "a": "arm", "clean": "tier"})
    found = [claim.figure(tier=tier, arm=arm) for tier, arm in itertools.product(("clean", "env"), ("a", "b"))]
    assert found == ["cell", "tier", "arm", ""]


# --------------------------------------------------------------------------------------------------------- requirements


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_refuted_has_the_p_value_of_what_it_requires(name):
    """Support is an intersection: the largest p value of the contrasts that must be shown."""
    found = [one for one in evidence(name, CASES[name].weak) if one.requires and one.finding.status != "refuted"]
    assert found
    for one in found:
        needed = [effect_size(need.values).p_above(need.bound) for need in one.requires]
        assert one.finding.p == pytest.approx(max(needed), rel=1e-6)
        assert {len(need.mixtures) for need in one.requires} == {24}


def test_equivalence_requires_that_neither_side_is_beyond():
    loss = np.random.default_rng(15).standard_normal(24)
    (found,) = KINDS["equivalent"].find(make_claim(kind="equivalent", **PAIRED), ledger_of(a=loss), make_context())
    below, above = (need.values for need in found.requires)
    assert (below, above) == (pytest.approx(0.1 - loss), pytest.approx(0.1 + loss))  # 0.1 dB is the smallest effect


@pytest.mark.parametrize(
    ("name", "world", "possible"),
    [
        ("equivalent", losing(a=(0.02, 0.3)), True),
        ("equivalent", losing(a=(0.6, 0.3)), False),
        ("equivalent", losing(a=(-0.6, 0.3)), False),
        ("smaller-loss, signed", losing(a=(0.3, 0.3), r=(0.6, 0.3)), True),
        ("smaller-loss, signed", losing(a=(0.6, 0.3), r=(0.3, 0.3)), False),
        ("layer-response", factors(L01=(0.0, 0.05), L09=(0.9, 0.2)), True),
        ("layer-response", factors(L01=(0.5, 0.05), L09=(0.9, 0.2)), False),
        ("layer-response", factors(L01=(-0.5, 0.05), L09=(0.9, 0.2)), False),
        ("effect-table", losing(a=(0.0, 0.5), r=(0.6, 0.5), s=(2.0, 1.0)), True),
        ("effect-table", losing(a=(-1, 0.5), r=(0.3, 0.5), s=(2.0, 1.0)), False),
    ],
)
def test_more_mixtures_could_show_what_lies_on_the_claimed_side(name, world, possible):
    found = evidence(name, world, n=60, seed=2)
    assert next(one for one in found if one.requires).possible == possible


def test_a_small_effect_has_bounds_on_both_sides_that_must_be_shown():
    claim = make_claim(kind="labelled-loss", label="small", **PAIRED)
    for d, possible in ((0.35, True), (0.1, False), (0.7, False)):
        values = np.random.default_rng(3).standard_normal(40)
        values = d + (values - values.mean()) / values.std(ddof=1)
        loss, label = KINDS["labelled-loss"].find(claim, ledger_of(a=values), make_context())
        assert (loss.possible, label.possible) == (True, possible)
        assert [need.bound for need in label.requires] == [0.2, -0.5]
        assert label.requires[0].values == pytest.approx(values)
        assert label.requires[1].values == pytest.approx(-values)


def test_layer_steps_alone_say_how_many_mixtures_a_pareto_claim_takes():
    by_axis = {one.finding.axis: one.requires for one in evidence("pareto", CASES["pareto"].weak)}
    assert (len(by_axis["layer_steps_saved"]), by_axis["flops_saved"]) == (1, ())


def test_mixtures_of_a_correlation_keep_their_own_groups():
    """Each mixture is a row of points, one for each arm."""
    found = evidence("rank-correlation", CASES["rank-correlation"].weak, n=30)[0]
    values = found.requires[0].values
    assert found.requires[0].mixtures == tuple(f"clean-{i:03d}" for i in range(30))
    assert found.finding.groups.p_targets == pytest.approx(group_test(values, [i % 3 for i in range(30)]).p_greater)
    assert found.finding.groups.p_residuals == pytest.approx(group_test(values, [i % 5 for i in range(30)]).p_greater)


def shifted(tier, n, d, *, seed):
    """Return rows of a tier on which the rival loses more by d standard deviations."""
    rng = np.random.default_rng(seed)
    own, noise = 0.2 * rng.standard_normal(n), rng.standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    base = np.arange(float(n))
    columns = {"baseline": base, "a": base - own, "r": base - own - d - noise}
    return rows_of({(arm, "si_snr"): values for arm, values in columns.items()}, tier=tier)


def test_how_many_mixtures_are_needed_follows_from_power_level_and_the_hardest_tier():
    claim = make_claim(kind="smaller-loss", score="loss", **(RIVAL | {"tiers": ["clean", "env"]}))
    ledger = Ledger((*shifted("clean", 12, 0.6, seed=13), *shifted("env", 12, 0.4, seed=14)))

    def needed(one):
        return judge(one, ledger, make_context()).pairs_needed

    whole, clean, env = needed(claim), needed(claim.on("clean")), needed(claim.on("env"))
    assert whole >= env > clean > 12
    assert needed(crowd(claim)) > 1.2 * whole
    assert needed(replace(claim, settings=replace(claim.settings, power=0.95))) > 1.2 * whole


def test_a_scope_names_the_fewest_groups_of_any_tier():
    rows = [
        replace(row, group=f"g{int(row.mixture[-3:]) % (4 if row.tier == 'clean' else 6)}", residual_group=row.mixture)
        for row in (*shifted("clean", 24, 3.0, seed=13), *shifted("env", 24, 3.0, seed=14))
    ]
    claim = make_claim(kind="smaller-loss", score="loss", **(RIVAL | {"tiers": ["clean", "env"]}))
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert verdict.status == "supported"
    assert verdict.scope == "new recordings of these voices and sounds (4 groups or more a tier)"


def test_a_verdict_counts_the_fewest_mixtures_and_the_most_that_lack_a_figure():
    """Of its tiers: one has lost two mixtures of thirty, and the other has a failed run among its twelve."""
    rows = []
    for row in (*shifted("clean", 30, 0.6, seed=13), *shifted("env", 12, 0.4, seed=14)):
        lost, failed = (row.arm == "a" and row.mixture in names for names in (("clean-001", "clean-002"), ("env-003",)))
        bad = {"value": np.nan, "reason": "why", "failed": failed}
        rows.append(replace(row, **bad) if lost or failed else row)
    claim = make_claim(kind="smaller-loss", score="loss", **(RIVAL | {"tiers": ["clean", "env"]}))
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    assert (verdict.n, verdict.n_dropped, verdict.n_failed) == (12, 2, 1)


# -------------------------------------------------------------------------------------------------- intervals of ratios


def test_means_and_ratio_of_deviations_have_the_intervals_of_the_books_draws():
    rng = np.random.default_rng(4)
    own, rival = skewed(rng, mean=2.0), skewed(rng, mean=6.0)
    claim = make_claim(kind="smaller-loss", score="deviation", **RIVAL)
    draws = {"seed": 7, "n_resamples": 300}
    claim = replace(claim, settings=replace(claim.settings, bootstrap_seed=7, bootstrap_resamples=300))
    verdict = judge(crowd(claim), ledger_of(a=own, r=rival), make_context())
    mean, ratio = mean_interval(own, method="bca", **draws), ratio_interval(rival, own, **draws)
    shown = {(one.quantity, one.arm): one for one in verdict.findings}
    assert (shown["deviation", "a"].ci_low, shown["deviation", "a"].ci_high) == pytest.approx((mean.low, mean.high))
    found = shown["ratio", "r"]
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((ratio.estimate, ratio.low, ratio.high))


@pytest.mark.parametrize(("size", "where"), [(1.0, "outside"), (2.0, "inside"), (4.0, "outside")])
def test_a_factor_is_beside_both_means_and_the_papers_size(size, where):
    columns = dict(factors(L01=(0, 0.3))(np.random.default_rng(5), 24))
    ratio = columns["a", "block_ratio/L01"] / columns["baseline", "block_ratio/L01"]
    columns["a", "block_ratio/L01"] *= 2.0 / np.exp(np.log(ratio).mean())
    fields = PAIRED | {"metrics": ["block_ratio/L01"], "direction": "increase", "sizes": {"block_ratio/L01": size}}
    (found,) = judge(make_claim(kind="ratio-change", **fields), make_ledger(columns), make_context()).findings
    own, base = (columns[arm, "block_ratio/L01"].mean() for arm in ("a", "baseline"))
    assert found.note == f"mean {own:.3g} against {base:.3g}; the paper's {size:.2f} lies {where} it"
    logs = np.log(columns["a", "block_ratio/L01"]) - np.log(columns["baseline", "block_ratio/L01"])
    test = contrast_test(logs)
    assert found.estimate == pytest.approx(2.0)
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx(
        tuple(np.exp((test.mean, test.ci_low, test.ci_high)))
    )


@pytest.mark.parametrize(("change", "status"), [(0.115, "supported"), (0.1215, "refuted"), (-0.1215, "refuted")])
def test_a_margin_of_a_factor_is_one_plus_a_share(change, status):
    """A margin of 0.125 is a factor of 1.125, whose logarithm is 0.118."""
    fields = PAIRED | {"metrics": ["block_ratio/L01", "block_ratio/L09"], "margin": 0.125}
    world = factors(L01=(change, 0.002), L09=(0.9, 0.1))
    verdict = judge(
        make_claim(kind="layer-response", **fields), make_ledger(world(np.random.default_rng(6), 24)), make_context()
    )
    assert verdict.findings[0].status == status


def test_tiers_are_compared_by_a_one_sided_test():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "tiers": ["clean", "env"], "stronger_tier": "env"}
    claim = crowd(make_claim(kind="loss-order", **fields), 2)
    leads, rows = {}, []
    for seed, (tier, lead) in enumerate((("clean", 1.0), ("env", 1.3))):
        columns = losing(a=(3 + lead, 0.4), r=(3, 0.2))(np.random.default_rng(seed), 24)
        leads[tier] = columns["r", "si_snr"] - columns["a", "si_snr"]
        rows += rows_of(columns, tier=tier)
    verdict = judge(claim, Ledger(tuple(rows)), make_context())
    (found,) = [one for one in verdict.findings if one.quantity == "lead, tier against tier"]
    wanted = stats.ttest_ind(leads["env"], leads["clean"], equal_var=False, alternative="greater").pvalue
    assert (found.p, found.p_adjusted) == pytest.approx((wanted, 2 * wanted))
    assert (found.tier, found.versus, found.n) == ("env", "clean", 24)


# --------------------------------------------------------------------------------------------- levels, harm, and layers


@pytest.mark.parametrize(("behind", "status"), [(4.5, "supported"), (5.5, "refuted")])
def test_a_margin_stands_in_place_of_the_smallest_effect(behind, status):
    """Half a decibel on either side of a margin of 5; the smallest effect is 1."""
    rival = 50.0 + np.linspace(-3, 3, 24)
    figures = rival - behind + 0.05 * np.random.default_rng(11).standard_normal(24)
    fields = RIVAL | {"metrics": ["fidelity/baseline"], "margin": 5.0}
    ledger = make_ledger({("a", "fidelity/baseline"): figures, ("r", "fidelity/baseline"): rival})
    verdict = judge(make_claim(kind="ahead", **fields), ledger, make_context(costs=HALVED))
    assert verdict.status == status
    assert verdict.findings[0].estimate == pytest.approx(5.0 - behind, abs=0.05)


@pytest.mark.parametrize(("metric", "sign"), [("fidelity/baseline", 1), ("log_spectral_distance/baseline", -1)])
def test_a_level_stands_beside_median_worst_mixture_and_those_beyond(metric, sign):
    """Of a distance the largest is the worst, and those above the bound are beyond it; one on the bound is not."""
    figures = 50.0 + sign * np.asarray([*np.linspace(-5, 30, 20), 0.0, 60.0, 61.0])
    fields = PAIRED | {"metrics": [metric], "bound": 50.0, "saves": 0.5}
    claim, ledger = make_claim(kind="at-least", **fields), make_ledger({("a", metric): figures})
    verdict = judge(claim, ledger, make_context(costs=HALVED))
    found = verdict.findings[1]
    assert found.status == "supported"
    assert found.estimate == pytest.approx(figures.mean())
    median, worst = f"{np.median(figures):.3g}", f"{50 - sign * 5:g}"
    assert found.note == f"median {median} dB, worst {worst} dB, 3 of 23 mixtures beyond 50 dB"


def test_the_worst_mixture_is_the_one_that_loses_most():
    """A gain is no harm, however large; a share counts what loses more than the smallest effect."""
    loss = np.asarray([-3.0, 0.7, *np.tile([0.05, -0.05], 10), 0.2, -0.05])
    verdict = judge(make_claim(kind="no-loss", **MATCHED), ledger_of(a=loss, r=np.linspace(1, 3, 24)), make_context())
    (found,) = [one for one in verdict.findings if one.quantity == "worst loss"]
    assert (found.harm.mixture, found.harm.worst, found.harm.share) == ("clean-001", pytest.approx(0.7), 2 / 24)


@pytest.mark.parametrize(("worst", "status"), [(3.0, "supported"), (1.2, "inconclusive")])
def test_a_rare_failure_is_held_against_the_arms_own_rival(worst, status):
    """The second arm loses 2.5 dB on 4 % of the mixtures: no more than its own rival once did, or more."""
    n, rng = 400, np.random.default_rng(12)
    table = dict(solvers((0, 0.05), (0, 0.05), r=(0.9, 0.1))(rng, n))
    failing = np.where(np.arange(n) % 25 == 3, 2.5, 0.0)
    rival = 0.9 + 0.1 * rng.standard_normal(n)
    rival[7] = worst
    table["b", "si_snr"] = table["own-baseline", "si_snr"] - failing + failing.mean()
    table["b", "si_snr"] -= 0.02 * rng.standard_normal(n)
    table["s", "si_snr"] = table["own-baseline", "si_snr"] - rival
    claim = make_claim(kind="complementary", **BOTH, baselines=["baseline", "own-baseline"])
    verdict = judge(claim, make_ledger(table), make_context(costs=TWICE))
    assert verdict.status == status
    assert [one.status for one in verdict.findings if one.quantity == "worst loss"] == ["supported", status]


def test_voices_weigh_as_much_as_they_have_mixtures():
    """Exactly, over all 256 ways to draw four voices of 3, 4, 7 and 9 mixtures; one mixture more has no rates."""
    rng, sizes, n_layers = np.random.default_rng(8), (3, 4, 7, 9), 12
    voice = np.repeat(range(4), sizes)
    slope = np.asarray([-1.0, 1.2, 0.4, 0.5])[voice]
    rates = 5.0 + slope[:, None] * np.linspace(-1, 1, n_layers) + 0.6 * rng.standard_normal((len(voice), n_layers))

    def ends(means):
        found = classify_layers(means)
        return {layer: name for name in ("stable", "fast") for layer in getattr(found, name)}

    own = ends(rates.mean(axis=0))
    agree = []
    for drawn in itertools.product(range(4), repeat=4):
        other = ends(np.concatenate([rates[voice == one] for one in drawn]).mean(axis=0))
        agree.append(np.mean([other.get(layer) == name for layer, name in own.items()]) >= 0.75)
    wanted = float(np.mean(agree))
    assert 0.55 < wanted < 0.95
    table = np.concatenate([np.full((1, n_layers), np.nan), rates])
    groups = ["g9", *(f"g{one}" for one in voice)]
    rows = rows_of({("baseline", "si_snr"): np.zeros(len(table))})
    homes = Ledger(tuple(replace(row, group=groups[int(row.mixture[-3:])]) for row in rows))
    context = make_context(entropy_rates={f"clean-{i:03d}": tuple(row) for i, row in enumerate(table)})
    claim, estimates = make_claim(kind="layers-settle", family="f"), []
    for seed in (0, 1):
        seeded = replace(claim, settings=replace(claim.settings, bootstrap_seed=seed))
        verdict = judge(seeded, homes, context)
        assert verdict.findings[1].estimate == pytest.approx(wanted, abs=0.04)
        assert (verdict.findings[1].n, verdict.n_dropped) == (23, 1)
        estimates.append(verdict.findings[1].estimate)
    assert estimates[0] != estimates[1]


def test_classes_must_recur_at_the_level_of_the_family():
    """In all but a share of the resamples that lies between alpha and alpha over a hundred."""
    rates = np.linspace(0.1, 1.2, 12) + 0.6 * np.random.default_rng(10).standard_normal((24, 12))
    context = make_context(entropy_rates={f"clean-{i:03d}": tuple(row) for i, row in enumerate(rates)})
    claim = make_claim(kind="layers-settle", family="f")
    alone, crowded = (judge(crowd(claim, size), Ledger(()), context) for size in (1, 100))
    assert 0.95 <= alone.findings[0].estimate < 1 - 0.05 / 100
    assert (alone.findings[0].status, crowded.findings[0].status) == ("supported", "inconclusive")


# ------------------------------------------------------------------------------------------------------------ headlines


def test_a_headline_names_the_nearest_rival():
    fields = PAIRED | {"rivals": ["r", "s"], "metrics": ["fidelity/baseline"]}
    ledger = make_ledger(fidelities(a=(50, 1), r=(40, 1), s=(45, 1))(np.random.default_rng(8), 24))
    claim = make_claim(kind="ahead", **fields)
    lines = headline(claim, judge(claim, ledger, make_context(costs=HALVED)))
    assert lines[0] == "2 of 2 comparisons ahead"
    assert lines[1].startswith("clean nearest s, by ")


def test_a_headline_names_the_arm_that_loses_most_and_the_rival_that_loses_least():
    claim = make_claim(kind="no-loss", **BOTH, matched={"a": "r", "b": "s"})
    world = losing(a=(0, 0.1), b=(0.3, 0.1), r=(1, 0.1), s=(2, 0.1))
    lines = headline(claim, judge(claim, make_ledger(world(np.random.default_rng(9), 24)), make_context()))
    assert (lines[1].startswith("worst b on clean"), lines[3].startswith("mildest r on clean")) == (True, True)


def test_a_headline_names_the_tier_on_which_an_arm_comes_nearest_to_its_rival():
    fields = BOTH | {"baselines": ["baseline", "own-baseline"], "tiers": ["clean", "env"]}
    claim, rows = make_claim(kind="complementary", **fields), []
    for tier, size in (("clean", 0.05), ("env", 0.2)):
        world = solvers((0, size), (0, 0.25 - size), r=(0.8, 0.1))
        rows += rows_of(world(np.random.default_rng(10), 24), tier=tier)
    lines = headline(claim, judge(claim, Ledger(tuple(rows)), make_context(costs=TWICE)))
    assert [line.split(",")[0] for line in lines[1:]] == ["a nearest on env", "b nearest on clean"]


def test_the_share_that_is_shown_is_what_an_arm_saves_of_its_own_full_solve():
    """The second solver has twice the layer-steps to save: 3 of 4 halves are left of them, as of the first one's."""
    case = CASES["complementary"]
    claim, context = make_claim(kind="complementary", **case.claim), make_context(**case.context)
    found = judge(claim, make_ledger(case.true(np.random.default_rng(0), 24)), context).findings
    shown = {one.arm: one.estimate for one in found if one.quantity == "saved share"}
    assert shown == pytest.approx({"a": 0.25, "b": 0.25})
