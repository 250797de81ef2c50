"""The closed set of kinds, and the judgement of one claim or all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sam_lsac.claims.cells import UndecidedError, combine
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kinds import counts, losses, orders, pareto
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Status, Verdict
from sam_lsac.errors import ClaimError
from sam_lsac.records import unknown

__all__ = ["KINDS", "Kind", "judge", "judge_all", "judge_case"]

PAIRED = frozenset({"arms", "metrics", "tiers", "family"})
SIGNS = ("negative", "positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to judge.

    Parameters
    ----------
    judge : callable
        (claim, ledger, context) -> Verdict.
    n_tests : callable
        How many tests a claim of this kind makes: its share of the family.
    needs, may : frozenset of str
        Fields of a claim that it must, and may, have besides those of every claim.
    choices : mapping of str to tuple of str
        Allowed words of a field.
    exactly : mapping of str to int
        Required lengths of a list.
    parallel : bool
        Whether `arms` and `rivals` are compared one to one.
    """

    judge: Callable[[Claim, Ledger, Context], Verdict]
    n_tests: Callable[[Claim], int]
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exactly: Mapping[str, int] = field(default_factory=dict)
    parallel: bool = False


def _cells(claim: Claim) -> int:
    return len(claim.tiers) * len(claim.metrics)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "pareto": Kind(
            judge=pareto.pareto,
            n_tests=lambda claim: _cells(claim) * len(claim.arms) * len(claim.rivals),
            needs=PAIRED | {"rivals"},
            exactly={"metrics": 1},
        ),
        "saved-share": Kind(
            judge=pareto.saved_share,
            n_tests=lambda _: 0,
            needs=frozenset({"arms", "targets", "tolerance"}),
            exactly={"arms": 1, "targets": 1},
        ),
        "effect-table": Kind(
            judge=pareto.effect_table,
            n_tests=lambda claim: _cells(claim) * (2 * len(claim.arms) + len(claim.rivals) - 1),
            needs=PAIRED | {"rivals"},
            exactly={"metrics": 1},
        ),
        "smaller-loss": Kind(
            judge=losses.smaller_loss,
            n_tests=lambda claim: _cells(claim) * len(claim.arms),
            needs=PAIRED | {"rivals", "score"},
            choices={"score": ("loss", "deviation")},
            parallel=True,
        ),
        "no-loss": Kind(
            judge=losses.no_loss,
            n_tests=lambda claim: 2 * _cells(claim) * (len(claim.arms) + len(claim.rivals)),
            needs=PAIRED | {"rivals", "margin"},
        ),
        "negligible-loss": Kind(
            judge=losses.negligible_loss,
            n_tests=lambda claim: 3 * _cells(claim) * len(claim.arms),
            needs=PAIRED | {"margin"},
        ),
        "labelled-loss": Kind(
            judge=losses.labelled_loss,
            n_tests=lambda claim: 2 * _cells(claim) * len(claim.arms),
            needs=PAIRED | {"label"},
            choices={"label": ("small", "medium", "large")},
        ),
        "equivalent": Kind(
            judge=losses.equivalent,
            n_tests=lambda claim: 2 * _cells(claim) * len(claim.arms),
            needs=PAIRED | {"margin"},
        ),
        "loss-order": Kind(
            judge=orders.loss_order,
            n_tests=lambda claim: (
                _cells(claim) * len(claim.rivals)
                + (len(claim.metrics) * (len(claim.tiers) - 1) if claim.stronger_tier else 0)
            ),
            needs=PAIRED | {"rivals", "direction"},
            may=frozenset({"controls", "stronger_tier"}),
            choices={"direction": ("largest", "smallest")},
            exactly={"arms": 1},
        ),
        "ratio-change": Kind(
            judge=orders.ratio_change,
            n_tests=lambda claim: _cells(claim) * len(claim.arms),
            needs=PAIRED | {"direction"},
            choices={"direction": ("increase", "decrease")},
        ),
        "layer-response": Kind(
            judge=orders.layer_response,
            n_tests=lambda claim: 4 * len(claim.tiers),
            needs=PAIRED | {"margin"},
            exactly={"arms": 1, "metrics": 2},
        ),
        "rank-correlation": Kind(
            judge=orders.rank_correlation,
            n_tests=lambda claim: len(claim.tiers),
            needs=PAIRED | {"direction"},
            choices={"direction": SIGNS},
            exactly={"metrics": 2},
        ),
        "layers-differ": Kind(judge=counts.layers_differ, n_tests=lambda _: 1, needs=frozenset({"family"})),
        "sign": Kind(
            judge=counts.sign,
            n_tests=lambda _: 0,
            needs=frozenset({"direction"}),
            choices={"direction": SIGNS},
        ),
        "count": Kind(judge=counts.count, n_tests=lambda _: 0, needs=frozenset({"targets", "tolerance"})),
        "table": Kind(
            judge=counts.table,
            n_tests=lambda _: 0,
            needs=PAIRED - {"family"},
            may=frozenset({"controls"}),
        ),
    }
)
"""Every way to judge, by the name that claims.toml uses."""


