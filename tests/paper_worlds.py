"""Simulated ledgers for every claim of the paper: its own effects as the truth, worlds without effects, placebos."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from sam_lsac.claims import ArmCost, Claim, Context, Ledger, Row, Verdict, judge, load_claims
from sam_lsac.claims.kinds import KINDS

BOOK = load_claims(Path(__file__).parents[1] / "bench" / "claims.toml")
#: What the paper says; the frontier is a matter of this project, of which the paper has no effects.
CLAIMS = tuple(
    replace(claim, settings=replace(claim.settings, bootstrap_resamples=49))  # of intervals, that decide nothing
    for claim in BOOK.claims
    if claim.section != "frontier"
)
TIERS = ("clean", "noisy", "env")
SCALES = {"si_snr": 1.0, "sar": 0.8, "stoi": 0.04, "pesq": 0.1}

Columns = dict[tuple[str, str], np.ndarray]  # (arm, metric) -> figures [n]
Effect = tuple[float, float]  # mean and sd of the signed loss, in the unit of SI-SNR

# By tier: magnitude of deviation in dB and d of the loss, the paper's where it gives them (section 4.4 and table 2).
DEVIATIONS = {
    "lsac-safe": ((0.10, 0.06, 0.15), (0.02, 0.01, 0.01)),
    "lsac-balanced": ((0.19, 0.13, 0.30), (0.02, 0.00, 0.01)),
    "lsac-aggressive": ((0.25, 0.20, 0.40), (0.08, 0.02, 0.01)),
    "deepcache-2": ((0.37, 0.40, 0.60), (0.02, 0.03, 0.04)),
    "deepcache-3": ((0.50, 0.60, 0.90), (0.02, 0.03, 0.03)),
    "deepcache-4": ((0.60, 0.70, 1.10), (0.05, 0.01, 0.08)),
    "naive-15": ((0.12, 0.20, 0.40), (0.08, 0.02, 0.02)),
    "naive-14": ((0.24, 0.45, 0.80), (0.16, 0.04, 0.04)),
    "naive-12": ((0.48, 0.87, 1.60), (0.31, 0.10, 0.14)),
    "naive-10": ((0.90, 1.50, 2.60), (0.46, 0.16, 0.26)),
}
LOSSES: dict[str, Effect] = {
    "freeze-stable-4": (0.05, 0.5), "freeze-fast-8": (0.66, 1.9), "freeze-fast-12": (0.26, 1.0),
    "zero-additive": (8.0, 4.0), "zero-cross-attention": (6.0, 3.0), "uniform-cross-attention": (0.5, 1.0),
    "text-none": (8.0, 4.0), "gate-open": (14.6, 5.0), "gate-open-shuffled": (16.0, 5.0),
}  # fmt: skip
BLOCKS = {  # factors of the Block Ratio of L01, L06, L09 and the mean, beside baseline-spans
    "gate-open": (1.0, 1.66, 2.5, 1.5),
    "gate-open-shuffled": (0.9, 0.61, 0.8, 0.7),
}
START = {"": 0.0, "-midpoint": 2.0, "-ab2": 1.0, "-spans": 3.0}  # dB by which a full solve is above Euler's
LAYERS = ("L01", "L06", "L09", "mean")
NEEDED = {(arm, metric) for claim in CLAIMS for _, arm, metric in claim.columns}


def start_of(arm: str) -> str:
    """Return the end of the name of the baseline that an arm is compared with."""
    ends = (end for end in START if end and (arm.endswith(end) or (end == "-spans" and arm.startswith("gate"))))
    return next(ends, "")


def paper_effect(arm: str, place: int) -> Effect:
    """Return mean and sd of the loss that the paper reports of an arm on a tier."""
    own = arm.removesuffix("-midpoint").removesuffix("-ab2")
    if own in DEVIATIONS:
        deviations, effects = DEVIATIONS[own]
        sd = deviations[place] / 0.8
        return effects[place] * sd, sd
    if own.startswith("gate-sweep"):
        return float(own[-2:]), 1.0
    return LOSSES[own]


def alike(_arm: str, _place: int) -> Effect:
    """Return no loss, and the same deviation for every arm."""
    return 0.0, 0.5


def columns_of(
    effect: Callable[[str, int], Effect], rng: np.random.Generator, *, place: int, n: int = 24, common: float = 0.0
) -> Columns:
    """Return every column that a claim needs on a tier; `common` is the sd of a loss that all arms share."""
    base = {metric: scale * (10.0 + 4.0 * rng.standard_normal(n)) for metric, scale in SCALES.items()}
    blocks = {layer: np.exp(1.0 + 0.4 * rng.standard_normal(n)) for layer in LAYERS}
    shared = common * rng.standard_normal(n)
    columns = {}
    for arm, metric in sorted(NEEDED):
        name, _, layer = metric.partition("/")
        if name == "block_ratio":
            grow = np.log(BLOCKS[arm][LAYERS.index(layer)]) if arm in BLOCKS and effect is paper_effect else 0.0
            if arm.startswith("gate-sweep") and effect is paper_effect:
                grow = 0.05 * float(arm[-2:])
            noise = 0.05 * rng.standard_normal(n) if arm != "baseline-spans" else 0.0
            columns[arm, metric] = blocks[layer] * np.exp(grow + noise)
        else:
            level = base[name] + SCALES[name] * START[start_of(arm)]
            if not arm.startswith("baseline"):
                mean, sd = effect(arm, place)
                level = level - SCALES[name] * (mean + shared + sd * rng.standard_normal(n))
            columns[arm, metric] = level
    return columns


@cache
def world(effect: Callable[[str, int], Effect], seed: int, *, n: int = 24, common: float = 0.0) -> dict[str, Columns]:
    """Return the columns of every tier."""
    return {
        tier: columns_of(effect, np.random.default_rng([seed, place]), place=place, n=n, common=common)
        for place, tier in enumerate(TIERS)
    }


def judged(claim: Claim, tiers: Mapping[str, Columns], *, context: Context | None = None) -> Verdict:
    """Return the verdict on a claim in a world."""
    rows = [
        Row(
            arm=arm, tier=tier, mixture=f"{tier}-{i:03d}", group=f"g{i % 4}", residual_group=f"g{(i + 1) % 4}", seed=0,
            metric=metric, value=float(value),
        )
        for tier, arm, metric in dict.fromkeys(claim.columns)
        for i, value in enumerate(tiers[tier][arm, metric])
    ]  # fmt: skip
    return judge(claim, Ledger(tuple(rows)), context or paper_context(claim))


def paper_context(claim: Claim) -> Context:
    """Return a context on which the claim can be judged, with the layer-steps that the arms save."""
    saved = {"lsac-safe": 0.125, "lsac-balanced": 0.271, "lsac-aggressive": 0.385, "baseline": 0.0}
    saved |= {"naive-15": 0.0625, "naive-14": 0.125, "naive-12": 0.25, "naive-10": 0.375}
    twice = {f"{arm}-midpoint": 1.0 - 2.0 * (1.0 - saved[arm]) for arm in ("baseline", "lsac-balanced", "naive-12")}
    again = {f"{arm}-ab2": saved[arm] for arm in ("baseline", "lsac-balanced", "naive-12")}
    costs = {
        arm: ArmCost(arm=arm, layer_steps_saved=share, flops_total=1e12, flops_saved=0.2 * share)
        for arm, share in (saved | twice | again).items()
    }
    layers = 22 if claim.applies_to == "22-layers" else 12
    return Context(checkpoint="simulated", digest="0" * 64, n_layers=layers, is_small=False, costs=costs)


def rival_of(claim: Claim, arm: str) -> str | None:
    """Return the rival beside which an arm is judged, where there is one."""
    if not claim.rivals:
        return None
    if KINDS[claim.kind].parallel:
        return claim.rivals[claim.arms.index(arm)]
    return claim.matched.get(arm, claim.rivals[0])
