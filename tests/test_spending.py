"""Levels of repeated looks: exact for a statistic of independent increments, and held by the tests that claims use."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sam_lsac.claims.looks import SIXTHS, part_of
from sam_lsac.errors import InputError
from sam_lsac.statistics import nominal_levels
from sam_lsac.statistics.spending import spent
from tests.calibration.sizes import WORLDS, looks_size

SHARES = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)
shares_of = st.lists(st.integers(1, 19), min_size=1, max_size=5, unique=True).map(
    lambda places: (*(place / 20 for place in sorted(places)), 1.0)
)
ROUNDING = 1 + 1e-9


def test_levels_are_those_that_are_published():
    """Bounds of five equal looks at 0.025, as tables of this spending function give them (Reboussin et al., 2000)."""
    bounds = stats.norm.isf(nominal_levels(0.025, (0.2, 0.4, 0.6, 0.8, 1.0)))
    assert bounds == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)


@pytest.mark.parametrize("alpha", [0.05, 0.006])
def test_all_looks_together_reject_as_often_as_the_level_says(alpha):
    """Against another integration: of the joint normal distribution of three looks."""
    shares = (0.5, 0.75, 1.0)
    bounds = stats.norm.isf(nominal_levels(alpha, shares))
    covariance = [[math.sqrt(min(a, b) / max(a, b)) for b in shares] for a in shares]
    inside = stats.multivariate_normal(cov=covariance, abseps=1e-7, releps=1e-7, maxpts=200_000).cdf(
        bounds, rng=np.random.default_rng(0)
    )
    assert 1 - inside == pytest.approx(alpha, rel=2e-3)


@settings(max_examples=25, deadline=None)
@given(shares=shares_of, alpha=st.sampled_from([0.3, 0.05, 0.006, 1e-4]))
def test_no_level_exceeds_what_may_be_spent_and_all_of_it_is(shares, alpha):
    levels = nominal_levels(alpha, shares)
    assert 0.0 < min(levels) <= max(levels) <= alpha * ROUNDING
    increments = np.diff([0.0, *(spent(alpha, share) for share in shares)])
    assert increments.sum() == pytest.approx(alpha, rel=1e-12)
    assert all(level * ROUNDING >= increment for level, increment in zip(levels, increments, strict=True))
    assert sum(levels) * ROUNDING >= alpha  # rejections of several looks coincide


@pytest.mark.parametrize("alpha", [0.05, 0.006, 1e-4])
def test_levels_grow_from_look_to_look(alpha):
    levels = nominal_levels(alpha, SHARES)
    assert all(earlier < later for earlier, later in pairwise([*levels, alpha]))


@settings(max_examples=15, deadline=None)
@given(shares=shares_of)
def test_later_looks_change_no_level_of_an_earlier_one(shares):
    whole = nominal_levels(0.01, shares)
    assert all(nominal_levels(0.01, shares[:number]) == whole[:number] for number in range(1, len(shares) + 1))


def test_next_to_nothing_is_spent_where_there_is_next_to_nothing():
    levels = nominal_levels(1e-4, (0.001, 0.5, 1.0))
    assert 0.0 < levels[0] < 1e-200
    assert levels[1:] == pytest.approx(nominal_levels(1e-4, (0.5, 1.0)), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7, 0.05 / 9 / 42])
def test_one_look_at_everything_has_the_whole_level(alpha):
    assert nominal_levels(alpha, (1.0,)) == (alpha,)
    assert spent(alpha, 1.0) == alpha


@pytest.mark.parametrize("shares", [(), (0.5, 0.5), (0.6, 0.5), (0.0, 1.0), (0.5, 1.1), (math.nan, 1.0)])
def test_looks_at_no_more_data_than_before_are_refused(shares):
    with pytest.raises(InputError):
        nominal_levels(0.05, shares)


def test_a_walk_crosses_the_bounds_as_often_as_the_level_says():
    rng, draws, alpha = np.random.default_rng(3), 100_000, 0.05
    steps = rng.standard_normal((draws, len(SHARES))) * np.sqrt(np.diff([0.0, *SHARES]))
    z = np.cumsum(steps, axis=1) / np.sqrt(SHARES)
    crossed = (z > stats.norm.isf(nominal_levels(alpha, SHARES))).any(axis=1).mean()
    assert abs(crossed - alpha) < 3 * math.sqrt(alpha * (1 - alpha) / draws)


@pytest.mark.parametrize("world", ["normal", "t3"])
@pytest.mark.parametrize("n", [24, 48])
def test_the_test_of_a_contrast_keeps_its_level_over_all_looks(world, n):
    samples, alpha = 20_000, 0.05
    over_looks, once = looks_size(WORLDS[world], n, side=1, samples=samples)
    error = math.sqrt((1 - alpha) / (alpha * samples))
    assert over_looks[0] < 1 + 3 * error
    assert over_looks[0] > 0.8 * once[0]  # and gives hardly any power away


def test_full_levels_at_every_look_would_be_seen():
    over_looks, _ = looks_size(WORLDS["normal"], 48, side=1, samples=10_000, undivided=True)
    assert over_looks[0] > 1.4


def test_looks_are_parts_of_the_mixtures():
    assert [part_of({"clean": 24}, sixths)["clean"] for sixths in SIXTHS] == [8, 12, 16, 20, 24]
    assert [part_of({"clean": 25}, sixths)["clean"] for sixths in SIXTHS] == [9, 13, 17, 21, 25]
