"""Laws of contrasts, effect sizes, groups and joint numbers of mixtures: second implementations, size by simulation."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from sam_lsac.errors import InputError
from sam_lsac.statistics import (
    Conditions,
    contrast_test,
    effect_size,
    group_test,
    joint_pairs_needed,
    share_beyond,
    sign_test,
    variance_components,
)
from sam_lsac.statistics._skewed import ALLOWANCE
from sam_lsac.statistics.effect import above_bound
from tests.calibration.sizes import LEVELS, WORLDS, contrast_p, effect_p, error, misses, size

FIGURES = arrays(np.float64, st.integers(3, 40), elements=st.floats(-50, 50).map(lambda x: round(x, 3))).filter(
    lambda values: np.ptp(values) > 1e-2
)
SKEWED = np.random.default_rng(3).chisquare(3, 24)


def hall(ratio, skewness, n):
    """Hall's (1992) transformation in the form of his section 2, times sqrt(n)."""
    return math.sqrt(n) * (((1 + skewness * ratio / 3) ** 3 - 1) / skewness + skewness / (6 * n))


# ---------------------------------------------------------------------------------------------------------- contrast


@settings(max_examples=60, deadline=None)
@given(values=FIGURES)
def test_contrast_is_never_more_sure_than_scipys_t_test(values):
    result = contrast_test(values)
    greater, less = (stats.ttest_1samp(values, 0, alternative=side).pvalue for side in ("greater", "less"))
    assert result.p_greater >= greater * (1 - 1e-9)
    assert result.p_less >= less * (1 - 1e-9)
    assert (result.mean, result.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert result.skewness == pytest.approx(stats.skew(values), abs=1e-9)


def test_contrast_agrees_with_halls_formula_where_it_decides():
    n = SKEWED.size
    values = SKEWED - 4.2  # below 0, with the tail above: Student's test of this side is liberal
    ratio, skewness = -values.mean() / values.std(ddof=1), -stats.skew(values) - ALLOWANCE * math.sqrt(6 / n)
    assert contrast_test(values).p_less == pytest.approx(stats.t.sf(hall(ratio, skewness, n), n - 1), rel=1e-9)
    assert contrast_test(values).p_less > 2 * stats.ttest_1samp(values, 0, alternative="less").pvalue


@settings(max_examples=60, deadline=None)
@given(values=FIGURES, scale=st.floats(1e-3, 1e3))
def test_contrast_mirrors_and_knows_no_unit(values, scale):
    plain, mirrored, scaled = (contrast_test(factor * values) for factor in (1, -1, scale))
    assert (mirrored.p_greater, mirrored.p_less) == pytest.approx((plain.p_less, plain.p_greater))
    assert (mirrored.ci_low, mirrored.ci_high) == pytest.approx((-plain.ci_high, -plain.ci_low))
    assert (scaled.p_greater, scaled.p_less) == pytest.approx((plain.p_greater, plain.p_less), rel=1e-6)
    assert scaled.ci_low == pytest.approx(scale * plain.ci_low, rel=1e-6, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(values=FIGURES, alpha=st.sampled_from([0.001, 0.05, 0.2]))
def test_interval_of_the_mean_is_what_the_test_does_not_reject(values, alpha):
    result = contrast_test(values, alpha=alpha)
    assert result.ci_low < result.mean < result.ci_high
    assert contrast_test(values - result.ci_low).p_greater == pytest.approx(alpha / 2, rel=1e-5)
    assert contrast_test(values - result.ci_high).p_less == pytest.approx(alpha / 2, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(values=FIGURES, shift=st.floats(0, 100))
def test_a_greater_mean_is_never_less_sure(values, shift):
    assert contrast_test(values + shift).p_greater <= contrast_test(values).p_greater * (1 + 1e-9)


def test_contrast_of_equal_figures_has_the_p_value_of_the_sign_test():
    above, below, zero = (contrast_test(np.full(12, figure)) for figure in (0.3, -0.3, 0.0))
    assert (above.p_greater, above.p_less, above.ci_low, above.ci_high) == (sign_test([0.3] * 12), 1.0, 0.3, 0.3)
    assert (below.p_greater, below.p_less) == (1.0, 2.0**-12)
    assert (zero.p_greater, zero.p_less, zero.ci_low, zero.ci_high) == (1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, np.nan, 2.0], [[1.0, 2.0, 3.0]]])
def test_contrast_names_the_remedy(values):
    with pytest.raises(InputError, match=r"run more mixtures|Ledger\.paired|average over seeds"):
        contrast_test(values)
    with pytest.raises(InputError, match="alpha"):
        contrast_test([1.0, 2.0, 3.0], alpha=0.0)


@pytest.mark.parametrize("name", ["normal", "t3", "lognormal(0.5)", "chi-squared(3)"])
@pytest.mark.parametrize("n", [19, 48])
@pytest.mark.parametrize("side", [1, -1])
def test_contrast_keeps_its_size(name, n, side):
    """At most 1.2 times its level, here within four Monte-Carlo errors."""
    samples = 40_000
    measured = size(WORLDS[name], n, side=side, samples=samples)
    for rate, level in zip(measured, LEVELS, strict=True):
        assert rate < 1.2 + 4 * error(level, samples) * math.sqrt(1.2)


def test_students_test_would_not_keep_its_size():
    """The reason for the transformation: ten times the level of 0.001 in skewed data."""
    assert size(WORLDS["chi-squared(3)"], 24, side=-1, samples=40_000, student=True)[2] > 6


def test_contrast_has_power_where_the_effect_is_large():
    samples = WORLDS["normal"].contrasts(np.random.default_rng(4), (4000, 48), d=0.8)
    assert (contrast_p(samples) < 0.001).mean() == pytest.approx(0.96, abs=0.015)


def test_many_samples_at_once_are_what_one_is():
    samples = WORLDS["lognormal(0.5)"].contrasts(np.random.default_rng(5), (5, 24), d=0.4)
    assert contrast_p(samples).tolist() == pytest.approx([contrast_test(row).p_greater for row in samples])
    assert effect_p(samples, 0.1).tolist() == pytest.approx([effect_size(row).p_above(0.1) for row in samples])


# ------------------------------------------------------------------------------------------------ signs and shares


@given(values=FIGURES)
def test_sign_test_agrees_with_scipy_and_leaves_out_zeros(values):
    nonzero = values[values != 0]
    expected = stats.binomtest(int((nonzero > 0).sum()), nonzero.size, alternative="greater").pvalue
    assert sign_test(values) == pytest.approx(expected)
    assert sign_test(np.concatenate([values, np.zeros(5)])) == sign_test(values)
    assert sign_test(np.exp(np.abs(values))) == 0.5**values.size


def test_sign_test_sees_that_a_mean_rests_on_few():
    values = [5.0, 5.0, 5.0, 5.0] + [-0.1] * 20
    assert np.mean(values) > 0
    assert sign_test(values) > 0.99
    assert sign_test([0.0, 0.0]) == 1.0
    assert (sign_test([1.0]), sign_test([-1.0])) == (0.5, 1.0)


@pytest.mark.parametrize(("count", "n"), [(0, 24), (3, 24), (24, 24)])
def test_share_beyond_inverts_the_binomial(count, n):
    values = np.array([2.0] * count + [1.0] * (n - count))
    result = share_beyond(values, margin=1.0)  # a figure on the margin is not beyond it
    assert (result.count, result.share, result.n) == (count, count / n, n)
    theirs = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    assert (result.low, result.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    low = optimize.brentq(lambda q: stats.binom.sf(count - 1, n, q) - 0.025, 0, 1) if count else 0.0
    high = optimize.brentq(lambda q: stats.binom.cdf(count, n, q) - 0.025, 0, 1) if count < n else 1.0
    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-9)


def test_share_beyond_names_the_remedy():
    with pytest.raises(InputError, match="margin must be finite"):
        share_beyond([1.0], margin=math.nan)


# ------------------------------------------------------------------------------------------------------- effect size


def test_above_bound_is_the_jackknifes_contrast():
    values = SKEWED - 1
    n, sd = values.size, values.std(ddof=1)
    pseudo = [n * sd - (n - 1) * np.delete(values, place).std(ddof=1) for place in range(n)]
    assert above_bound(values, 0.7) == pytest.approx(values - 0.7 * np.asarray(pseudo))
    assert above_bound(np.stack([values, -values]), 0.7)[0] == pytest.approx(above_bound(values, 0.7))


@given(values=FIGURES, bound=st.floats(-2, 2))
def test_d_above_a_bound_is_a_contrast_that_agrees_with_the_noncentral_t(values, bound):
    n, d = values.size, values.mean() / values.std(ddof=1)
    exact = stats.nct.sf(d * math.sqrt(n), n - 1, bound * math.sqrt(n))
    expected = max(exact, contrast_test(above_bound(values, bound)).p_greater)
    assert effect_size(values).p_above(bound) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=30, deadline=None)
