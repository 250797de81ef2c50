"""Fidelity: which runs an arm is compared with, the waves kept for it, and that a resumed run scores equally."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_lsac.claims import load_claims, parse_claims
from sam_lsac.claims.collect import ledger
from sam_lsac.errors import ClaimError, PlanError, StoreError
from sam_lsac.metrics import UNBOUNDED_SI_SNR, fidelity
from sam_lsac.runs import Arm, Plan, execute, open_store, plan
from tests import tiny_runs

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("lsac", "naive", "baseline", "midpoint", "lsac-midpoint")
MORE = {
    "lsac-midpoint": {
        "solver": "midpoint:4",
        "edits": ({"kind": "LSAC", "level": "balanced"},),
        "references": ("midpoint", "baseline"),
    }
}


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def mixtures():
    return tiny_runs.mixtures(3)


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "runs.sqlite") as opened:
        yield opened


def some(model, mixtures, *names, more=MORE, **options):
    return plan(tiny_runs.arms(*names, **more), mixtures, model, **{"seeds": (0,), "metrics": ("si_snr",), **options})


def scores_of(store, planned):
    """Every score of every arm, as bits."""
    found = store.get({spec.key for spec in planned.runs})
    return {
        (arm, spec.mixture, column): (np.float64(score.value).tobytes(), score.reason, score.failed)
        for arm, specs in planned.arms.items()
        for spec in specs
        for column, score in found[spec.key].scores.items()
    }


SCRIPT = f"""
import sys
import torch
torch.set_num_threads(1)
from sam_lsac.runs import execute, open_store, plan
from tests import tiny_runs
model, mixtures = tiny_runs.model(), tiny_runs.mixtures(3)
arms = tiny_runs.arms("baseline", "midpoint")
known = tiny_runs.arms(*{NAMES!r}, **{MORE!r})
planned = plan(arms, mixtures, model, seeds=(0,), metrics=("si_snr",), known=known)
with open_store(sys.argv[1]) as store:
    execute(planned, model, mixtures, store)
