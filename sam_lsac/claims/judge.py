"""The judgement of one claim: each of its tiers by itself, at its looks where there are any, then all together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sam_lsac.claims.claim import Claim, applies
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError, combine
from sam_lsac.claims.kinds import KINDS
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.looks import Look, looks_of, mixtures_of
from sam_lsac.claims.reach import HALF, covered, in_reach, mixtures_needed
from sam_lsac.claims.verdict import Context, Finding, LookTaken, Status, Verdict
from sam_lsac.errors import ClaimError
from sam_lsac.records import unknown

__all__ = ["headline", "judge", "judge_case", "not_applicable", "stops_at"]


Find = Callable[[Claim, Ledger, Context], Iterable[Evidence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What was said of one tier (None: of none in particular), of the claim as it was judged, at a look if at one.

    `reason` is why nothing was found; `gave_up`, whether it stopped because nothing was in reach.
    """

    claim: Claim
    tier: str | None
    status: Status
    look: Look | None = None
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    gave_up: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(one.finding for one in self.evidence)


def judge(
    claim: Claim,
    ledger: Ledger,
    context: Context,
    *,
    tiers: Sequence[str] | None = None,
    planned: Mapping[str, int] | None = None,
) -> Verdict:
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
    planned
        Mixtures of each tier in this run, where judging is sequential: each case is judged at its looks up to the first
        that decides it, on the mixtures of that look, however many the ledger has. Judged once where not given.

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
    parts = _parts(claim, kind, asked, ledger=ledger, context=context, planned=planned)
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
        at_end = next((part.claim for part in parts if part.status == status), claim)
        needed, words = mixtures_needed(
            at_end, [one for part in parts for one in part.evidence if kind.decides(claim, one.finding)]
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
        scope=_scope(parts, status),
        pairs_needed=needed if status == "inconclusive" else None,
        findings=findings,
        tiers=cases,
        looks=_looks_taken(claim, parts),
    )


def judge_case(
    claim: Claim, tier: str | None, ledger: Ledger, context: Context, *, planned: Mapping[str, int] | None = None
) -> Verdict:
    """Judge one case of a claim: that of a tier, or with None the whole claim; see `judge`."""
    return judge(claim.on(tier), ledger, context, planned=planned)


def stops_at(look: Look, claim: Claim, ledger: Ledger, context: Context) -> bool:
    """Return whether a case of sequential judging needs no mixtures beyond a look's.

    Parameters
    ----------
    look
        One of `looks_of`, such as none before it has stopped.
    claim
        One case: `Claim.on` a tier, or the whole of a claim that compares its tiers.
    ledger
        With the look's mixtures; more do not matter.
    context
        The checkpoint, and what else is known of it.
    """
    if look.is_last:
        return True
    kind = _kind(claim)
    claim = claim.judged_on(context)
    alone = [replace(claim, tiers=(tier,)) for tier in claim.tiers] or [claim]
    whole = claim if kind.across is not None and claim.cases == (None,) else None
    parts = _at(look, alone, kind, ledger=ledger, context=context, whole=whole)
    return _decided(parts, kind) or _gives_up(parts, kind)


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


def _parts(
    claim: Claim,
    kind: Kind,
    asked: Sequence[str],
    *,
    ledger: Ledger,
    context: Context,
    planned: Mapping[str, int] | None,
) -> list[_Part]:
    """Return what is said of each tier, and last what compares them."""
    alone = [replace(claim, tiers=(tier,)) for tier in asked] if claim.tiers else [claim]
    if reason := not_applicable(claim, context):
        return [_Part(claim=one, tier=_tier(one), status="not run", reason=reason) for one in alone]
    absent = [_tier(one) for one in alone if _absent(one, ledger)]
    missing = _missing(replace(claim, tiers=tuple(filter(None, absent))), ledger) if absent else ""
    there = [one for one in alone if _tier(one) not in absent]
    whole = claim if kind.across is not None and claim.cases == (None,) and not absent else None
    cases = [there] if claim.cases == (None,) else [[one] for one in there]  # what is decided together
    found = [
        part
        for case in filter(None, cases)
        for part in _stopped(case, kind, ledger=ledger, context=context, whole=whole, planned=planned)
    ]
    left_out = [
        _Part(claim=one, tier=_tier(one), status="not run", reason=missing) for one in alone if one not in there
    ]
    tiers = [*map(_tier, alone), *([None] if whole else [])]
    return sorted([*found, *left_out], key=lambda part: tiers.index(part.tier))


