"""What a paired experiment of a given size can show."""

import math

from scipy import optimize, stats

from sam_lsac.errors import InputError
from sam_lsac.statistics._noncentral import survival
from sam_lsac.statistics._samples import fraction

__all__ = ["detectable_effect", "paired_power", "pairs_needed"]

MOST_PAIRS = 10_000_000


def paired_power(d: float, n: int, *, alpha: float = 0.05) -> float:
    """Return the probability that a two-sided paired t-test of `n` pairs finds a true effect `d` (d_z).

    Raises
    ------
    InputError
        If n < 2 or alpha is not in (0, 1).
    """
    fraction(alpha, "alpha")
    if n < 2:
        raise InputError(f"power needs at least 2 pairs, got {n}: run more mixtures")
    centre = abs(d) * math.sqrt(n)
    critical = float(stats.t.isf(alpha / 2, n - 1))
    return survival(critical, n - 1, centre) + survival(critical, n - 1, -centre)


def detectable_effect(n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest |d_z| that `n` pairs find with probability `power`.

    Raises
    ------
    InputError
        If n < 2, alpha or power is not in (0, 1), or power is not above alpha.
    """
    fraction(power, "power")
    if power <= alpha:
        raise InputError(f"power {power} must be above alpha {alpha}: 0.8 is customary")
    paired_power(0.0, n, alpha=alpha)
    high = 1.0
    while paired_power(high, n, alpha=alpha) < power:
        high *= 2.0
    return float(optimize.brentq(lambda d: paired_power(d, n, alpha=alpha) - power, 0.0, high, xtol=1e-9))


def pairs_needed(margin_d: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many pairs show |d_z| < `margin_d` (TOST) with probability `power` where there is no effect at all.

    The normal approximation of the power of two one-sided tests: n = ((z_(1-alpha) + z_((1+power)/2)) / margin)^2.

    Raises
    ------
    InputError
        If the margin is not positive and finite, or alpha or power is not in (0, 1).

    References
    ----------
    Chow, Shao and Wang, "Sample size calculations in clinical research", 2008, section 3.1.
    """
    fraction(alpha, "alpha")
    fraction(power, "power")
    if not 0.0 < margin_d < math.inf:
        raise InputError(f"margin_d must be positive and finite, got {margin_d!r}: 0.2 is Cohen's negligible bound")
    needed = float(((stats.norm.isf(alpha) + stats.norm.ppf((1 + power) / 2)) / margin_d) ** 2)
    return min(MOST_PAIRS, math.ceil(needed))
