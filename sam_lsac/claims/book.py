"""The claims file: settings, arms and claims from TOML, validated strictly before anything runs."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sam_lsac.claims.claim import Claim, Settings
from sam_lsac.claims.kind import Kind
from sam_lsac.claims.kinds import KINDS
from sam_lsac.claims.rows import File, arm_of, claim_fields, settings_of
from sam_lsac.claims.views import Views, read_views
from sam_lsac.errors import ClaimError, InputError, PlanError
from sam_lsac.metrics import column
from sam_lsac.records import read, unknown
from sam_lsac.runs import Arm, check_arm
from sam_lsac.runs.references import check_references

__all__ = ["Book", "load_claims", "parse_claims"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All claims with the arms that they need and the settings that they share.

    Parameters
    ----------
    settings
        What all claims share.
    arms
        By name.
    claims
        In the order of the file.
    views
        What is shown besides the verdicts.
    """

    settings: Settings
    arms: Mapping[str, Arm]
    claims: tuple[Claim, ...]
    views: Views = field(default_factory=Views)

    def __getitem__(self, claim_id: str) -> Claim:
        """Return the claim of this id; ClaimError names the nearest where there is none."""
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise ClaimError(unknown("claim", claim_id, [claim.id for claim in self.claims]))


def load_claims(path: Path | str) -> Book:
    """Read and validate a claims file.

    Parameters
    ----------
    path
        A TOML file with `[settings]`, `[arms.NAME]`, `[[claims]]` and perhaps `[views]`.

    Raises
    ------
    ClaimError
        If the file is missing, is not TOML, or any row has an unknown, missing or wrong value; the sentence names
        the row, and the nearest known name.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimError(f"no claims file at {path}: pass the path of bench/claims.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimError(f"{path} is not TOML: {error}") from error
    return parse_claims(data)


def parse_claims(data: Mapping[str, Any]) -> Book:
    """Validate the contents of a claims file; see `load_claims`.

    Raises
    ------
    ClaimError
        If any row has an unknown, missing or wrong value.
    """
    file = read(File, data, where="claims file", error=ClaimError)
    settings = settings_of(file.settings)
    arms = {name: _arm(name, table) for name, table in file.arms.items()}
    claims = [_claim(table, settings=settings, arms=arms) for table in file.claims]
    ids = [claim.id for claim in claims]
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise ClaimError(f"claim {twice[0]} is there twice: give each its own id")
    views = read_views(file.views, arms=arms, claims=ids, smallest_effects=settings.smallest_effects)
    try:
        check_references(arms, baseline=views.reference)
    except PlanError as error:
        raise ClaimError(str(error)) from error
    related = tuple(_with_family(claim, claims) for claim in claims)
    return Book(settings=settings, arms=MappingProxyType(arms), claims=related, views=views)


def _with_family(claim: Claim, claims: Iterable[Claim]) -> Claim:
    relatives = tuple(one.applies_to for one in claims if claim.family and one.family == claim.family)
    n_contradictions = max(1, KINDS[claim.kind].n_contradictions(claim))
    return replace(claim, relatives=relatives, family_size=max(1, len(relatives)), n_contradictions=n_contradictions)


def _arm(name: str, table: Any) -> Arm:
    arm = arm_of(name, table)
    try:
        check_arm(arm)
    except PlanError as error:
        raise ClaimError(str(error)) from error
    return arm


def _claim(table: Any, *, settings: Settings, arms: Mapping[str, Arm]) -> Claim:
    named = table.get("id", "without id") if isinstance(table, Mapping) else "without id"
    where = f"claim {named}"
    values = {"alpha": settings.alpha} | claim_fields(table, where)
    kind = KINDS[values["kind"]]
    _check_metrics(values.get("metrics", ()), where)
    claim = Claim(settings=settings, **values)
    _check_names(claim, where, arms=arms)
    _check_shape(claim, where, kind=kind)
    return claim


def _check_metrics(metrics: Iterable[str], where: str) -> None:
    for metric in metrics:
        try:
            column(metric)
        except InputError as error:
            raise ClaimError(f"{where}: {error}") from error


def _check_names(claim: Claim, where: str, *, arms: Mapping[str, Arm]) -> None:
    """Raise where the claim names an arm, metric, tier, checkpoint class or quantity that does not exist."""
    for name in (*claim.arms, *claim.rivals, *claim.controls, *claim.baselines):
        if name not in arms:
            raise ClaimError(f"{where}: {unknown('arm', name, arms)}")
    for tier in (*claim.tiers, *([claim.stronger_tier] if claim.stronger_tier else [])):
        if tier not in claim.settings.tiers:
            raise ClaimError(f"{where}: {unknown('tier', tier, claim.settings.tiers)}")
    for name, refutation in claim.known_refutations.items():
        if not refutation.reason.strip():
            raise ClaimError(f"{where}: known_refutations.{name}: the reason is empty: say what was found")
        for tier in refutation.tiers:
            if tier not in claim.cases:
                cases = [case for case in claim.cases if case is not None]
                raise ClaimError(f"{where}: known_refutations.{name}: {unknown('tier', tier, cases)}")
    for arm, rival in claim.matched.items():
        for part, known in ((arm, claim.arms), (rival, claim.rivals)):
            if part not in known:
                raise ClaimError(f"{where}: matched: {unknown('arm or rival of this claim', part, known)}")
    for metric in claim.sizes:
        if metric not in claim.metrics:
            raise ClaimError(f"{where}: sizes: {unknown('metric', metric, claim.metrics)}")
    for key in claim.figures:
        known = (*claim.tiers, *claim.arms, *claim.rivals, "ratio")
        for part in key.split("/"):
            if part not in known:
                raise ClaimError(f"{where}: figures: {unknown('arm or tier', part, known)}")


def _check_shape(claim: Claim, where: str, *, kind: Kind) -> None:
    """Raise where a word or the length of a list is not what the kind of claim can judge."""
    for name, allowed in kind.choices.items():
        value = getattr(claim, name)
        for word in [value] if isinstance(value, str) else value:
            if word not in allowed:
                raise ClaimError(f"{where}: {unknown(name, word, allowed)}")
    if kind.measures:
        for metric in claim.metrics:
            claim.smallest(metric)
    for name, length in kind.exactly.items():
        if len(getattr(claim, name)) != length:
            raise ClaimError(f"{where}: kind {claim.kind} needs exactly {length} {name}: split the claim or the list")
    if kind.parallel and len(claim.arms) != len(claim.rivals):
        raise ClaimError(f"{where}: kind {claim.kind} compares arms and rivals one to one: give as many of each")
    if kind.matches and (without := [arm for arm in claim.arms if arm not in claim.matched]):
        raise ClaimError(f"{where}: matched: {without[0]} has no rival: name one for every arm")
    if claim.mixtures_per_tier is not None and not (claim.columns or kind.watches):
        raise ClaimError(f"{where}: kind {claim.kind} needs no mixtures: leave mixtures_per_tier out")
    if len(claim.baselines) not in (1, len(claim.arms)):
        raise ClaimError(f"{where}: baselines must be one for all arms or one for each: got {len(claim.baselines)}")
    if claim.stronger_tier and (claim.stronger_tier not in claim.tiers or len(claim.tiers) < 2):
        raise ClaimError(f"{where}: stronger_tier {claim.stronger_tier!r} needs itself and another tier in tiers")
