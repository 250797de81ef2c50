"""From stored runs to scores by arm, those of the probes included; runs that do not pair are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sam_lsac.errors import StoreError
from sam_lsac.interventions import entropy_rates as rates_of
from sam_lsac.metrics import Score
from sam_lsac.runs.plan import Plan, RunSpec
from sam_lsac.runs.store import RunResult, Store

__all__ = ["ScoredRun", "entropy_rates", "scored_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """One run under the name of one arm.

    Parameters
    ----------
    arm
        Its name.
    spec
        With the names of mixture, tier and group, and the seed.
    scores
        By column: the metrics, the comparisons with references ("fidelity/baseline"), and "block_ratio/L06",
        "block_ratio/mean" where the Block Ratio was recorded; with "block_ratio_sum" its form of sums instead of means.
    result
        All that was stored.
    """

    arm: str
    spec: RunSpec
    scores: Mapping[str, Score]
    result: RunResult


def scored_runs(store: Store, plan: Plan) -> Iterator[ScoredRun]:
    """Every run of a plan, arm by arm.

    Raises
    ------
    PlanError
        If a run is missing.
    StoreError
        If runs of one mixture and seed did not start from the same noise, or a row is damaged.
    """
    results = _results(store, plan)
    _check_pairing(plan, results, location=store.location)
    for arm, specs in plan.arms.items():
        for spec in specs:
            result = results[spec.key]
            yield ScoredRun(arm=arm, spec=spec, scores={**result.scores, **_block_ratios(result)}, result=result)


def entropy_rates(store: Store, plan: Plan, *, arm: str = "baseline") -> dict[str, tuple[float, ...]]:
    """How fast the attention entropy of each layer still changes, by mixture.

    Parameters
    ----------
    store, plan
        Where the arm's runs are.
    arm
        One whose runs recorded the entropy.

    Returns
    -------
    dict of str to tuple of float
        Per mixture the rate of every layer, in nats a step, averaged over the noise seeds; empty without such runs.

    Raises
    ------
    PlanError
        If a run is missing.
    """
    results = _results(store, plan)
    by_mixture: dict[str, list[Any]] = {}
    for spec in plan.arms.get(arm, ()):
        probes = results[spec.key].probes
        if "entropy" in probes:
            entropy = torch.tensor(probes["entropy"], dtype=torch.float64)[:, :, None]  # [layers, steps, 1]
            by_mixture.setdefault(spec.mixture, []).append(rates_of(entropy).numpy())
    return {mixture: tuple(map(float, np.mean(rates, axis=0))) for mixture, rates in by_mixture.items()}


def _results(store: Store, plan: Plan) -> dict[str, RunResult]:
    store.require(plan)
    return store.get({spec.key for spec in plan.runs})


def _check_pairing(plan: Plan, results: Mapping[str, RunResult], *, location: str) -> None:
    """Refuse runs of one mixture and seed that started from different noise."""
    first: dict[tuple[str, int], tuple[str, str]] = {}
    for arm, specs in plan.arms.items():
        for spec in specs:
            digest = results[spec.key].noise_digest
            if digest is None:  # nothing was computed, and the scores say why
                continue
            other, expected = first.setdefault((spec.mixture_digest, spec.seed), (arm, digest))
            if digest != expected:
                raise StoreError(
                    f"The runs of {spec.mixture!r}, seed {spec.seed}, in {location} are no pair: {other!r} and {arm!r} "
                    "started from different noise; move the store away and compute anew."
                )


def _block_ratios(result: RunResult) -> dict[str, Score]:
    """The Block Ratio of each layer, averaged over the recorded steps, and the mean over layers; both forms."""
    if "block_ratio" not in result.spec.record:
        return {}
    if "block_ratio" not in result.probes:
        none = next((score for score in result.scores.values() if score.reason), None)
        return {"block_ratio/mean": none or Score(math.nan, "the Block Ratio was not recorded")}
    named: dict[str, float] = {}
    for form in ("block_ratio", "block_ratio_sum"):
        ratios = np.asarray(result.probes[form], dtype=np.float64).mean(axis=1)  # [layers]
        named |= {f"{form}/L{layer:02d}": r for layer, r in zip(result.probes["layers"], ratios, strict=True)}
        named[f"{form}/mean"] = ratios.mean()
    return {name: _score(float(ratio)) for name, ratio in named.items()}


def _score(ratio: float) -> Score:
    if math.isfinite(ratio):
        return Score(ratio)
    return Score(math.nan, "no Block Ratio: the spans make one single segment")