"""


def in_a_process_of_its_own(path):
    """Compute the references in a process of their own."""
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )


class TestPlan:
    def test_an_arm_is_compared_with_the_baseline_unless_it_says_otherwise(self, model, mixtures):
        arms = tiny_runs.arms("lsac", "spans", "baseline", "midpoint", "lsac-midpoint", **MORE)
        arms["none"] = Arm(name="none", solver="euler:2", references=())
        planned = plan(arms, mixtures, model, seeds=(0,))
        named = {arm: tuple(name for name, _ in specs[0].references) for arm, specs in planned.arms.items()}
        assert named == {
            "lsac": ("baseline",),
            "spans": (),
            "baseline": (),
            "midpoint": ("baseline",),
            "lsac-midpoint": ("midpoint", "baseline"),
            "none": (),
        }

    def test_a_reference_is_the_run_of_the_same_mixture_and_seed(self, model, mixtures):
        planned = some(model, mixtures, *NAMES, seeds=(0, 5))
        for arm in ("lsac", "naive", "midpoint"):
            for spec, plain in zip(planned.arms[arm], planned.arms["baseline"], strict=True):
                assert (spec.mixture, spec.seed) == (plain.mixture, plain.seed)
                assert spec.references == (("baseline", plain.key),)

    def test_the_key_follows_the_references(self, model, mixtures):
        (spec, *_) = some(model, mixtures, *NAMES).arms["lsac"]
        assert replace(spec, references=()).key != spec.key
        changed = some(model, mixtures, *NAMES, more=MORE | {"baseline": {"solver": "euler:5"}}).arms["lsac"][0]
        assert changed.key != spec.key

    def test_references_come_before_the_runs_that_are_compared_with_them(self, model, mixtures):
        runs = some(model, mixtures, *NAMES).runs
        place = {spec.key: number for number, spec in enumerate(runs)}
        assert len(place) == 15
        for spec in runs:
            assert all(place[key] < place[spec.key] for _, key in spec.references)

    def test_a_selection_brings_the_references_that_it_needs_and_no_others(self, model, mixtures):
        known = tiny_runs.arms(*NAMES, **MORE)
        arms = {"lsac-midpoint": known["lsac-midpoint"]}
        planned = plan(arms, mixtures, model, seeds=(0,), known=known)
        assert set(planned.arms) == {"lsac-midpoint"}
        assert set(planned.references) == {"midpoint", "baseline"}
        whole = plan(known, mixtures, model, seeds=(0,))
        assert {spec.key for spec in planned.runs} < {spec.key for spec in whole.runs}
        assert planned.waves < whole.waves | {spec.key for spec in planned.runs}
        alone = plan({"midpoint": known["midpoint"]}, mixtures, model, seeds=(0,), known=known)
        assert {spec.key for spec in alone.arms["midpoint"]} <= alone.waves  # another selection will need them

    @pytest.mark.parametrize(
        ("arm", "words"),
        [
            ({"references": ("basline",)}, "unknown arm 'basline': did you mean 'baseline'"),
            ({"references": ("odd",)}, "no reference of its own"),
            ({"references": ("lsac",)}, "'lsac' has edits, so it is no full solve"),
        ],
    )
    def test_what_cannot_be_compared_with_is_refused(self, model, mixtures, arm, words):
        with pytest.raises(PlanError, match=rf"\[arms\.odd\]: references: .*{words}"):
            some(model, mixtures, "baseline", "lsac", "odd", more={"odd": arm})

    def test_references_that_go_round_are_refused(self, model, mixtures):
        with pytest.raises(PlanError, match="References go round: baseline -> midpoint -> baseline; leave one"):
            some(model, mixtures, "baseline", "midpoint", more={"baseline": {"references": ("midpoint",)}})

    def test_a_claims_file_names_them(self):
        rows = tomllib.loads((ROOT / "bench" / "claims.toml").read_text(encoding="utf-8"))
        name = next(name for name in rows["arms"] if name != "baseline")
        rows["arms"][name]["references"] = []
        assert parse_claims(rows).arms[name].references == ()
        rows["arms"][name]["references"] = ["nothing"]
        with pytest.raises(ClaimError, match=rf"arms\.{name}.*unknown arm 'nothing'"):
            parse_claims(rows)
        rows["arms"][name]["references"] = "baseline"
        with pytest.raises(ClaimError, match="references"):
            parse_claims(rows)

    def test_the_house_s_own_arms_can_be_compared(self):
        assert load_claims(ROOT / "bench" / "claims.toml").arms["baseline"].references is None


class TestScores:
    def test_they_are_those_of_the_kept_waves(self, model, mixtures, store):
        planned = some(model, mixtures, *NAMES)
        execute(planned, model, mixtures, store, keep=lambda _: True)
        rows = {(row.arm, row.mixture, row.metric): row.value for row in ledger(store, planned).rows}
        for arm, reference in [("lsac", "baseline"), ("naive", "baseline"), ("lsac-midpoint", "midpoint")]:
            for spec, other in zip(planned.arms[arm], planned.arms[reference], strict=True):
                expected = fidelity(store.array(spec.key, "target"), store.array(other.key, "target")).value
                assert rows[arm, spec.mixture, f"fidelity/{reference}"] == expected
                assert rows[arm, spec.mixture, f"log_spectral_distance/{reference}"] > 0
        assert not any(arm == "baseline" and "/" in metric for arm, _, metric in rows)

    def test_equal_waves_are_unbounded_and_not_clipped(self, model, mixtures, store):
        planned = some(model, mixtures, "baseline", "again", more={"again": {}})
        execute(planned, model, mixtures, store)
        rows = [row for row in ledger(store, planned).rows if row.metric == "fidelity/baseline"]
        assert [(row.arm, math.isnan(row.value), row.reason, row.failed) for row in rows] == [
            ("again", True, UNBOUNDED_SI_SNR, False)
        ] * 3
        distances = [row.value for row in ledger(store, planned).rows if row.metric == "log_spectral_distance/baseline"]
        assert distances == [0.0] * 3

    def test_only_the_waves_of_references_are_kept_as_float32_and_their_bytes_are_stated(self, model, mixtures, store):
        planned = some(model, mixtures, *NAMES)
        execute(planned, model, mixtures, store)
        for arm, specs in planned.arms.items():
            for spec in specs:
                wave = store.array(spec.key, "target")
                assert (wave is not None) == (arm in ("baseline", "midpoint"))
                sizes = store.get({spec.key})[spec.key].array_bytes
                assert sizes == ({} if wave is None else {"target": 4 * wave.size})
                assert wave is None or wave.dtype == np.float32


class TestResume:
    def test_a_resumed_run_scores_as_one_in_one_go_does_to_the_bit(self, model, mixtures, tmp_path):
        planned = some(model, mixtures, *NAMES)
        with open_store(tmp_path / "whole.sqlite") as whole:
            execute(planned, model, mixtures, whole)
            expected = scores_of(whole, planned)
        path = tmp_path / "parts.sqlite"
        in_a_process_of_its_own(path)
        with open_store(path) as parts:
            assert len(parts.missing(planned)) == 9
            assert execute(planned, model, mixtures, parts) == 9
            assert scores_of(parts, planned) == expected

    def test_a_wave_that_is_gone_is_an_error_that_says_so(self, model, mixtures, tmp_path):
        planned = some(model, mixtures, "baseline", "lsac")
        path = tmp_path / "runs.sqlite"
        with open_store(path) as store:
            execute(some(model, mixtures, "baseline"), model, mixtures, store)
            for file in path.with_name("runs.sqlite.files").glob("*.npy"):
                file.unlink()
            with pytest.raises(StoreError, match=r"compared with 'baseline'.*restore it, or compute into a new store"):
                execute(planned, model, mixtures, store)

    def test_a_wave_that_was_never_kept_is_an_error_that_says_so(self, model, mixtures, store):
        execute(some(model, mixtures, "baseline", "midpoint"), model, mixtures, store)  # none is compared with midpoint
        with pytest.raises(StoreError, match="has the run of 'midpoint' without its wave"):
            execute(some(model, mixtures, *NAMES), model, mixtures, store)

    def test_a_plan_without_the_reference_is_refused(self, model, mixtures, store):
        planned = some(model, mixtures, "baseline", "lsac")
        half = Plan(arms={"lsac": planned.arms["lsac"]})
        with pytest.raises(PlanError, match="'baseline' that others are compared with is neither in"):
            execute(half, model, mixtures, store)

    def test_replay_needs_no_wave(self, model, mixtures, tmp_path):
        planned = some(model, mixtures, "baseline", "lsac")
        path = tmp_path / "runs.sqlite"
        with open_store(path) as store:
            execute(planned, model, mixtures, store)
        with open_store(path, replay=True) as replay:
            assert execute(planned, model, mixtures, replay) == 0
