"""Inference beyond the mixtures at hand: over groups of mixtures (voices), and where the variance lies.

Mixtures of one voice are alike, so a test over mixtures speaks of new recordings of these voices. A test over the means
of groups speaks of new voices as well.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from sam_lsac.errors import InputError
from sam_lsac.statistics._samples import Sample, sample

__all__ = ["GroupTest", "VarianceComponents", "group_test", "variance_components"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTest:
    """Result of `group_test`.

    Attributes
    ----------
    n, n_groups
        Mixtures and groups.
    mean, sd
        Of the groups' means; every group counts once, whatever its size.
    t, p_greater, p_less
        Student's t with n_groups - 1 degrees of freedom and its one-sided p values.
    """

    n: int
    n_groups: int
    mean: float
    sd: float
    t: float
    p_greater: float
    p_less: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """Result of `variance_components`: of figures that depend on the mixture, on the seed, and on both together.

    Attributes
    ----------
    n_mixtures, n_seeds
        Size of the table.
    mixture, seed, rest
        Variances, 0 or more; `rest` is what mixture and seed do not explain when added.
    """

    n_mixtures: int
    n_seeds: int
    mixture: float
    seed: float
    rest: float


def group_test(values: ArrayLike, groups: Sequence[Hashable]) -> GroupTest:
    """Test, on either side, whether the mean over groups is above 0.

    Student's t of the groups' means. It keeps its size, at four groups too, however strongly the mixtures of a group
    are correlated. Groups of different sizes have means of different variance, which makes the test conservative at
    one-sided levels up to 0.04 and does not make it liberal; what it estimates is the mean over groups, not over
    mixtures.

    Where all groups have one mean, the p value is 2^-n_groups on its side and 1 on the other, as in `contrast_test`;
    where that mean is 0 both are 1.

    Parameters
    ----------
    values
        [n], one figure per mixture.
    groups
        [n], the group of each mixture.

    Raises
    ------
    InputError
        If there are fewer than two groups, a figure is not finite, or lengths differ.

    References
    ----------
    Ibragimov and Mueller, "t-statistic based correlation and heterogeneity robust inference", Journal of Business and
    Economic Statistics 28, 2010; Bakirov and Szekely, "Student's t-test for Gaussian scale mixtures", 2006.
    """
    data = sample(values)
    if len(groups) != data.size:
        raise InputError(f"needs the group of every mixture: got {len(groups)} for {data.size} mixtures")
    names = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    k = len(names)
    if k < 2:
        raise InputError(f"a test over groups needs at least 2 groups, got {k}: add mixtures of other voices")
    place = [names[group] for group in groups]
    first = data[0]  # equal figures have exactly equal means, in groups of any size
    means = first + np.bincount(place, data - first) / np.bincount(place)
    mean, sd = float(means.mean()), 0.0 if np.ptp(means) == 0.0 else float(means.std(ddof=1))
    if sd == 0.0:
        t = float(np.copysign(np.inf, mean)) if mean else 0.0
        greater, less = (0.5**k if side * mean > 0.0 else 1.0 for side in (1, -1))
    else:
        t = mean / sd * k**0.5
        greater, less = (float(special.stdtr(k - 1, -side * t)) for side in (1, -1))
    return GroupTest(n=data.size, n_groups=k, mean=mean, sd=sd, t=t, p_greater=greater, p_less=less)


def variance_components(
    values: ArrayLike, *, mixtures: Sequence[Hashable], seeds: Sequence[Hashable]
) -> VarianceComponents:
    """Return the variance between mixtures, between seeds, and the rest (two-way random effects, from mean squares).

    Parameters
    ----------
    values
        [m], one figure for every mixture under every seed, in any order.
    mixtures, seeds
        [m] each, the mixture and the seed of each figure.

    Returns
    -------
    VarianceComponents
        An estimate below 0 is given as 0, as is usual.

    Raises
    ------
    InputError
        If there are fewer than two mixtures or two seeds, a mixture lacks a seed or has it twice, lengths differ, or
        a figure is not finite.

    References
    ----------
    Searle, Casella and McCulloch, "Variance components", 1992, section 4.4.
    """
    table = _crossed(sample(values), mixtures, seeds)
    rows, columns = table.shape
    total = table.mean()
    by_mixture, by_seed = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    left = ((table - by_mixture - by_seed + total) ** 2).sum() / ((rows - 1) * (columns - 1))
    between_mixtures = columns * ((by_mixture - total) ** 2).sum() / (rows - 1)
    between_seeds = rows * ((by_seed - total) ** 2).sum() / (columns - 1)
    return VarianceComponents(
        n_mixtures=rows,
        n_seeds=columns,
        mixture=max(0.0, float(between_mixtures - left) / columns),
        seed=max(0.0, float(between_seeds - left) / rows),
        rest=float(left),
    )


def _crossed(values: Sample, mixtures: Sequence[Hashable], seeds: Sequence[Hashable]) -> Sample:
    """Return the figures as a table [mixtures, seeds]; InputError where a cell is empty or filled twice."""
    if not len(mixtures) == len(seeds) == values.size:
        raise InputError(
            f"needs mixture and seed of every figure: got {len(mixtures)} and {len(seeds)} for {values.size} figures"
        )
    row = {mixture: place for place, mixture in enumerate(dict.fromkeys(mixtures))}
    column = {seed: place for place, seed in enumerate(dict.fromkeys(seeds))}
    if min(len(row), len(column)) < 2:
        raise InputError(
            f"variance of mixture and seed needs two of each, got {len(row)} mixtures and {len(column)} seeds: run more"
        )
    cells = {(row[mixture], column[seed]) for mixture, seed in zip(mixtures, seeds, strict=True)}
    if len(cells) != values.size or values.size != len(row) * len(column):
        raise InputError("every mixture needs every seed once: leave out mixtures with a seed missing")
    table = np.empty((len(row), len(column)))
    for mixture, seed, value in zip(mixtures, seeds, values, strict=True):
        table[row[mixture], column[seed]] = value
    return table
