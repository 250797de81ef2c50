"""Laws of the statistics: agreement with SciPy, symmetry, coverage by simulation, stated degenerate cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics import (
    bonferroni,
    cohen_label,
    detectable_effect,
    equivalence,
    friedman,
    mean_interval,
    paired_power,
    paired_test,
    pairs_needed,
    ratio_interval,
    spearman,
    welch,
)
from sam_lsac.statistics._noncentral import survival

FIGURES = arrays(np.float64, st.integers(3, 30), elements=st.floats(-50, 50).map(lambda x: round(x, 3)))


def spread(values):
    return np.ptp(values) > 1e-2


# ------------------------------------------------------------------------------------------------------- paired test


@settings(max_examples=60, deadline=None)
@given(baseline=FIGURES.filter(spread), seed=st.integers(0, 99))
def test_paired_test_agrees_with_scipy(baseline, seed):
    treated = baseline + np.random.default_rng(seed).standard_normal(baseline.size) + 0.3
    ours, theirs = paired_test(treated, baseline, alpha=0.1), stats.ttest_rel(treated, baseline)
    interval = theirs.confidence_interval(0.9)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.ci_low, ours.ci_high) == pytest.approx((interval.low, interval.high))
    assert ours.d == pytest.approx(ours.t / math.sqrt(ours.n))
    assert ours.d_low < ours.d < ours.d_high


@settings(max_examples=40, deadline=None)
@given(baseline=FIGURES.filter(spread), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_exchange_flips_the_sign_and_scale_changes_only_the_unit(baseline, scale, seed):
    treated = baseline + np.random.default_rng(seed).standard_normal(baseline.size)
    plain, exchanged = paired_test(treated, baseline), paired_test(baseline, treated)
    scaled = paired_test(scale * treated, scale * baseline)
    assert (exchanged.mean, exchanged.d, exchanged.d_low) == pytest.approx((-plain.mean, -plain.d, -plain.d_high))
    assert exchanged.p == pytest.approx(plain.p)
    assert (scaled.p, scaled.d, scaled.d_low, scaled.d_high) == pytest.approx(
        (plain.p, plain.d, plain.d_low, plain.d_high), rel=1e-6, abs=1e-7
    )
    assert scaled.ci_low == pytest.approx(scale * plain.ci_low, rel=1e-6, abs=1e-9)


def test_pairing_matters():
    rng = np.random.default_rng(0)
    baseline = 10 * rng.standard_normal(24)
    treated = baseline - 0.2 + 0.1 * rng.standard_normal(24)
    assert paired_test(treated, baseline).p < 1e-6
    assert paired_test(rng.permutation(treated), baseline).p > 0.05


def test_equal_runs_have_t_0_p_1_d_0():
    same = paired_test([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.t, same.p, same.d, same.d_low, same.d_high, same.ci_low, same.ci_high) == (0, 1, 0, 0, 0, 0, 0)
    assert same.label == "negligible"
    assert (same.p_d_within(0.2), same.p_d_beyond(0.2)) == pytest.approx((stats.norm.sf(0.2 * 3**0.5), 0.5), abs=0.2)


def test_a_constant_shift_is_infinite_with_its_sign():
    down = paired_test([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert (down.t, down.p, down.d, down.d_high) == (-math.inf, 0.0, -math.inf, -math.inf)
    assert (down.mean, down.ci_low, down.ci_high) == (-1.0, -1.0, -1.0)
    assert down.label == "large"
    assert (down.p_d_within(0.2), down.p_d_beyond(-0.2), down.p_d_beyond(0.2)) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(("d", "n"), [(0.0, 24), (0.3, 24), (1.0, 12), (-0.6, 48)])
def test_interval_of_d_covers_the_true_effect(d, n):
    rng = np.random.default_rng(17)
    runs = 600
    covered = 0
    for _ in range(runs):
        result = paired_test(rng.standard_normal(n) + d, np.zeros(n), alpha=0.1)
        covered += result.d_low <= d <= result.d_high
    assert covered / runs == pytest.approx(0.9, abs=0.04)


def test_interval_of_d_inverts_the_noncentral_t():
    values = np.random.default_rng(3).standard_normal(24) + 0.5
    result = paired_test(values, np.zeros(24))
    for end, level in ((result.d_low, 0.025), (result.d_high, 0.975)):
        assert stats.nct.sf(result.t, 23, end * math.sqrt(24)) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize(
    ("t", "df", "centre"), [(2.0, 23, 1.0), (-16.08, 332, 16.1), (-62.6, 241, 3.1), (1500.0, 47, 9.0)]
)
def test_noncentral_t_agrees_with_scipy_in_the_body_and_in_the_tails(t, df, centre):
    assert survival(t, df, centre) == pytest.approx(stats.nct.sf(t, df, centre), abs=1e-12)


def test_interval_of_d_is_continuous_where_the_limit_for_large_t_takes_over():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(24)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    below, above = (paired_test(noise + t / math.sqrt(24), np.zeros(24)) for t in (1999.9, 2000.1))
    assert (above.d_low, above.d_high) == pytest.approx((below.d_low, below.d_high), rel=5e-4)
    assert above.p_d_beyond(400.0) == pytest.approx(below.p_d_beyond(400.0), abs=2e-3)


@pytest.mark.parametrize(
    ("d", "label"),
    [(0.0, "negligible"), (0.1999, "negligible"), (0.2, "small"), (-0.49, "small"), (0.5, "medium"), (-0.8, "large")],
)
def test_cohen_label(d, label):
    assert cohen_label(d) == label


def test_magnitude_of_d_is_shown_at_the_stated_rate():
    rng = np.random.default_rng(5)
    runs, n = 500, 24
    boundary = [paired_test(rng.standard_normal(n) + 0.5, np.zeros(n)) for _ in range(runs)]
    assert sum(r.p_d_beyond(0.5) < 0.1 for r in boundary) / runs == pytest.approx(0.1, abs=0.045)
    assert sum(r.p_d_within(0.5) < 0.1 for r in boundary) / runs <= 0.1 + 0.045
    assert sum(paired_test(rng.standard_normal(200), np.zeros(200)).p_d_within(0.5) < 0.05 for _ in range(50)) == 50


# ------------------------------------------------------------------------------------------------------- equivalence


@settings(max_examples=40, deadline=None)
@given(baseline=FIGURES.filter(spread), margin=st.floats(0.05, 5), seed=st.integers(0, 99))
def test_tost_is_the_worse_of_two_one_sided_tests_and_its_interval(baseline, margin, seed):
    treated = baseline + np.random.default_rng(seed).standard_normal(baseline.size)
    difference = treated - baseline
    result = equivalence(treated, baseline, margin=margin)
    lower = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    assert result.p == pytest.approx(max(lower, upper), abs=1e-9)
    assert (result.p < 0.05) == (-margin < result.ci_low and result.ci_high < margin)
    assert not (result.p < 0.05 and result.p_beyond < 0.05)


def test_tost_keeps_its_level_at_the_margin_and_has_power_inside():
    rng = np.random.default_rng(6)
    runs, n = 800, 24
    at_margin = [equivalence(rng.standard_normal(n) + 1.0, np.zeros(n), margin=1.0) for _ in range(runs)]
    inside = [equivalence(rng.standard_normal(n), np.zeros(n), margin=1.0) for _ in range(100)]
    assert sum(r.p < 0.05 for r in at_margin) / runs == pytest.approx(0.05, abs=0.025)
    assert sum(r.p_beyond < 0.05 for r in at_margin) / runs == pytest.approx(0.05, abs=0.025)
    assert sum(r.p < 0.05 for r in inside) >= 95


def test_tost_of_degenerate_differences():
    same, beyond, edge = (equivalence(np.full(5, x), np.zeros(5), margin=0.5) for x in (0.0, 0.7, 0.5))
    assert (same.p, same.p_beyond) == (0.0, 1.0)
    assert (beyond.p, beyond.p_beyond) == (1.0, 0.0)
    assert (edge.p, edge.p_beyond) == (1.0, 1.0)


# ---------------------------------------------------------------------------------------------------------- families


def test_bonferroni_by_hand():
    assert bonferroni(0.01, family_size=2) == pytest.approx(0.02)
    assert bonferroni(0.4, family_size=10) == 1.0
    assert bonferroni(0.3, family_size=1) == 0.3


def test_family_wise_error_is_kept():
    raw = np.random.default_rng(7).uniform(size=(4000, 8))
    false = [any(bonferroni(p, family_size=8) < 0.05 for p in family) for family in raw]
    assert np.mean(false) == pytest.approx(0.05, abs=0.012)


# --------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("method", ["t", "bca"])
def test_interval_of_the_mean_covers_it(method):
    rng = np.random.default_rng(8)
    runs = 300
    hits = 0
    for seed in range(runs):
        result = mean_interval(rng.exponential(size=30), level=0.9, method=method, seed=seed, n_resamples=399)
        hits += result.low <= 1.0 <= result.high
    assert hits / runs == pytest.approx(0.9, abs=0.06)


def test_interval_of_the_mean_agrees_with_scipy_and_repeats_with_its_seed():
    values = np.random.default_rng(9).standard_normal(20)
    ours, theirs = mean_interval(values), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    one, same, other = (mean_interval(values, method="bca", seed=seed, n_resamples=500) for seed in (1, 1, 2))
    assert one == same != other
    assert mean_interval([2.0, 2.0, 2.0], method="bca") == mean_interval([2.0, 2.0, 2.0])


def test_interval_of_a_ratio_covers_it_and_is_a_point_where_all_ratios_agree():
    rng = np.random.default_rng(10)
    runs, hits = 150, 0
    for seed in range(runs):
        below = rng.uniform(0.5, 1.5, size=30)
        above = 3 * below + 0.3 * rng.standard_normal(30)
        result = ratio_interval(above, below, level=0.9, seed=seed, n_resamples=199)
        hits += result.low <= 3.0 <= result.high
    assert hits / runs == pytest.approx(0.9, abs=0.07)
    assert ratio_interval(below, above).estimate == pytest.approx(1 / result.estimate)
    point = ratio_interval(3 * below, below)
    assert (point.low, point.estimate, point.high) == pytest.approx((3, 3, 3))


# -------------------------------------------------------------------------------------------------- rank correlation


def test_spearman_agrees_with_scipy_and_flips_with_a_sign():
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((2, 60))
    y = y - 0.8 * x
    clusters = [f"m{i // 5}" for i in range(60)]
    plain, flipped = (spearman(x, s * y, clusters=clusters, seed=1, n_resamples=500) for s in (1, -1))
    assert plain.estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert plain.n == 12
    assert plain.high < 0
    assert (flipped.estimate, flipped.low, flipped.high) == pytest.approx((-plain.estimate, -plain.high, -plain.low))
    assert spearman(np.exp(x), y, clusters=clusters, seed=1, n_resamples=500) == plain


def test_points_of_one_mixture_are_not_independent():
    """Repeating every point adds no information: the interval of clusters stays, that of points would shrink."""
    rng = np.random.default_rng(12)
    x, y = rng.standard_normal((2, 20))
    once = spearman(x, y, clusters=range(20), seed=0, n_resamples=999)
    clusters = np.repeat(range(20), 10)
    often = spearman(np.repeat(x, 10), np.repeat(y, 10), clusters=list(clusters), seed=0, n_resamples=999)
    naive = spearman(np.repeat(x, 10), np.repeat(y, 10), clusters=range(200), seed=0, n_resamples=999)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.05)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_clustered_interval_keeps_its_level_where_points_of_a_cluster_move_together():
    rng = np.random.default_rng(13)
    runs, false = 60, 0
    for seed in range(runs):
        x, y = (np.repeat(rng.standard_normal(24), 5) + 0.2 * rng.standard_normal(120) for _ in range(2))
        result = spearman(x, y, clusters=list(np.repeat(range(24), 5)), level=0.9, seed=seed, n_resamples=149)
        false += not result.low <= 0 <= result.high
    assert false / runs == pytest.approx(0.1, abs=0.1)


# ------------------------------------------------------------------------------------------------------------ groups


def test_friedman_agrees_with_scipy_and_finds_one_slow_layer():
    rng = np.random.default_rng(14)
    rates = rng.uniform(size=(24, 6))
    ours, theirs = friedman(rates), stats.friedmanchisquare(*rates.T)
    assert (ours.chi_squared, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    rates[:, 2] -= 0.7
    assert friedman(rates).p < 1e-4
    ordered = friedman(np.tile(np.arange(6.0), (24, 1)))
    assert ordered.kendall_w == pytest.approx(1.0)
    assert (friedman(np.ones((5, 4))).p, friedman(np.ones((5, 4))).kendall_w) == (1.0, 0.0)


def test_welch_agrees_with_scipy_and_states_the_degenerate_case():
    rng = np.random.default_rng(15)
    a, b = rng.standard_normal(20) + 1, 3 * rng.standard_normal(12)
    ours, theirs = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.ci_low < ours.difference < ours.ci_high
    assert (welch([1, 1], [1, 1, 1]).t, welch([1, 1], [1, 1, 1]).p) == (0.0, 1.0)
    assert (welch([1, 1], [2, 2]).t, welch([1, 1], [2, 2]).p) == (-math.inf, 0.0)


# ------------------------------------------------------------------------------------------------------------- power


def test_power_by_known_figures_and_by_simulation():
    assert paired_power(0.5, 34) == pytest.approx(0.808, abs=0.002)  # G*Power: dz = 0.5, n = 34 -> 0.8078
    assert paired_power(0.0, 24) == pytest.approx(0.05)
    assert paired_power(-0.7, 24) == pytest.approx(paired_power(0.7, 24))
    rng = np.random.default_rng(16)
    samples = rng.standard_normal((4000, 24)) + 0.6
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05) == pytest.approx(
        paired_power(0.6, 24), abs=0.02
    )


@pytest.mark.parametrize("n", [2, 24, 48, 500])
def test_detectable_effect_has_the_power_asked_for(n):
    effect = detectable_effect(n, alpha=0.01, power=0.9)
    assert paired_power(effect, n, alpha=0.01) == pytest.approx(0.9, abs=1e-6)


def test_pairs_needed_give_the_power_asked_for():
    n = pairs_needed(0.4, alpha=0.05, power=0.8)
    rng = np.random.default_rng(18)
    shown = [paired_test(rng.standard_normal(n), np.zeros(n)).p_d_within(0.4) < 0.05 for _ in range(300)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.07)
    assert pairs_needed(0.2) > pairs_needed(0.4)


# --------------------------------------------------------------------------------------------------------- bad input

GOOD = [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired_test([1.0, math.nan], [1.0, 2.0]), "Ledger.paired"),
        (lambda: paired_test([1.0, math.inf], [1.0, 2.0]), "finite"),
        (lambda: paired_test([1.0], [1.0]), "run more mixtures"),
        (lambda: paired_test(GOOD, [1.0, 2.0]), "pair with"),
        (lambda: paired_test(np.ones((2, 2)), np.ones((2, 2))), "average over seeds"),
        (lambda: paired_test(GOOD, GOOD, alpha=5), "0.05 means"),
        (lambda: equivalence(GOOD, GOOD, margin=0.0), "positive"),
        (lambda: equivalence(GOOD, GOOD, margin=math.inf), "positive"),
        (lambda: cohen_label(math.nan), "no label"),
        (lambda: bonferroni(1.2, family_size=2), "between 0 and 1"),
        (lambda: bonferroni(0.1, family_size=0), "cannot hold"),
        (lambda: bonferroni(math.nan, family_size=2), "between 0 and 1"),
        (lambda: mean_interval([1.0, math.nan]), "finite"),
        (lambda: mean_interval(GOOD, level=95), "0.05 means"),
        (lambda: mean_interval(GOOD, method="normal"), "choose"),
        (lambda: ratio_interval(GOOD, [0.0, 1.0, 1.0]), "compare differences"),
        (lambda: spearman(GOOD, GOOD, clusters=["a", "a", "a"]), "at least 2 mixtures"),
        (lambda: spearman(GOOD, GOOD, clusters=["a", "b"]), "every point"),
        (lambda: spearman(GOOD, GOOD, clusters=["a", "b", "b"]), "incomplete sweep"),
        (lambda: spearman(GOOD, [1.0, 1.0, 1.0], clusters=["a", "b", "c"]), "vary"),
        (lambda: friedman(np.ones((3, 2))), "layers >= 3"),
        (lambda: friedman(np.full((3, 3), math.nan)), "finite"),
        (lambda: welch([1.0], GOOD), "run more"),
        (lambda: paired_power(0.5, 1), "at least 2"),
        (lambda: detectable_effect(24, power=0.01), "above alpha"),
        (lambda: pairs_needed(0.0), "positive"),
    ],
)
def test_wrong_input_is_an_error_that_names_the_remedy(call, words):
    with pytest.raises(InputError, match=words):
        call()
