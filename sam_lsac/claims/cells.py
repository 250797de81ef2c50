"""From a claim's cells to findings: the vocabulary that all kinds of judgement share.

A loss is by how much an arm is worse than its baseline: baseline - arm for a metric that is better when higher, arm -
baseline for one that is better when lower, so that positive is always worse. A deviation is the magnitude of the
difference, taken per mixture and noise before averaging. Tests decide on Bonferroni-adjusted p values; the intervals
shown are those of one comparison.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import UndecidedError
from sam_lsac.claims.ledger import Ledger, Pairs
from sam_lsac.claims.verdict import Finding, Status
from sam_lsac.statistics import Equivalence, PairedTest, equivalence, paired_test

__all__ = ["Cell", "deviation_difference", "log_change", "loss", "usable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One paired comparison of a claim; `test` is of `pairs.first` - `pairs.second`."""

    claim: Claim
    quantity: str
    tier: str
    metric: str
    arm: str
    versus: str
    pairs: Pairs
    test: PairedTest

    @property
    def sign(self) -> int:
        """1 or -1 where the difference is significant within the family, else 0."""
        if not self.shows(self.test.p):
            return 0
        return 1 if self.test.mean > 0 else -1

    @property
    def difference(self) -> NDArray[np.float64]:
        """First less second, one figure a mixture."""
        return self.pairs.first - self.pairs.second

    @property
    def margin(self) -> float:
        """The claim's margin."""
        return self.claim.given("margin")

    def shows(self, p: float) -> bool:
        """Return whether a p value is significant within the family."""
        return self.claim.adjusted(p) < self.claim.alpha

    def equivalence(self, margin: float) -> Equivalence:
        """Return the paired TOST of this cell."""
        return equivalence(self.pairs.first, self.pairs.second, margin=margin, alpha=self.claim.alpha)

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
            p_adjusted=self.claim.adjusted(decisive),
            n=self.pairs.n,
            n_dropped=self.pairs.n_dropped,
            paper=self.claim.figure(tier=self.tier, arm=self.arm),
            status=status,
            note=note,
        )


def loss(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, versus: str | None = None) -> Cell:
    """Return the loss of `arm` against its baseline, or against `versus`: positive is worse.

    Raises
    ------
    UndecidedError
        If fewer than two mixtures are complete.
    """
    other = claim.baseline_of(arm) if versus is None else versus
    pairs = ledger.losses(metric, arm=arm, baseline=other, tier=tier)
    where = {"tier": tier, "metric": metric, "arm": arm, "versus": other}
    return _cell(claim, "loss", usable(pairs, f"{metric} of {arm} and {other} on {tier}"), **where)


def deviation_difference(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str) -> Cell:
    """Return by how much `arm` deviates more than `rival` from the baseline (negative: less).

    Raises
    ------
    UndecidedError
        If fewer than two mixtures are complete.
    """
    base = claim.baselines[0]
    pairs = ledger.deviations(metric, arm=arm, rival=rival, baseline=base, tier=tier)
    where = {"tier": tier, "metric": metric, "arm": arm, "versus": rival}
    usable(pairs, f"{metric} of {arm}, {rival} and {base} on {tier}")
    return _cell(claim, "deviation difference", pairs, **where)


def log_change(claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str) -> Cell:
    """Return the logarithm of `arm` less that of its baseline, of a quantity that is positive in every mixture.

    Raises
    ------
    UndecidedError
        If fewer than two mixtures are complete, or a figure is not above zero.
    """
    versus = claim.baseline_of(arm)
    pairs = ledger.paired(metric, arm=arm, baseline=versus, tier=tier)
    usable(pairs, f"{metric} of {arm} and {versus} on {tier}")
    if min(pairs.first.min(), pairs.second.min()) <= 0.0:
        raise UndecidedError(
            "inconclusive", f"{metric} on {tier} must be above zero in every mixture to be compared as a factor."
        )
    logs = replace(pairs, first=np.log(pairs.first), second=np.log(pairs.second))
    return _cell(claim, "log ratio", logs, tier=tier, metric=metric, arm=arm, versus=versus)


def usable(pairs: Pairs, what: str) -> Pairs:
    """Return the pairs; UndecidedError where fewer than two mixtures are complete."""
    if pairs.n < 2:
        why = f" ({pairs.reasons[0]})" if pairs.reasons else ""
        raise UndecidedError(
            "inconclusive", f"Only {pairs.n} mixtures have a usable {what}; {pairs.n_dropped} were dropped{why}."
        )
    return pairs


def _cell(claim: Claim, quantity: str, pairs: Pairs, **where: str) -> Cell:
    test = paired_test(pairs.first, pairs.second, alpha=claim.alpha)
    return Cell(claim=claim, quantity=quantity, pairs=pairs, test=test, **where)
