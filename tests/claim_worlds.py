"""Simulated ledgers whose truth is known, for every kind of claim: what must be said of each, and how often."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import pytest

from sam_lsac.claims import ArmCost, Claim, Context, Ledger, Row, parse_claims
from sam_lsac.metrics import METRICS, Metric
from sam_lsac.runs.leaks import Leak
from sam_lsac.statistics.effect import Effect

SETTINGS = {
    "alpha": 0.05,
    "power": 0.8,
    "theta": 0.5,
    "smallest_factor": 1.1,
    "missing_share": 0.1,
    "tiers": ["clean", "noisy", "env"],
    "seeds": [0],
    "bootstrap_seed": 0,
    "bootstrap_resamples": 49,
    "smallest_effects": {
        "si_snr": 0.1,
        "stoi": 0.01,
        "pesq": 0.05,
        "sar": 0.1,
        "rank_correlation": 0.1,
        "fidelity": 1.0,
    },
}
ARMS = {name: {"solver": "euler:16"} for name in ("baseline", "own-baseline", "a", "b", "r", "s", "control")}
COMMON = {"id": "X1", "section": "4.4", "quote": "what it says", "paper": "", "applies_to": "any"}
PAIRED = {"arms": ["a"], "metrics": ["si_snr"], "tiers": ["clean"], "family": "f"}

Columns = Mapping[tuple[str, str], np.ndarray]  # (arm, metric) -> figures [n]
World = Callable[[np.random.Generator, int], Columns]


def make_claim(**fields: object) -> Claim:
    """Return one claim, through the loader."""
    return parse_claims({"settings": SETTINGS, "arms": ARMS, "claims": [COMMON | fields]}).claims[0]


def make_family(*rows: Mapping[str, object]) -> tuple[Claim, ...]:
    """Return claims of one file, through the loader."""
    named = [COMMON | {"id": f"X{place}"} | row for place, row in enumerate(rows, start=1)]
    return parse_claims({"settings": SETTINGS, "arms": ARMS, "claims": named}).claims


def register(patch: pytest.MonkeyPatch, row: Metric) -> None:
    """Register a metric, of which a difference of 0.1 is of interest."""
    for module in [one for name, one in sys.modules.items() if name.split(".")[0] == "sam_lsac"]:
        if "METRICS" in vars(module):
            patch.setattr(module, "METRICS", {**METRICS, row.name: row})
    patch.setitem(SETTINGS, "smallest_effects", SETTINGS["smallest_effects"] | {row.name: 0.1})


@contextmanager
def quickly() -> Iterator[None]:
    """Leave out what a verdict shows and nothing is decided by: ends of intervals of d, and numbers of mixtures."""

    def effect(values: np.ndarray, *, level: float) -> Effect:
        data = np.asarray(values, dtype=np.float64)
        mean, sd = float(data.mean()), float(data.std(ddof=1)) if np.ptp(data) else 0.0
        d = mean / sd if sd else float(np.copysign(np.inf, mean)) if mean else 0.0
        return Effect(n=data.size, d=d, low=-np.inf, high=np.inf, level=level, values=data)

    with (
        mock.patch("sam_lsac.claims.contrast.effect_size", effect),
        mock.patch("sam_lsac.claims.kinds._shared.effect_size", effect),
        mock.patch("sam_lsac.claims.judge.mixtures_needed", return_value=(None, "")),
    ):
        yield


def make_ledger(columns: Columns, *, tier: str = "clean") -> Ledger:
    """Return a ledger of these figures, one mixture a position."""
    return Ledger(tuple(rows_of(columns, tier=tier)))


def rows_of(columns: Columns, *, tier: str = "clean", seed: int = 0) -> list[Row]:
    return [
        Row(
            arm=arm, tier=tier, mixture=f"{tier}-{i:03d}", group=f"g{i % 3}", residual_group=f"h{i % 5}", seed=seed,
            metric=metric, value=float(value), reason="gone" if np.isnan(value) else None,
        )
        for (arm, metric), values in columns.items()
        for i, value in enumerate(values)
    ]  # fmt: skip


def make_context(**fields: object) -> Context:
    """Return a context in which "a" and "r" save the same layer-steps, and "a" fewer FLOPs."""
    costs = {
        arm: ArmCost(
            arm=arm, layer_steps_saved=0.25, flops_total=1e12, flops_saved=share, self_attention_flops_saved=0.13
        )
        for arm, share in {"a": 0.04, "b": 0.06, "r": 0.25, "s": 0.3}.items()
    }
    known = {"checkpoint": "toy", "digest": "0" * 64, "n_layers": 12, "is_small": False, "costs": costs}
    return Context(**(known | fields))


def losing(metric: str = "si_snr", **losses: tuple[float, float]) -> World:
    """Return a world where each arm loses (mean, sd) against a baseline that varies far more between mixtures."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        base = 10.0 + 5.0 * rng.standard_normal(n)
        columns = {("baseline", metric): base}
        for arm, (mean, sd) in losses.items():
            columns[(arm, metric)] = base - mean - sd * rng.standard_normal(n)
        return columns

    return draw


