"""The claims file: settings, arms and claims from TOML, validated strictly before anything runs."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sam_lsac.claims import schema
from sam_lsac.claims.claim import Claim, KnownRefutation, Settings
from sam_lsac.claims.kind import Kind
from sam_lsac.claims.kinds import KINDS
from sam_lsac.claims.views import Views
from sam_lsac.errors import ClaimError, InputError, PlanError
from sam_lsac.metrics import column
from sam_lsac.records import read
from sam_lsac.runs import Arm, check_arm

__all__ = ["Book", "load_claims", "parse_claims"]

EVERY = frozenset({"id", "section", "quote", "paper", "kind", "applies_to"})
ANY = frozenset({"alpha", "baselines", "figures", "known_refutations"})
APPLIES_TO = ("any", "small", "22-layers")


def _refutations(value: Any) -> Mapping[str, KnownRefutation]:
    """Read reasons by checkpoint: a text, or a table of the reason and the tiers that it is about."""
    if not isinstance(value, dict):
        raise ValueError("must be a table of texts or of tables with reason and tiers")
    found = {}
    for name, one in value.items():
        table = {"reason": one} if isinstance(one, str) else one
        fields = {"reason": schema.text, "tiers": schema.texts}
        found[name] = KnownRefutation(
            **schema.read(table, f"known_refutations.{name}", fields=fields, required={"reason"})
        )
    return MappingProxyType(found)


_CLAIM_FIELDS: Mapping[str, schema.Reader] = MappingProxyType(
    {
        **dict.fromkeys(("id", "section", "quote", "kind", "applies_to", "family"), schema.text),
        **dict.fromkeys(("direction", "score", "label", "stronger_tier"), schema.text),
        **dict.fromkeys(("arms", "rivals", "controls", "baselines", "metrics", "tiers"), schema.texts),
        "figures": schema.text_table,
        "known_refutations": _refutations,
        **dict.fromkeys(("margin", "tolerance"), schema.positive),
        "alpha": schema.fraction,
        "paper": schema.any_text,
        "targets": schema.number_table,
    }
)
_SETTING_FIELDS: Mapping[str, schema.Reader] = MappingProxyType(
    {
        "alpha": schema.fraction,
        "power": schema.fraction,
        "tost_margin_db": schema.positive,
        "tiers": schema.texts,
        "seeds": schema.counts,
        "bootstrap_seed": schema.count,
        "bootstrap_resamples": schema.count,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All claims with the arms that they need and the settings that they share.

    Parameters
    ----------
    settings : Settings
    arms : mapping of str to Arm
    claims : tuple of Claim
        In the order of the file.
    views : Views
        How the results are shown.
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
        raise ClaimError(schema.unknown("claim", claim_id, [claim.id for claim in self.claims]))


def load_claims(path: Path | str) -> Book:
    """Read and validate a claims file.

    Parameters
    ----------
    path : path
        A TOML file with `[settings]`, `[arms.NAME]` and `[[claims]]`.

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
    """Validate the contents of a claims file; see `load_claims`."""
    schema.keys(data, "claims file", required={"settings", "arms", "claims"})
    settings = Settings(**schema.read(data["settings"], "[settings]", fields=_SETTING_FIELDS, required=_SETTING_FIELDS))
    if not isinstance(data["arms"], dict) or not isinstance(data["claims"], list):
        raise ClaimError("claims file: arms are tables [arms.NAME] and claims are an array [[claims]]")
    arms = {name: _arm(name, table) for name, table in data["arms"].items()}
    claims = [_claim(table, settings=settings, arms=arms) for table in data["claims"]]
    ids = [claim.id for claim in claims]
    if twice := {one for one in ids if ids.count(one) > 1}:
        raise ClaimError(f"claim {sorted(twice)[0]} is there twice: give each its own id")
    sizes: dict[str, int] = {}
    for claim in claims:
        sizes[claim.family] = sizes.get(claim.family, 0) + KINDS[claim.kind].n_tests(claim)
    sized = tuple(replace(claim, family_size=max(1, sizes[claim.family])) for claim in claims)
    return Book(settings=settings, arms=MappingProxyType(arms), claims=sized)


