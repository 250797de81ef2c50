"""What a report shows of a book besides its verdicts, as data: the `[views]` of a claims file.

Every part may be left out; a book of another repository then shows its verdicts and tables alone.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from sam_lsac.errors import ClaimError, InputError
from sam_lsac.metrics import column
from sam_lsac.records import STRICT, read, unknown

__all__ = ["CaveatRow", "Maps", "Sounds", "Views", "read_views"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """Which sounds can be played: of the first mixtures of each tier, under some arms."""

    __pydantic_config__: ClassVar[Any] = STRICT

    per_tier: int = 0
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """Which matrices of self-attention are drawn: layers (from 0) at one step (from 1), an arm for each condition."""

    __pydantic_config__: ClassVar[Any] = STRICT

    layers: tuple[int, ...] = ()
    step: int = 1
    arms: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freezing:
    """The grid of freezes: at which steps, and on how many mixtures of each tier, since it judges nothing."""

    __pydantic_config__: ClassVar[Any] = STRICT

    steps: tuple[int, ...] = ()
    per_tier: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Which columns are drawn over the values of the gate."""

    __pydantic_config__: ClassVar[Any] = STRICT

    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceView:
    """Of which settings the report advises one, and what it must hold; without levels there is no advice.

    Parameters
    ----------
    levels
        Bounds of fidelity, in its unit, for each of which the cheapest setting that holds is named.
    fidelity
        The column that compares an output with the reference's.
    metrics
        Of quality, in each of which a setting must be equivalent to the reference, within the smallest effect.
    candidates
        The settings among which is chosen; empty for all that the ledger has on every tier.
    missing
        How to compute what the advice needs, where it was not computed.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    levels: tuple[float, ...] = ()
    fidelity: str = ""
    metrics: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierView:
    """Which columns are drawn against the FLOPs that settings save, and of which; empty for all of the ledger's."""

    __pydantic_config__: ClassVar[Any] = STRICT

    metrics: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaveatRow:
    """One statement about the method, with how our figures beside it are computed.

    Parameters
    ----------
    title
        Heading of its box.
    known
        What stands without any run.
    missing
        How to get our figures, where there are none.
    figures
        Which computation gives them.
    arms, rivals, claims
        What they are about.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    title: str
    known: str
    missing: str
    figures: Literal["evaluation", "unmatched", "ceiling", "equivalence", "solvers", "noise-floor"]
    arms: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What is shown of a book.

    Parameters
    ----------
    topics
        Heading of the claims whose ids begin with a prefix.
    notes
        By the same prefixes, what a reader of those claims must know; shown under their table.
    sounds, maps, freezing, sweep, frontier
        What can be played, and what is drawn.
    advice
        What a setting that may be shipped must hold.
    caveats
        Statements about the method, in the order in which they are shown.
    reference
        The arm that costs and tables are against.
    metric
        The axis of fidelity in tables and figures.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    topics: Mapping[str, str] = field(default_factory=_nothing)
    notes: Mapping[str, str] = field(default_factory=_nothing)
    sounds: Sounds = field(default_factory=Sounds)
    maps: Maps = field(default_factory=Maps)
    freezing: Freezing = field(default_factory=Freezing)
    sweep: Sweep = field(default_factory=Sweep)
    frontier: FrontierView = field(default_factory=FrontierView)
    advice: AdviceView = field(default_factory=AdviceView)
    caveats: tuple[CaveatRow, ...] = ()
    reference: str = "baseline"
    metric: str = "si_snr"

    def topic(self, claim_id: str) -> str | None:
        """Return the heading of a claim: that of the longest prefix of its id; None where it has none."""
        found = [prefix for prefix in self.topics if claim_id.startswith(prefix)]
        return self.topics[max(found, key=len)] if found else None


def read_views(
    table: Any, *, arms: Collection[str], claims: Collection[str], smallest_effects: Collection[str] = ()
) -> Views:
    """Return the views of a claims file.

    Parameters
    ----------
    table
        Of `[views]`.
    arms, claims
        Names that the file has.
    smallest_effects
        Metrics for which it states a smallest effect.

    Raises
    ------
    ClaimError
        If a key is unknown, a value is not of its type, a number is out of range, a view names an arm, claim or metric
        that does not exist, or the advice a metric without a smallest effect.
    """
    views = read(Views, table, where="[views]", error=ClaimError)
    shown = {"reference": [views.reference], "sounds.arms": views.sounds.arms, "maps.arms": views.maps.arms.values()}
    shown |= {"advice.candidates": views.advice.candidates, "frontier.arms": views.frontier.arms}
    for index, row in enumerate(views.caveats):
        shown |= {f"caveats[{index}].{name}": getattr(row, name) for name in ("arms", "rivals")}
        _check(row.claims, f"caveats[{index}].claims", "claim", claims)
    for place, names in shown.items():
        _check(names, place, "arm", arms)
    _check(views.notes, "notes", "topic", views.topics)
    _check_metrics(views)
    _check_counts(views)
    for name in views.advice.metrics:
        if name.split("/")[0] not in smallest_effects:
            raise ClaimError(
                f"[views]: advice.metrics: no smallest effect of {name}: add it to [settings.smallest_effects]"
            )
    return views


def _check(names: Iterable[str], place: str, what: str, known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ClaimError(f"[views]: {place}: {unknown(what, name, known)}")


def _check_metrics(views: Views) -> None:
    advice = views.advice
    named = {
        "metric": (views.metric,),
        "sweep.metrics": views.sweep.metrics,
        "frontier.metrics": views.frontier.metrics,
        "advice.metrics": advice.metrics,
        "advice.fidelity": (advice.fidelity,) if advice.levels else (),
    }
    for place, names in named.items():
        for name in names:
            try:
                column(name)
            except InputError as error:
                raise ClaimError(f"[views]: {place}: {error}") from error


def _check_counts(views: Views) -> None:
    """Raise where a number of mixtures or a layer is below 0, or a step below 1."""
    least = (
        ("sounds.per_tier", (views.sounds.per_tier,), 0),
        ("freezing.per_tier", (views.freezing.per_tier,), 0),
        ("freezing.steps", views.freezing.steps, 1),
        ("maps.layers", views.maps.layers, 0),
        ("maps.step", (views.maps.step,), 1),
    )
    for place, numbers, low in least:
        for number in numbers:
            if number < low:
                raise ClaimError(f"[views]: {place}: must be {low} or more, got {number}")
