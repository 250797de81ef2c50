"""effect-table: each arm's |d| is negligible, and the rivals' loss grows from each to the next.

Supported where |d| < 0.2 is shown for every arm, and the loss of every rival is significantly larger than the one
before with a larger d; refuted where some arm's |d| is shown to exceed 0.2, or a loss falls significantly.
"""

import itertools
import math
from dataclasses import replace

from sam_lsac.claims.cells import Cell, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import MORE_IS_CLAIMED, NEGLIGIBLE_D, Findings, Lines, count, judged, n_cells, stems
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import NOTHING, effect
from sam_lsac.statistics import pairs_needed

__all__ = ["KIND"]

GROWTH = "growth of loss"


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    (metric,) = claim.metrics
    findings: list[Finding] = []
    for tier in claim.tiers:
        findings += [_negligible(loss(claim, ledger, tier=tier, metric=metric, arm=arm)) for arm in claim.arms]
        losses = [
            loss(claim, ledger, tier=tier, metric=metric, arm=rival, versus=claim.baselines[0])
            for rival in claim.rivals
        ]
        findings += [cell.finding() for cell in losses]
        findings += [_grows(before, after, ledger) for before, after in itertools.pairwise(losses)]
    return findings


def _negligible(cell: Cell) -> Finding:
    beyond = cell.test.p_d_beyond(math.copysign(NEGLIGIBLE_D, cell.test.t))
    if cell.shows(beyond):
        return cell.finding(status="refuted", p=beyond, note=f"|d| > {NEGLIGIBLE_D:g} is shown")
    within = cell.test.p_d_within(NEGLIGIBLE_D)
    shown = cell.shows(within)
    note = f"|d| < {NEGLIGIBLE_D:g} is {'shown' if shown else 'not shown'}; label {cell.test.label}"
    return cell.finding(status="supported" if shown else "inconclusive", p=within, note=note)


def _grows(before: Cell, after: Cell, ledger: Ledger) -> Finding:
    """Return whether a rival loses more than the one before it."""
    step = loss(after.claim, ledger, tier=after.tier, metric=after.metric, arm=after.arm, versus=before.arm)
    status = MORE_IS_CLAIMED[step.sign]
    if status == "supported" and after.test.d <= before.test.d:
        status = "inconclusive"
    note = f"d {before.test.d:+.2f} of {before.arm}, {after.test.d:+.2f} of {after.arm}"
    return replace(step.finding(status=status, note=note), quantity=GROWTH, paper="")


def _reason(claim: Claim, findings: Findings) -> str:
    parts = []
    for quantity, words in (("loss", "effects are shown negligible"), (GROWTH, "rivals lose more than the one before")):
        mine = [one for one in judged(findings) if one.quantity == quantity]
        won, lost = count(mine, "supported"), count(mine, "refuted")
        parts.append(f"{won} of {len(mine)} {words} and {lost} are shown not to")
    telling = [one for one in findings if one.status == "refuted"]
    telling += [one for one in findings if one.status == "inconclusive"]
    needed = pairs_needed(NEGLIGIBLE_D, alpha=claim.family_alpha, power=claim.settings.power)
    return (
        f"{'; '.join(parts)}{_example(telling[0]) if telling else ''}; showing |d| < {NEGLIGIBLE_D:g} needs about "
        f"{needed} mixtures per tier."
    )


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
    n_tests=lambda claim: n_cells(claim) * (2 * len(claim.arms) + len(claim.rivals) - 1),
    needs=PAIRED | {"rivals"},
    exactly={"metrics": 1},
)
