"""Conditional power: what is simulated, where nothing varies, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sam_lsac.errors import InputError
from sam_lsac.statistics import conditional_power
from tests.calibration.sizes import WORLDS, giving_up


def alternating(mean: float, n: int) -> np.ndarray:
    """Figures of this mean whose standard deviation is 1."""
    values = np.resize([1.0, -1.0], n)
    return mean + values / values.std(ddof=1)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("mean", [-0.3, 0.1, 0.5])
@pytest.mark.parametrize("level", [0.05, 0.006])
def test_it_is_how_often_all_show_it_when_the_rest_is_drawn_like_the_first(share, mean, level):
    n = 200
    first = alternating(mean, n)
    rest = np.random.default_rng(0).normal(mean, 1.0, size=(4000, round(n / share) - n)).sum(axis=1)
    z = (first.sum() + rest) / math.sqrt(n / share)
    simulated = float((z > stats.norm.isf(level)).mean())
    assert conditional_power(first, level=level, share=share) == pytest.approx(simulated, abs=0.03)


def test_figures_that_are_all_equal_stay_so():
    assert [conditional_power([value] * 5, level=0.05, share=0.5) for value in (1.0, 0.0, -1.0)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "level", "share"),
    [
        ([1.0, 2.0], 0.05, 0.5),
        ([1.0, 2.0, math.nan], 0.05, 0.5),
        ([1.0, 2.0, 3.0], 0.0, 0.5),
        ([1.0, 2.0, 3.0], 0.05, 1.0),
    ],
)
def test_what_is_no_sample_level_or_share_is_refused(values, level, share):
    with pytest.raises(InputError):
        conditional_power(values, level=level, share=share)


@pytest.mark.parametrize(("d", "least", "fewer"), [(0.0, 0.02, 6.0), (0.51, 0.6, 3.0)])
def test_giving_up_takes_little_power_and_spares_mixtures(d, least, fewer):
    """Two one-sided tests at 0.05 of 24 normal figures, at their looks."""
    found = giving_up(WORLDS["normal"], 24, d=d, level=0.05, side=1, samples=10_000)
    assert found.never - 0.03 <= found.ever <= found.never
    assert found.ever > least
    assert found.mixtures < 24 - fewer
