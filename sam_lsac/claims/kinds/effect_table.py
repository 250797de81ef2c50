"""effect-table: each arm's d is negligible, and the rivals' loss grows from each to the next.

Required: the bounds of every arm's d lie within 0.2 of zero, every rival loses more than the one before, and more
than the arms that it is matched with, of which no rare failure hides behind the mean. Contradicted by an arm's d
beyond 0.2 on the side of loss, by a loss that falls from one rival to the next, or by an arm that loses more than its
rival.
"""

import itertools
from dataclasses import replace

from sam_lsac.claims.cells import loses_more, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import NEGLIGIBLE_D, Findings, Lines, count, harm, judged, labelled, n_cells, stems
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import NOTHING, effect

__all__ = ["KIND"]

GROWTH, BEATEN = "growth of loss", "loss difference"


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    (metric,) = claim.metrics
    found: list[Evidence] = []
    for tier in claim.tiers:
        where = {"tier": tier, "metric": metric}
        found += [_negligible(loss(claim, ledger, arm=arm, **where)) for arm in claim.arms]
        found += [Evidence(finding=loss(claim, ledger, arm=rival, **where).shown()) for rival in claim.rivals]
        for before, after in itertools.pairwise(claim.rivals):
            grows = loses_more(claim, ledger, arm=before, rival=after, **where)
            found.append(replace(grows, quantity=GROWTH).evidence())
        for arm, rival in claim.matched.items():
            found.append(loses_more(claim, ledger, arm=arm, rival=rival, **where).evidence())
            found.append(harm(claim, ledger, arm=arm, rival=rival, **where))
    return found


def _negligible(own: Contrast) -> Evidence:
    """Judge |d| < 0.2; a gain beyond that is no loss, so it refutes nothing."""
    found = labelled(own, low=-NEGLIGIBLE_D, high=NEGLIGIBLE_D)
    found = replace(found, contradicts=(own.requirement(NEGLIGIBLE_D, side=1),))
    if found.finding.status == "refuted" and own.mean < 0.0:
        return replace(found, finding=replace(found.finding, status="inconclusive"), possible=False)
    return found


def _reason(_claim: Claim, findings: Findings) -> str:
    parts = []
    for quantity, words in (
        ("loss", "effects are shown negligible"),
        (GROWTH, "rivals lose more than the one before"),
        (BEATEN, "rivals lose more than the arm that they are matched with"),
    ):
        mine = [one for one in judged(findings) if one.quantity == quantity]
        if mine:
            won, lost = count(mine, "supported"), count(mine, "refuted")
            parts.append(f"{won} of {len(mine)} {words} and {lost} are shown not to")
    telling = [one for one in findings if one.status == "refuted"]
    telling += [one for one in findings if one.status == "inconclusive"]
    return f"{'; '.join(parts)}{_example(telling[0]) if telling else ''}."


def _example(one: Finding) -> str:
    words = f"; for example {one.arm} on {one.tier}, d {effect(one.d)} [{effect(one.d_low)}, {effect(one.d_high)}]"
    return f"{words} beside the paper's {one.paper}" if one.paper else words


def _headline(claim: Claim, findings: Findings) -> Lines:
    arms, rivals = (
        [one for one in findings if one.quantity == "loss" and one.arm in names] for names in (claim.arms, claim.rivals)
    )
    steps = [one for one in findings if one.quantity == GROWTH]
    return (
        f"{count(arms, 'supported')} of {len(arms)} |d| shown < {NEGLIGIBLE_D:g}",
        f"{stems(claim.arms)} d {_spread(arms)}",
        f"{stems(claim.rivals)} d {_spread(rivals)}",
        f"{count(steps, 'supported')} of {len(steps)} lose more than the one before",
    )


def _spread(findings: Findings) -> str:
    effects = [one.d for one in findings if one.d is not None]
    return f"{effect(min(effects))} to {effect(max(effects))}" if effects else NOTHING


KIND = Kind(
    name="effect-table",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * (len(claim.arms) + len(claim.rivals) - 1 + len(claim.matched)),
    measures=True,
    early=frozenset({"refuted"}),
    needs=PAIRED | {"rivals"},
    may=frozenset({"matched"}),
    exactly={"baselines": 1, "metrics": 1},
)