@example(values=np.array([0.0] * 6 + [1.0, 8.0]), level=0.9)  # rejects a d of 1, not one of 1000
@given(values=FIGURES, level=st.sampled_from([0.01, 0.9, 0.95, 0.999]))
def test_interval_of_d_is_what_its_tests_do_not_reject(values, level):
    result = effect_size(values, level=level)
    assert result.low < result.high
    assert level < 0.5 or result.low < result.d < result.high
    for end, test in ((result.low, result.p_above), (result.high, result.p_below)):
        if math.isinf(end):  # bounds far out are not rejected; a near one may be, where p is not monotonic
            assert test(math.copysign(1e3, end)) > (1 - level) / 2
        else:
            assert test(end) == pytest.approx((1 - level) / 2, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(values=FIGURES, scale=st.floats(1e-2, 1e2), bound=st.floats(-2, 2))
def test_effect_mirrors_and_knows_no_unit(values, scale, bound):
    plain, mirrored, scaled = (effect_size(factor * values) for factor in (1, -1, scale))
    assert (mirrored.d, mirrored.low, mirrored.high) == pytest.approx((-plain.d, -plain.high, -plain.low), rel=1e-6)
    assert (scaled.d, scaled.low, scaled.high) == pytest.approx((plain.d, plain.low, plain.high), rel=1e-4, abs=1e-6)
    assert mirrored.p_below(-bound) == pytest.approx(plain.p_above(bound), rel=1e-6)
    assert plain.p_within(abs(bound)) == max(plain.p_below(abs(bound)), plain.p_above(-abs(bound)))


def test_interval_of_d_holds_the_exact_one_of_normal_data():
    values = np.random.default_rng(6).standard_normal(24) + 0.5
    result = effect_size(values)
    for end, side in ((result.low, stats.nct.sf), (result.high, stats.nct.cdf)):
        assert side(result.d * math.sqrt(24), 23, end * math.sqrt(24)) <= 0.025 + 1e-6


def test_effect_of_equal_figures_is_a_point():
    up, zero = effect_size([0.2] * 8), effect_size([0.0] * 8)
    assert (up.d, up.low, up.high, up.p_above(0.8), up.p_below(0.8)) == (math.inf, math.inf, math.inf, 2.0**-8, 1.0)
    assert (zero.d, zero.low, zero.high, zero.p_within(0.2), zero.p_above(0.2)) == (0, 0, 0, 2.0**-8, 1.0)
    assert (up.p_above(math.inf), up.p_above(-math.inf)) == (1.0, 0.0)
    with pytest.raises(InputError, match="run more mixtures"):
        effect_size([1.0, 2.0])


@pytest.mark.parametrize("name", ["normal", "lognormal(0.5)", "chi-squared(3)"])
@pytest.mark.parametrize("side", [1, -1])
def test_bounds_of_d_hold(name, side):
    samples = 20_000
    low, high = misses(WORLDS[name], 24, d=0.8, side=side, samples=samples)
    for rate, level in zip(low + high, LEVELS * 2, strict=True):
        assert rate < 1.25 + 4 * error(level, samples) * math.sqrt(1.25)


def test_the_exact_interval_of_normal_data_would_not_hold():
    assert misses(WORLDS["chi-squared(3)"], 24, d=0.8, side=-1, samples=20_000, exact=True)[0][1] > 4


# ------------------------------------------------------------------------------------------------------------ groups


def test_group_test_is_the_t_test_of_the_groups_means():
    values, groups = SKEWED - 2, [index % 5 for index in range(24)]
    means = [values[[group == one for group in groups]].mean() for one in range(5)]
    result = group_test(values, groups)
    assert (result.n, result.n_groups, result.mean) == (24, 5, pytest.approx(np.mean(means)))
    assert result.p_greater == pytest.approx(stats.ttest_1samp(means, 0, alternative="greater").pvalue)
    assert result.p_less == pytest.approx(1 - result.p_greater)
    shuffled = np.random.default_rng(7).permutation(24)
    again = group_test(values[shuffled], [f"voice {groups[index]}" for index in shuffled])
    assert again.p_greater == pytest.approx(result.p_greater)


@pytest.mark.parametrize("sizes", [(6, 6, 6, 6), (2, 4, 6, 12), (1, 1, 1, 21)])
def test_group_test_keeps_its_size_at_four_correlated_groups(sizes):
    """Mixtures of a group share 0.4 of their variance: the test over mixtures rejects far too often."""
    rng = np.random.default_rng(8)
    runs = 1000
    groups = np.repeat(range(4), sizes)
    shared = rng.standard_normal((runs, 4))[:, groups]
    values = math.sqrt(0.4) * shared + math.sqrt(0.6) * rng.standard_normal((runs, 24))
    rejected = sum(group_test(row, groups.tolist()).p_greater < 0.04 for row in values)
    assert rejected / runs < 0.04 + 3 * math.sqrt(0.04 * 0.96 / runs)
    assert (contrast_p(values) < 0.04).mean() > 0.09


def test_group_test_of_equal_means_and_of_too_few():
    assert group_test([0.3] * 9, [0, 0, 1, 1, 1, 1, 1, 1, 1]).p_greater == 0.25
    assert (group_test([0.0] * 4, [0, 0, 1, 1]).p_greater, group_test([0.0] * 4, [0, 0, 1, 1]).t) == (1.0, 0.0)
    with pytest.raises(InputError, match="add mixtures of other voices"):
        group_test([1.0, 2.0], ["a", "a"])
    with pytest.raises(InputError, match="group of every mixture"):
        group_test([1.0, 2.0], ["a"])


# ----------------------------------------------------------------------------------------------- variance components


def crossed(table):
    rows, columns = table.shape
    mixtures, seeds = np.repeat(range(rows), columns), np.tile(range(columns), rows)
    return {"values": table.ravel(), "mixtures": mixtures.tolist(), "seeds": seeds.tolist()}


def test_variance_components_are_unbiased():
    rng = np.random.default_rng(9)
    found = []
    for _ in range(400):
        table = 2 * rng.standard_normal((20, 1)) + 1.5 * rng.standard_normal((1, 6)) + rng.standard_normal((20, 6))
        result = variance_components(**crossed(table))
        found.append((result.mixture, result.seed, result.rest))
    assert np.mean(found, axis=0) == pytest.approx((4.0, 2.25, 1.0), rel=0.12)


def test_variance_components_of_exact_tables():
    only_mixture = variance_components(**crossed(np.array([[1.0, 1.0], [3.0, 3.0]])))
    only_seed = variance_components(**crossed(np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]])))
    assert (only_mixture.mixture, only_mixture.seed, only_mixture.rest) == (2.0, 0.0, 0.0)
    assert (only_seed.mixture, only_seed.seed, only_seed.rest) == (0.0, 2.0, 0.0)
    swapped = variance_components(**crossed(np.array([[1.0, -1.0], [-1.0, 1.0]])))  # interaction alone
    assert (swapped.mixture, swapped.seed, swapped.rest) == (0.0, 0.0, 4.0)


