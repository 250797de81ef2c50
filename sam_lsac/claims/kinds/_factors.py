"""Changes of a positive quantity as factors, for the kinds that report them so."""

import math
from dataclasses import replace

from sam_lsac.claims.cells import Cell
from sam_lsac.claims.verdict import Finding, Status

__all__ = ["as_factor", "unmoved"]


def as_factor(cell: Cell, status: Status) -> Finding:
    """Return a change of logarithms as a factor with its interval."""
    test, claim = cell.test, cell.claim
    mean, base = (
        float(math.fsum(map(math.exp, logs)) / cell.pairs.n) for logs in (cell.pairs.first, cell.pairs.second)
    )
    return replace(
        cell.finding(status=status),
        quantity="factor",
        estimate=math.exp(test.mean),
        ci_low=math.exp(test.ci_low),
        ci_high=math.exp(test.ci_high),
        paper=claim.figure(tier=cell.tier, arm=cell.arm) or claim.paper,
        note=f"mean {mean:.3g} against {base:.3g}",
    )


def unmoved(cell: Cell) -> Finding:
    """Return the judgement of "none": equal to the baseline within the relative margin (TOST on logarithms)."""
    test = cell.equivalence(math.log1p(cell.margin))
    status: Status = "refuted" if cell.shows(test.p_beyond) else "supported" if cell.shows(test.p) else "inconclusive"
    return replace(as_factor(cell, status), p=test.p, p_adjusted=cell.claim.adjusted(test.p))
