"""Simulated ledgers: how figures scatter around what is true, as rows, and the rows of a ledger that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam_lsac.claims import Claim, Ledger, Row

Figures = np.ndarray  # [seeds, n]
Noise = Callable[[np.random.Generator, np.ndarray], Figures]  # from the target's group of each mixture
Columns = Mapping[tuple[str, str], Figures]  # by arm and metric

RARE = 0.04


def independent(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Noise:
    return lambda rng, groups: draw(rng, groups.size)[None]


def grouped(rng: np.random.Generator, groups: np.ndarray) -> Figures:
    shared = rng.standard_normal(groups.max() + 1)[groups]
    return (math.sqrt(0.4) * shared + math.sqrt(0.6) * rng.standard_normal(groups.size))[None]


def seeded(rng: np.random.Generator, groups: np.ndarray) -> Figures:
    return (rng.standard_normal((1, groups.size)) + rng.standard_normal((3, groups.size))) / math.sqrt(2)


def rare(rng: np.random.Generator, n: int) -> np.ndarray:
    fails = rng.random(n) < RARE
    return (fails - RARE) / math.sqrt(RARE * (1 - RARE)) * math.sqrt(0.9) + math.sqrt(0.1) * rng.standard_normal(n)


@dataclass(frozen=True, kw_only=True)
class World:
    """How the figures of every arm scatter: unit variance, mean zero.

    Parameters
    ----------
    noise
        Positive is a loss.
    n_groups
        Of targets, and of residuals, in a tier.
    missing
        Share of figures that are not there.
    extent
        Whether truth is that of other groups too: then only an unrestricted verdict can be wrong.
    """

    name: str
    noise: Noise
    n_groups: int = 4
    missing: float = 0.0
    extent: bool = False


WORLDS = {
    world.name: world
    for world in (
        World(name="normal", noise=independent(lambda rng, n: rng.standard_normal(n))),
        World(name="t3", noise=independent(lambda rng, n: rng.standard_t(3, n) / math.sqrt(3))),
        World(name="skewed", noise=independent(lambda rng, n: (rng.chisquare(3, n) - 3) / math.sqrt(6))),
        World(name="skewed, mirrored", noise=independent(lambda rng, n: (3 - rng.chisquare(3, n)) / math.sqrt(6))),
        World(name="four voices", noise=grouped, extent=True),
        World(name="twelve voices", noise=grouped, n_groups=12, extent=True),
        World(name="5 % missing", noise=independent(lambda rng, n: rng.standard_normal(n)), missing=0.05),
        World(name="30 % missing", noise=independent(lambda rng, n: rng.standard_normal(n)), missing=0.3),
        World(name="rare failures", noise=independent(rare)),
        World(name="three seeds", noise=seeded),
    )
}


def group_numbers(n: int, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the groups of targets and of residuals; every residual meets every target."""
    place = np.arange(n)
    return place % n_groups, (place // n_groups + place) % n_groups


def is_factor(metric: str) -> bool:
    """Return whether a metric is compared as a factor."""
    return metric.startswith("block_ratio")


def unit(claim: Claim, metric: str) -> float:
    """Return the smallest effect of interest in the unit of the metric, or of its logarithm."""
    return math.log(claim.settings.smallest_factor) if is_factor(metric) else claim.smallest(metric)


def ledger(tiers: Mapping[str, Columns], world: World, rng: np.random.Generator) -> Ledger:
    """Return the rows of columns [seeds, n] by tier."""
    rows: list[Row] = []
    for tier, columns in tiers.items():
        for (arm, metric), figures in columns.items():
            targets, residuals = group_numbers(figures.shape[1], world.n_groups)
            gone = rng.random(figures.shape) < world.missing
            rows += [
                Row(
                    arm=arm,
                    tier=tier,
                    mixture=f"{tier}-{place:04d}",
                    group=f"voice {targets[place]}",
                    residual_group=f"sound {residuals[place]}",
                    seed=seed,
                    metric=metric,
                    value=math.nan if gone[seed, place] else float(value),
                    reason="not computed" if gone[seed, place] else None,
                )
                for seed, values in enumerate(figures)
                for place, value in enumerate(values)
            ]
    return Ledger(tuple(rows))


def noises(
    world: World, rng: np.random.Generator, *, n: int, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Figures]:
    """Return independent noise [seeds, n] for every column."""
    targets, _ = group_numbers(n, world.n_groups)
    return {name: world.noise(rng, targets) for name in names}
