"""ahead: at no more FLOPs, the arm is ahead of every rival in a metric that compares outputs with the full solve's.

Required of every rival that saves at most as many FLOPs as the arm: the arm's figure is the better one. Contradicted
where a rival that saves at least as many is shown to be better. A rival on the other side of the arm's cost is shown
and decides nothing: of two settings, the cheaper one may be the worse one.
With a `margin` the arm need not be ahead, but not behind by as much (non-inferiority).
"""

from dataclasses import replace

from sam_lsac.claims.cells import better
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._costs import SAME_COST, costs_of
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, count, judged, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context
from sam_lsac.claims.wording import figure, measured, percent

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Evidence]:
    (arm,) = claim.arms
    saved = {name: cost.flops_saved for name, cost in costs_of(claim, context).items()}
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        for rival in claim.rivals:
            contrast = better(claim, ledger, tier=tier, metric=metric, arm=arm, rival=rival)
            if claim.margin is not None:
                quantity = f"lead with {measured(claim.margin, metric, digits='g')} granted"
                contrast = replace(contrast, quantity=quantity, figures=contrast.figures + claim.margin, floor=0.0)
            note = f"saves {percent(saved[arm])} of FLOPs against {percent(saved[rival])}"
            dearer, cheaper = saved[rival] <= saved[arm] + SAME_COST, saved[rival] >= saved[arm] - SAME_COST
            if dearer:
                found.append(replace(contrast, refutes=cheaper).evidence(note=note))
            else:
                found.append(contrast.harmless(note=note))
    return found


def _headline(_claim: Claim, findings: Findings) -> Lines:
    asked = judged(findings) or findings  # where every rival is the cheaper one, none is asked
    lines = [f"{count(asked, 'supported')} of {len(asked)} comparisons ahead"]
    for tier in dict.fromkeys(one.tier for one in asked):
        nearest = min((one for one in asked if one.tier == tier), key=lambda one: one.ci_low or 0.0)
        lines.append(f"{tier} nearest {nearest.versus}, by {figure(nearest)}")
    return tuple(lines)


KIND = Kind(
    name="ahead",
    find=_find,
    reason=summary,
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.rivals),
    measures=True,
    needs=PAIRED | {"rivals"},
    may=frozenset({"margin"}),
    exactly={"arms": 1},
)
