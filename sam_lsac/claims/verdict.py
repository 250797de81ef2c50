"""What a judgement is made from besides scores (`Context`), and what it says (`Verdict`, `Finding`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from sam_lsac.costs import ArmCost
from sam_lsac.records import STRICT, Extended

__all__ = ["ArmCost", "Context", "Finding", "Status", "Verdict"]

Status = Literal["supported", "refuted", "inconclusive", "not run"]


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
    gate: float | None = None
    flops_per_evaluation: float | None = None
    self_attention_flops_per_evaluation: float | None = None
    entropy_rates: Mapping[str, tuple[float, ...]] | None = None


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
        Of the deciding test, before and after Bonferroni.
    n, n_dropped
        Mixtures used and dropped.
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
    paper: str = ""
    axis: str = ""
    status: Status | None = None
    note: str = ""


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
    n, n_dropped
        The fewest mixtures used, and the most dropped, by any finding.
    findings
        The figures behind it.
    tiers
        The status of each tier that was judged; empty where the claim is one case.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    claim_id: str
    status: Status
    reason: str
    n: int = 0
    n_dropped: int = 0
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    tiers: Mapping[str, Status] = field(default_factory=lambda: MappingProxyType({}))
