"""Changes of a positive quantity as factors, for the kinds that report them so."""

import math
from dataclasses import replace

from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import Evidence
from sam_lsac.claims.kinds._shared import inside, within_margin

__all__ = ["as_factor", "unmoved"]


def as_factor(contrast: Contrast) -> Evidence:
    """Judge a change of logarithms, and report it as a factor with its interval, beside the paper's."""
    judged = contrast.evidence()
    found, claim = judged.finding, contrast.claim
    low, middle, high = (math.exp(value or 0.0) for value in (found.ci_low, found.estimate, found.ci_high))
    mean, base = (
        float(math.fsum(map(math.exp, logs)) / contrast.pairs.n)
        for logs in (contrast.pairs.first, contrast.pairs.second)
    )
    size = inside(claim.sizes.get(contrast.metric), low, high)
    finding = replace(
        found,
        quantity="factor",
        estimate=middle,
        ci_low=low,
        ci_high=high,
        paper=found.paper or claim.paper,
        note="; ".join(filter(None, [f"mean {mean:.3g} against {base:.3g}", size])),
    )
    return replace(judged, finding=finding)


def unmoved(contrast: Contrast) -> Evidence:
    """Judge "none": equal to the baseline within the relative margin (TOST on logarithms)."""
    margin = math.log1p(contrast.claim.given("margin"))
    status, sides = within_margin(contrast, margin=margin)
    judged = as_factor(contrast)
    nearer = min(sides, key=lambda values: float(values.mean()))
    test = replace(contrast, figures=nearer, wanted=1, floor=0.0).evidence(status=status).finding
    requires = tuple(replace(judged.requires[0], values=values) for values in sides)
    contradicts = tuple(replace(judged.requires[0], values=-values) for values in sides)
    finding = replace(judged.finding, status=status, p=test.p, p_adjusted=test.p_adjusted, groups=test.groups)
    possible = abs(contrast.mean) < margin
    return Evidence(finding=finding, requires=requires, contradicts=contradicts, possible=possible)