def _stopped(
    alone: Sequence[Claim],
    kind: Kind,
    *,
    ledger: Ledger,
    context: Context,
    whole: Claim | None,
    planned: Mapping[str, int] | None,
) -> list[_Part]:
    """Return what is said of one case, at its first look that decides it, or at its last; without looks at once."""
    everything = replace(alone[0], tiers=tuple(tier for one in alone for tier in one.tiers))
    looks: Sequence[Look | None] = (None,) if planned is None else looks_of(everything, planned)
    parts: list[_Part] = []
    for look in looks:
        parts = _at(look, alone, kind, ledger=ledger, context=context, whole=whole)
        if _decided(parts, kind):
            break
        if _gives_up(parts, kind):
            return [replace(part, gave_up=True) for part in parts]
    return parts


def _at(
    look: Look | None, alone: Sequence[Claim], kind: Kind, *, ledger: Ledger, context: Context, whole: Claim | None
) -> list[_Part]:
    """Return what is said of one case at a look: of each tier, and of the `whole` what compares them."""
    everything = replace(alone[0], tiers=tuple(tier for one in alone for tier in one.tiers))
    if look is None and everything.mixtures_per_tier is not None:
        tiers = dict.fromkeys(row.tier for row in ledger.rows)
        sizes: Mapping[str, int] | None = mixtures_of(everything, {tier: len(ledger.mixtures(tier)) for tier in tiers})
    else:
        sizes = look.sizes if look is not None and (look.of > 1 or everything.mixtures_per_tier is not None) else None
    if sizes is not None:
        ledger, context = _sample(everything, ledger, context, sizes)

    def judged(claim: Claim, find: Find) -> _Part:
        return _part(_with_looks(claim, look, kind), kind, find, ledger=ledger, context=context, look=look)

    parts = [judged(one, kind.find) for one in alone]
    if whole is not None and kind.across is not None:
        parts.append(replace(judged(whole, kind.across), tier=None))
    return parts


def _with_looks(claim: Claim, look: Look | None, kind: Kind) -> Claim:
    return claim if look is None else replace(claim, shares=look.shares, early=kind.early)


def _sample(claim: Claim, ledger: Ledger, context: Context, sizes: Mapping[str, int]) -> tuple[Ledger, Context]:
    """Return what the claim's own runs say on the first mixtures of each tier: nothing else may matter to it."""
    rates = context.entropy_rates
    if rates is not None:
        first = {mixture for tier, n in sizes.items() for mixture in ledger.mixtures(tier)[:n]}
        context = replace(context, entropy_rates={name: rate for name, rate in rates.items() if name in first})
    return ledger.sample(claim.columns, sizes) if claim.columns else ledger, context


def _decided(parts: Iterable[_Part], kind: Kind) -> bool:
    """Return whether these are all parts of a case that more mixtures are not to change."""
    return combine(part.status for part in parts) in kind.early


def _gives_up(parts: Sequence[_Part], kind: Kind) -> bool:
    """Return whether a case of one tier, undecided at a look that is not the last, has no verdict in reach."""
    part, *others = parts
    if part.look is None or part.look.is_last or part.look.sixths < HALF or others:
        return False
    deciding = [one for one in part.evidence if kind.decides(part.claim, one.finding)]
    return not in_reach(part.claim, deciding, share=part.look.shares[-1])


def _scope(parts: Iterable[_Part], status: Status) -> str:
    found = [(part.claim, finding) for part in parts for finding in part.findings]
    return covered(found, status) if status in ("supported", "refuted") else ""


def _looks_taken(claim: Claim, parts: Iterable[_Part]) -> dict[str, LookTaken]:
    """Return where each case stopped that could take more than one look."""
    return {
        "" if claim.cases == (None,) else part.tier or "": LookTaken(
            number=part.look.number,
            of=part.look.of,
            mixtures=min(part.look.sizes.values()),
            planned=min(part.look.planned.values()),
            level=part.claim.level,
            refutation_level=part.claim.refutation_level,
            gave_up=part.gave_up,
        )
        for part in parts
        if part.look is not None and part.look.of > 1
    }


def _tier(claim: Claim) -> str | None:
    return claim.tiers[0] if claim.tiers else None


def _part(claim: Claim, kind: Kind, find: Find, *, ledger: Ledger, context: Context, look: Look | None = None) -> _Part:
    part = _Part(claim=claim, tier=_tier(claim), status="inconclusive", look=look)
    try:
        part = replace(part, evidence=tuple(find(claim, ledger, context)))
    except UndecidedError as undecided:
        return replace(part, status=undecided.status, reason=undecided.reason)
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
