"""complementary: under each solver an arm saves the same layer-steps, and deviates little beside its truncation.

Each arm is compared with its own solver's full solve (`baselines`) and with the truncation under that solver
(`rivals`). Required: the arms save the same share of their own solver's layer-steps; each deviates by less than theta
times its rival; no rare failure hides behind the mean. Contradicted by other layer-steps, or by an arm that is shown
both to lose and to deviate by more than theta times its rival: a gain refutes nothing.
"""

from dataclasses import replace

from sam_lsac.claims.cells import loss, within_share
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import PAIRED, Evidence, Kind
from sam_lsac.claims.kinds._costs import AXES, SAME_COST, costs_of, saved
from sam_lsac.claims.kinds._shared import Findings, Lines, cells, comparison, count, harm, n_cells, summary
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure, percent

__all__ = ["KIND"]

LAYER_STEPS = AXES[0]


def _find(claim: Claim, ledger: Ledger, context: Context) -> list[Evidence]:
    found = _saved(claim, context)
    for tier, metric in cells(claim):
        for arm, rival in zip(claim.arms, claim.rivals, strict=True):
            where = {"tier": tier, "metric": metric, "arm": arm}
            own = loss(claim, ledger, **where)
            share = within_share(claim, ledger, rival=rival, **where)
            judged = share.evidence()
            if replace(own, wanted=-1).contradicted and share.contradicted:
                judged = share.evidence(status="refuted", note="and it loses")
            judged = replace(judged, contradicts=(share.requirement(side=-share.wanted),))  # one of the two
            found += [judged, Evidence(finding=own.shown()), harm(claim, ledger, rival=rival, **where)]
    return found


def _saved(claim: Claim, context: Context) -> list[Evidence]:
    """Return what each arm saves of its own full solve, judged by whether it is what the first arm saves.

    Costs are shares of one solve, the same for all arms; a solver of two evaluations a step has twice as many
    layer-steps to save.
    """
    costs = costs_of(claim, context, beside=claim.baselines)
    left = {arm: 1.0 - saved(cost, LAYER_STEPS) for arm, cost in costs.items()}
    shares = {arm: 1.0 - left[arm] / left[claim.baseline_of(arm)] for arm in claim.arms}
    first = next(iter(shares.values()))
    return [
        Evidence(
            finding=Finding(
                quantity="saved share",
                tier=claim.tiers[0],
                arm=arm,
                estimate=share,
                axis=LAYER_STEPS,
                status="supported" if abs(share - first) <= SAME_COST else "refuted",
                note=f"{percent(first)} under the first solver",
            )
        )
        for arm, share in shares.items()
    ]


def _words(claim: Claim, finding: Finding) -> str:
    if finding.quantity != "saved share":
        return comparison(claim, finding)
    return f"{finding.arm} saves {percent(finding.estimate)} of layer-steps, {finding.note}"


def _headline(claim: Claim, findings: Findings) -> Lines:
    """The tier of each arm on which it comes nearest to its rival."""
    shares = [one for one in findings if one.quantity.startswith("deviation beyond")]
    lines = [
        f"{count(shares, 'supported')} of {len(shares)} deviate by less than {claim.settings.theta:g} of the rival"
    ]
    for arm in claim.arms:
        nearest = max((one for one in shares if one.arm == arm), key=lambda one: one.ci_high or 0.0)
        lines.append(f"{arm} nearest on {nearest.tier}, {figure(nearest)}")
    return tuple(lines)


KIND = Kind(
    name="complementary",
    find=_find,
    reason=lambda claim, findings: summary(claim, findings, words=_words),
    headline=_headline,
    n_contradictions=lambda claim: n_cells(claim) * len(claim.arms),
    measures=True,
    early=frozenset({"refuted"}),
    needs=PAIRED | {"rivals", "baselines"},
    parallel=True,
)
