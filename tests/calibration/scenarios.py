"""What is true in a simulated ledger, for every kind of claim, and which verdicts are then wrong.

A scenario gives every arm a loss (or, of a quantity that is compared as a factor, a change of its logarithm) by mean
and standard deviation, in units of the metric's smallest effect of interest. At a boundary a claim is neither true nor
false by any margin, so that support and refutation are both errors, and may happen as often as the claim's level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from sam_lsac.claims import ArmCost, Claim, Context, Ledger
from sam_lsac.metrics import column
from tests.calibration.worlds import Figures, World, is_factor, ledger, noises, unit

SPREAD = 20.0  # of the noise, in smallest effects, so that these do not decide
SURE = 10.0  # times the spread
SIZED = {"small": 0.2, "medium": 0.5, "large": 0.8}

BOTH, SUPPORTED, REFUTED = (frozenset(one.split()) for one in ("supported refuted", "supported", "refuted"))

#: Kinds that are judged by arithmetic, which a simulation does not tell anything of.
ARITHMETIC = frozenset({"sign", "count", "saved-share", "table", "state-leak"})


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Mean and standard deviation of a loss; a negative deviation mirrors the noise."""

    mean: float
    sd: float


Effects = Callable[[str], Mapping[str, Effect | Mapping[str, Effect]]]  # of a tier; by arm, or by arm and metric


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One truth.

    Parameters
    ----------
    effects
        Of every arm on a tier.
    errors
        Verdicts that are wrong.
    n
        Mixtures a tier.
    """

    name: str
    effects: Effects
    errors: frozenset[str]
    n: int = 24


def nothing(mean: float = 0.0) -> Effect:
    return Effect(mean=mean, sd=SPREAD)


def scaled(effect: Effect, factor: float) -> Effect:
    return Effect(mean=factor * effect.mean, sd=factor * effect.sd)


def everywhere(**effects: Effect | Mapping[str, Effect]) -> Effects:
    return lambda _tier: effects


def but_on(tier: str, others: Effects, effects: Mapping[str, Effect]) -> Effects:
    """Return `others`, but on one tier `effects` for the arms that it names."""
    return lambda name: {**others(name), **effects} if name == tier else others(name)


def factor_for(d: float, *, share: float, own: Effect) -> float:
    """Return the factor of normal losses at which share * |factor x'| - |x| has effect size d."""
    ratio = abs(own.mean / own.sd)
    mean, sd = stats.foldnorm.mean(ratio), stats.foldnorm.std(ratio)
    return float(
        optimize.brentq(lambda f: (share * f - 1) * mean / (sd * math.hypot(share * f, 1)) - d, 1 / share, 50 / share)
    )


# ------------------------------------------------------------------------------------------------------------- kinds


def loss_order(claim: Claim) -> list[Scenario]:
    (arm,), first = claim.arms, claim.tiers[0]
    side = 1 if claim.direction == "largest" else -1

    def ahead(by: float, *, stronger: float = 2.0) -> Effects:
        def effects(tier: str) -> Mapping[str, Effect]:
            lead = side * by * (stronger if tier == claim.stronger_tier else 1.0) * SPREAD
            return {arm: nothing(SURE * SPREAD + lead), **dict.fromkeys(claim.rivals, nothing(SURE * SPREAD))}

        return effects

    level = everywhere(**dict.fromkeys((arm, *claim.rivals), nothing()))
    edge = but_on(first, ahead(SURE / 2), {claim.rivals[0]: nothing(SURE * SPREAD * (1 + side / 2))})
    found = [
        Scenario(name="null", effects=level, errors=BOTH),
        Scenario(name="boundary, one rival on one tier", effects=edge, errors=BOTH),
        *(Scenario(name=name, effects=ahead(math.sqrt(2) * d), errors=REFUTED) for name, d in SIZED.items()),
        Scenario(name="true", effects=ahead(SURE / 2), errors=REFUTED),
        Scenario(name="false", effects=ahead(-SURE / 2), errors=SUPPORTED),
    ]
    if claim.stronger_tier:
        found.append(Scenario(name="boundary between tiers", effects=ahead(SURE / 2, stronger=1.0), errors=BOTH))
    return found


