"""no-loss: no arm has a significant loss, and each is shown equivalent to its baseline (TOST); every rival has one.

Refuted where an arm has a significant loss, or a rival has none in the strong sense: equivalent to the baseline, or
significantly better. "Significant" and "shown" mean p < alpha after Bonferroni over the claim's family.
"""

from sam_lsac.claims.cells import Cell, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines, count, mildest, n_cells, stems, summary, worst
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.claims.wording import figure, measured, p_text

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    findings = []
    for tier in claim.tiers:
        for metric in claim.metrics:
            for arm in (*claim.arms, *claim.rivals):
                cell = loss(claim, ledger, tier=tier, metric=metric, arm=arm, versus=claim.baselines[0])
                status, note = _unharmed(cell) if arm in claim.arms else _harmed(cell)
                findings.append(cell.finding(status=status, note=note))
    return findings


def _unharmed(cell: Cell) -> tuple[Status, str]:
    test = cell.equivalence(cell.margin)
    shown = cell.shows(test.p)
    words = f"TOST within {measured(cell.margin, cell.metric, digits='g')}: {p_text(cell.claim.adjusted(test.p))}"
    if cell.sign > 0:
        size = "although equivalent within the margin" if shown else "and not shown to be within the margin"
        return "refuted", f"a significant loss, {size} ({words})"
    if shown:
        return "supported", f"no significant loss, and equivalent ({words})"
    return "inconclusive", f"no significant loss, but equivalence is not shown either ({words})"


def _harmed(cell: Cell) -> tuple[Status, str]:
    if cell.sign > 0:
        return "supported", "a significant loss, as claimed"
    if cell.sign < 0:
        return "refuted", "significantly better than the baseline, not worse"
    if cell.shows(cell.equivalence(cell.margin).p):
        return "refuted", f"no significant loss, and equivalent within {measured(cell.margin, cell.metric, digits='g')}"
    return "inconclusive", "no significant loss, but none is ruled out"


def _headline(claim: Claim, findings: Findings) -> Lines:
    lines = []
    for arms, what, end, pick in (
        (claim.arms, "without loss", "worst", worst),
        (claim.rivals, "with loss", "mildest", mildest),
    ):
        mine = [one for one in findings if one.arm in arms]
        extreme = pick(mine)
        lines.append(f"{count(mine, 'supported')} of {len(mine)} {stems(arms)} {what}")
        lines.append(f"{end} {extreme.arm} on {extreme.tier} {figure(extreme)}")
    return tuple(lines)


KIND = Kind(
    name="no-loss",
    find=_find,
    reason=summary,
    headline=_headline,
    n_tests=lambda claim: 2 * n_cells(claim) * (len(claim.arms) + len(claim.rivals)),
    needs=PAIRED | {"rivals", "margin"},
)
