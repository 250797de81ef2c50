"""no-loss: no arm degrades beside its matched rival, and every rival does.

Required of each arm: its deviation is below theta times its matched rival's, and no rare failure hides behind the
mean; of each rival: that it loses, and loses more than the arm that it is matched with. Contradicted by a loss of an
arm, a gain of a rival, or an arm that loses more than its rival. Whether an arm's loss is within the metric's
smallest effect (TOST) is shown beside it: on its own it tells nothing from a rival that moves as little.
"""

from dataclasses import replace

from sam_lsac.claims.cells import loses_more, loss, within_share
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import (
    Findings,
    Lines,
    cells,
    count,
    harm,
    mildest,
    n_cells,
    stems,
    summary,
    within_margin,
    worst,
)
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context
from sam_lsac.claims.wording import figure, measured

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        for arm in claim.arms:
            rival = claim.matched[arm]
            where = {"tier": tier, "metric": metric, "arm": arm}
            own = replace(loss(claim, ledger, **where), wanted=-1)
            found += [
                within_share(claim, ledger, rival=rival, **where).evidence(note="no degradation"),
                own.harmless(note=_absolute(own)),
                harm(claim, ledger, rival=rival, **where),
                loses_more(claim, ledger, rival=rival, **where).evidence(note="the rival loses more"),
            ]
        for rival in claim.rivals:
            found.append(loss(claim, ledger, tier=tier, metric=metric, arm=rival).evidence(note="the rival loses"))
    return found


def _absolute(own: Contrast) -> str:
    status, _ = within_margin(own, margin=own.floor)
    words = {"supported": "shown", "refuted": "shown not"}.get(status, "not shown")
    return f"{words} to be within {measured(own.floor, own.metric, digits='g')}, which decides nothing"


def _headline(claim: Claim, findings: Findings) -> Lines:
    lines = []
    shares = [one for one in findings if one.quantity.startswith("deviation beyond")]
    losses = [one for one in findings if one.quantity == "loss" and one.arm in claim.rivals]
    own = [one for one in findings if one.quantity == "loss" and one.arm in claim.arms]
    for judged, shown, arms, what, end, pick in (
        (shares, own, claim.arms, "without loss", "worst", worst),
        (losses, losses, claim.rivals, "with loss", "mildest", mildest),
    ):
        extreme = pick(shown)
        lines.append(f"{count(judged, 'supported')} of {len(judged)} {stems(arms)} {what}")
        lines.append(f"{end} {extreme.arm} on {extreme.tier} {figure(extreme)}")
    return tuple(lines)


KIND = Kind(
    name="no-loss",
    find=_find,
    reason=summary,
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * (2 * len(claim.arms) + len(claim.rivals)),
    measures=True,
    early=frozenset({"refuted"}),
    needs=PAIRED | {"rivals", "matched"},
    matches=True,
    exactly={"baselines": 1},
)