def labelled_loss(claim: Claim) -> list[Scenario]:
    low, high = {"small": (0.2, 0.5), "medium": (0.5, 0.8), "large": (0.8, math.inf)}[str(claim.label)]
    (arm,) = claim.arms

    def of(d: float) -> Effects:
        return everywhere(**{arm: nothing(d * SPREAD)})

    found = [
        Scenario(name=name, effects=of(d), errors=REFUTED if low < d < high else SUPPORTED if d != low else BOTH)
        for name, d in {"null": 0.0, **SIZED, "very large": 3.0}.items()
        if d != high
    ]
    if math.isfinite(high):
        found.append(Scenario(name="boundary above", effects=of(high), errors=BOTH))
    return [*found, Scenario(name="a gain", effects=of(-3.0), errors=SUPPORTED)]


def negligible_loss(claim: Claim) -> list[Scenario]:
    (arm,), (rival,) = claim.arms, claim.rivals
    own = Effect(mean=-SPREAD, sd=SPREAD)
    far = Effect(mean=SURE * SPREAD, sd=SPREAD)
    share = claim.settings.theta
    return [
        Scenario(
            name="boundary of the share", effects=everywhere(**{arm: own, rival: scaled(own, 1 / share)}), errors=BOTH
        ),
        Scenario(name="boundary of d", effects=everywhere(**{arm: nothing(0.2 * SPREAD), rival: far}), errors=BOTH),
        Scenario(name="null", effects=everywhere(**{arm: nothing(), rival: nothing()}), errors=BOTH),
        *(
            Scenario(
                name=name,
                effects=everywhere(**{arm: own, rival: scaled(own, factor_for(d, share=share, own=own))}),
                errors=REFUTED,
            )
            for name, d in SIZED.items()
        ),
        Scenario(name="true", effects=everywhere(**{arm: own, rival: far}), errors=REFUTED),
        Scenario(name="false", effects=everywhere(**{arm: nothing(3 * SPREAD), rival: far}), errors=SUPPORTED),
    ]


def smaller_score(claim: Claim) -> list[Scenario]:
    """Of claims that an arm loses, or deviates, less than a rival: `smaller-loss`, `pareto`, `ahead`."""
    signed = claim.score == "loss" or claim.kind == "ahead"
    granted = 0.0 if claim.margin is None else claim.margin / unit(claim, claim.metrics[0])
    level = replace(nothing(), mean=-granted)

    def rivals(by: Effect) -> Effects:
        return everywhere(**dict.fromkeys(claim.arms, nothing()), **dict.fromkeys(claim.rivals, by))

    def by(d: float) -> Effect:
        if signed:
            return replace(level, mean=level.mean + math.sqrt(2) * d * SPREAD)
        return scaled(level, factor_for(d, share=1.0, own=level))

    far = replace(level, mean=SURE * SPREAD) if signed else scaled(level, SURE)
    near = replace(level, mean=-SURE * SPREAD) if signed else scaled(level, 1 / SURE)
    found = [
        Scenario(name="null", effects=rivals(level), errors=BOTH),
        *(Scenario(name=name, effects=rivals(by(d)), errors=REFUTED) for name, d in SIZED.items()),
        Scenario(name="true", effects=rivals(far), errors=REFUTED),
        Scenario(name="false", effects=rivals(near), errors=SUPPORTED),
    ]
    if len(claim.tiers) * len(claim.rivals) > 1:
        edge = but_on(claim.tiers[0], rivals(far), {claim.rivals[0]: level})
        found.append(Scenario(name="boundary, one rival on one tier", effects=edge, errors=BOTH))
    return found


