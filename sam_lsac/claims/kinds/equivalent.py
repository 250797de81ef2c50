"""equivalent: each arm is shown to stay within the margin of its own baseline (TOST); refuted: shown to exceed it."""

from sam_lsac.claims.cells import Cell
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines, count, n_cells, own_losses, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding, Status
from sam_lsac.claims.wording import figure, measured, number, p_text

__all__ = ["KIND"]


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Finding]:
    found = []
    for cell in own_losses(claim, ledger):
        status, note = _judged(cell)
        found.append(cell.finding(status=status, note=note))
    return found


def _judged(cell: Cell) -> tuple[Status, str]:
    margin = measured(cell.margin, cell.metric, digits="g")
    test = cell.equivalence(cell.margin)
    words = f"TOST {p_text(cell.claim.adjusted(test.p))}"
    if cell.shows(test.p_beyond):
        return "refuted", f"shown to exceed {margin} ({words})"
    if cell.shows(test.p):
        return "supported", f"shown to be within {margin} ({words})"
    return "inconclusive", f"not shown to be within {margin} ({words})"


def _headline(claim: Claim, findings: Findings) -> Lines:
    """The tier of each arm that comes nearest to the margin."""
    arms = dict.fromkeys(one.arm for one in findings)
    ends = [max((one for one in findings if one.arm == arm), key=_reach) for arm in arms]
    return (
        f"{count(findings, 'supported')} of {len(findings)} shown within {number(claim.margin)}",
        *(f"{one.arm} furthest {figure(one)} on {one.tier}" for one in ends),
    )


def _reach(finding: Finding) -> float:
    return max((abs(end) for end in (finding.ci_low, finding.ci_high) if end is not None), default=0.0)


KIND = Kind(
    name="equivalent",
    find=_find,
    reason=summary,
    headline=_headline,
    n_tests=lambda claim: 2 * n_cells(claim) * len(claim.arms),
    needs=PAIRED | {"margin"},
)
