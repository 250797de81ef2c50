"""How many mixtures show all conditions of a claim at once.

A claim that holds only where each of its conditions is shown needs more mixtures than any one of them. What the
conditions have in common (the same mixtures, one baseline) makes their tests dependent, so their joint power is
simulated from the moments that were observed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from sam_lsac.errors import InputError
from sam_lsac.statistics._noncentral import survival
from sam_lsac.statistics._samples import fraction
from sam_lsac.statistics._skewed import Floats, bound, moments
from sam_lsac.statistics.effect import above_bound

__all__ = ["Conditions", "joint_pairs_needed"]

MOST_PAIRS = 10_000_000
DRAWS = 4000
FEWEST = 4
LARGE = 10_000  # mixtures from which the noncentral t is taken for normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Contrasts of one sample of mixtures, all of which a claim needs.

    Parameters
    ----------
    contrasts
        [n, k], what was observed: one figure per mixture and condition.
    levels
        [k], the one-sided level of each condition's test.
    bounds
        [k], of conditions on Cohen's d: that d is above the bound. 0, as where it is not given, means that the mean is
        above 0, decided as `contrast_test` does. For "d below b" give the contrast's negative and -b.
    """

    contrasts: ArrayLike
    levels: Sequence[float]
    bounds: Sequence[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What is simulated of one sample, each contrast in units of its own standard deviation.

    `skewness` and `exact` are what the test of each contrast requires; `exact` holds (bound, scale) of
    conditions on d, where the noncentral t must agree.
    """

    mean: Floats  # [k]
    root: Floats  # [k, r], a root of the correlations
    levels: Floats  # [k]
    skewness: Floats  # [k]
    exact: tuple[tuple[float, float] | None, ...]
    fewest: int
    means: Floats  # [draws, k], times 1 / sqrt(n): deviations of sample means
    below: Floats  # [draws, k, r], Bartlett's triangle below its diagonal
    diagonal: Floats  # [draws, r], normal scores of its diagonal


def joint_pairs_needed(samples: Sequence[Conditions], *, power: float = 0.8, seed: int = 0) -> int | None:
    """Return how many mixtures in each sample show all conditions together with probability `power`, or None.

    Means and covariances are drawn for the means, covariance and skewness that were observed (normal and Wishart, 4000
    draws), the conditions decided as `contrast_test` and `effect_size` decide them, and the number of mixtures searched
    by bisection. Samples are of different mixtures, so their probabilities are multiplied. The observed effects are
    taken for true; they are estimates, and so is the number.

    Parameters
    ----------
    samples
        One for each tier.
    power
        Between 0 and 1.
    seed
        Of the draws.

    Returns
    -------
    int | None
        None where an observed figure contradicts its condition, or lies on its bound, so that more mixtures like these
        would not show it, or where ten million would not be enough.

    Raises
    ------
    InputError
        If there are no conditions, a table is not [n >= 3, k], a figure is not finite, the numbers of levels or
        bounds are not k, or a level or the power is not in (0, 1).
    """
    fraction(power, "power")
    if not samples:
        raise InputError("joint power needs conditions: give those of one tier at least")
    tables = [_checked(one) for one in samples]
    rng = np.random.default_rng(seed)
    models = [_model(table, one, rng) for table, one in zip(tables, samples, strict=True)]
    found = [model for model in models if model is not None]
    if len(found) < len(models):
        return None

    def enough(n: int) -> bool:
        return math.prod(_power(model, n) for model in found) >= power

    low, high = FEWEST - 1, FEWEST
    while not enough(high):
        low, high = high, high * 2
        if low > MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _checked(conditions: Conditions) -> Floats:
    table: Floats = np.asarray(conditions.contrasts, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 3 or table.shape[1] < 1:
        raise InputError(f"expected [mixtures >= 3, conditions], got shape {table.shape}: one column a condition")
    if not np.isfinite(table).all():
        raise InputError("figures must be finite: leave out, and count, mixtures that have none")
    bounds = conditions.bounds
    if len(conditions.levels) != table.shape[1] or (bounds is not None and len(bounds) != table.shape[1]):
        raise InputError(f"{table.shape[1]} conditions need as many levels and bounds: one each")
    for level in conditions.levels:
        fraction(level, "level")
    return table


def _model(table: Floats, conditions: Conditions, rng: np.random.Generator) -> _Model | None:
    """Return what is simulated, or None where a condition cannot be shown."""
    limits = conditions.bounds or (0.0,) * table.shape[1]
    columns, levels, kept, fewest = [], [], list[tuple[float, float]](), FEWEST
    for values, level, limit in zip(table.T, conditions.levels, limits, strict=True):
        if np.ptp(values) == 0.0:  # every sample repeats it, and the test's p value is 2^-n
            d = math.copysign(math.inf, values[0]) if values[0] else 0.0
            if not d > limit:
                return None
            fewest = max(fewest, math.floor(-math.log2(level)) + 1)
            continue
        column = values if limit == 0.0 else above_bound(values, limit)
        if not np.isfinite(column).all() or not column.mean() > 0.0:
            return None
        columns.append(column)
        levels.append(level)
        kept.append((limit, float(column.std(ddof=1) / values.std(ddof=1))))
    return _drawn(np.asarray(columns).reshape(-1, len(table)), levels, kept, rng=rng, fewest=fewest)


def _drawn(
    data: Floats,
    levels: Sequence[float],
    limits: Sequence[tuple[float, float]],
    *,
    rng: np.random.Generator,
    fewest: int,
) -> _Model:
    """Return the moments of contrasts [k, n], with the draws that every number of mixtures shares."""
    scale = data.std(axis=1, ddof=1)
    scaled = data / scale[:, None]
    centred = scaled - scaled.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.T / (data.shape[1] - 1))
    keep = values > 1e-10 * values.max(initial=0.0)
    root = vectors[:, keep] * np.sqrt(values[keep])
    r = root.shape[1]
    return _Model(
        mean=scaled.mean(axis=1),
        root=root,
        levels=np.asarray(levels),
        skewness=moments(scaled)[2],
        exact=tuple(one if one[0] else None for one in limits),
        fewest=fewest,
        means=rng.standard_normal((DRAWS, r)) @ root.T,
        below=root @ np.tril(rng.standard_normal((DRAWS, r, r)), -1),
        diagonal=rng.standard_normal((DRAWS, r)),
    )


def _power(model: _Model, n: int) -> float:
    """Return the share of draws of n mixtures in which every condition is shown."""
    if n < model.fewest:
        return 0.0
    r = model.root.shape[1]
    df = np.maximum(n - 1 - np.arange(r), 1)
    spread = 2 / (9 * df)
    chi_squared = df * np.maximum(1 - spread + model.diagonal * np.sqrt(spread), 0.0) ** 3  # Wilson and Hilferty
    factor = model.below + model.root * np.sqrt(chi_squared)[:, None, :]
    sd = np.sqrt((factor**2).sum(axis=-1) / (n - 1))
    mean = model.mean + model.means / math.sqrt(n)
    shown = np.ones(DRAWS, dtype=bool)
    for place, (level, exact) in enumerate(zip(model.levels, model.exact, strict=True)):
        shown &= mean[:, place] > sd[:, place] * bound(float(level), model.skewness[place], n)
        if exact is not None:
            limit, scale = exact
            shown &= limit + scale * mean[:, place] > _exact_bound(float(level), limit, n)
    return float(shown.mean())


def _exact_bound(level: float, limit: float, n: int) -> float:
    """Return the sample's d above which the noncentral t shows a true d above `limit`."""
    root = math.sqrt(n)
    centre = root * limit
    quantile = float(special.ndtri(1 - level)) * math.sqrt(1 + limit**2 / 2)
    if n > LARGE:
        return limit + quantile / root
    low, high = centre - 1.0, centre + 2 * quantile + 1.0
    while survival(high, n - 1, centre) > level:
        high += 2 * quantile + 1.0
    return float(optimize.brentq(lambda t: survival(t, n - 1, centre) - level, low, high, xtol=1e-6)) / root