def equivalent(claim: Claim) -> list[Scenario]:
    """Of claims that arms stay within a margin, the smallest effect of each metric where the claim names none."""

    def of(mean: float, sd: float = 1.0) -> Effects:
        margins = {metric: (claim.margin or unit(claim, metric)) / unit(claim, metric) for metric in claim.metrics}
        effects = {metric: Effect(mean=mean * margin, sd=sd * margin) for metric, margin in margins.items()}
        return everywhere(**dict.fromkeys(claim.arms, effects))

    edge = but_on(claim.tiers[0], of(0.0, 0.1), of(1.0)(claim.tiers[0]))
    return [
        Scenario(name="boundary above", effects=of(1.0), errors=BOTH),
        Scenario(name="boundary below", effects=of(-1.0), errors=BOTH),
        Scenario(name="boundary on one tier", effects=edge, errors=BOTH),
        Scenario(name="true", effects=of(0.0, 0.3), errors=REFUTED),
        Scenario(name="false", effects=of(3.0), errors=SUPPORTED),
    ]


def beside_rivals(claim: Claim) -> list[Scenario]:
    """Of claims that arms do not degrade beside their rivals: `no-loss`, `complementary`."""
    pairs = dict(claim.matched) or dict(zip(claim.arms, claim.rivals, strict=True))
    rivals = (*dict.fromkeys((*pairs.values(), *claim.rivals)),)
    share = claim.settings.theta
    loses = Effect(mean=2 * SPREAD, sd=SPREAD)

    def beside(factor: float) -> Effects:
        """Rivals that lose, and arms that gain so that a rival deviates by a factor more."""
        return everywhere(**dict.fromkeys(pairs, scaled(loses, -1 / factor)), **dict.fromkeys(rivals, loses))

    edge = but_on(claim.tiers[0], beside(SURE), {next(iter(pairs)): scaled(loses, -share)})
    level = everywhere(**dict.fromkeys((*pairs, *rivals), nothing()))
    return [
        Scenario(name="null", effects=level, errors=BOTH),
        Scenario(name="boundary, one arm on one tier", effects=edge, errors=BOTH),
        *(
            Scenario(name=name, effects=beside(factor_for(d, share=share, own=loses)), errors=REFUTED)
            for name, d in SIZED.items()
        ),
        Scenario(name="true", effects=beside(SURE), errors=REFUTED),
        Scenario(
            name="false",
            effects=everywhere(
                **dict.fromkeys(pairs, nothing(SURE * SPREAD)), **dict.fromkeys(rivals, nothing(3 * SPREAD))
            ),
            errors=SUPPORTED,
        ),
    ]


def effect_table(claim: Claim) -> list[Scenario]:
    def of(d: float) -> Effects:
        steps = {rival: nothing(SURE * SPREAD * place) for place, rival in enumerate(claim.rivals, start=1)}
        return everywhere(**dict.fromkeys(claim.arms, nothing(d * SPREAD)), **steps)

    level = everywhere(**dict.fromkeys((*claim.arms, *claim.rivals), nothing()))
    edge = but_on(claim.tiers[0], of(0.0), {claim.arms[0]: nothing(0.2 * SPREAD)})
    return [
        Scenario(name="null", effects=level, errors=BOTH),
        Scenario(name="boundary, one arm on one tier", effects=edge, errors=BOTH),
        Scenario(name="boundary of every arm", effects=of(0.2), errors=BOTH),
        Scenario(name="true", effects=of(0.0), errors=REFUTED),
        Scenario(name="false", effects=of(3.0), errors=SUPPORTED),
    ]


def ratio_change(claim: Claim) -> list[Scenario]:
    side = 1 if claim.direction == "increase" else -1

    def of(d: float) -> Effects:
        return everywhere(**dict.fromkeys(claim.arms, nothing(side * d * SPREAD)))

    return [
        Scenario(name="null", effects=of(0.0), errors=BOTH),
        *(Scenario(name=name, effects=of(d), errors=REFUTED) for name, d in SIZED.items()),
        Scenario(name="true", effects=of(3.0), errors=REFUTED),
        Scenario(name="false", effects=of(-3.0), errors=SUPPORTED),
    ]


