"""Whether a verdict that flipped between two reports says something new, or only that two draws differ.

A verdict near its threshold turns whenever the figures move a little. So a flip is looked at through the figures that
turned with it, those whose own status differs (all that decide, where none did): it is *beyond noise* where one of them
differs by more than the intervals of both allow, *within noise* where none does. Two independent estimates differ where
0 is outside the interval of their difference, which is recovered from theirs: the distances to their nearer limits add
as squares. Reports on the same mixtures are not independent but move together, so that what is beyond noise there
is so all the more, and what is within it may still be a small true change.

References
----------
Zou and Donner, "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine
27, 2008 (limits of a difference from those of its terms).
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

from sam_lsac.claims import Finding, Verdict
from sam_lsac.claims.wording import figure, metric_name

__all__ = ["BEYOND", "SAME", "key_of", "noise_of", "place_of"]

BEYOND = "beyond noise"
WITHIN = "within noise"
UNTOLD = "noise not told: the reports share no figure that decides"
SAME = 1e-6  # relative; figures without an interval differ by rounding between machines


def noise_of(old: Verdict, new: Verdict, *, tier: str, alpha: float) -> str:
    """Return "beyond noise" or "within noise" with the figure that decides, or that neither can be told.

    Parameters
    ----------
    old, new
        Verdicts on one claim.
    tier
        That of the flip; empty: the claim as a whole.
    alpha
        Level of the intervals; of several figures that decide, each is asked at its share of it.
    """
    pairs = [pair for pair in _deciding(old, new) if not tier or pair[0].tier in ("", tier)]
    turned = [(one, other) for one, other in pairs if one.status != other.status] or pairs
    told = [(ratio, one, other) for one, other in turned if (ratio := _distance(one, other)) is not None]
    if not told:
        return UNTOLD
    normal = NormalDist()
    allowed = normal.inv_cdf(1 - alpha / len(pairs) / 2) / normal.inv_cdf(1 - alpha / 2)
    ratio, one, other = max(told, key=lambda found: found[0])
    word = BEYOND if ratio > allowed else WITHIN
    return f"{word}: {place_of(other)} {figure(one)} -> {figure(other)}"


def key_of(finding: Finding) -> tuple[str, ...]:
    """Return what names a figure in any report."""
    return (finding.quantity, finding.tier, finding.metric, finding.arm, finding.versus, finding.axis)


def place_of(finding: Finding) -> str:
    """Return the same in words."""
    versus = f"against {finding.versus}" if finding.versus else ""
    parts = (finding.quantity, metric_name(finding.metric), finding.arm, versus, finding.tier, finding.axis)
    return " ".join(part for part in parts if part)


def _deciding(old: Verdict, new: Verdict) -> Iterator[tuple[Finding, Finding]]:
    """Give the figures that both reports have and that decide in either."""
    known = {key_of(finding): finding for finding in old.findings}
    for finding in new.findings:
        earlier = known.get(key_of(finding))
        if earlier is not None and (earlier.status or finding.status):
            yield earlier, finding


def _distance(one: Finding, other: Finding) -> float | None:
    """Return how far apart two estimates are, in units of what both intervals allow; None where one is no number.

    Figures without an interval, such as counts, have no noise: beyond rounding, they are infinitely apart.
    """
    first, second = one.estimate, other.estimate
    if first is None or second is None or not math.isfinite(first - second):
        return None
    if math.isclose(first, second, rel_tol=SAME):
        return 0.0
    low, high = (one, other) if first < second else (other, one)
    upper = 0.0 if low.ci_high is None else low.ci_high - min(first, second)
    lower = 0.0 if high.ci_low is None else max(first, second) - high.ci_low
    allowed = math.hypot(upper, lower)
    return abs(first - second) / allowed if allowed > 0.0 else math.inf
