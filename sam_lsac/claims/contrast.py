"""A contrast: one figure a mixture of which a claim says on which side of zero its mean lies (docs/verdicts.md)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Requirement, UndecidedError
from sam_lsac.claims.ledger import Pairs
from sam_lsac.claims.verdict import Finding, Groups, Status
from sam_lsac.statistics import contrast_test, effect_size, group_test

__all__ = ["Contrast", "usable"]

FEWEST = 3  # mixtures of which a skewness, and so a test, can be had


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    """Figures of a comparison, and the side on which a claim sees their mean.

    Parameters
    ----------
    claim
        That asks.
    quantity, tier, metric, arm, versus
        What the figures are, as in `Finding`.
    pairs
        Where they come from: the mixtures, their groups, and what was left out.
    figures
        One a mixture, [n], in the order of `pairs`.
    wanted
        1 where the claim says that their mean is above zero, -1 where below.
    floor
        The smallest effect of interest, in the unit of the figures: a mean nearer to zero shows nothing.
    refutes
        Whether the opposite contradicts the claim.
    """

    claim: Claim
    quantity: str
    tier: str
    metric: str
    arm: str
    versus: str
    pairs: Pairs
    figures: NDArray[np.float64]
    wanted: int = 1
    floor: float = 0.0
    refutes: bool = True

    @property
    def claimed(self) -> NDArray[np.float64]:
        """The figures, turned so that the claim says "above zero"."""
        return self.wanted * self.figures

    @property
    def mean(self) -> float:
        """Of the figures as they are."""
        return float(self.figures.mean())

    @property
    def status(self) -> Status:
        """Supported where what the claim says is shown, refuted where the opposite is."""
        if self._shown(self.claimed, self.claim.level):
            return "supported"
        return "refuted" if self.refutes and self.contradicted else "inconclusive"

    @property
    def contradicted(self) -> bool:
        """Whether the opposite of what the claim says is shown."""
        return self._shown(-self.claimed, self.claim.refutation_level)

    @property
    def of_interest(self) -> bool:
        """Whether the mean lies on the claimed side, far enough from zero."""
        return float(self.claimed.mean()) >= max(self.floor, np.finfo(float).tiny)

    def evidence(self, *, status: Status | None = None, note: str = "") -> Evidence:
        """Return the contrast as evidence; `status` is its own where None."""
        said = status or self.status
        refuting = said == "refuted"
        values = -self.claimed if refuting else self.claimed
        p = contrast_test(values).p_greater
        finding = replace(
            self.shown(note=note),
            status=said,
            p=p,
            p_adjusted=self.claim.adjusted(p, refuting=refuting),
            groups=self.groups(values),
        )
        return Evidence(
            finding=finding,
            requires=(self.requirement(),),
            contradicts=(self.requirement(side=-self.wanted),) if self.refutes else (),
            possible=self.of_interest,
        )

    def harmless(self, *, note: str = "") -> Evidence:
        """Return the figures as evidence that can only refute: by what is not `wanted`, where that is shown."""
        p = contrast_test(-self.claimed).p_greater
        adjusted = self.claim.adjusted(p, refuting=True)
        finding = replace(self.shown(note=note), p=p, p_adjusted=adjusted, groups=self.groups(-self.claimed))
        if self.contradicted:
            finding = replace(finding, status="refuted")
        return Evidence(finding=finding, contradicts=(self.requirement(side=-self.wanted),))

    def shown(self, *, note: str = "") -> Finding:
        """Return the figures' mean with its intervals, deciding nothing."""
        claim = self.claim
        test = contrast_test(self.figures, alpha=claim.alpha)
        effect = effect_size(self.figures, level=1 - claim.alpha)
        return Finding(
            quantity=self.quantity,
            tier=self.tier,
            metric=self.metric,
            arm=self.arm,
            versus=self.versus,
            estimate=test.mean,
            ci_low=test.ci_low,
            ci_high=test.ci_high,
            d=effect.d,
            d_low=effect.low,
            d_high=effect.high,
            n=self.pairs.n,
            n_dropped=self.pairs.n_dropped,
            n_excluded=self.pairs.n_excluded,
            n_failed=len(self.pairs.failed),
            paper=claim.figure(tier=self.tier, arm=self.arm),
            note=note,
        )

    def requirement(self, bound: float = 0.0, *, side: int | None = None) -> Requirement:
        """Return what a verdict needs to be shown: d above `bound` on a `side`, the claimed one where None."""
        values = (self.wanted if side is None else side) * self.figures
        return Requirement(tier=self.tier, values=values, mixtures=self.pairs.mixtures, bound=bound)

    def groups(self, claimed: NDArray[np.float64] | None = None) -> Groups:
        """Return the test over the means of groups, of what the claim says: that `claimed` are above zero."""
        values = self.claimed if claimed is None else claimed
        n_targets, p_targets = _over_groups(values, self.pairs.groups)
        n_residuals, p_residuals = _over_groups(values, self.pairs.residual_groups)
        return Groups(n_targets=n_targets, n_residuals=n_residuals, p_targets=p_targets, p_residuals=p_residuals)

    def _shown(self, values: NDArray[np.float64], level: float) -> bool:
        return float(values.mean()) >= self.floor and contrast_test(values).p_greater < level


def usable(pairs: Pairs, what: str, *, claim: Claim) -> Pairs:
    """Return the pairs if enough is there to judge by.

    Parameters
    ----------
    pairs
        Of a comparison.
    what
        Named in the reason.
    claim
        Whose settings say how many mixtures may be missing.

    Raises
    ------
    UndecidedError
        If fewer than three mixtures are complete, or too many lack a figure.
    """
    counted = pairs.n + pairs.n_dropped
    first = next(iter((*pairs.reasons, *pairs.excluded)), "")
    why = f"; first {first}" if first else ""
    if pairs.n < FEWEST:
        left_out = pairs.n_dropped + pairs.n_excluded
        raise UndecidedError(
            "inconclusive", f"Only {pairs.n} mixtures have a usable {what}; {left_out} have none{why}."
        )
    if pairs.n_dropped > claim.settings.missing_share * counted:
        raise UndecidedError("inconclusive", f"{pairs.n_dropped} of {counted} mixtures lack {what}{why}.")
    if pairs.n_excluded > pairs.n:
        raise UndecidedError(
            "inconclusive",
            f"{what.capitalize()} does not exist on {pairs.n_excluded} mixtures of {pairs.n_excluded + counted}{why}.",
        )
    return pairs


def _over_groups(values: NDArray[np.float64], groups: Sequence[str]) -> tuple[int, float | None]:
    named = Counter(groups)
    named.pop("", None)
    if len(named) < 2 or sum(named.values()) < len(values):
        return len(named), None
    return len(named), group_test(values, groups).p_greater
