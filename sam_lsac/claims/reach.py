"""How far a verdict reaches: what a supported claim covers, and whether more mixtures would decide an undecided one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.contrast import FEWEST
from sam_lsac.claims.kind import Evidence, Requirement
from sam_lsac.claims.verdict import Finding, Groups, Status
from sam_lsac.statistics import Conditions, conditional_power, joint_pairs_needed
from sam_lsac.statistics.effect import above_bound

__all__ = ["HALF", "LEAST_POWER", "UNRESTRICTED", "covered", "in_reach", "mixtures_needed"]

UNRESTRICTED = "new voices and sounds too (unrestricted)"
HALF = 3
"""Sixths of the mixtures, from which on a case may give up."""
LEAST_POWER = 0.1
"""Conditional power below which a verdict is out of reach."""
ENOUGH_GROUPS = 8  # of targets and of residuals, below which a test over groups says too little


def covered(judged: Iterable[tuple[Claim, Finding]], status: Status) -> str:
    """Return what a verdict speaks of (docs/verdicts.md, rule 11); empty where it compares no mixtures.

    All figures that support must pass the gate over groups, and of those that refute one: each at the level of the
    claim as it was judged, at its look.
    """
    gates = [(claim, one.groups) for claim, one in judged if one.status == status and one.groups is not None]
    passed = [
        _passed(gate, level=claim.level if status == "supported" else claim.refutation_level) for claim, gate in gates
    ]
    if not gates:
        return ""
    if all(passed) or (status == "refuted" and any(passed)):
        return UNRESTRICTED
    fewest = min(min(gate.n_targets, gate.n_residuals or gate.n_targets) for _, gate in gates)
    return f"new recordings of these voices and sounds ({fewest} groups or more a tier)"


def mixtures_needed(claim: Claim, evidence: Sequence[Evidence]) -> tuple[int | None, str]:
    """Return the mixtures a tier that would show all that a claim requires, and a sentence that says so.

    By simulation from the observed moments, with the joint power of the settings (docs/verdicts.md, rule 12).
    """
    asked = [one for one in evidence if one.finding.status in ("supported", "inconclusive")]
    required = [need for one in asked for need in one.requires]
    if not required:
        return None, ""
    if hopeless := next((one.finding for one in asked if not one.possible), None):
        where = " ".join(
            filter(None, (hopeless.arm, hopeless.quantity, f"on {hopeless.tier}" if hopeless.tier else ""))
        )
        return None, (
            f"It cannot be shown with such mixtures: {where} is not on the claimed side by as much as is of interest."
        )
    tiers = dict.fromkeys(need.tier for need in required)
    if any(len(_common([need for need in required if need.tier == tier])) < FEWEST for tier in tiers):
        return None, "Too few mixtures have every figure to say how many would show it."
    samples = [_conditions([need for need in required if need.tier == tier], level=claim.level) for tier in tiers]
    needed = joint_pairs_needed(samples, power=claim.settings.power, seed=claim.settings.bootstrap_seed)
    if needed is None:
        return None, "It cannot be shown with such mixtures."
    return needed, f"About {needed} mixtures a tier would show it with a power of {claim.settings.power:.0%}."


def in_reach(claim: Claim, evidence: Sequence[Evidence], *, share: float) -> frozenset[Status]:
    """Return which verdicts all mixtures are likely enough to give, if the others go on like the first ones.

    By the conditional power of each contrast at its undivided level (docs/verdicts.md, sequential judging). It errs on
    the side of going on: rare failures and smallest effects may still withhold what is said to be in reach, and where
    there is no evidence support still is.

    Parameters
    ----------
    claim
        As it is judged, at a look.
    evidence
        Of that look, as far as it decides.
    share
        Of the mixtures, that are in.
    """
    whole = replace(claim, shares=())
    supports = [_likely(need, level=whole.level, share=share) for one in evidence for need in one.requires]
    refutes = [_likely(need, level=whole.refutation_level, share=share) for one in evidence for need in one.contradicts]
    verdicts: dict[Status, bool] = {"supported": all(supports), "refuted": any(refutes)}
    return frozenset(status for status, likely in verdicts.items() if likely)


def _likely(need: Requirement, *, level: float, share: float) -> bool:
    values = above_bound(need.values, need.bound) if need.bound else need.values
    return not np.isfinite(values).all() or conditional_power(values, level=level, share=share) >= LEAST_POWER


def _common(required: Sequence[Requirement]) -> list[str]:
    return sorted(set.intersection(*(set(need.mixtures) for need in required)))


def _conditions(required: Sequence[Requirement], *, level: float) -> Conditions:
    """Return the contrasts of one tier over the mixtures that all of them have."""
    common = _common(required)
    columns = [dict(zip(need.mixtures, need.values.tolist(), strict=True)) for need in required]
    return Conditions(
        contrasts=np.asarray([[column[mixture] for column in columns] for mixture in common], dtype=np.float64),
        levels=[level] * len(required),
        bounds=[need.bound for need in required],
    )


def _passed(gate: Groups, *, level: float) -> bool:
    ps = (gate.p_targets, gate.p_residuals)
    enough = min(gate.n_targets, gate.n_residuals) >= ENOUGH_GROUPS
    return enough and all(p is not None and p < level for p in ps)
