"""From a claim's cells to findings: the vocabulary that all kinds of judgement share.

A loss is baseline - arm, so that positive is worse (every metric here is better when higher). A deviation is its
magnitude, taken per mixture and noise before averaging. Tests decide on Bonferroni-adjusted p values; the intervals
shown are those of one comparison.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.claims.verdict import Finding, Status, Verdict
from sam_lsac.metrics import column
from sam_lsac.statistics import Equivalence, PairedTest, equivalence, paired_test

__all__ = ["Cell", "UndecidedError", "combine", "conclude", "loss"]


class UndecidedError(Exception):
    """Carries the status and the reason out of a judgement that has too little to go on."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One paired comparison of a claim; `test` is of `first` - `second`."""

    claim: Claim
    quantity: str
    tier: str
    metric: str
    arm: str
    versus: str
    pairs: Pairs
    test: PairedTest

    def adjusted(self, p: float) -> float:
        """Return `p` after Bonferroni over the claim's family."""
        return min(1.0, p * self.claim.family_size)

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is significant within the family, else 0."""
        if self.adjusted(self.test.p) >= self.claim.alpha:
            return 0
        return 1 if self.test.mean > 0 else -1

    def equivalence(self, margin: float) -> Equivalence:
        """Return the paired TOST of this cell."""
        return equivalence(self.pairs.baseline, self.pairs.treated, margin=margin, alpha=self.claim.alpha)

    def finding(self, *, status: Status | None = None, note: str = "", p: float | None = None) -> Finding:
        """Return the cell as a finding, with the p value of its t-test, or the one that decided."""
        decisive = self.test.p if p is None else p
        return Finding(
            quantity=self.quantity,
            tier=self.tier,
            metric=self.metric,
            arm=self.arm,
            versus=self.versus,
            estimate=self.test.mean,
            ci_low=self.test.ci_low,
            ci_high=self.test.ci_high,
            d=self.test.d,
            d_low=self.test.d_low,
            d_high=self.test.d_high,
            p=decisive,
            p_adjusted=self.adjusted(decisive),
            n=self.pairs.n,
            n_dropped=self.pairs.n_dropped,
            paper=self.claim.figure(tier=self.tier, arm=self.arm),
            status=status,
            note=note,
        )

    def __str__(self) -> str:
        """Return the figures in words, for a verdict's reason."""
        level = 100 * (1 - self.claim.alpha)
        return (
            f"{self.arm} against {self.versus} on {self.tier}: "
            f"{self.metric} {self.quantity} {column(self.metric).text(self.test.mean, digits='+.3g')} "
            f"({level:g} % CI {self.test.ci_low:+.3g} to {self.test.ci_high:+.3g}, d {self.test.d:+.2f}, "
            f"{p_text(self.adjusted(self.test.p))})"
        )


def loss(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, versus: str | None = None) -> Cell:
    """Return the loss of `arm` against its baseline, or against `versus`."""
    other = claim.baseline_of(arm) if versus is None else versus
    pairs = ledger.paired(metric, arm=arm, baseline=other, tier=tier)
    require_pairs(pairs, f"{metric} of {arm} and {other} on {tier}")
    test = paired_test(pairs.baseline, pairs.treated, alpha=claim.alpha)
    return Cell(claim=claim, quantity="loss", tier=tier, metric=metric, arm=arm, versus=other, pairs=pairs, test=test)


def deviation_difference(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Cell:
    """Return by how much `arm` deviates more than `rival` from the baseline (negative: less)."""
    pairs = ledger.deviations(metric, arm=arm, rival=rival, baseline=claim.baselines[0], tier=tier)
    require_pairs(pairs, f"{metric} of {arm}, {rival} and {claim.baselines[0]} on {tier}")
    test = paired_test(pairs.treated, pairs.baseline, alpha=claim.alpha)
    return Cell(
        claim=claim,
        quantity="deviation difference",
        tier=tier,
        metric=metric,
        arm=arm,
        versus=rival,
        pairs=pairs,
        test=test,
    )


def require_pairs(pairs: Pairs, what: str) -> None:
    """Raise UndecidedError where fewer than two mixtures are complete."""
    if pairs.n < 2:
        why = f" ({pairs.reasons[0]})" if pairs.reasons else ""
        raise UndecidedError(
            "inconclusive", f"Only {pairs.n} mixtures have a usable {what}; {pairs.n_dropped} were dropped{why}."
        )


def combine(statuses: Iterable[Status | None]) -> Status:
    """Return supported where all are, refuted where any is, else inconclusive."""
    known = [status for status in statuses if status is not None]
    if "refuted" in known:
        return "refuted"
    return "supported" if known and all(status == "supported" for status in known) else "inconclusive"


def conclude(claim: Claim, reason: str, findings: Sequence[Finding], *, status: Status | None = None) -> Verdict:
    """Return the verdict of these findings: combined from theirs, unless the kind decided otherwise."""
    counted = [finding for finding in findings if finding.n]
    return Verdict(
        claim_id=claim.id,
        status=combine(finding.status for finding in findings) if status is None else status,
        reason=reason,
        n=min((finding.n for finding in counted), default=0),
        n_dropped=max((finding.n_dropped for finding in counted), default=0),
        findings=tuple(findings),
    )


def summarise(judged: Sequence[tuple[Status, str]]) -> str:
    """Return a sentence that counts the comparisons and quotes the first one that decided.

    Parameters
    ----------
    judged : sequence of (status, words)
        One per comparison, without a full stop.
    """
    status = combine(one for one, _ in judged)
    words = next(words for one, words in judged if one == status)
    if len(judged) == 1:
        return f"{words}."
    count = {each: sum(one == each for one, _ in judged) for each in ("supported", "refuted", "inconclusive")}
    if status == "supported":
        return f"All {len(judged)} comparisons are as claimed, first {words}."
    verb = "contradict the claim" if status == "refuted" else "decide nothing"
    return f"{count[status]} of {len(judged)} comparisons {verb}, {count['supported']} support it; first {words}."


def p_text(p_adjusted: float) -> str:
    """Return an adjusted p value in words."""
    return "adjusted p < 0.0001" if p_adjusted < 1e-4 else f"adjusted p = {p_adjusted:.2g}"