def factors(**changes: tuple[float, float]) -> World:
    """Return a world of block ratios: layer L01 and L09 of arm "a" change by (mean, sd) in logarithm."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        columns = {}
        for layer, (mean, sd) in changes.items():
            base = np.exp(1.0 + 0.5 * rng.standard_normal(n))
            columns[("baseline", f"block_ratio/{layer}")] = base
            columns[("a", f"block_ratio/{layer}")] = base * np.exp(mean + sd * rng.standard_normal(n))
        return columns

    return draw


def solvers(a: tuple[float, float], b: tuple[float, float], *, r: tuple[float, float]) -> World:
    """Return a world of two solvers: "a" and its rival "r" under one, "b" and "s" (loses as "r") under another."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        base = 10.0 + 5.0 * rng.standard_normal(n)
        own = base + 0.5 + 0.2 * rng.standard_normal(n)
        columns = {("baseline", "si_snr"): base, ("own-baseline", "si_snr"): own}
        for arm, (mean, sd), start in (("a", a, base), ("r", r, base), ("b", b, own), ("s", r, own)):
            columns[(arm, "si_snr")] = start - mean - sd * rng.standard_normal(n)
        return columns

    return draw


def fidelities(**arms: tuple[float, float]) -> World:
    """Return a world where each arm's fidelity is its (mean, sd), beside a level that all share in a mixture."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        level = rng.standard_normal(n)
        level -= level.mean()
        return {
            (arm, "fidelity/baseline"): mean + 4.0 * level + sd * rng.standard_normal(n)
            for arm, (mean, sd) in arms.items()
        }

    return draw


def leaking(**arms: tuple[float, float]) -> Mapping[str, Mapping[str, Leak]]:
    """Return fields of a context in which each arm carries (to the same mixture, to another) so much over."""
    return {"leaks": {arm: Leak(repeated=repeated, carried=carried) for arm, (repeated, carried) in arms.items()}}


def sweep(slope: float, *, arms: tuple[str, ...] = ("a", "b", "r", "s")) -> World:
    """Return a world where the second metric follows the first with `slope`, and both share each mixture's level."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        columns = {("baseline", name): np.zeros(n) for name in ("block_ratio/mean", "si_snr")}
        level = rng.standard_normal((2, n))
        for step, arm in enumerate(arms):
            x = step + 0.5 * rng.standard_normal(n)
            columns[(arm, "block_ratio/mean")] = x + level[0]
            columns[(arm, "si_snr")] = slope * x + level[1] + 0.5 * rng.standard_normal(n)
        return columns

    return draw


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind with worlds of known truth.

    `true` and `false` must be found by 24 mixtures nearly always; each of `nulls` comes with the statuses that would
    be errors there, of `n_null` mixtures; `weak` is a true effect that 4 mixtures cannot show.
    """

    claim: Mapping[str, object]
    true: World
    false: World
    nulls: tuple[tuple[World, frozenset[str]], ...]
    weak: World
    n: int = 24
    n_null: int = 24
    context: Mapping[str, object] = field(default_factory=dict)


WRONG_SIDE = frozenset({"supported", "refuted"})
TWICE = {  # the second solver evaluates the network twice a step; "a" and "b" save a quarter of their own solve
    arm: ArmCost(arm=arm, layer_steps_saved=share, flops_total=1e12, flops_saved=0.04, self_attention_flops_saved=0.13)
    for arm, share in {"baseline": 0.0, "own-baseline": -1.0, "a": 0.25, "b": -0.5, "r": 0.25, "s": -0.5}.items()
}
HALVED = {  # "a" saves half of the FLOPs, "r" as much, "s" less and "b" more
    arm: ArmCost(arm=arm, layer_steps_saved=share, flops_total=1e12, flops_saved=share)
    for arm, share in {"a": 0.5, "b": 0.8, "r": 0.5, "s": 0.3}.items()
}
SUPPORTED, REFUTED = frozenset({"supported"}), frozenset({"refuted"})
RIVAL = {"rivals": ["r"]}
MATCHED = RIVAL | {"matched": {"a": "r"}}
FIDELITY = PAIRED | {"metrics": ["fidelity/baseline"]}
TRUNCATED = (0.6, 0.3)  # a rival's loss ...
HALF = 0.379  # ... and the sd of a signed loss whose mean magnitude is half of that rival's

CASES: dict[str, Case] = {
    "pareto": Case(
        claim=PAIRED | MATCHED,
        true=losing(a=(0, 0.1), r=(0, 0.6)),
        false=losing(a=(0, 0.6), r=(0, 0.1)),
        nulls=((losing(a=(0, 0.3), r=(0, 0.3)), WRONG_SIDE),),
        weak=losing(a=(0, 0.25), r=(0, 0.3)),
    ),
    "smaller-loss": Case(
        claim=PAIRED | RIVAL | {"score": "deviation"},
        true=losing(a=(0, 0.1), r=(0, 0.6)),
        false=losing(a=(0, 0.6), r=(0, 0.1)),
        nulls=((losing(a=(0, 0.3), r=(0, 0.3)), WRONG_SIDE),),
        weak=losing(a=(0, 0.25), r=(0, 0.3)),
    ),
    "smaller-loss, signed": Case(
        claim=PAIRED | RIVAL | {"score": "loss"},
        true=losing(a=(0.1, 0.2), r=(0.6, 0.2)),
        false=losing(a=(0.6, 0.2), r=(0.1, 0.2)),
        nulls=((losing(a=(0.3, 0.2), r=(0.3, 0.2)), WRONG_SIDE),),
        weak=losing(a=(0.3, 0.5), r=(0.4, 0.5)),
    ),
    "no-loss": Case(
        claim=PAIRED | MATCHED,
        true=losing(a=(0, 0.15), r=(0.8, 0.3)),
        false=losing(a=(0.8, 0.3), r=(0.8, 0.3)),
        nulls=(
            (losing(a=(0, HALF), r=TRUNCATED), SUPPORTED),
            (losing(a=(0.6, 0.3), r=TRUNCATED), SUPPORTED),
            (losing(a=(0, 0.1), r=(0, 1.0)), WRONG_SIDE),
            (losing(a=(0, 0.5), r=(0.8, 0.4)), REFUTED),
        ),
        weak=losing(a=(0, 0.5), r=(0.3, 0.5)),
    ),
    "negligible-loss": Case(
        claim=PAIRED | RIVAL,
        true=losing(a=(-0.03, 0.2), r=(0.8, 0.4)),
        false=losing(a=(1.2, 0.4), r=(0.8, 0.4)),
        nulls=(
            (losing(a=(0.04, 0.2), r=(0.8, 0.4)), WRONG_SIDE),
            (losing(a=(0.2, 1.0), r=(3, 0.4)), WRONG_SIDE),
            (losing(a=(-0.05, HALF), r=TRUNCATED), SUPPORTED),
        ),
        weak=losing(a=(0, 0.3), r=(0.3, 0.4)),
        n=200,
        n_null=60,
    ),
    "labelled-loss": Case(
        claim=PAIRED | {"label": "large"},
        true=losing(a=(4, 1)),
        false=losing(a=(-1, 1)),
        nulls=((losing(a=(0, 1)), SUPPORTED), (losing(a=(0.8, 1)), WRONG_SIDE)),
        weak=losing(a=(0.9, 1)),
    ),
    "equivalent": Case(
        claim=PAIRED,
        true=losing(a=(0, 0.1)),
        false=losing(a=(-1.2, 0.4)),
        nulls=((losing(a=(0.1, 0.1)), WRONG_SIDE), (losing(a=(-0.1, 0.1)), WRONG_SIDE)),
        weak=losing(a=(0, 0.3)),
    ),
    "complementary": Case(
        claim=PAIRED | {"arms": ["a", "b"], "rivals": ["r", "s"], "baselines": ["baseline", "own-baseline"]},
        true=solvers((0, 0.1), (-0.1, 0.1), r=(0.8, 0.3)),
        false=solvers((0, 0.1), (0.8, 0.3), r=(0.8, 0.3)),
        nulls=(
            (solvers((0, 0.1), (0, HALF), r=TRUNCATED), SUPPORTED),
            (solvers((0, 0.1), (0, 2.0), r=TRUNCATED), REFUTED),
        ),
        weak=solvers((0, 0.3), (0, 0.3), r=(0.5, 0.5)),
        context={"costs": TWICE},
    ),
    "effect-table": Case(
        claim=PAIRED | {"rivals": ["r", "s"], "matched": {"a": "r"}},
        true=losing(a=(0, 0.25), r=(0.3, 0.5), s=(2.0, 1.0)),
        false=losing(a=(1, 0.5), r=(0.3, 0.5), s=(2.0, 1.0)),
        nulls=(
            (losing(a=(0.05, 0.25), r=(0.3, 0.5), s=(2.0, 1.0)), WRONG_SIDE),
            (losing(a=(0, 0.25), r=(1, 0.5), s=(1, 0.5)), WRONG_SIDE),
            (losing(a=(0, 0.25), r=(0, 0.5), s=(1, 0.5)), WRONG_SIDE),
        ),
        weak=losing(a=(0, 0.5), r=(0.3, 0.5), s=(0.4, 0.5)),
        n=400,
        n_null=60,
    ),
    "loss-order": Case(
        claim=PAIRED | {"rivals": ["r", "s"], "direction": "largest", "controls": ["control"]},
        true=losing(a=(2, 0.5), r=(1, 0.5), s=(0.5, 0.5), control=(3, 0.5)),
        false=losing(a=(1, 0.5), r=(2, 0.5), s=(0.5, 0.5), control=(0, 0.5)),
        nulls=((losing(a=(1, 0.5), r=(1, 0.5), s=(1, 0.5), control=(0, 0.5)), WRONG_SIDE),),
        weak=losing(a=(1.1, 0.5), r=(1, 0.5), s=(1, 0.5), control=(0, 0.5)),
    ),
    "ratio-change": Case(
        claim=PAIRED | {"metrics": ["block_ratio/L01"], "direction": "increase"},
        true=factors(L01=(0.5, 0.3)),
        false=factors(L01=(-0.5, 0.3)),
        nulls=((factors(L01=(0, 0.3)), WRONG_SIDE),),
        weak=factors(L01=(0.1, 0.3)),
    ),
    "layer-response": Case(
        claim=PAIRED | {"metrics": ["block_ratio/L01", "block_ratio/L09"], "margin": 0.1},
        true=factors(L01=(0, 0.05), L09=(0.9, 0.2)),
        false=factors(L01=(0.9, 0.2), L09=(0, 0.05)),
        nulls=(
            (factors(L01=(0, 0.05), L09=(0, 0.05)), WRONG_SIDE),
            (factors(L01=(0.0953, 0.1), L09=(1, 0.2)), WRONG_SIDE),
        ),
        weak=factors(L01=(0, 0.3), L09=(0.2, 0.3)),
    ),
    "rank-correlation": Case(
        claim=PAIRED
        | {"arms": ["a", "b", "r", "s"], "metrics": ["block_ratio/mean", "si_snr"], "direction": "negative"},
        true=sweep(-2.0),
        false=sweep(2.0),
        nulls=((sweep(0.0), WRONG_SIDE),),
        weak=sweep(-0.1),
    ),
    "ahead": Case(
        claim=FIDELITY | {"rivals": ["r", "s"]},
        true=fidelities(a=(50, 2), r=(40, 2), s=(45, 2)),
        false=fidelities(a=(50, 2), r=(60, 2), s=(45, 2)),
        nulls=(
            (fidelities(a=(50, 6), r=(50, 6), s=(40, 6)), SUPPORTED),
            (fidelities(a=(50, 6), r=(50, 6), s=(40, 6)), REFUTED),
            (fidelities(a=(50, 6), r=(40, 6), s=(50, 6)), SUPPORTED),
            (fidelities(a=(50, 2), r=(40, 2), s=(60, 2)), WRONG_SIDE),  # dearer and nearer: no contradiction
        ),
        weak=fidelities(a=(50, 6), r=(48, 6), s=(45, 6)),
        context={"costs": HALVED},
    ),
    "ahead, with a margin": Case(
        claim=FIDELITY | RIVAL | {"margin": 5.0},
        true=fidelities(a=(50, 2), r=(51, 2)),
        false=fidelities(a=(50, 2), r=(60, 2)),
        nulls=((fidelities(a=(50, 6), r=(55, 6)), SUPPORTED), (fidelities(a=(50, 6), r=(55, 6)), REFUTED)),
        weak=fidelities(a=(50, 6), r=(54, 6)),
        context={"costs": HALVED},
    ),
    "at-least": Case(
        claim=FIDELITY | {"bound": 50.0, "saves": 0.5},
        true=fidelities(a=(55, 2)),
        false=fidelities(a=(45, 2)),
        nulls=((fidelities(a=(50, 4)), SUPPORTED), (fidelities(a=(50, 4)), REFUTED)),
        weak=fidelities(a=(51, 4)),
        context={"costs": HALVED},
    ),
}
#: Of a kind without mixtures: what every arm carries over, and the status that follows.
LEAKS: Mapping[str, tuple[Mapping[str, tuple[float, float]], str]] = {
    "true": ({"a": (0.0, 0.0), "b": (0.0, 0.0)}, "supported"),
    "false, into the same mixture": ({"a": (0.0, 0.0), "b": (0.13, 0.0)}, "refuted"),
    "false, into another": ({"a": (0.0, 0.064), "b": (0.0, 0.0)}, "refuted"),
    "false, by one bit": ({"a": (0.0, 0.0), "b": (0.0, 1e-12)}, "refuted"),
    "null, none looked at": ({}, "not run"),
    "null, one looked at": ({"a": (0.0, 0.0)}, "not run"),
}
