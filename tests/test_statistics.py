"""Laws of the statistics: agreement with SciPy, symmetry, coverage by simulation, stated degenerate cases."""

import math

import numpy as np
import pytest
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics import (
    bonferroni,
    mean_interval,
    ratio_interval,
    welch,
)
from sam_lsac.statistics._noncentral import survival

# ------------------------------------------------------------------------------------------------------ noncentral t


@pytest.mark.parametrize(
    ("t", "df", "centre"), [(2.0, 23, 1.0), (-16.08, 332, 16.1), (-62.6, 241, 3.1), (1500.0, 47, 9.0)]
)
def test_noncentral_t_agrees_with_scipy_in_the_body_and_in_the_tails(t, df, centre):
    assert survival(t, df, centre) == pytest.approx(stats.nct.sf(t, df, centre), abs=1e-12)


@pytest.mark.parametrize(
    ("t", "centre", "above"), [(1e4, 0.0, 0.0), (1e4, -3.0, 0.0), (-1e4, -3.0, 1.0), (-1e4, 3.0, 1.0)]
)
def test_noncentral_t_lies_on_one_side_of_what_is_far_out(t, centre, above):
    assert survival(t, 23, centre) == above
    assert survival(math.copysign(math.inf, t), 23, centre) == above


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


# ------------------------------------------------------------------------------------------------------------ groups


def test_welch_agrees_with_scipy_and_states_the_degenerate_case():
    rng = np.random.default_rng(15)
    a, b = rng.standard_normal(20) + 1, 3 * rng.standard_normal(12)
    ours, theirs = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.ci_low < ours.difference < ours.ci_high
    assert (welch([1, 1], [1, 1, 1]).t, welch([1, 1], [1, 1, 1]).p) == (0.0, 1.0)
    assert (welch([1, 1], [2, 2]).t, welch([1, 1], [2, 2]).p) == (-math.inf, 0.0)


# ------------------------------------------------------------------------------------------------------------- power


# --------------------------------------------------------------------------------------------------------- bad input

GOOD = [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bonferroni(1.2, family_size=2), "between 0 and 1"),
        (lambda: bonferroni(0.1, family_size=0), "cannot hold"),
        (lambda: bonferroni(math.nan, family_size=2), "between 0 and 1"),
        (lambda: mean_interval([1.0, math.nan]), "Ledger.paired"),
        (lambda: mean_interval([1.0, math.inf]), "finite"),
        (lambda: mean_interval([1.0]), "run more mixtures"),
        (lambda: mean_interval(np.ones((2, 2))), "average over seeds"),
        (lambda: ratio_interval(GOOD, [1.0, 2.0]), "pair with"),
        (lambda: mean_interval(GOOD, level=95), "0.05 means"),
        (lambda: mean_interval(GOOD, method="normal"), "choose"),
        (lambda: ratio_interval(GOOD, [0.0, 1.0, 1.0]), "compare differences"),
        (lambda: welch([1.0], GOOD), "run more"),
    ],
)
def test_wrong_input_is_an_error_that_names_the_remedy(call, words):
    with pytest.raises(InputError, match=words):
        call()
