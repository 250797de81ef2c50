"""Placebos in the place of every claim's arms: what cannot be an effect is never found to be one."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, Ledger, judge
from sam_lsac.claims.collect import ledger as ledger_of
from sam_lsac.runs import Arm, execute, open_store, plan
from tests import tiny_runs
from tests.claim_worlds import make_claim, make_context, quickly
from tests.paper_worlds import CLAIMS, alike, judged, paper_effect, rival_of, world

#: Kinds that compare no runs by an effect of the paper: arithmetic, counts, entropy, and the frontier.
OTHERS = {"saved-share", "table", "sign", "count", "layers-settle", "equivalent", "ahead", "at-least", "state-leak"}
COMPARED = [claim for claim in CLAIMS if claim.family and claim.columns]
WORLDS = {"paper": paper_effect, "alike": alike}
SEEDS = range(1)


def truncated(claim, columns, _rng):
    """A solve of 12 steps in the place of every arm: under each solver its own."""
    solvers = {arm: next((end for end in ("-midpoint", "-ab2") if arm.endswith(end)), "") for arm in claim.arms}
    return {(arm, name): columns[f"naive-12{end}", name] for arm, end in solvers.items() for name in claim.metrics}


def identical(claim, columns, _rng):
    """Each arm equal to its baseline."""
    return {(arm, metric): columns[claim.baseline_of(arm), metric] for arm in claim.arms for metric in claim.metrics}


def its_rival(claim, columns, _rng):
    """Each arm equal to its rival."""
    return {(arm, metric): columns[rival_of(claim, arm), metric] for arm in claim.arms for metric in claim.metrics}


def exchanged(claim, columns, _rng):
    """Each arm exchanged with its rival, or with its baseline where it has none."""
    other = {arm: rival_of(claim, arm) or claim.baseline_of(arm) for arm in claim.arms}
    found = {}
    for metric in claim.metrics:
        found |= {(arm, metric): columns[rival, metric] for arm, rival in other.items()}
        found |= {(rival, metric): columns[arm, metric] for arm, rival in reversed(other.items())}
    return found


def permuted(claim, columns, rng):
    """The labels of arms, rivals and baselines dealt anew in every mixture, for each metric by itself."""
    names = list(dict.fromkeys((*claim.arms, *claim.rivals, *claim.baselines)))
    found = {}
    for metric in claim.metrics:
        dealt = rng.permuted(np.stack([columns[name, metric] for name in names]), axis=0)
        found |= {(name, metric): values for name, values in zip(names, dealt, strict=True)}
    return found


def under(placebo, claim, seed, effect):
    """Return the verdict on a claim with a placebo in the place of its arms."""
    tiers = world(effect, seed)
    dealt = {
        tier: columns | placebo(claim, columns, np.random.default_rng([seed, place]))
        for place, (tier, columns) in enumerate(tiers.items())
    }
    with quickly():
        return judged(claim, dealt)


def cases_of(placebo):
    """Return the claims in whose place a placebo can stand."""
    if placebo is truncated:
        return [claim for claim in COMPARED if claim.family == "acceleration"]
    if placebo is its_rival:
        return [claim for claim in COMPARED if claim.rivals]
    if placebo is exchanged:  # the arms of a sweep have no other to be exchanged with
        return [claim for claim in COMPARED if claim.kind != "rank-correlation"]
    return COMPARED


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("placebo", [truncated, identical, its_rival, exchanged], ids=lambda one: one.__name__)
def test_a_placebo_is_never_supported(placebo, name):
    for claim in cases_of(placebo):
        for seed in SEEDS:
            verdict = under(placebo, claim, seed, WORLDS[name])
            assert verdict.status in ("inconclusive", "refuted"), (claim.id, seed, verdict.reason)


def test_the_claims_that_placebos_stand_in_for_are_all_that_compare_runs():
    kinds = {claim.kind for claim in COMPARED}
    assert kinds == set(KINDS) - OTHERS


def test_an_arm_that_equals_its_baseline_is_no_evidence_either_way():
    for claim in COMPARED:
        verdict = under(identical, claim, 0, paper_effect)
        assert verdict.status == "inconclusive", claim.id
        assert "changed nothing" in verdict.reason or claim.kind == "rank-correlation", claim.id


def test_permuted_labels_are_supported_at_most_at_the_level():
    draws = 4
    found = Counter()
    for claim in COMPARED:
        for seed in range(draws):
            verdict = under(permuted, claim, 100 + seed, paper_effect)
            found[claim.id] += verdict.status == "supported"
    assert max(found.values()) <= 1, found
    assert found.total() <= 1, found  # 0.05 / 8 of a claim's draws, where one tier alone decides


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_a_world_in_which_all_arms_move_alike_supports_nothing(common):
    found = Counter()
    for seed in range(2):
        tiers = world(alike, 50 + seed, common=common)
        with quickly():
            for claim in COMPARED:
                found[claim.id] += judged(claim, tiers).status == "supported"
    assert found.total() == 0, found


# ------------------------------------------------------------------------------------------------------------ real runs

SAME = {"same": {}, "lsac": {"edits": ({"kind": "LSAC", "level": "balanced"},)}, "naive": {"solver": "euler:3"}}
KINDS_WITH_RIVALS = {
    "pareto": {"matched": {"a": "r"}},
    "smaller-loss": {"score": "deviation"},
    "smaller-loss, signed": {"score": "loss"},
    "no-loss": {"matched": {"a": "r"}},
    "negligible-loss": {},
    "complementary": {"baselines": ["baseline"]},
    "effect-table": {"matched": {"a": "r"}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """SI-SNR of real runs of a tiny model, by arm: a cache, a truncation, and an arm without an edit."""
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(8)
    arms = {name: Arm(name=name, **({"solver": "euler:4"} | row)) for name, row in ({"baseline": {}} | SAME).items()}
    planned = plan(arms, mixtures, model, seeds=(0,), metrics=("si_snr",))
    with open_store(tmp_path_factory.mktemp("placebo") / "runs.sqlite") as store:
        execute(planned, model, mixtures, store)
        return ledger_of(store, planned)


@pytest.mark.parametrize("name", KINDS_WITH_RIVALS)
@pytest.mark.parametrize(("arm", "rival"), [("same", "naive"), ("same", "lsac"), ("naive", "naive"), ("lsac", "lsac")])
def test_a_placebo_of_real_runs_is_never_supported(name, arm, rival, runs):
    fields = {"kind": name.split(",")[0], "arms": ["a"], "rivals": ["r"], "metrics": ["si_snr"], "tiers": ["clean"]}
    claim = make_claim(**(fields | {"family": "f"} | KINDS_WITH_RIVALS[name]))
    stands = {"a": arm, "r": rival, "baseline": "baseline"}
    ledger = Ledger(
        tuple(
            replace(row, arm=part)
            for part, played in stands.items()
            for row in runs.rows
            if (row.arm, row.metric) == (played, "si_snr")
        )
    )
    assert len(ledger.rows) == 3 * 8
    costs = dict(make_context().costs)
    costs["baseline"] = replace(costs["a"], layer_steps_saved=0.0)
    verdict = judge(claim, ledger, make_context(costs=costs))
    assert verdict.status == "inconclusive", verdict.reason
    assert ("changed nothing" in verdict.reason) == (arm == "same")
