"""What several kinds share: sentences over comparisons, lines of headlines, and the loss of every arm."""

from collections.abc import Callable, Iterable, Sequence

from sam_lsac.claims.cells import Cell, loss
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import combine
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Finding, Status
from sam_lsac.claims.wording import effect, figure, measured, number, p_text
from sam_lsac.statistics.paired import LABELS

Lines = tuple[str, ...]
Findings = Sequence[Finding]

NEGLIGIBLE_D = LABELS[0][1]
LESS_IS_CLAIMED: dict[int, Status] = {-1: "supported", 0: "inconclusive", 1: "refuted"}
MORE_IS_CLAIMED: dict[int, Status] = {-1: "refuted", 0: "inconclusive", 1: "supported"}


def n_cells(claim: Claim) -> int:
    """Return the number of pairs of tier and metric."""
    return len(claim.tiers) * len(claim.metrics)


def own_losses(claim: Claim, ledger: Ledger) -> list[Cell]:
    """Return the loss of every arm against its own baseline, over tiers and metrics."""
    return [
        loss(claim, ledger, tier=tier, metric=metric, arm=arm)
        for tier in claim.tiers
        for metric in claim.metrics
        for arm in claim.arms
    ]


def judged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that have a status."""
    return [one for one in findings if one.status]


def count(findings: Iterable[Finding], status: Status) -> int:
    """Return how many findings have a status."""
    return sum(one.status == status for one in findings)


def comparison(claim: Claim, finding: Finding) -> str:
    """Return one paired comparison in words, with its note."""
    level = 100 * (1 - claim.alpha)
    note = f": {finding.note}" if finding.note else ""
    return (
        f"{finding.arm} against {finding.versus} on {finding.tier}: {finding.metric} {finding.quantity} "
        f"{measured(finding.estimate, finding.metric, digits='+.3g')} ({level:g} % CI "
        f"{number(finding.ci_low, signed=True)} to {number(finding.ci_high, signed=True)}, d {effect(finding.d)}, "
        f"{p_text(finding.p_adjusted)}){note}"
    )


def summary(claim: Claim, findings: Findings, *, words: Callable[[Claim, Finding], str] = comparison) -> str:
    """Return a sentence that counts the judged comparisons and quotes the first one that decided."""
    asked = judged(findings)
    status = combine(one.status for one in asked)
    quoted = next(words(claim, one) for one in asked if one.status == status)
    if len(asked) == 1:
        return f"{quoted}."
    if status == "supported":
        return f"All {len(asked)} comparisons are as claimed, first {quoted}."
    verb = "contradict the claim" if status == "refuted" else "decide nothing"
    return (
        f"{count(asked, status)} of {len(asked)} comparisons {verb}, {count(asked, 'supported')} support it; "
        f"first {quoted}."
    )


def factor_words(finding: Finding, *, test: str = "") -> str:
    """Return a change as a factor in words; `test` names the test that is not a t-test."""
    return (
        f"{finding.metric} of {finding.arm} on {finding.tier} {figure(finding)} ({finding.note}, "
        f"{test}{p_text(finding.p_adjusted)})"
    )


def each(_claim: Claim, findings: Findings) -> Lines:
    """Return one line per judged finding, or per finding where none is."""
    shown = judged(findings) or list(findings)
    return tuple(" ".join(word for word in (one.tier, figure(one)) if word) for one in shown)


def effects(_claim: Claim, findings: Findings) -> Lines:
    """Return one line per finding, with its effect size."""
    return tuple(f"{one.tier} {figure(one)}, d {effect(one.d)}" for one in findings)


def worst(findings: Findings) -> Finding:
    """Return the finding whose interval reaches highest."""
    return max(findings, key=lambda one: float("-inf") if one.ci_high is None else one.ci_high)


def mildest(findings: Findings) -> Finding:
    """Return the finding whose interval reaches lowest."""
    return min(findings, key=lambda one: float("inf") if one.ci_low is None else one.ci_low)


def stems(arms: Iterable[str]) -> str:
    """Return what the arms' names begin with, up to the first hyphen."""
    return "/".join(dict.fromkeys(arm.split("-")[0] for arm in arms))
