"""Measured size of `contrast_test` and coverage of `effect_size`, over many samples at once.

    python -m tests.calibration.sizes (size | coverage | looks | reach) [world ...]

prints a Markdown table; a figure is how often a test rejects a true hypothesis, or a bound of d misses the truth,
divided by how often it may. Of `reach` it is a power: what giving up takes away, and what it spares.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from sam_lsac.claims.looks import FEWEST, SIXTHS
from sam_lsac.claims.reach import HALF, LEAST_POWER
from sam_lsac.statistics import nominal_levels
from sam_lsac.statistics._skewed import moments, p_greater
from sam_lsac.statistics.effect import above_bound

LEVELS = (0.05, 0.006, 0.001, 0.0005)
SIZES = (19, 24, 48, 200)
AT_ONCE = 4_000_000

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class World:
    """A distribution with its mean and standard deviation."""

    draw: Draw
    mean: float
    sd: float

    def contrasts(self, rng: np.random.Generator, shape: tuple[int, int], *, d: float, sign: int = 1) -> np.ndarray:
        """Return samples whose true effect is `d`, mirrored where `sign` is -1."""
        return sign * (self.draw(rng, shape) - self.mean) / self.sd + d


WORLDS = {
    "normal": World(draw=lambda rng, shape: rng.standard_normal(shape), mean=0.0, sd=1.0),
    "t3": World(draw=lambda rng, shape: rng.standard_t(3, shape), mean=0.0, sd=math.sqrt(3)),
    "lognormal(0.5)": World(
        draw=lambda rng, shape: np.exp(0.5 * rng.standard_normal(shape)),
        mean=math.exp(0.125),
        sd=math.sqrt(math.expm1(0.25) * math.exp(0.25)),
    ),
    "chi-squared(3)": World(draw=lambda rng, shape: rng.chisquare(3, shape), mean=3.0, sd=math.sqrt(6)),
    "rare failure (4 %)": World(
        draw=lambda rng, shape: (rng.random(shape) < 0.04) + 0.02 * rng.standard_normal(shape),
        mean=0.04,
        sd=math.sqrt(0.04 * 0.96 + 0.02**2),
    ),
}
EFFECTS = (0.0, 0.2, 0.8, 1.5)


def contrast_p(samples: np.ndarray, *, student: bool = False) -> np.ndarray:
    """Return `contrast_test(...).p_greater` of every row of samples [m, n]."""
    n = samples.shape[1]
    mean, sd, skewness = moments(samples)
    if student:
        return special.stdtr(n - 1, -math.sqrt(n) * mean / sd)
    return p_greater(mean / sd, skewness, n)


def effect_p(samples: np.ndarray, d: float, *, exact: bool = False) -> np.ndarray:
    """Return `effect_size(...).p_above(d)` of every row: the lower bound at a level misses where it is smaller."""
    n = samples.shape[1]
    mean, sd, _ = moments(samples)
    normal = special.nctdtr(n - 1, -math.sqrt(n) * d, -math.sqrt(n) * mean / sd)
    if exact:
        return normal
    return np.fmax(normal, contrast_p(above_bound(samples, d)))


def chunks(n: int, total: int) -> Iterator[int]:
    """Yield numbers of samples that fit into memory and add up to `total`."""
    for start in range(0, total, AT_ONCE // n):
        yield min(AT_ONCE // n, total - start)


def size(world: World, n: int, *, side: int, samples: int, seed: int = 0, student: bool = False) -> list[float]:
    """Return how often a true "the mean is not above 0" is rejected, relative to each of `LEVELS`."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(len(LEVELS))
    for m in chunks(n, samples):
        p = contrast_p(world.contrasts(rng, (m, n), d=0.0, sign=side), student=student)
        counts += [(p < level).sum() for level in LEVELS]
    return [float(count / samples / level) for count, level in zip(counts, LEVELS, strict=True)]