def judge(claim: Claim, ledger: Ledger, context: Context, *, tiers: Sequence[str] | None = None) -> Verdict:
    """Judge one claim on one checkpoint: each of its cases by itself, then all of them together.

    Parameters
    ----------
    claim
    ledger
        Rows of this checkpoint alone.
    context
    tiers
        Those of the claim's tiers that are judged; all of them where not given.

    Returns
    -------
    Verdict
        Refuted where one tier is, else "not run" where a tier was left out, has no runs or the claim does not apply
        to this checkpoint, supported where all tiers are, else inconclusive. A tier's status is the same whatever
        else is judged beside it.

    Raises
    ------
    ClaimError
        If the claim's kind is not in `KINDS`, or it has no such tiers.
    """
    if claim.kind not in KINDS:
        raise ClaimError(f"claim {claim.id}: {unknown('kind', claim.kind, KINDS)}")
    chosen = _chosen(claim, tiers)
    parts = {tier: _judge_one(claim.on(tier), ledger, context) for tier in chosen}
    whole = _combined(claim, parts)
    left_out = [tier for tier in claim.tiers if tier not in chosen] if chosen != (None,) else []
    if not left_out:
        return whole
    said = ", ".join(f"{tier} {status}" for tier, status in whole.tiers.items())
    reason = f"{whole.reason} Judged here: {said}; left out: {', '.join(left_out)}."
    return replace(whole, status="refuted" if whole.status == "refuted" else "not run", reason=reason)


def judge_case(claim: Claim, tier: str | None, ledger: Ledger, context: Context) -> Verdict:
    """Judge one case of a claim: that of a tier, or with None the whole claim; see `judge`."""
    return judge(claim.on(tier), ledger, context)


def judge_all(claims: Iterable[Claim], ledger: Ledger, context: Context) -> tuple[Verdict, ...]:
    """Judge claims in their order; see `judge`."""
    return tuple(judge(claim, ledger, context) for claim in claims)


def _chosen(claim: Claim, tiers: Sequence[str] | None) -> tuple[str | None, ...]:
    """Return the cases that are judged, in the claim's order; ClaimError where the claim has no such tier."""
    if tiers is None:
        return claim.cases
    if not tiers:
        raise ClaimError(f"claim {claim.id}: no tiers to judge: name some of {', '.join(claim.tiers)}, or leave it out")
    for tier in tiers:
        claim.on(tier)
    return tuple(case for case in claim.cases if case in tiers)


def _judge_one(claim: Claim, ledger: Ledger, context: Context) -> Verdict:
    if reason := _not_applicable(claim, context) or _missing(claim, ledger):
        return Verdict(claim_id=claim.id, status="not run", reason=reason)
    try:
        return KINDS[claim.kind].judge(claim, ledger, context)
    except UndecidedError as undecided:
        return Verdict(claim_id=claim.id, status=undecided.status, reason=undecided.reason)


def _combined(claim: Claim, parts: Mapping[str | None, Verdict]) -> Verdict:
    """Return the verdict over the cases that were judged."""
    statuses = [part.status for part in parts.values()]
    status: Status = combine(statuses)
    if status != "refuted" and "not run" in statuses:
        status = "not run"
    counted = [part for part in parts.values() if part.n]
    return Verdict(
        claim_id=claim.id,
        status=status,
        reason=" ".join(dict.fromkeys(part.reason for part in parts.values())),
        n=min((part.n for part in counted), default=0),
        n_dropped=max((part.n_dropped for part in counted), default=0),
        findings=tuple(finding for part in parts.values() for finding in part.findings),
        tiers={tier: part.status for tier, part in parts.items() if tier is not None},
    )


def _not_applicable(claim: Claim, context: Context) -> str | None:
    if claim.applies_to == "small" and not context.is_small:
        return f"The claim is about SAM-Audio-Small's 12 layers; {context.checkpoint} is another model."
    if claim.applies_to == "22-layers" and context.n_layers != 22:
        return f"The claim is about a model of 22 layers; {context.checkpoint} has {context.n_layers}."
    return None


def _missing(claim: Claim, ledger: Ledger) -> str | None:
    missing = [column for column in claim.columns if not ledger.has(column[2], arm=column[1], tier=column[0])]
    if not missing:
        return None
    tier, arm, metric = missing[0]
    return (
        f"{len(missing)} of {len(claim.columns)} columns have no runs, first {metric} of {arm} on {tier}: "
        "compute them to judge this claim."
    )