def test_variance_components_need_a_full_table():
    table = crossed(np.arange(6.0).reshape(3, 2))
    with pytest.raises(InputError, match="leave out mixtures with a seed missing"):
        variance_components(table["values"][:-1], mixtures=table["mixtures"][:-1], seeds=table["seeds"][:-1])
    with pytest.raises(InputError, match="every seed once"):
        variance_components(table["values"], mixtures=table["mixtures"], seeds=[0, 0, 1, 1, 0, 1])
    with pytest.raises(InputError, match="run more"):
        variance_components([1.0, 2.0], mixtures=["a", "b"], seeds=[0, 0])
    with pytest.raises(InputError, match="mixture and seed of every figure"):
        variance_components([1.0, 2.0], mixtures=["a"], seeds=[0, 0])


# ------------------------------------------------------------------------------------------------------ joint numbers


def standard(d, n=4000):
    """Return normal scores with exactly this effect."""
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return values / values.std(ddof=1) + d


@pytest.mark.parametrize("d", [0.1, 0.3])
@pytest.mark.parametrize("level", [0.025, 0.0005])
def test_one_condition_needs_what_the_paired_t_test_does(d, level):
    """A little more, since the test allows for skewness."""
    needed = joint_pairs_needed([Conditions(contrasts=standard(d)[:, None], levels=[level])])
    bound = stats.t.ppf(1 - level, needed - 1)
    assert 0.78 < stats.nct.sf(bound, needed - 1, d * np.sqrt(needed)) < 0.85