def looks_size(
    world: World, n: int, *, side: int, samples: int, seed: int = 0, undivided: bool = False
) -> tuple[list[float], list[float]]:
    """Return how often any look, and one test of all, reject a true null, relative to each of `LEVELS`.

    The looks are those of sequential judging with n mixtures in all; `undivided` gives each of them the whole level.
    """
    rng = np.random.default_rng(seed)
    sizes = [size for sixths in SIXTHS if (size := -(-n * sixths // 6)) >= FEWEST or size == n]
    levels = np.asarray([nominal_levels(level, [size / n for size in sizes]) for level in LEVELS])
    if undivided:
        levels[:] = np.asarray(LEVELS)[:, None]
    counts = np.zeros((2, len(LEVELS)))
    for m in chunks(n, samples):
        drawn = world.contrasts(rng, (m, n), d=0.0, sign=side)
        p = np.stack([contrast_p(drawn[:, :size]) for size in sizes])
        counts[0] += [(p < own[:, None]).any(axis=0).sum() for own in levels]
        counts[1] += [(p[-1] < level).sum() for level in LEVELS]
    over_looks, once = (counts / samples / np.asarray(LEVELS)).tolist()
    return over_looks, once


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """Over samples: how often one contrast is shown without giving up and with it, and the mixtures then needed."""

    never: float
    ever: float
    mixtures: float


def giving_up(world: World, n: int, *, d: float, level: float, side: int, samples: int, seed: int = 0) -> GivenUp:
    """Judge one contrast, that may be shown or contradicted at one level, look by look with n mixtures in all."""
    rng = np.random.default_rng(seed)
    looks = [(sixths, size) for sixths in SIXTHS if (size := -(-n * sixths // 6)) >= FEWEST or size == n]
    levels = nominal_levels(level, [size / n for _, size in looks])
    shown, kept, used = 0, 0, 0
    for m in chunks(n, samples):
        drawn = world.contrasts(rng, (m, n), d=d, sign=side)
        said = np.zeros(m, dtype=int)  # 1 shown, -1 contradicted
        going, at = np.ones(m, dtype=bool), np.full(m, n)  # of those that may give up
        for (sixths, size), own in zip(looks, levels, strict=True):
            part = drawn[:, :size]
            now = (contrast_p(part) < own).astype(int) - (contrast_p(-part) < own)
            said = np.where(said == 0, now, said)
            effect = part.mean(axis=1) / part.std(axis=1, ddof=1) * math.sqrt(n)
            near = (np.abs(effect) + special.ndtri(level)) / math.sqrt(max(1 - size / n, 1e-12))
            stops = going & ((said != 0) | ((sixths >= HALF) & (size < n) & (special.ndtr(near) < LEAST_POWER)))
            kept += int((stops & (said == 1)).sum())
            at[stops] = size
            going &= ~stops
        shown += int((said == 1).sum())
        used += int(at.sum())
    return GivenUp(never=shown / samples, ever=kept / samples, mixtures=used / samples)


def misses(
    world: World, n: int, *, d: float, side: int, samples: int, seed: int = 0, exact: bool = False
) -> tuple[list[float], list[float]]:
    """Return how often the lower and the upper bound of d miss the true `d`, relative to each of `LEVELS`."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((2, len(LEVELS)))
    for m in chunks(n, samples):
        drawn = world.contrasts(rng, (m, n), d=d, sign=side)
        for row, sign in enumerate((1, -1)):
            p = effect_p(sign * drawn, sign * d, exact=exact)
            counts[row] += [(p < level).sum() for level in LEVELS]
    low, high = (counts / samples / np.asarray(LEVELS)).tolist()
    return low, high


def error(level: float, samples: int) -> float:
    """Return the Monte-Carlo standard error of a relative rate of 1."""
    return math.sqrt((1 - level) / (level * samples))


def cells(figures: list[float]) -> str:
    return " | ".join(f"{figure:.2f}" for figure in figures)


def tails(name: str) -> tuple[tuple[int, str], ...]:
    """Return the sides on which a world differs from itself mirrored."""
    return ((1, "both"),) if name in ("normal", "t3") else ((1, "above"), (-1, "below"))


def print_sizes(names: Sequence[str], samples: int = 100_000) -> None:
    """Print the size of `contrast_test` and of Student's t-test."""
    print(f"{samples} samples; Monte-Carlo errors " + ", ".join(f"{error(one, samples):.2f}" for one in LEVELS))
    print(f"| world | n | long tail | {' | '.join(map(str, LEVELS))} | {' | '.join(f't, {one}' for one in LEVELS)} |")
    for name in names:
        world = WORLDS[name]
        for n in SIZES:
            for side, tail in tails(name):
                ours, theirs = (size(world, n, side=side, samples=samples, student=one) for one in (False, True))
                print(f"| {name} | {n} | {tail} | {cells(ours)} | {cells(theirs)} |", flush=True)


def print_coverage(names: Sequence[str], samples: int = 40_000) -> None:
    """Print how often the bounds of d miss."""
    print(f"{samples} samples; Monte-Carlo errors " + ", ".join(f"{error(one, samples):.2f}" for one in LEVELS))
    print(f"| world | n | long tail | d | {' | '.join(f'low, {one}' for one in LEVELS)} | "
          f"{' | '.join(f'high, {one}' for one in LEVELS)} |")  # fmt: skip
    for name in names:
        world = WORLDS[name]
        for n in (24, 48, 200):
            for side, tail in tails(name):
                for d in EFFECTS:
                    low, high = misses(world, n, d=d, side=side, samples=samples)
                    print(f"| {name} | {n} | {tail} | {d} | {cells(low)} | {cells(high)} |", flush=True)


def print_looks(names: Sequence[str], samples: int = 400_000) -> None:
    """Print the size of `contrast_test` over all looks of sequential judging, and of one test of all mixtures."""
    print(f"{samples} samples; Monte-Carlo errors " + ", ".join(f"{error(one, samples):.2f}" for one in LEVELS))
    head = (f"{how}, {one}" for how in ("looks", "once") for one in LEVELS)
    print(f"| world | n | long tail | {' | '.join(head)} |")
    for name in names:
        for n in (24, 48):
            for side, tail in tails(name):
                over_looks, once = looks_size(WORLDS[name], n, side=side, samples=samples)
                print(f"| {name} | {n} | {tail} | {cells(over_looks)} | {cells(once)} |", flush=True)


def print_reach(names: Sequence[str], samples: int = 100_000) -> None:
    """Print what giving up takes from the power of one contrast, and the mixtures that it then takes of all."""
    print(f"{samples} samples; Monte-Carlo errors up to {0.5 / math.sqrt(samples):.4f}")
    print("| world | n | long tail | level | d | shown, if it never gives up | shown | mixtures |")
    for name in names:
        for n in (24, 48):
            for side, tail in tails(name):
                for level in LEVELS[:2]:
                    eighty = (special.ndtri(0.8) - special.ndtri(level)) / math.sqrt(n)  # shown in about 80 %
                    for d in (0.0, eighty / 2, eighty):
                        found = giving_up(WORLDS[name], n, d=d, level=level, side=side, samples=samples)
                        print(f"| {name} | {n} | {tail} | {level} | {d:.2f} | {found.never:.3f} | {found.ever:.3f} | "
                              f"{found.mixtures:.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    told = {"size": print_sizes, "coverage": print_coverage, "looks": print_looks, "reach": print_reach}
    told[sys.argv[1]](sys.argv[2:] or list(WORLDS))
