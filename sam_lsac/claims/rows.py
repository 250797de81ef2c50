"""The tables of a claims file as records: which keys each may have, and of what type.

The keys of a claim follow from its kind, so its record is made from the kind. Reading goes through
`sam_lsac.records.read`; what is checked here besides are names that other tables define.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from sam_lsac.claims.claim import Arm, KnownRefutation, Settings
from sam_lsac.claims.kind import Kind
from sam_lsac.claims.kinds import KINDS
from sam_lsac.errors import ClaimError
from sam_lsac.records import STRICT, read, unknown

__all__ = ["File", "arm_of", "claim_fields", "settings_of"]

EVERY = ("id", "section", "quote", "paper", "kind", "applies_to")
ANY = ("alpha", "baselines", "figures", "known_refutations", "mixtures_per_tier")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A claims file as it is written; each of its tables is read by itself, so that an error can name it."""

    __pydantic_config__: ClassVar[Any] = STRICT

    settings: Any
    arms: dict[str, Any]
    claims: tuple[Any, ...]
    views: Any = field(default_factory=dict)


def settings_of(table: Any) -> Settings:
    """Return the settings; ClaimError where the table is not what it should be."""
    return Settings(**_given(read(_settings_record(), table, where="[settings]", error=ClaimError)))


def arm_of(name: str, table: Any) -> Arm:
    """Return an arm; ClaimError where the table is not what it should be. Its edits are not looked at."""
    values = _given(read(_arm_record(), table, where=f"[arms.{name}]", error=ClaimError))
    return Arm(name=name, **(values | {"edits": tuple(map(MappingProxyType, values.get("edits", ())))}))


def claim_fields(table: Any, where: str) -> dict[str, Any]:
    """Return the fields that a claim's table gives, by the record of its kind.

    Raises
    ------
    ClaimError
        If the kind is unknown, a key is unknown or missing, or a value is not of its type.
    """
    if not isinstance(table, Mapping):
        raise ClaimError(f"{where}: must be a table [[claims]], got {type(table).__name__}")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ClaimError(f"{where}: {unknown('kind', kind, KINDS)}")
    known = table.get("known_refutations")
    if isinstance(known, Mapping):  # a text is short for the reason alone
        written = {name: {"reason": one} if isinstance(one, str) else one for name, one in known.items()}
        table = {**table, "known_refutations": written}
    return _given(read(_claim_record(KINDS[kind].name), table, where=where, error=ClaimError))


def _given(record: Any) -> dict[str, Any]:
    """Return the values that were given, by name."""
    found = {item.name: getattr(record, item.name) for item in fields(record)}
    return {
        name: MappingProxyType(value) if isinstance(value, dict) else value
        for name, value in found.items()
        if value is not None
    }


@cache
def _claim_record(name: str) -> type[Any]:
    kind: Kind = KINDS[name]
    required = (*EVERY, *sorted(kind.needs))
    optional = [key for key in (*ANY, *sorted(kind.may)) if key not in required]
    return _record("Claim", required=required, optional=optional)


@cache
def _settings_record() -> type[Any]:
    return _record("Settings", required=[item.name for item in fields(Settings)])


@cache
def _arm_record() -> type[Any]:
    return _record("Arm", required=["solver"], optional=["edits", "text", "spans", "references"])


def _record(name: str, *, required: Iterable[str], optional: Iterable[str] = ()) -> type[Any]:
    """Return a strict record of these keys."""
    types = _types()
    keys = [(key, types[key]) for key in required] + [(key, types[key] | None, None) for key in optional]
    return make_dataclass(name, keys, frozen=True, kw_only=True, namespace={"__pydantic_config__": STRICT})


@cache
def _types() -> Mapping[str, Any]:
    """Return the type of every key; only built where a file is read, because pydantic takes its time to import."""
    from pydantic import AfterValidator, Field

    text = Annotated[str, AfterValidator(_says_something)]
    names = Annotated[tuple[text, ...], Field(min_length=1), AfterValidator(_different)]
    positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    share = Annotated[float, Field(gt=0.0, lt=1.0)]
    count = Annotated[int, Field(ge=0)]
    return {
        **dict.fromkeys(("id", "section", "quote", "kind", "family", "solver"), text),
        **dict.fromkeys(("direction", "score", "label", "stronger_tier"), text),
        **dict.fromkeys(("arms", "rivals", "controls", "baselines", "metrics", "tiers"), names),
        **dict.fromkeys(("margin", "tolerance", "bound"), positive),
        **dict.fromkeys(("alpha", "power", "theta", "missing_share", "saves"), share),
        **dict.fromkeys(("bootstrap_seed", "bootstrap_resamples"), count),
        "paper": str,
        "applies_to": Literal["any", "small", "22-layers"],
        "figures": dict[str, text],
        "known_refutations": dict[str, KnownRefutation],
        "matched": Annotated[dict[str, text], Field(min_length=1)],
        "smallest_effects": Annotated[dict[str, positive], Field(min_length=1)],
        "sizes": Annotated[dict[str, positive], Field(min_length=1)],
        "smallest_factor": Annotated[float, Field(gt=1.0, allow_inf_nan=False)],
        "targets": Annotated[dict[str, positive], Field(min_length=1)],
        "mixtures_per_tier": Annotated[int, Field(ge=3)],
        "seeds": Annotated[tuple[count, ...], Field(min_length=1), AfterValidator(_different)],
        "edits": tuple[dict[str, Any], ...],
        "references": Annotated[tuple[text, ...], AfterValidator(_different)],
        "text": bool,
        "spans": bool,
    }


def _says_something(value: str) -> str:
    if not value.strip():
        raise ValueError("a text that says something")
    return value


def _different(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a list that names nothing twice")
    return values