def layer_response(claim: Claim) -> list[Scenario]:
    (arm,), (still, moving) = claim.arms, claim.metrics
    margin = math.log1p(claim.given("margin")) / unit(claim, still)

    def of(first: Effect, last: Effect) -> Effects:
        return everywhere(**{arm: {still: first, moving: last}})

    quiet = Effect(mean=0.0, sd=margin / SURE)
    return [
        Scenario(name="null", effects=of(nothing(), nothing()), errors=BOTH),
        Scenario(name="boundary of the margin", effects=of(replace(quiet, mean=margin), nothing(60.0)), errors=BOTH),
        *(Scenario(name=name, effects=of(quiet, nothing(d * SPREAD)), errors=REFUTED) for name, d in SIZED.items()),
        Scenario(name="true", effects=of(quiet, nothing(60.0)), errors=REFUTED),
        Scenario(name="false", effects=of(nothing(60.0), nothing(-60.0)), errors=SUPPORTED),
    ]


def at_least(claim: Claim) -> list[Scenario]:
    def of(d: float) -> Effects:
        return everywhere(**dict.fromkeys(claim.arms, nothing(-d * SPREAD)))

    return [
        Scenario(name="null", effects=of(0.0), errors=BOTH),
        *(Scenario(name=name, effects=of(d), errors=REFUTED) for name, d in SIZED.items()),
        Scenario(name="false", effects=of(-3.0), errors=SUPPORTED),
    ]


def rank_correlation(_claim: Claim) -> list[Scenario]:
    """Of sweeps; `mean` is by how much the second metric follows the first, wanted positive."""
    return [
        Scenario(name=name, effects=everywhere(slope=Effect(mean=slope, sd=1.0)), errors=errors)
        for name, slope, errors in (
            ("null", 0.0, BOTH), ("small", 0.1, REFUTED), ("medium", 0.2, REFUTED), ("large", 0.4, REFUTED),
            ("false", -1.0, SUPPORTED),
        )
    ]  # fmt: skip


def layers_settle(_claim: Claim) -> list[Scenario]:
    """Of entropy rates; `mean` is by how much a layer differs from the one before it, in deviations of a mixture."""
    return [
        Scenario(name=name, effects=everywhere(step=Effect(mean=step, sd=1.0)), errors=errors)
        for name, step, errors in (("null", 0.0, SUPPORTED), ("medium", 0.5, REFUTED), ("true", 3.0, REFUTED))
    ]


SCENARIOS: Mapping[str, Callable[[Claim], list[Scenario]]] = {
    "loss-order": loss_order,
    "labelled-loss": labelled_loss,
    "negligible-loss": negligible_loss,
    "smaller-loss": smaller_score,
    "pareto": smaller_score,
    "ahead": smaller_score,
    "no-loss": beside_rivals,
    "complementary": beside_rivals,
    "effect-table": effect_table,
    "ratio-change": ratio_change,
    "layer-response": layer_response,
    "at-least": at_least,
    "equivalent": equivalent,
    "rank-correlation": rank_correlation,
    "layers-settle": layers_settle,
}


# ----------------------------------------------------------------------------------------------------------- ledgers


def simulate(claim: Claim, scenario: Scenario, world: World, *, seed: Sequence[int]) -> tuple[Ledger, Context]:
    """Return one ledger in which the scenario is true, and its context."""
    rng = np.random.default_rng(seed)
    draw = {"rank-correlation": _sweep, "layers-settle": _rates}.get(claim.kind, _losses)
    tiers = {tier: draw(claim, scenario.effects(tier), world, rng, scenario.n) for tier in claim.tiers or ("clean",)}
    context = known(claim)
    if claim.kind != "layers-settle":
        return ledger(tiers, world, rng), context
    rates = np.stack([figures[0] for figures in tiers["clean"].values()], axis=1)  # [n, layers]
    names = [f"clean-{place:04d}" for place in range(len(rates))]
    recorded = {name: tuple(row.tolist()) for name, row in zip(names, rates, strict=True)}
    return ledger({"clean": {("baseline", "si_snr"): rates[:, :1].T}}, world, rng), replace(
        context, entropy_rates=recorded
    )