def together(rng, n):
    z = rng.standard_normal((n, 3))
    return np.stack([z[:, 0] + 0.5, 0.3 * z[:, 0] + z[:, 1] + 0.45, 1 - 0.4 * z[:, 0] + 0.5 * z[:, 2]], axis=1)


def skewed(rng, n):
    return np.array([3.0, -2.2]) + rng.chisquare(3, (n, 2)) * [-0.8, 1.0]


def effects(rng, n):
    z = rng.standard_normal((n, 2))
    return np.stack([z[:, 0] + 0.8, 0.1 - 0.5 * z.sum(axis=1)], axis=1)


@pytest.mark.parametrize(
    ("draw", "level", "bounds"), [(together, 0.01, (0, 0, 0)), (skewed, 0.01, (0, 0)), (effects, 0.025, (0.5, -0.5))]
)
def test_joint_number_has_its_power_by_brute_force(draw, level, bounds):
    observed = draw(np.random.default_rng(1), 20_000)
    needed = joint_pairs_needed([Conditions(contrasts=observed, levels=[level] * len(bounds), bounds=bounds)])
    rng = np.random.default_rng(2)
    tables = np.stack([draw(rng, needed) for _ in range(2000)])
    shown = [
        (effect_p(tables[:, :, place], bound) if bound else contrast_p(tables[:, :, place])) < level
        for place, bound in enumerate(bounds)
    ]
    assert np.all(shown, axis=0).mean() == pytest.approx(0.8, abs=0.04)