def _arm(name: str, table: Any) -> Arm:
    if isinstance(table, dict) and "name" in table:
        raise ClaimError(f"[arms.{name}]: name: the arm is called {name!r} already: remove it")
    row = {"name": name, **table} if isinstance(table, dict) else table
    arm: Arm = read(Arm, row, where=f"[arms.{name}]", error=ClaimError)
    try:
        check_arm(arm)
    except PlanError as error:
        raise ClaimError(str(error)) from error
    return arm


def _claim(table: Any, *, settings: Settings, arms: Mapping[str, Arm]) -> Claim:
    where = f"claim {table.get('id', 'without id')}" if isinstance(table, dict) else "claim"
    schema.keys(table, where, required=(), optional=_CLAIM_FIELDS)
    kind_name = str(table.get("kind"))
    if kind_name not in KINDS:
        raise ClaimError(f"{where}: {schema.unknown('kind', kind_name, KINDS)}")
    kind = KINDS[kind_name]
    fields = {name: reader for name, reader in _CLAIM_FIELDS.items() if name in EVERY | ANY | kind.needs | kind.may}
    values = schema.read(table, where, fields=fields, required=EVERY | (kind.needs - {"margin"}))
    values.setdefault("alpha", settings.alpha)
    if "margin" in kind.needs and "margin" not in values:
        if not all(column(metric).unit == "dB" for metric in values["metrics"]):
            raise ClaimError(f"{where}: margin is missing, and {values['metrics']} have no default: add margin")
        values["margin"] = settings.tost_margin_db
    claim = Claim(settings=settings, **values)
    _check_names(claim, where, arms=arms)
    _check_shape(claim, where, kind=kind)
    return claim


def _check_names(claim: Claim, where: str, *, arms: Mapping[str, Arm]) -> None:
    """Raise where the claim names an arm, metric, tier, checkpoint class or quantity that does not exist."""
    for name in (*claim.arms, *claim.rivals, *claim.controls, *claim.baselines):
        if name not in arms:
            raise ClaimError(f"{where}: {schema.unknown('arm', name, arms)}")
    for metric in claim.metrics:
        try:
            column(metric)
        except InputError as error:
            raise ClaimError(f"{where}: {error}") from error
    for tier in (*claim.tiers, *([claim.stronger_tier] if claim.stronger_tier else [])):
        if tier not in claim.settings.tiers:
            raise ClaimError(f"{where}: {schema.unknown('tier', tier, claim.settings.tiers)}")
    for name, refutation in claim.known_refutations.items():
        for tier in refutation.tiers:
            if tier not in claim.cases:
                cases = [case for case in claim.cases if case is not None]
                raise ClaimError(f"{where}: known_refutations.{name}: {schema.unknown('tier', tier, cases)}")
    if claim.applies_to not in APPLIES_TO:
        raise ClaimError(f"{where}: {schema.unknown('applies_to', claim.applies_to, APPLIES_TO)}")
    for key in claim.figures:
        known = (*claim.tiers, *claim.arms, *claim.rivals, "ratio")
        for part in key.split("/"):
            if part not in known:
                raise ClaimError(f"{where}: figures: {schema.unknown('arm or tier', part, known)}")


def _check_shape(claim: Claim, where: str, *, kind: Kind) -> None:
    """Raise where a word or the length of a list is not what the kind of claim can judge."""
    for name, allowed in kind.choices.items():
        value = getattr(claim, name)
        for word in [value] if isinstance(value, str) else value:
            if word not in allowed:
                raise ClaimError(f"{where}: {schema.unknown(name, word, allowed)}")
    for name, length in kind.exactly.items():
        if len(getattr(claim, name)) != length:
            raise ClaimError(f"{where}: kind {claim.kind} needs exactly {length} {name}: split the claim or the list")
    if kind.parallel and len(claim.arms) != len(claim.rivals):
        raise ClaimError(f"{where}: kind {claim.kind} compares arms and rivals one to one: give as many of each")
    if len(claim.baselines) not in (1, len(claim.arms)):
        raise ClaimError(f"{where}: baselines must be one for all arms or one for each: got {len(claim.baselines)}")
    if claim.stronger_tier and (claim.stronger_tier not in claim.tiers or len(claim.tiers) < 2):
        raise ClaimError(f"{where}: stronger_tier {claim.stronger_tier!r} needs itself and another tier in tiers")
