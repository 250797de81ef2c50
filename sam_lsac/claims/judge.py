"""The judgement of one claim: each of its tiers by itself, then all of them together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sam_lsac.claims.claim import Claim, applies
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError, combine
from sam_lsac.claims.kinds import KINDS
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.reach import covered, mixtures_needed
from sam_lsac.claims.verdict import Context, Finding, Status, Verdict
from sam_lsac.errors import ClaimError
from sam_lsac.records import unknown

__all__ = ["headline", "judge", "judge_case", "not_applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What was said of one tier (None: of none in particular); `reason` is why nothing was found."""

    tier: str | None
    status: Status
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(one.finding for one in self.evidence)


def judge(claim: Claim, ledger: Ledger, context: Context, *, tiers: Sequence[str] | None = None) -> Verdict:
    """Judge one claim on one checkpoint: each of its cases by itself, then all of them together.

    Parameters
    ----------
    claim
        What is judged.
    ledger
        Rows of this checkpoint alone.
    context
        The checkpoint, and what else is known of it.
    tiers
        Those of the claim's tiers that are judged; all of them where not given.

    Returns
    -------
    Verdict
        Refuted where one tier is, else "not run" where a tier was left out, has no runs or the claim does not apply
        to this checkpoint, supported (shown) where all tiers are, else inconclusive. A tier's status is the same
        whatever else is judged beside it: the level follows from the whole claim, and from those of its family that
        can be judged on this checkpoint.

    Raises
    ------
    ClaimError
        If the claim's kind is not in `KINDS`, or it has no such tiers.
    """
    kind, claim = _kind(claim), claim.judged_on(context)
    asked = claim.tiers if tiers is None else _chosen(claim, tiers)
    parts = _parts(claim, kind, asked, ledger=ledger, context=context)
    findings = tuple(finding for part in parts for finding in part.findings)
    statuses = [part.status for part in parts]
    status = combine(statuses)
    left_out = [tier for tier in claim.tiers if tier not in asked]
    if status != "refuted" and ("not run" in statuses or left_out):
        status = "not run"
    cases = {} if claim.cases == (None,) else {part.tier: part.status for part in parts if part.tier is not None}
    reasons = [kind.reason(claim, findings)] if findings else []
    reasons += dict.fromkeys(part.reason for part in parts if part.reason)
    if left_out:
        said = ", ".join(f"{tier} {one}" for tier, one in cases.items())
        reasons.append(f"Judged here: {said}; left out: {', '.join(left_out)}.")
    if status == "inconclusive":
        needed, words = mixtures_needed(
            claim, [one for part in parts for one in part.evidence if kind.decides(claim, one.finding)]
        )
        reasons.append(words)
    counted = [finding for finding in findings if finding.n]
    return Verdict(
        claim_id=claim.id,
        status=status,
        reason=" ".join(filter(None, reasons)),
        n=min((finding.n for finding in counted), default=0),
        n_dropped=max((finding.n_dropped for finding in counted), default=0),
        n_failed=max((finding.n_failed for finding in counted), default=0),
        scope=covered(claim, findings, status) if status in ("supported", "refuted") else "",
        pairs_needed=needed if status == "inconclusive" else None,
        findings=findings,
        tiers=cases,
    )


def judge_case(claim: Claim, tier: str | None, ledger: Ledger, context: Context) -> Verdict:
    """Judge one case of a claim: that of a tier, or with None the whole claim; see `judge`."""
    return judge(claim.on(tier), ledger, context)


def headline(claim: Claim, verdict: Verdict) -> tuple[str, ...]:
    """Return our figures with their intervals, a line per tier or statement; empty where nothing was computed."""
    return _kind(claim).headline(claim, verdict.findings) if verdict.findings else ()


def _kind(claim: Claim) -> Kind:
    if claim.kind not in KINDS:
        raise ClaimError(f"claim {claim.id}: {unknown('kind', claim.kind, KINDS)}")
    return KINDS[claim.kind]


def _chosen(claim: Claim, tiers: Sequence[str]) -> tuple[str, ...]:
    """Return the tiers that are judged, in the claim's order; ClaimError where it has no such case."""
    if not tiers:
        raise ClaimError(f"claim {claim.id}: no tiers to judge: name some of {', '.join(claim.tiers)}, or leave it out")
    for tier in tiers:
        claim.on(tier)
    return tuple(tier for tier in claim.tiers if tier in tiers)


def _parts(claim: Claim, kind: Kind, asked: Sequence[str], *, ledger: Ledger, context: Context) -> list[_Part]:
    """Return what is said of each tier, and last what compares them."""
    alone = [replace(claim, tiers=(tier,)) for tier in asked] if claim.tiers else [claim]
    if reason := not_applicable(claim, context):
        return [_Part(tier=_tier(one), status="not run", reason=reason) for one in alone]
    absent = [_tier(one) for one in alone if _absent(one, ledger)]
    missing = _missing(replace(claim, tiers=tuple(filter(None, absent))), ledger) if absent else ""
    parts = []
    for one in alone:
        if _tier(one) in absent:
            parts.append(_Part(tier=_tier(one), status="not run", reason=missing))
        else:
            parts.append(_part(one, kind, kind.find, ledger=ledger, context=context))
    if kind.across is not None and claim.cases == (None,) and not absent:
        parts.append(replace(_part(claim, kind, kind.across, ledger=ledger, context=context), tier=None))
    return parts


def _tier(claim: Claim) -> str | None:
    return claim.tiers[0] if claim.tiers else None


def _part(
    claim: Claim,
    kind: Kind,
    find: Callable[[Claim, Ledger, Context], Iterable[Evidence]],
    *,
    ledger: Ledger,
    context: Context,
) -> _Part:
    try:
        evidence = tuple(find(claim, ledger, context))
    except UndecidedError as undecided:
        return _Part(tier=_tier(claim), status=undecided.status, reason=undecided.reason)
    part = _Part(tier=_tier(claim), status="inconclusive", evidence=evidence)
    return replace(part, status=kind.status(claim, part.findings))


def not_applicable(claim: Claim, context: Context) -> str | None:
    """Return why a claim is not about the context's checkpoint, so that no run of it is needed, or None."""
    if applies(claim.applies_to, context):
        arms = (*claim.baselines, *claim.arms, *claim.rivals, *claim.controls)
        return next((context.absent[arm] for arm in arms if arm in context.absent), None)
    if claim.applies_to == "small":
        return f"The claim is about SAM-Audio-Small's 12 layers; {context.checkpoint} is another model."
    return f"The claim is about a model of 22 layers; {context.checkpoint} has {context.n_layers}."


def _absent(claim: Claim, ledger: Ledger) -> list[tuple[str, str, str]]:
    return [column for column in claim.columns if not ledger.has(column[2], arm=column[1], tier=column[0])]


def _missing(claim: Claim, ledger: Ledger) -> str:
    """Return which runs are missing, in words."""
    missing = _absent(claim, ledger)
    tier, arm, metric = missing[0]
    return (
        f"{len(missing)} of {len(claim.columns)} columns have no runs, first {metric} of {arm} on {tier}: "
        "compute them to judge this claim."
    )