def test_joint_number_grows_with_conditions_levels_and_power_and_repeats_with_its_seed():
    table = together(np.random.default_rng(3), 24)
    needed = [
        joint_pairs_needed([Conditions(contrasts=table[:, :k], levels=[0.01] * k)], power=power)
        for k, power in ((1, 0.8), (3, 0.8), (3, 0.95))
    ]
    assert needed[1] >= 0.98 * needed[0]
    assert needed[2] > needed[1]
    one = Conditions(contrasts=table, levels=[0.01] * 3)
    assert needed[1] < joint_pairs_needed([one, one])
    assert joint_pairs_needed([one], seed=4) == joint_pairs_needed([one], seed=4)
    assert joint_pairs_needed([one], seed=5) == pytest.approx(joint_pairs_needed([one]), rel=0.1)
    strict = Conditions(contrasts=table, levels=[0.001] * 3)
    assert joint_pairs_needed([strict]) > joint_pairs_needed([one])


def test_the_same_condition_twice_is_one_condition():
    table = standard(0.4, 40)[:, None]
    once = joint_pairs_needed([Conditions(contrasts=table, levels=[0.01])])
    twice = joint_pairs_needed([Conditions(contrasts=np.repeat(table, 2, axis=1), levels=[0.01] * 2)])
    assert twice == pytest.approx(once, rel=0.05)


def test_what_the_mixtures_contradict_cannot_be_shown():
    up, down = standard(0.4, 40), standard(-0.1, 40)
    assert joint_pairs_needed([Conditions(contrasts=np.stack([up, down], 1), levels=[0.05] * 2)]) is None
    assert joint_pairs_needed([Conditions(contrasts=up[:, None], levels=[0.05], bounds=[0.5])]) is None
    assert joint_pairs_needed([Conditions(contrasts=np.zeros((5, 1)), levels=[0.05])]) is None
    assert joint_pairs_needed([Conditions(contrasts=standard(1e-6, 40)[:, None], levels=[0.05])]) is None


def test_equal_figures_need_what_their_sign_test_does():
    constant = Conditions(contrasts=np.ones((5, 1)), levels=[0.001])
    assert joint_pairs_needed([constant]) == 10
    assert contrast_test(np.ones(10)).p_greater < 0.001 < contrast_test(np.ones(9)).p_greater


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"contrasts": np.ones(5), "levels": [0.05]}, "one column a condition"),
        ({"contrasts": np.full((5, 1), np.nan), "levels": [0.05]}, "leave out, and count"),
        ({"contrasts": np.ones((5, 2)), "levels": [0.05]}, "as many levels"),
        ({"contrasts": np.ones((5, 1)), "levels": [0.05], "bounds": [0.0, 1.0]}, "as many levels"),
        ({"contrasts": np.ones((5, 1)), "levels": [1.0]}, "level"),
    ],
)
def test_joint_number_names_the_remedy(fields, match):
    with pytest.raises(InputError, match=match):
        joint_pairs_needed([Conditions(**fields)])
    with pytest.raises(InputError, match="give those of one tier"):
        joint_pairs_needed([])
