"""A claim of the paper as data, with the settings that all claims share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from sam_lsac.claims.verdict import Context, Status
from sam_lsac.errors import ClaimError
from sam_lsac.metrics import COMPARISONS, comparison
from sam_lsac.records import STRICT, unknown
from sam_lsac.runs.arms import Arm
from sam_lsac.statistics import bonferroni, nominal_levels

__all__ = ["Arm", "Claim", "KnownRefutation", "Settings"]


def applies(applies_to: str, context: Context) -> bool:
    """Return whether what is said of "any", "small" or "22-layers" checkpoints is said of this one."""
    return {"any": True, "small": context.is_small, "22-layers": context.n_layers == 22}[applies_to]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Figures that hold for every claim unless its own row says otherwise.

    Parameters
    ----------
    alpha
        Level of each family of claims.
    theta
        "No loss" means: an arm's deviation is below this share of its matched rival's.
    smallest_effects
        Smallest effect of interest by metric, in its unit, and of "rank_correlation".
    smallest_factor
        Smallest factor of interest, above 1, of deviations and of quantities that are compared as factors.
    missing_share
        Of a cell's mixtures; where more lack a figure, the cell decides nothing.
    tiers
        All tiers, in the order of tables.
    seeds
        Of the noise.
    bootstrap_seed, bootstrap_resamples
        Seed and number of the draws behind an interval.
    power
        Joint, of the statements about how many mixtures would show a claim.
    """

    alpha: float
    theta: float
    smallest_effects: Mapping[str, float]
    smallest_factor: float
    missing_share: float
    tiers: tuple[str, ...]
    seeds: tuple[int, ...]
    bootstrap_seed: int
    bootstrap_resamples: int
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRefutation:
    """That a claim is known to be refuted on one checkpoint.

    Parameters
    ----------
    reason
        A sentence with our figures.
    tiers
        Those on which it is; empty: all that the claim has.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    reason: str
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim and how it is judged.

    Parameters
    ----------
    id, section, quote, paper
        Name, section, the paper's words, and the figures that survive (may be empty).
    kind
        One of the closed set in `sam_lsac.claims.kinds`.
    arms, rivals
        The arms that the claim is about, and those that it compares them with.
    controls
        Arms that are shown beside them and decide nothing.
    baselines
        One for all arms, or one for each.
    metrics, tiers
        The columns and the tiers that it is judged on.
    applies_to
        The checkpoints on which it is judged.
    matched
        By arm, the rival that saves about as many layer-steps.
    family
        Name of the family of claims; empty where the kind makes no test.
    relatives
        `applies_to` of every claim of the family, this one included; computed by the loader.
    family_size
        How many of them can be judged; the whole family until `judged_on` has seen a checkpoint.
    n_contradictions
        How many contradictions the whole claim could show, over all its tiers; computed by the loader.
    alpha
        Level of its family.
    direction, score, label, stronger_tier
        Arguments of some kinds.
    margin, tolerance, bound, saves
        Arguments of some kinds, in the unit of the figures; `saves` is a share of the baseline's FLOPs.
    targets
        The paper's figures by quantity, where a kind compares with them.
    sizes
        The paper's factors by metric, shown beside ours.
    figures
        The paper's figures as text by "tier/arm", "arm" or "tier"; shown beside ours.
    known_refutations
        By name or digest of a checkpoint.
    mixtures_per_tier
        Most mixtures of a tier that it is judged on, the first of the plan; None for all that a run has.
    shares
        At a look of sequential judging, the share of the mixtures that this look and each before it has; else empty.
    early
        The verdicts that may be given before all mixtures are in.
    settings
        Of its book.
    """

    id: str
    section: str
    quote: str
    paper: str
    kind: str
    applies_to: Literal["any", "small", "22-layers"]
    alpha: float
    settings: Settings
    arms: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ("baseline",)
    metrics: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    matched: Mapping[str, str] = field(default_factory=_nothing)
    family: str = ""
    relatives: tuple[str, ...] = ()
    family_size: int = 1
    n_contradictions: int = 1
    direction: str | None = None
    score: str | None = None
    label: str | None = None
    stronger_tier: str | None = None
    margin: float | None = None
    tolerance: float | None = None
    bound: float | None = None
    saves: float | None = None
    targets: Mapping[str, float] = field(default_factory=_nothing)
    sizes: Mapping[str, float] = field(default_factory=_nothing)
    figures: Mapping[str, str] = field(default_factory=_nothing)
    known_refutations: Mapping[str, KnownRefutation] = field(default_factory=_nothing)
    mixtures_per_tier: int | None = None
    shares: tuple[float, ...] = ()
    early: frozenset[Status] = frozenset()

    @property
    def columns(self) -> tuple[tuple[str, str, str], ...]:
        """Every (tier, arm, metric) that the judgement needs; no arm is compared with itself."""
        arms = dict.fromkeys((*self.baselines, *self.arms, *self.rivals, *self.controls)) if self.arms else {}
        itself = {(comparison(kind, arm), arm) for kind in COMPARISONS for arm in arms}
        return tuple(
            (tier, arm, metric)
            for tier in self.tiers
            for arm in arms
            for metric in self.metrics
            if (metric, arm) not in itself
        )

    def baseline_of(self, arm: str) -> str:
        """Return the baseline that `arm` is compared with."""
        return self.baselines[0] if len(self.baselines) == 1 else self.baselines[self.arms.index(arm)]

    def figure(self, *, tier: str = "", arm: str = "") -> str:
        """Return the paper's figure for a cell as text, or the empty text."""
        return next((self.figures[key] for key in (f"{tier}/{arm}", arm, tier) if key in self.figures), "")

    @property
    def level(self) -> float:
        """The level of every test that supports the claim: its share of the family's `alpha`, or what a look has."""
        return self._at_look(self.alpha / self.family_size, "supported")

    @property
    def refutation_level(self) -> float:
        """The level of every test that refutes it: that share divided by all that it could show, or what a look has."""
        return self._at_look(self.alpha / self.family_size / self.n_contradictions, "refuted")

    def adjusted(self, p: float, *, refuting: bool = False) -> float:
        """Return a p value that is significant below `alpha`."""
        if self.shares:
            return min(1.0, p * self.alpha / (self.refutation_level if refuting else self.level))
        return bonferroni(p, family_size=self.family_size * (self.n_contradictions if refuting else 1))

    def judged_on(self, context: Context) -> "Claim":
        """Return the claim with a family of those claims alone that can be judged on this checkpoint."""
        able = sum(applies(one, context) for one in self.relatives)
        return replace(self, family_size=max(1, able))

    def smallest(self, metric: str) -> float:
        """Return the smallest effect of interest of a metric, in its unit; ClaimError where none is stated."""
        stem = metric.split("/")[0]
        if stem not in self.settings.smallest_effects:
            raise ClaimError(f"claim {self.id}: no smallest effect of {stem}: add it to [settings.smallest_effects]")
        return self.settings.smallest_effects[stem]

    def given(self, name: Literal["margin", "tolerance", "bound", "saves"]) -> float:
        """Return a figure that the claim's kind needs; ClaimError where the claim has none."""
        value: float | None = getattr(self, name)
        if value is None:
            raise ClaimError(f"claim {self.id}: kind {self.kind} needs a {name}: add {name}")
        return value

    @property
    def cases(self) -> tuple[str | None, ...]:
        """The tiers that are judged one by one; None alone where the claim has none, or compares them."""
        return (None,) if not self.tiers or self.stronger_tier else self.tiers

    def on(self, tier: str | None) -> "Claim":
        """Return the claim about one of its cases alone; its family keeps its size.

        Raises
        ------
        ClaimError
            If the claim has no such case.
        """
        if tier is None:
            return self
        if tier not in self.cases:
            raise ClaimError(f"claim {self.id}: {self._no_case(tier)}")
        return replace(self, tiers=(tier,))

    def known_refutation(self, context: Context, tier: str | None = None) -> str | None:
        """Return why this claim, or its case of one tier, is known to fail on the context's checkpoint, or None."""
        known = self.known_refutations.get(context.digest) or self.known_refutations.get(context.checkpoint)
        if known is None or (tier is not None and known.tiers and tier not in known.tiers):
            return None
        return known.reason

    def _at_look(self, level: float, status: Status) -> float:
        """Return the nominal level of a verdict at this look; all of it where the last look is the only one for it."""
        if not self.shares or (self.shares[-1] == 1.0 and status not in self.early):
            return level
        return nominal_levels(level, self.shares)[-1]

    def _no_case(self, tier: str) -> str:
        if self.cases == (None,):
            return f"it is one case, not one a tier: judge it whole, without tier {tier!r}"
        return unknown("tier", tier, self.tiers)
