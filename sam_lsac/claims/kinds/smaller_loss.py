"""smaller-loss: each arm's score (signed loss, or deviation) is smaller than that of the rival beside it.

Required: the rival's score is the larger. Contradicted where it is the smaller. The mean scores, the ratio of two
deviations with its interval, and whether the paper's ratio lies inside that, are shown beside the direction; so are
controls, such as the run that saves as many FLOPs.
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sam_lsac.claims.cells import deviates_less, loses_more
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import Contrast
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, inside, judged, n_cells
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, measured, number, p_text
from sam_lsac.errors import InputError
from sam_lsac.statistics import mean_interval, ratio_interval

__all__ = ["KIND"]

VERBS = {"loss": "loses", "deviation": "deviates"}
HOW = {"supported": "shown to be less", "inconclusive": "not shown to differ by enough", "refuted": "shown to be more"}


def _find(claim: Claim, ledger: Ledger, _context: Context) -> list[Evidence]:
    found: list[Evidence] = []
    for tier, metric in cells(claim):
        where = {"tier": tier, "metric": metric}
        for arm, rival in zip(claim.arms, claim.rivals, strict=True):
            contrast, scores = _compared(claim, ledger, arm=arm, rival=rival, **where)
            found += [Evidence(finding=_mean(contrast, name, values)) for name, values in scores.items()]
            found.append(contrast.evidence())
            found += _ratio(contrast, scores[arm], scores[rival], arm=arm, rival=rival)
            for control in claim.controls:
                beside, theirs = _compared(claim, ledger, arm=arm, rival=control, **where)
                found.append(Evidence(finding=_mean(beside, control, theirs[control])))
                found += _ratio(beside, theirs[arm], theirs[control], arm=arm, rival=control)
    return found


def _compared(
    claim: Claim, ledger: Ledger, *, tier: str, metric: str, arm: str, rival: str
) -> tuple[Contrast, dict[str, NDArray[np.float64]]]:
    """Return the contrast of the two scores, and the scores by arm."""
    where = {"tier": tier, "metric": metric, "arm": arm, "rival": rival}
    if claim.score == "deviation":
        contrast = deviates_less(claim, ledger, **where)
        return contrast, {arm: contrast.pairs.first, rival: contrast.pairs.second}
    contrast = loses_more(claim, ledger, **where)
    return contrast, {arm: contrast.pairs.second, rival: contrast.pairs.first}


def _mean(contrast: Contrast, arm: str, values: NDArray[np.float64]) -> Finding:
    """Return the mean loss or deviation of one arm with its bootstrap interval."""
    claim = contrast.claim
    mean = mean_interval(values, level=1 - claim.alpha, method="bca", **_draws(claim))
    return Finding(
        quantity=str(claim.score),
        tier=contrast.tier,
        metric=contrast.metric,
        arm=arm,
        versus=claim.baselines[0],
        estimate=mean.estimate,
        ci_low=mean.low,
        ci_high=mean.high,
        n=mean.n,
        n_dropped=contrast.pairs.n_dropped,
        n_excluded=contrast.pairs.n_excluded,
        n_failed=len(contrast.pairs.failed),
        paper=claim.figure(tier=contrast.tier, arm=arm),
        note="beside the rival, decides nothing" if arm in claim.controls else "",
    )


def _ratio(
    contrast: Contrast, own: NDArray[np.float64], rivals: NDArray[np.float64], *, arm: str, rival: str
) -> list[Evidence]:
    """Return rival / arm with its bootstrap interval, where both are deviations above zero."""
    claim = contrast.claim
    if claim.score != "deviation":
        return []
    try:
        ratio = ratio_interval(rivals, own, level=1 - claim.alpha, **_draws(claim))
    except InputError:  # a deviation of exactly zero: the two means say it all
        return []
    paper = claim.figure(arm="ratio") if rival in claim.rivals else ""
    size = re.search(r"[\d.]+", paper)
    finding = Finding(
        quantity="ratio",
        tier=contrast.tier,
        metric=contrast.metric,
        arm=rival,
        versus=arm,
        estimate=ratio.estimate,
        ci_low=ratio.low,
        ci_high=ratio.high,
        n=ratio.n,
        n_dropped=contrast.pairs.n_dropped,
        n_excluded=contrast.pairs.n_excluded,
        n_failed=len(contrast.pairs.failed),
        paper=paper,
        note=inside(float(size.group()) if size else None, ratio.low, ratio.high),
    )
    return [Evidence(finding=finding)]


def _draws(claim: Claim) -> dict[str, int]:
    return {"seed": claim.settings.bootstrap_seed, "n_resamples": claim.settings.bootstrap_resamples}


def _reason(claim: Claim, findings: Findings) -> str:
    return " ".join(_sentence(claim, findings, decisive) for decisive in judged(findings))


def _sentence(claim: Claim, findings: Findings, decisive: Finding) -> str:
    here = [one for one in findings if (one.tier, one.metric) == (decisive.tier, decisive.metric) and not one.status]
    both = (decisive.arm, decisive.versus)
    arm, rival = both if both[0] in claim.arms else both[::-1]
    mine, theirs = (
        next(measured(one.estimate, one.metric) for one in here if one.quantity == claim.score and one.arm == name)
        for name in (arm, rival)
    )
    ratio = "".join(_ratio_words(claim, here, arm=arm, rival=rival))
    return (
        f"On {decisive.tier}, {arm} {VERBS[str(claim.score)]} {mine} and {rival} {theirs} in "
        f"{decisive.metric}{ratio}: {HOW[str(decisive.status)]} ({p_text(decisive.p_adjusted)}, n = {decisive.n})."
    )


def _ratio_words(claim: Claim, findings: Findings, *, arm: str, rival: str) -> Iterable[str]:
    for one in findings:
        if one.quantity == "ratio" and (one.arm, one.versus) == (rival, arm):
            level = 100 * (1 - claim.alpha)
            size = f"; {one.note}" if one.note else ""
            yield f" ({number(one.estimate)} times, {level:g} % CI {number(one.ci_low)} to {number(one.ci_high)}{size})"


def _headline(claim: Claim, findings: Findings) -> Lines:
    """Arm, rival and their ratio, tier by tier."""
    lines = []
    for tier in dict.fromkeys(one.tier for one in findings):
        here = [one for one in findings if one.tier == tier and one.arm not in claim.controls]
        scores = [figure(one) for one in here if one.quantity == claim.score and not one.status]
        lines.append(f"{tier} {' against '.join(scores)}")
        for one in here:
            if one.quantity == "ratio":
                lines.append(f"{tier} ratio {figure(one)}{f'; {one.note}' if one.note else ''}")
    return tuple(lines)


KIND = Kind(
    name="smaller-loss",
    find=_find,
    reason=_reason,
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.arms),
    measures=True,
    needs=PAIRED | {"rivals", "score"},
    may=frozenset({"controls"}),
    choices={"score": tuple(VERBS)},
    parallel=True,
)
