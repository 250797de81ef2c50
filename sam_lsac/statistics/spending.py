"""Levels of repeated looks at growing data: what part of a level each look may spend, so that all spend it once.

A test that is made after every batch of mixtures, each time at its full level, rejects a true null far more often than
that. An error-spending function says how much of the level may be spent by the time that a share t of the data is in;
here it is that of Lan and DeMets which resembles O'Brien and Fleming's bounds, 2 (1 - Phi(z(alpha / 2) / sqrt t)): it
spends next to nothing early, when a test of few mixtures is least to be trusted, and leaves the last look nearly all.

From it follow nominal levels, one a look, under the canonical joint distribution: statistics Z that are normal with
covariance sqrt(t_j / t_k), as sums of independent increments have. Later looks do not change earlier ones' levels.

References
----------
Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983, 659-663; Armitage, McPherson
and Rowe, "Repeated significance tests on accumulating data", Journal of the Royal Statistical Society A 132, 1969
(recursive integration); Jennison and Turnbull, "Group sequential methods with applications to clinical trials", 2000,
chapters 7 and 19, and section 4.4 (t-tests at the nominal levels of a normal statistic).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import optimize, special

from sam_lsac.errors import InputError
from sam_lsac.statistics._samples import fraction
from sam_lsac.statistics._skewed import Floats

__all__ = ["SPENDING", "nominal_levels", "spent"]

SPENDING = "O'Brien-Fleming (Lan-DeMets)"
"""The name of the function that is spent by."""

NODES = 400  # of Gauss and Legendre, over the values at which the looks go on
LOWEST, HIGHEST = -9.0, 40.0  # standard errors between which values and bounds are looked for
TINY = 5e-324  # whose logarithm is finite
LEAST = 1e-300  # is spent at least, so that a first look has a bound


def spent(alpha: float, share: float) -> float:
    """Return how much of a level may be spent when a share of the data is in: all of it, exactly, when all is in.

    Parameters
    ----------
    alpha
        The level, one-sided.
    share
        Above 0, at most 1.

    Raises
    ------
    InputError
        If the level or the share is out of range.
    """
    fraction(alpha, "alpha")
    if not 0.0 < share <= 1.0:
        raise InputError(f"a share of the data lies above 0 and is at most 1, got {share!r}: give n / n in all")
    if share == 1.0:
        return alpha
    return max(LEAST, float(2.0 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(share))))


def nominal_levels(alpha: float, shares: Sequence[float]) -> tuple[float, ...]:
    """Return the level of the test at each look, with which any of them rejects a true null with the spent probability.

    Parameters
    ----------
    alpha
        Level of all looks together, one-sided.
    shares
        Of the data that is in at each look, increasing; where the last is 1, all of the level is spent.

    Raises
    ------
    InputError
        If there is no look, or the level or a share is out of range or not greater than the one before.
    """
    if not shares or any(later <= earlier for earlier, later in pairwise(shares)):
        raise InputError(f"looks need growing shares of the data, got {list(shares)!r}: give each later look more")
    return _levels(alpha, tuple(shares))


@lru_cache(maxsize=4096)
def _levels(alpha: float, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Return the levels, by integration over the values at which no look has rejected yet."""
    spend = [spent(alpha, share) for share in shares]
    levels = [spend[0]]
    bound = -float(special.ndtri(spend[0])) * math.sqrt(shares[0])  # of the sum of increments, at the first look
    at, weights = _nodes(bound, shares[0])
    mass = weights * np.exp(-(at**2) / (2 * shares[0])) / math.sqrt(2 * math.pi * shares[0])
    for (earlier, share), (before, now) in zip(pairwise(shares), pairwise(spend), strict=True):
        sd = math.sqrt(share - earlier)
        bound = _bound(at, mass, sd=sd, share=share, spend=now - before)
        levels.append(float(special.ndtr(-bound / math.sqrt(share))))
        new, weights = _nodes(bound, share)
        density = np.exp(-((new[:, None] - at) ** 2) / (2 * sd**2)) / (math.sqrt(2 * math.pi) * sd)
        at, mass = new, weights * (density @ mass)
    return tuple(levels)


def _nodes(bound: float, share: float) -> tuple[Floats, Floats]:
    """Return nodes and weights of an integral over all values of the sum up to a bound."""
    low = LOWEST * math.sqrt(share)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = (bound - low) / 2
    return low + half * (nodes + 1), half * weights


def _bound(at: Floats, mass: Floats, *, sd: float, share: float, spend: float) -> float:
    """Return the value of the sum above which a look rejects with probability `spend`, where none has before."""

    def excess(bound: float) -> float:
        return math.log(max(float(mass @ special.ndtr((at - bound) / sd)), TINY)) - math.log(max(spend, LEAST))

    root = math.sqrt(share)
    return float(optimize.brentq(excess, LOWEST * root, HIGHEST * root, xtol=1e-13))