def known(claim: Claim) -> Context:
    """Return a context in which every arm costs the same, of a checkpoint that the claim is about."""
    arms = dict.fromkeys((*claim.baselines, *claim.arms, *claim.rivals, *claim.controls))
    saves = claim.saves or 0.25
    return Context(
        checkpoint="simulated",
        digest="0" * 64,
        n_layers=22 if claim.applies_to == "22-layers" else 12,
        is_small=claim.applies_to == "small",
        costs={
            arm: ArmCost(
                arm=arm, layer_steps_saved=0.25, flops_total=1e12, flops_saved=saves, self_attention_flops_saved=0.13
            )
            for arm in arms
        },
    )


def _losses(
    claim: Claim, effects: Mapping[str, object], world: World, rng: np.random.Generator, n: int
) -> dict[tuple[str, str], Figures]:
    """Return figures of baselines and of arms that lose (or change) as the effects say; controls change as nothing."""
    arms = dict.fromkeys((*claim.arms, *claim.rivals, *claim.controls))
    noise = noises(world, rng, n=n, names=[(arm, metric) for arm in arms for metric in claim.metrics])
    figures: dict[tuple[str, str], Figures] = {}
    for metric in claim.metrics:
        for name in claim.baselines:
            level = rng.standard_normal(n) if claim.bound is None else np.zeros(n)
            base = np.exp(1.0 + 0.5 * level) if is_factor(metric) else (claim.bound or 10.0) + 5.0 * level
            figures[(name, metric)] = np.broadcast_to(base, (next(iter(noise.values())).shape[0], n))
        for arm in arms:
            base = figures[(_baseline(claim, arm), metric)]
            effect = effects.get(arm, nothing())
            mean_sd = effect if isinstance(effect, Effect) else effect[metric]
            change = unit(claim, metric) * (mean_sd.mean + mean_sd.sd * noise[(arm, metric)])
            worse = -1.0 if not is_factor(metric) and column(metric).higher_is_better else 1.0
            figures[(arm, metric)] = base * np.exp(change) if is_factor(metric) else base + worse * change
    return figures


def _baseline(claim: Claim, arm: str) -> str:
    if len(claim.baselines) == 1:
        return claim.baselines[0]
    place = claim.arms.index(arm) if arm in claim.arms else claim.rivals.index(arm) if arm in claim.rivals else 0
    return claim.baselines[place]


def _sweep(
    claim: Claim, effects: Mapping[str, Effect], world: World, rng: np.random.Generator, n: int
) -> dict[tuple[str, str], Figures]:
    x, y = claim.metrics
    side = -1.0 if claim.direction == "negative" else 1.0
    noise = noises(world, rng, n=n, names=[(arm, metric) for arm in claim.arms for metric in claim.metrics])
    seeds = next(iter(noise.values())).shape[0]
    level = rng.standard_normal((2, 1, n))
    figures: dict[tuple[str, str], Figures] = {
        (name, metric): np.zeros((seeds, n)) for name in claim.baselines for metric in claim.metrics
    }
    for arm in claim.arms:
        own = noise[(arm, x)]
        figures[(arm, x)] = own + level[0]
        figures[(arm, y)] = side * effects["slope"].mean * own + noise[(arm, y)] + level[1]
    return figures


def _rates(
    claim: Claim, effects: Mapping[str, Effect], world: World, rng: np.random.Generator, n: int
) -> dict[tuple[str, str], Figures]:
    layers = known(claim).n_layers
    noise = noises(world, rng, n=n, names=[(f"L{layer:02d}", "rate") for layer in range(layers)])
    step = effects["step"].mean
    return {name: 10.0 + step * layer + figures for layer, (name, figures) in enumerate(noise.items())}
