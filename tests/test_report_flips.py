"""A flip beyond noise is told from one within it, as often as the level says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sam_lsac.claims import Finding
from sam_lsac.report import compare
from sam_lsac.report.flips import BEYOND, UNTOLD, WITHIN, noise_of
from tests.report_sample import simulated_report, with_verdict

ALPHA = 0.05


def drawn(rng, mean, *, n=24, **fields):
    """A loss with its 95 % interval, supported where a t-test shows it."""
    values = mean + rng.standard_normal(n)
    low, high = stats.t.interval(1 - ALPHA, n - 1, loc=values.mean(), scale=stats.sem(values))
    status = "supported" if stats.ttest_1samp(values, 0.0, alternative="greater").pvalue < ALPHA else "inconclusive"
    named = {"quantity": "loss", "tier": "clean", "metric": "si_snr", "arm": "one"} | fields
    return Finding(estimate=float(values.mean()), ci_low=float(low), ci_high=float(high), status=status, n=n, **named)


@pytest.fixture(scope="module")
def verdict():
    return simulated_report().verdict("LS4")


def between(verdict, old, new, *, tier=""):
    before, after = (replace(verdict, findings=tuple(found)) for found in (old, new))
    return noise_of(before, after, tier=tier, alpha=ALPHA)


@pytest.mark.parametrize("n_figures", [1, 6])
def test_two_draws_of_one_truth_flip_beyond_noise_less_often_than_the_level(verdict, n_figures):
    rng, n_draws, beyond, flips = np.random.default_rng(n_figures), 500, 0, 0
    for _ in range(n_draws):
        old, new = ([drawn(rng, 0.35, arm=str(i)) for i in range(n_figures)] for _ in range(2))
        if [one.status for one in old] != [one.status for one in new]:
            flips += 1
            beyond += between(verdict, old, new).startswith(BEYOND)
    assert flips > 0.2 * n_draws  # near the threshold verdicts turn all the time
    assert beyond / n_draws <= ALPHA + 3 * np.sqrt(ALPHA / n_draws)
    assert beyond > 0 or n_figures > 1


def test_a_change_of_truth_is_beyond_noise(verdict):
    rng = np.random.default_rng(1)
    said = [between(verdict, [drawn(rng, -0.5)], [drawn(rng, 1.5)]) for _ in range(100)]
    assert sum(one.startswith(BEYOND) for one in said) > 95


def test_the_difference_is_asked_of_the_sides_that_face_each_other(verdict):
    low = Finding(quantity="loss", estimate=0.0, ci_low=-9.0, ci_high=0.3, status="inconclusive")
    high = Finding(
        quantity="loss", estimate=0.51, ci_low=0.11, ci_high=9.0, status="supported"
    )  # 0.5^2 = 0.3^2 + 0.4^2
    near = replace(high, estimate=0.49, ci_low=0.09)  # 0.3 and 0.4 allow 0.5
    for pair, word in (((low, high), BEYOND), ((low, near), WITHIN)):
        assert between(verdict, [pair[0]], [pair[1]]).startswith(word)
        assert between(verdict, [pair[1]], [pair[0]]).startswith(word)


def test_only_figures_that_turned_decide_where_any_did(verdict):
    still = Finding(quantity="loss", arm="still", estimate=0.0, ci_low=-0.1, ci_high=0.1, status="supported")
    moved = replace(still, estimate=5.0, ci_low=4.9, ci_high=5.1)
    turned = Finding(quantity="loss", arm="turned", estimate=0.1, ci_low=-0.1, ci_high=0.3, status="inconclusive")
    after = replace(turned, estimate=0.2, ci_low=0.01, ci_high=0.4, status="supported")
    assert between(verdict, [still, turned], [moved, after]) == (
        "within noise: loss turned 0.10 [-0.10, 0.30] -> 0.20 [0.01, 0.40]"
    )
    assert between(verdict, [still], [moved]).startswith(BEYOND)  # the level may have changed, and this did too
    beside = [replace(one, status=None) for one in (still, moved)]
    assert between(verdict, beside[:1], beside[1:]) == UNTOLD


def test_a_tier_is_told_by_its_own_figures(verdict):
    rng = np.random.default_rng(2)
    old = [drawn(rng, -1.0, tier="clean"), drawn(rng, 0.0, tier="noisy")]
    new = [drawn(rng, 2.0, tier="clean"), replace(old[1], status="supported")]
    assert between(verdict, old, new, tier="clean").startswith(BEYOND)
    assert between(verdict, old, new, tier="noisy").startswith(WITHIN)
    assert between(verdict, old, new, tier="env") == UNTOLD


@pytest.mark.parametrize(("after", "word"), [(-0.4 * (1 + 1e-9), WITHIN), (0.4, BEYOND), (float("inf"), UNTOLD)])
def test_a_figure_without_an_interval_has_no_noise(verdict, after, word):
    old, new = (Finding(quantity="gate", estimate=value, status=status) for value, status in
                ((-0.4, "supported"), (after, "refuted")))  # fmt: skip
    assert between(verdict, [old], [new]).startswith(word)


def test_a_comparison_says_it_of_each_flip_and_counts():
    report = simulated_report()
    rng = np.random.default_rng(3)
    near, far = drawn(rng, 0.3), drawn(rng, 4.0)
    old = with_verdict(report, "LS4", status="inconclusive", tiers={}, findings=(replace(near, status="inconclusive"),))
    within = with_verdict(old, "LS4", status="supported", findings=(replace(near, status="supported"),))
    beyond = with_verdict(old, "LS4", status="supported", findings=(replace(far, status="supported"),))
    for new, is_beyond, word in ((within, False, WITHIN), (beyond, True, BEYOND)):
        comparison = compare(old, new)
        (flip,) = comparison.flips
        assert flip.is_beyond_noise == is_beyond
        assert f"LS4 ? inconclusive -> \N{CHECK MARK} supported, {word}: loss SI-SNR one clean" in str(comparison)
        assert f"1 flipped ({int(is_beyond)} beyond noise)" in str(comparison)
        assert comparison.fails()
