"""A report made of simulated figures, for tests of the report alone: nothing in it was measured."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from sam_lsac.claims import ArmCost, Book, Context, Ledger, Verdict, judge, load_claims
from sam_lsac.claims.claim import Arm
from sam_lsac.report import AttentionMap, Environment, Extras, NoiseFloor, Player, Report, build_report
from tests.claim_worlds import rows_of

CLAIMS = Path(__file__).parents[1] / "bench" / "claims.toml"
TIERS = ("clean", "noisy", "env")
SAVED = {"lsac-safe": 0.125, "lsac-balanced": 0.271, "lsac-aggressive": 0.385}
SAVED |= {"naive-15": 0.0625, "naive-14": 0.125, "naive-12": 0.25, "naive-10": 0.375}
SAVED |= {"deepcache-2": 0.4167, "deepcache-3": 0.5208, "deepcache-4": 0.625}
SAVED |= {"lsac-balanced-midpoint": -0.458, "lsac-balanced-ab2": 0.271}
SAVED |= {"naive-12-midpoint": -0.5, "naive-12-ab2": 0.25}
BASES = {"lsac-balanced-midpoint": "baseline-midpoint", "lsac-balanced-ab2": "baseline-ab2"}

# mean and sd of the signed SI-SNR loss of each arm, by tier
LOSSES = {
    "lsac-safe": (0.0, 0.03), "lsac-balanced": (0.02, 0.2), "lsac-aggressive": (0.1, 0.3),
    "naive-15": (0.1, 0.3), "naive-14": (0.15, 0.4), "naive-12": (0.45, 0.5), "naive-10": (1.1, 0.8),
    "deepcache-2": (0.05, 0.4), "deepcache-3": (0.2, 0.6), "deepcache-4": (0.5, 0.9),
    "naive-12-midpoint": (0.4, 0.4), "naive-12-ab2": (0.5, 0.5),
    "lsac-balanced-midpoint": (0.01, 0.1), "lsac-balanced-ab2": (0.03, 0.2),
    "zero-additive": (7.0, 3.0), "zero-cross-attention": (6.0, 3.0), "uniform-cross-attention": (1.0, 1.0),
    "text-none": (7.5, 3.0), "freeze-stable-4": (0.05, 0.2), "freeze-fast-8": (0.66, 1.5), "freeze-fast-12": (0.3, 0.7),
    "gate-open": (9.0, 4.0), "gate-open-shuffled": (11.0, 4.0),
}  # fmt: skip
OTHER = (0.2, 0.4)  # of every other arm
GRID = {
    f"freeze-{layers}-at-{step}": Arm(
        name=f"freeze-{layers}-at-{step}",
        solver="euler:16",
        edits=({"kind": "FreezeSelfAttention", "layers": layers, "step": step},),
    )
    for layers in ("stable", "moderate", "fast")
    for step in (2, 4, 6, 8, 10, 12, 14)
}
SCALES = {"si_snr": 1.0, "si_snri": 1.0, "sar": 0.8, "stoi": 0.02, "pesq": 0.08}


def simulated_ledger(book: Book, *, n: int = 24, seed: int = 0, only: tuple[str, ...] | None = None) -> Ledger:
    """Return rows for every arm of the book and of the grid, all metrics, without any model."""
    rng = np.random.default_rng(seed)
    rows = []
    for hard, tier in enumerate(TIERS):
        level = {name: (9.0 - 2.0 * hard + 3.0 * rng.standard_normal(n)) * scale for name, scale in SCALES.items()}
        columns = {}
        for arm in (*book.arms, *GRID):
            if only is not None and arm not in only:
                continue
            mean, sd = _loss(arm, hard)
            loss = mean + sd * rng.standard_normal(n)
            for metric, scale in SCALES.items():
                columns[(arm, metric)] = level[metric] - scale * loss
            if arm.startswith(("gate", "baseline-spans")):
                columns |= _block_ratios(rng, arm, n)
        if ("deepcache-4", "pesq") in columns:
            columns[("deepcache-4", "pesq")][0] = np.nan
        rows += [replace(row, residual_group=f"r{int(row.mixture[-3:]) % 4}") for row in rows_of(columns, tier=tier)]
    return Ledger(tuple(rows))


def _loss(arm: str, hard: int) -> tuple[float, float]:
    if arm.startswith("baseline"):
        return 0.0, 0.0
    if arm in GRID:
        step, layers = int(arm.rsplit("-", 1)[1]), arm.split("-")[1]
        size = {"stable": 0.1, "moderate": 0.6, "fast": 1.6}[layers]
        return size * np.exp(-step / 5.0), 0.3 * size
    if arm.startswith("gate-sweep"):
        return 9.0 * (int(arm[-2:]) - 1) / 14.0, 1.0
    mean, sd = LOSSES.get(arm, OTHER)
    return mean * (1.0 + 0.4 * hard), sd


def _block_ratios(rng: np.random.Generator, arm: str, n: int) -> dict[tuple[str, str], np.ndarray]:
    grow = {"gate-open": 0.5, "gate-open-shuffled": -0.5}.get(arm, 0.0)
    if arm.startswith("gate-sweep"):
        grow = 0.5 * (int(arm[-2:]) - 1) / 14.0
    factors = {"mean": grow, "L01": 0.0 * grow, "L06": grow, "L09": 1.8 * grow}
    means = {layer: 4.0 * np.exp(factor + 0.06 * rng.standard_normal(n)) for layer, factor in factors.items()}
    return {(arm, f"block_ratio/{layer}"): values for layer, values in means.items()} | {
        (arm, f"block_ratio_sum/{layer}"): 1.5 * values for layer, values in means.items()
    }


def simulated_context(**fields: object) -> Context:
    """Return a context of a checkpoint that does not exist."""
    costs = {
        arm: ArmCost(
            arm=arm,
            layer_steps_saved=saved,
            flops_total=3.4e12 * (1 - saved),
            flops_saved=saved * 0.144 if arm.startswith("lsac") else saved,
            self_attention_flops_saved=saved / 2 if arm.startswith("lsac") else saved,
        )
        for arm, saved in SAVED.items()
    }
    rng = np.random.default_rng(3)
    rates = {f"clean-{i:03d}": tuple(np.abs(_speed() + 0.005 * rng.standard_normal(12))) for i in range(24)}
    known = {
        "checkpoint": "simulated", "digest": "5" * 64, "n_layers": 12, "is_small": False, "costs": costs, "gate": -0.41,
        "flops_per_evaluation": 2.117e11, "self_attention_flops_per_evaluation": 6.12e10, "entropy_rates": rates,
    }  # fmt: skip
    return Context(**(known | fields))


def _speed() -> np.ndarray:
    return 0.02 + 0.01 * np.array([9, 1, 8, 7, 4, 5, 1.5, 5, 10, 2, 8, 4.5])


def simulated_environment(context: Context) -> Environment:
    """Return a fixed environment."""
    return Environment(
        created="2026-01-01T00:00:00+00:00", checkpoint=context.checkpoint, digest=context.digest, n_layers=12,
        device="cpu", accelerator="none", driver="none", cpu="a processor", operating_system="Linux 6 x86_64",
        python="3.11.0", torch="2.14.1", packages={"sam-lsac": "0.1.0", "numpy": "2.4.6"}, git_commit="0123456789ab",
        mixtures=dict.fromkeys(TIERS, 24), seeds=(0,), n_runs=3240,
    )  # fmt: skip


def simulated_extras() -> Extras:
    """Return curves, matrices and tones: every kind of extra."""
    steps = np.arange(16)
    decay = np.exp(-steps[None, :] * _speed()[:, None] * 3.0)
    entropy = 2.0 + 1.5 * decay + 0.1 * np.arange(12)[:, None]
    span = np.zeros(50, dtype=bool)
    span[12:30] = True
    maps = tuple(
        AttentionMap(mixture="clean-000", layer=layer, step=8, condition=condition, span=span, weights=_map(span, gain))
        for layer in (1, 6, 9)
        for condition, gain in (("before", 1.0), ("hijacked", 1.0 + layer / 3), ("shuffled", 0.3))
    )
    time = np.arange(16000) / 8000.0
    tracks = {name: 0.3 * np.sin(2 * np.pi * 220.0 * (i + 1) * time) for i, name in enumerate(
        ("mixture", "target", "baseline", "LSAC", "naive")
    )}  # fmt: skip
    notes = {"baseline": "SI-SNR 9.10 dB", "LSAC": "SI-SNR 9.03 dB", "naive": "SI-SNR 8.02 dB"}
    players = tuple(
        Player(
            mixture=f"{tier}-{i:03d}", tier=tier, prompt="man speaking", sample_rate=8000, tracks=tracks, notes=notes
        )
        for tier in TIERS
        for i in range(2)
    )
    return Extras(
        entropy={tier: entropy + 0.1 * i for i, tier in enumerate(TIERS)},
        classes={"stable": (1, 6, 9), "moderate": (4, 5, 7, 11), "fast": (0, 2, 3, 8, 10)},
        maps=maps,
        players=players,
        noise_floor=(NoiseFloor(metric="si_snr", mean=0.03, largest=0.08, n=24, note="simulated"),),
        speed_limits={"10 s": 1.17, "60 s": 1.23},
    )


def _map(span: np.ndarray, gain: float) -> np.ndarray:
    same = span[:, None] == span[None, :]
    near = np.exp(-np.abs(np.arange(50)[:, None] - np.arange(50)[None, :]) / 8.0)
    weights = near * np.where(same, gain, 1.0) + 0.02
    return weights / weights.sum(axis=1, keepdims=True)


@cache
def quick_book() -> Book:
    """Return bench/claims.toml with few bootstrap draws."""
    book = load_claims(CLAIMS)
    quick = replace(book.settings, bootstrap_resamples=199)
    return replace(book, settings=quick, claims=tuple(replace(claim, settings=quick) for claim in book.claims))


@cache
def simulated_verdicts(*, seed: int = 0) -> tuple[Verdict, ...]:
    """Return a verdict on every claim."""
    book = quick_book()
    ledger, context = simulated_ledger(book, seed=seed), simulated_context()
    return tuple(judge(claim, ledger, context) for claim in book.claims)


@cache
def simulated_report(*, seed: int = 0, bare: bool = False, only: tuple[str, ...] | None = None) -> Report:
    """Return a report of every claim, or of `only` some; `bare`: without any run, cost or extra."""
    book = quick_book()
    context = simulated_context()
    ledger = simulated_ledger(book, seed=seed)
    verdicts = simulated_verdicts(seed=seed)
    if bare:
        nothing = {"costs": {}, "gate": None, "flops_per_evaluation": None, "entropy_rates": None}
        context, ledger = simulated_context(**nothing), Ledger(())
        verdicts = tuple(judge(claim, ledger, context) for claim in book.claims)
    return build_report(
        book,
        [one for one in verdicts if only is None or one.claim_id in only],
        ledger,
        context,
        environment=simulated_environment(context),
        arms={} if bare else GRID,
        extras=None if bare else simulated_extras(),
    )


def with_verdict(report: Report, claim_id: str, **fields: object) -> Report:
    """Return the report with one verdict changed."""
    rows = tuple(
        replace(row, verdict=replace(row.verdict, **fields)) if row.id == claim_id else row for row in report.claims
    )
    return replace(report, claims=rows)
