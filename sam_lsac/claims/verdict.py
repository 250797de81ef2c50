"""What a judgement is made from besides scores (`Context`), and what it says (`Verdict`, `Finding`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from sam_lsac.costs import ArmCost
from sam_lsac.records import STRICT, Extended
from sam_lsac.runs.leaks import Leak
from sam_lsac.runs.timings import ArmTime

__all__ = ["ArmCost", "Context", "Finding", "Groups", "Harm", "LookTaken", "Status", "Verdict"]

Status = Literal["supported", "refuted", "inconclusive", "shown", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What other code computed for this checkpoint; None (or empty) where it was not computed.

    Parameters
    ----------
    checkpoint, digest
        Name and SHA-256 of the checkpoint that made the ledger.
    n_layers
        Of its transformer.
    is_small
        True for SAM-Audio-Small's weights (12 layers).
    costs
        By arm.
    leaks
        By arm, what its edits carry from one solve into the next; of the arms that were asked about.
    absent
        By arm, why it cannot be run on this checkpoint, such as for want of a schedule.
    seconds
        By arm, the median time of a stored run: solve and decoding of one example. An arm whose runs may have begun
        from another's states has none.
    times
        By arm, its time beside the reference's, where it was measured pair by pair on this machine.
    cache_bytes
        By arm, what its edits keep between steps for one example; an arm whose edits do not say has none.
    schedules
        By arm, the Python expression of the file that its solver was read from.
    gate
        The pretrained span gate, before tanh.
    flops_per_evaluation, self_attention_flops_per_evaluation
        FLOPs of one network evaluation on SAM-Audio-Small's configuration, 10 s of audio, whatever the checkpoint.
    entropy_rates
        Per mixture, the convergence rate of every layer: mean over steps of |H(n+1) - H(n)|, in nats per step.
    """

    checkpoint: str
    digest: str
    n_layers: int
    is_small: bool
    costs: Mapping[str, ArmCost] = field(default_factory=lambda: MappingProxyType({}))
    leaks: Mapping[str, Leak] = field(default_factory=lambda: MappingProxyType({}))
    absent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    times: Mapping[str, ArmTime] = field(default_factory=lambda: MappingProxyType({}))
    cache_bytes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    schedules: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    gate: float | None = None
    flops_per_evaluation: float | None = None
    self_attention_flops_per_evaluation: float | None = None
    entropy_rates: Mapping[str, tuple[float, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The second gate: a test over the means of groups instead of mixtures.

    Parameters
    ----------
    n_targets, n_residuals
        Groups (voices, kinds of sound) of the mixtures' targets and residuals.
    p_targets, p_residuals
        One-sided, over the means of these groups; None where there are fewer than two.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    n_targets: int
    n_residuals: int
    p_targets: Extended | None = None
    p_residuals: Extended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What a mean may hide: how an arm's losses are spread over the mixtures.

    Parameters
    ----------
    worst, mixture
        The largest loss, in the metric's unit, and where it is.
    share, share_low, share_high
        Of mixtures that lose more than the metric's smallest effect, with its exact interval.
    p_sign
        One-sided sign test: small where more mixtures lose than gain.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    worst: Extended
    mixture: str
    share: float
    share_low: float
    share_high: float
    p_sign: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One figure behind a verdict.

    Parameters
    ----------
    quantity
        What the estimate is: "loss" (baseline - arm, so that positive is worse), "deviation" (its magnitude),
        "deviation difference", "ratio", "saved share", ...
    tier, metric, arm, versus
        Where it was taken; empty where that does not apply.
    estimate, ci_low, ci_high
        With a 95 % interval (1 - alpha), not adjusted for the family.
    d, d_low, d_high
        Cohen's d_z with its interval.
    p, p_adjusted
        One-sided, of the deciding test, before and after division of its level.
    n, n_dropped, n_excluded, n_failed
        Mixtures used; those without a figure that they should have; those on which the figure does not exist for the
        baseline either; and of the used ones, those on which an arm failed.
    groups, harm
        The gate over groups, and the spread of losses; where they were looked at.
    paper
        The paper's figure, as text; empty where it is lost.
    axis
        The cost axis, of Pareto findings.
    status
        What this figure alone says; None where it is only shown.
    note
        What else there is to say of it, such as that it decides nothing.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    quantity: str
    tier: str = ""
    metric: str = ""
    arm: str = ""
    versus: str = ""
    estimate: Extended | None = None
    ci_low: Extended | None = None
    ci_high: Extended | None = None
    d: Extended | None = None
    d_low: Extended | None = None
    d_high: Extended | None = None
    p: Extended | None = None
    p_adjusted: Extended | None = None
    n: int = 0
    n_dropped: int = 0
    n_excluded: int = 0
    n_failed: int = 0
    groups: Groups | None = None
    harm: Harm | None = None
    paper: str = ""
    axis: str = ""
    status: Status | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookTaken:
    """Where a case of sequential judging stopped.

    Parameters
    ----------
    number, of
        The look, from 1, and how many the case could have taken.
    mixtures, planned
        Of each of its tiers, the fewest: those of the look, and those of the last one.
    level, refutation_level
        Of this look's tests, of all that it could have spent.
    gave_up
        Whether it stopped because no verdict was in reach.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    number: int
    of: int
    mixtures: int
    planned: int
    level: float
    refutation_level: float
    gave_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one claim on one checkpoint.

    Parameters
    ----------
    claim_id
        Of the claim.
    status
        Of a claim with tiers: refuted where any of them is, supported where all are.
    reason
        A sentence with the figures that decided.
    n, n_dropped, n_failed
        The fewest mixtures used, and the most dropped and the most with a failed arm, by any finding.
    scope
        What a supported or refuted claim speaks of, such as "new recordings of these 4 voices or sounds"; else empty.
    pairs_needed
        Mixtures a tier for the stated joint power, of a claim that is inconclusive; None where it cannot be shown with
        such mixtures, or was not asked.
    findings
        The figures behind it.
    tiers
        The status of each tier that was judged; empty where the claim is one case.
    looks
        By tier, or by "" where the claim is one case, where sequential judging stopped; empty where it was judged once.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    claim_id: str
    status: Status
    reason: str
    n: int = 0
    n_dropped: int = 0
    n_failed: int = 0
    scope: str = ""
    pairs_needed: int | None = None
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    tiers: Mapping[str, Status] = field(default_factory=lambda: MappingProxyType({}))
    looks: Mapping[str, LookTaken] = field(default_factory=lambda: MappingProxyType({}))
