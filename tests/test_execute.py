"""Execution: batching and shared prefixes change nothing, arms are paired, and what is stored is what was computed."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_lsac.caching import DeepCache
from sam_lsac.claims.collect import ledger
from sam_lsac.errors import CacheError, PlanError, StoreError
from sam_lsac.interventions import Record, ZeroAdditive, attach
from sam_lsac.interventions import entropy_rates as rates_of
from sam_lsac.metrics import Score, compare, measure
from sam_lsac.runs import Progress, entropy_rates, execute, open_store, plan, scored_runs
from sam_lsac.runs.compute import noise_digest
from sam_lsac.separate import draw_noise, request_digest, separate, solve_batch
from sam_lsac.solver import parse_solver
from tests import tiny_runs

COLLECT = sys.modules["sam_lsac.claims.collect"]
COMPUTE = sys.modules["sam_lsac.runs.compute"]
TASKS = sys.modules["sam_lsac.runs.tasks"]
CHUNK = sys.modules["sam_lsac.runs.chunk"]
SHARING = {"lsac", "lsac-safe", "freeze-late", "lsac-midpoint", "freeze-late-ab2"}
COMPARED = {"fidelity/baseline", "log_spectral_distance/baseline"}
CACHED = {"lsac", "lsac-safe", "freeze-late", "lsac-midpoint", "freeze-late-ab2", "deepcache"}


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def mixtures():
    return tiny_runs.mixtures(3)


@pytest.fixture(scope="module")
def planned(model, mixtures):
    return plan(tiny_runs.arms(), mixtures, model, seeds=(0, 5), metrics=("si_snr", "si_snri"))


@pytest.fixture(scope="module")
def full(planned, model, mixtures, tmp_path_factory):
    """A store in which everything was computed, with waves and latents."""
    with open_store(tmp_path_factory.mktemp("full") / "runs.sqlite") as store:
        execute(planned, model, mixtures, store, keep=lambda _: True)
        yield store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "runs.sqlite") as opened:
        yield opened


def some(model, mixtures, *arms, **changes):
    """A plan of some arms."""
    more = changes.pop("more", {})
    given = {"metrics": ("si_snr",), "seeds": (0,), **changes}
    return plan(tiny_runs.arms(*arms, **more), mixtures, model, **given)


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def relative(value, reference):
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


def noise_of(mixture, seed, shape=(16, 2 * tiny_runs.CHANNELS)):
    """The noise of a mixture, [T, 2 C]."""
    asked = request_digest(mixture.wave, sample_rate=mixture.sample_rate, prompt=mixture.prompt)
    return draw_noise(shape, seed, mixture=asked)


def by_hand(model, mixture, spec, *, edits=None, given=None):
    """Latents of one run: one example, from the first step, nothing recorded."""
    conditions = model.conditions(
        torch.from_numpy(mixture.wave)[None], [mixture.prompt], [mixture.spans if spec.spans else None]
    )
    if not spec.text:
        conditions = replace(conditions, text_features=None, text_mask=None)
    noise = noise_of(given or mixture, spec.seed, conditions.audio_features.shape[1:])[None]
    edits = spec.edits if edits is None else edits
    return solve_batch(model, conditions, noise, solver=parse_solver(spec.solver), edits=edits)[0].numpy()


class TestEqualToPlainRuns:
    @pytest.mark.parametrize("arm", tiny_runs.ARMS)
    def test_every_run_equals_the_single_run_from_the_first_step(self, full, planned, model, mixtures, arm):
        by_digest = {mixture.digest: mixture for mixture in mixtures}
        for spec in planned.arms[arm]:
            single = by_hand(model, by_digest[spec.mixture_digest], spec)
            assert relative(full.array(spec.key, "latents"), single) < 1e-5

    def test_arms_differ_by_more_than_that(self, full, planned):
        for arm in set(planned.arms) - {"baseline"}:
            for spec, plain in zip(planned.arms[arm], planned.arms["baseline"], strict=True):
                assert relative(full.array(spec.key, "latents"), full.array(plain.key, "latents")) > 1e-4

    def test_a_shared_prefix_is_bit_equal_to_the_run_from_the_first_step(
        self, full, planned, model, mixtures, store, monkeypatch
    ):
        monkeypatch.setattr(CHUNK, "_plain_steps", lambda spec: 0)
        execute(planned, model, mixtures, store, keep=lambda _: True)
        for spec in planned.runs:
            assert np.array_equal(store.array(spec.key, "latents"), full.array(spec.key, "latents"))

    def test_recording_changes_no_bit(self, full, planned, model, mixtures, store):
        blind = type(planned)(
            arms={
                name: tuple(replace(spec, record=(), references=()) for spec in specs)
                for name, specs in planned.arms.items()
            }
        )
        execute(blind, model, mixtures, store, keep=lambda _: True)
        for arm, specs in planned.arms.items():
            for before, after in zip(specs, blind.arms[arm], strict=True):
                assert np.array_equal(store.array(after.key, "latents"), full.array(before.key, "latents"))

    def test_scores_are_those_of_separate(self, full, planned, model, mixtures):
        spec = planned.arms["lsac"][0]
        wave = mixtures[0].wave
        alone = separate(
            model,
            wave,
            sample_rate=tiny_runs.RATE,
            prompt=mixtures[0].prompt,
            solver=parse_solver(spec.solver),
            edits=spec.edits,
        ).target
        assert relative(full.array(spec.key, "target"), alone) < 1e-4
        mixture = mixtures[0]
        expected = measure(
            alone, target=mixture.target, residual=mixture.residual, sample_rate=8000, metrics=spec.metrics
        )
        for name in spec.metrics:
            score = full.get([spec.key])[spec.key].scores[name]
            assert score.value == pytest.approx(expected[name].value, abs=1e-2)

    def test_what_is_scored_is_the_wave_that_is_kept(self, full, planned, mixtures):
        by_digest = {mixture.digest: mixture for mixture in mixtures}
        for spec in planned.runs:
            mixture = by_digest[spec.mixture_digest]
            wave = full.array(spec.key, "target")
            expected = measure(
                wave, target=mixture.target, residual=mixture.residual, sample_rate=8000, metrics=spec.metrics
            )
            for arm, key in spec.references:
                found = compare(wave, full.array(key, "target"))
                expected |= {f"{kind}/{arm}": score for kind, score in found.items()}
            assert full.get([spec.key])[spec.key].scores == expected


class TestSharing:
    def evaluations(self, model, monkeypatch, call):
        counted = []
        forward = type(model.transformer).forward
        monkeypatch.setattr(type(model.transformer), "forward", lambda *a, **k: counted.append(1) or forward(*a, **k))
        call()
        return len(counted)

    def test_steps_before_the_edits_act_are_not_computed_again(self, model, mixtures, store, monkeypatch):
        # baseline 4; lsac freezes at 1 of 4: 4; lsac-safe at 2: 3; freeze-late at 3: 2; naive, of its own grid: 3
        planned = some(model, mixtures, "baseline", "lsac", "lsac-safe", "freeze-late", "naive")
        assert self.evaluations(model, monkeypatch, lambda: execute(planned, model, mixtures, store)) == 16

    def test_a_stored_baseline_is_computed_again_only_where_that_pays(self, model, mixtures, store, monkeypatch):
        execute(some(model, mixtures, "baseline"), model, mixtures, store)
        few = some(model, mixtures, "baseline", "freeze-late")
        assert self.evaluations(model, monkeypatch, lambda: execute(few, model, mixtures, store)) == 4
        row = {"kind": "FreezeSelfAttention", "step": 3}
        more = {f"freeze-{layer}": {"edits": ({**row, "layers": (layer,)},)} for layer in range(4)}
        many = some(model, mixtures, "baseline", *more, more=more)
        # 4 for the prefix, then 2 for each, and not 4 x 4
        assert self.evaluations(model, monkeypatch, lambda: execute(many, model, mixtures, store)) == 12
        for spec in many.runs:
            assert store.get([spec.key])[spec.key].noise_digest is not None

    def test_runs_with_and_without_prompt_or_spans_share_nothing(self, full, planned, model, mixtures):
        # their first steps differ already: a prefix taken from the wrong inputs would show in TestEqualToPlainRuns
        one = {arm: full.array(planned.arms[arm][0].key, "latents") for arm in ("baseline", "text-none", "spans")}
        assert relative(one["baseline"], one["text-none"]) > 1e-3
        assert relative(one["baseline"], one["spans"]) > 1e-3


class TestPairing:
    def test_every_arm_starts_from_the_noise_of_its_seed_and_mixture(self, full, planned, mixtures):
        by_digest = {mixture.digest: mixture for mixture in mixtures}
        for spec in planned.runs:
            expected = noise_digest(noise_of(by_digest[spec.mixture_digest], spec.seed))
            assert full.get([spec.key])[spec.key].noise_digest == expected

    def test_no_two_mixtures_and_no_two_seeds_share_their_noise(self, full, planned):
        noises = {}
        for spec in planned.runs:
            digest = full.get([spec.key])[spec.key].noise_digest
            noises.setdefault((spec.mixture, spec.seed), set()).add(digest)
        assert [len(arms) for arms in noises.values()] == [1] * 6
        assert len(set().union(*noises.values())) == 6

    def test_noises_of_two_mixtures_do_not_correlate(self, mixtures):
        drawn = np.stack([noise_of(mixture, seed).numpy().ravel() for mixture in mixtures for seed in (0, 5)])
        assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 5 / math.sqrt(drawn.shape[1])

    def test_a_runs_noise_depends_on_nothing_that_is_computed_with_it(self, full, model, mixtures, store):
        """Alone, in another order and under names of another tier it is the same."""
        elsewhere = [replace(one, tier="env", id=f"env-{one.id}") for one in mixtures[::-1]]
        planned = some(model, elsewhere, "baseline", seeds=(5,))
        execute(planned, model, elsewhere, store, batch_size=1)
        noises = {one.spec.mixture_digest: one.noise_digest for one in store.get(store.keys()).values()}
        before = {
            one.spec.mixture_digest: one.noise_digest
            for one in full.get(full.keys()).values()
            if one.spec.seed == 5 and one.spec.tier == "clean"
        }
        assert noises == before

    @pytest.mark.parametrize("sample_rate", [tiny_runs.RATE, 16_000])
    def test_separate_starts_from_the_noise_of_the_run(self, model, store, monkeypatch, sample_rate):
        n_samples = 16 * tiny_runs.HOP * sample_rate // tiny_runs.RATE
        one = tiny_runs.mixture(4, n_samples=n_samples, sample_rate=sample_rate)
        planned = some(model, [one], "lsac", seeds=(7,))
        execute(planned, model, [one], store, keep=lambda _: True)
        (spec,) = planned.arms["lsac"]
        seen = []
        original = sys.modules["sam_lsac.separate"].solve_batch
        monkeypatch.setattr(
            sys.modules["sam_lsac.separate"],
            "solve_batch",
            lambda model, conditions, noise, **options: (
                seen.append(noise) or original(model, conditions, noise, **options)
            ),
        )
        asked = {"sample_rate": sample_rate, "prompt": one.prompt, "seed": 7, "edits": spec.edits}
        found = separate(model, one.wave, solver=parse_solver(spec.solver), **asked)
        assert noise_digest(seen[0][0]) == store.get([spec.key])[spec.key].noise_digest
        if sample_rate == tiny_runs.RATE:  # alone in its batch, and not resampled: the very same output
            assert np.array_equal(found.target, store.array(spec.key, "target"))

    def test_arms_that_are_not_paired_make_no_ledger(self, model, mixtures, store, monkeypatch):
        planned = some(model, mixtures, "baseline", "zero-additive")
        execute(some(model, mixtures, "baseline"), model, mixtures, store)
        monkeypatch.setattr(COMPUTE, "draw_noise", lambda shape, seed, mixture: draw_noise(shape, seed))
        execute(planned, model, mixtures, store)
        with pytest.raises(StoreError, match="'baseline' and 'zero-additive' started from different noise"):
            ledger(store, planned)

    def test_an_arm_whose_noise_was_drawn_apart_makes_no_ledger(self, model, mixtures, store, monkeypatch):
        planned = some(model, mixtures, "baseline", "zero-additive")
        original = COMPUTE.compute_each

        def apart(batch, spec, **options):
            if spec.edits:
                batch.noise = batch.noise.roll(1, dims=1)
            return original(batch, spec, **options)

        monkeypatch.setattr(CHUNK, "compute_each", apart)
        execute(planned, model, mixtures, store)
        with pytest.raises(StoreError, match="are no pair"):
            ledger(store, planned)


class TestCaches:
    def test_hits_are_stored_of_arms_that_cache_and_of_no_others(self, full, planned):
        for arm, specs in planned.arms.items():
            for spec in specs:
                assert bool(full.get([spec.key])[spec.key].hits) == (arm in CACHED)

    def test_hits_are_those_of_the_schedule(self, full, planned):
        (spec, *_) = planned.arms["lsac"]
        hits = full.get([spec.key])[spec.key].hits
        assert hits == {"transformer.layers.1.attention": 3, "transformer.layers.0.attention": 1}

    def test_a_cache_that_never_hits_is_an_error_and_the_rest_stays(self, model, mixtures, store):
        idle = {"idle": {"edits": ({"kind": "DeepCache", "interval": 1},)}}
        planned = some(model, mixtures, "baseline", "idle", more=idle)
        with pytest.raises(CacheError, match="reused nothing"):
            execute(planned, model, mixtures, store)
        assert store.missing(planned) == planned.arms["idle"]


class TestResume:
    def test_the_second_time_computes_nothing(self, full, planned, model, mixtures):
        assert full.missing(planned) == ()
        assert execute(planned, model, mixtures, full) == 0

    def test_an_exception_loses_the_batch_in_flight_alone(self, model, mixtures, store, monkeypatch):
        planned = some(model, mixtures, "baseline", "zero-additive", "uniform")
        calls = []

        def fail_third(*arguments, **named):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("out of memory")
            return measure(*arguments, **named)

        monkeypatch.setattr(COMPUTE, "measure", fail_third)
        with pytest.raises(RuntimeError, match="out of memory"):
            execute(planned, model, mixtures, store, batch_size=1)
        assert len(store.keys()) == 2
        done = []
        assert execute(planned, model, mixtures, store, batch_size=1, progress=done.append) == 7
        assert sum(one.runs for one in done) == 7
        assert store.missing(planned) == ()

    def test_a_baseline_is_stored_before_the_runs_that_are_compared_with_it(self, model, mixtures, store):
        planned = some(model, mixtures, "lsac", "deepcache", "baseline")
        seen = []
        execute(planned, model, mixtures, store, progress=lambda done: seen.append((done, len(store.missing(planned)))))
        assert seen[0] == (Progress(arm="baseline", runs=3), 6)
        assert {done.arm for done, _ in seen} == {"lsac", "deepcache", "baseline"}
        assert [(done.runs, left) for done, left in seen] == [(3, 6), (3, 3), (3, 0)]
        with open_store(store.location, replay=True) as replay:
            assert execute(planned, model, mixtures, replay) == 0

    def test_runs_that_arms_share_are_told_once_and_skipped_ones_too(self, model, store):
        mixed = [tiny_runs.mixture(0, spans=()), tiny_runs.mixture(1)]
        planned = some(model, mixed, "gate", "gate-again", "spans")
        told = []
        execute(planned, model, mixed, store, progress=told.append)
        by_arm = {arm: sum(done.runs for done in told if done.arm == arm) for arm in planned.arms}
        assert by_arm == {"gate": 2, "gate-again": 0, "spans": 2}

    def test_replay_computes_nothing_and_leaves_the_store_as_it_was(self, model, mixtures, tmp_path):
        path = tmp_path / "runs.sqlite"
        with open_store(path) as store:
            execute(some(model, mixtures, "baseline"), model, mixtures, store, keep=lambda _: True)
        before = contents(tmp_path)
        planned = some(model, mixtures, "baseline", "lsac")
        with open_store(path, replay=True) as replay:
            with pytest.raises(PlanError, match=r"3 of 6 runs are not in .*pytest bench/"):
                execute(planned, model, mixtures, replay)
            with pytest.raises(PlanError, match="3 of 6 runs"):
                ledger(replay, planned)
        assert len(before) == 7  # the database, and a wave and latents for each mixture
        after = contents(tmp_path)
        assert {name: after[name] for name in before} == before
        assert set(after) - set(before) <= {"runs.sqlite-shm", "runs.sqlite-wal"}  # SQLite's own, for readers
        assert after.get("runs.sqlite-wal", b"") == b""

    def test_an_interrupt_from_the_keyboard_leaves_the_store_whole(self, model, mixtures, tmp_path, monkeypatch):
        planned = some(model, mixtures, "baseline", "lsac", "uniform")
        done = []

        def interrupt_second(*arguments, **named):
            if len(done) == 1:
                raise KeyboardInterrupt
            return measure(*arguments, **named)

        path = tmp_path / "runs.sqlite"
        monkeypatch.setattr(COMPUTE, "measure", interrupt_second)
        with open_store(path) as store, pytest.raises(KeyboardInterrupt):
            execute(planned, model, mixtures, store, progress=done.append, keep=lambda _: True)
        monkeypatch.undo()
        assert done == [Progress(arm="baseline", runs=3)]
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        raw.close()
        assert not [name for name in contents(tmp_path) if name.endswith((".tmp", "-journal"))]
        with attach(model, [], nfe=1):  # and the model is free
            pass
        with open_store(path) as store:
            assert store.keys() == {spec.key for spec in planned.arms["baseline"]}
            assert execute(planned, model, mixtures, store) == 6
            assert len(ledger(store, planned).rows) == 9 + 6 * len(COMPARED)

    def test_a_killed_process_loses_at_most_the_batch_in_flight(self, model, mixtures, tmp_path):
        planned = some(model, mixtures, "baseline", "lsac", "uniform")
        script = """
            import os, signal, sys
            import torch
            torch.set_num_threads(1)
            from sam_lsac.runs import execute, open_store, plan
            from sam_lsac.runs.sqlite import SQLiteStore
            from tests import tiny_runs

            model, mixtures = tiny_runs.model(), tiny_runs.mixtures(3)
            planned = plan(
                tiny_runs.arms("baseline", "lsac", "uniform"), mixtures, model, seeds=(0,), metrics=("si_snr",)
            )
            store = open_store(sys.argv[1])
            insert, inserted = SQLiteStore._insert, []

            def insert_and_die(self, one, files):
                insert(self, one, files)
                inserted.append(one)
                if len(inserted) == 5:  # inside the second batch's transaction
                    os.kill(os.getpid(), signal.SIGKILL)

            SQLiteStore._insert = insert_and_die
            execute(planned, model, mixtures, store, keep=lambda spec: True)
        """
        path = tmp_path / "runs.sqlite"
        root = Path(__file__).resolve().parents[1]
        killed = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(path)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        with open_store(path) as store:
            missing, kept = store.missing(planned), store.keys()
            assert len(kept) == 3  # the first batch, whole
            assert missing == tuple(spec for spec in planned.runs if spec.key not in kept)
            done = []
            assert execute(planned, model, mixtures, store, progress=done.append, keep=lambda _: True) == 6
            assert sum(one.runs for one in done) == 6
            assert len(ledger(store, planned).rows) == 9 + 6 * len(COMPARED)
            for spec in planned.runs:  # those from before and those from after
                assert store.array(spec.key, "target") is not None
                single = by_hand(model, mixtures[int(spec.mixture[-1])], spec)
                assert relative(store.array(spec.key, "latents"), single) < 1e-5


class TestInputs:
    def test_mixtures_of_several_lengths_and_rates_in_one_plan(self, model, store):
        mixed = [
            tiny_runs.mixture(0),
            tiny_runs.mixture(1, n_samples=24 * tiny_runs.HOP),
            tiny_runs.mixture(2, n_samples=32 * tiny_runs.HOP, sample_rate=16_000),
            tiny_runs.mixture(3, n_samples=2000),
        ]
        planned = some(model, mixed, "baseline", "lsac")
        execute(planned, model, mixed, store, keep=lambda _: True)
        lengths = [store.array(spec.key, "target").size for spec in planned.arms["lsac"]]
        assert lengths == [2048, 3072, 2048, 2000]
        for spec, mixture in zip(planned.arms["lsac"], mixed, strict=True):
            heard = mixture.at(tiny_runs.RATE)
            assert relative(store.array(spec.key, "latents"), by_hand(model, heard, spec, given=mixture)) < 1e-5

    def test_another_model_type_or_set_of_mixtures_is_refused(self, planned, model, mixtures, store):
        with pytest.raises(PlanError, match=r"checkpoint.*make it anew"):
            execute(planned, tiny_runs.model(1), mixtures, store)
        half = tiny_runs.model().to(torch.bfloat16)
        half.checkpoint_digest = planned.runs[0].checkpoint
        with pytest.raises(PlanError, match="dtype 'float32', and here it is 'bfloat16'"):
            execute(planned, half, mixtures, store)
        with pytest.raises(PlanError, match=r"'clean-002'.*give those"):
            execute(planned, model, mixtures[:2], store)
        with pytest.raises(PlanError, match="at least 1"):
            execute(planned, model, mixtures, store, batch_size=0)
        assert store.keys() == set()

    def test_code_that_changed_since_the_plan_is_refused(self, planned, model, mixtures, store, monkeypatch):
        monkeypatch.setattr(TASKS, "code_version", lambda: "new")
        with pytest.raises(PlanError, match=r"code.*make it anew"):
            execute(planned, model, mixtures, store)

    @pytest.mark.parametrize(
        ("spans", "reasons"),
        [
            ((), dict.fromkeys(("spans", "gate", "shuffled"), "the mixture has no spans")),
            ((("+", 0.0, 0.256),), {"shuffled": "the spans mark all frames alike"}),
            ((("+", 0.0, 0.128),), {}),
        ],
    )
    def test_spans_that_say_nothing_are_a_reason_and_no_score(self, model, store, spans, reasons):
        one = [tiny_runs.mixture(0, spans=spans), tiny_runs.mixture(1)]
        planned = some(model, one, "baseline", "spans", "gate", "shuffled")
        assert execute(planned, model, one, store) == 8
        for arm, specs in planned.arms.items():
            score = store.get([specs[0].key])[specs[0].key].scores["si_snr"]
            assert (score.reason or "").startswith(reasons.get(arm, ""))
            assert math.isnan(score.value) == (arm in reasons)
            assert store.get([specs[1].key])[specs[1].key].scores["si_snr"].reason is None
        pairs = ledger(store, planned).paired("si_snr", arm="shuffled", baseline="spans", tier="clean")
        assert (pairs.n, pairs.n_dropped + pairs.n_excluded) == ((1, 1) if reasons else (2, 0))

    def test_a_metric_without_a_value_is_stored_with_its_reason(self, model, mixtures, store):
        planned = some(model, mixtures, "baseline", metrics=("stoi", "si_snr"))
        execute(planned, model, mixtures, store)
        scores = store.get([planned.runs[0].key])[planned.runs[0].key].scores
        assert math.isnan(scores["stoi"].value)
        assert scores["stoi"].reason
        rows = [row for row in ledger(store, planned).rows if row.metric == "stoi"]
        assert [row.reason for row in rows] == [scores["stoi"].reason] * 3


class TestLedger:
    def test_groups_of_both_sources_name_its_rows_and_decide_no_run(self, model, mixtures, store):
        execute(some(model, mixtures, "baseline", "zero-additive"), model, mixtures, store)
        named = [replace(one, group=f"t{i}", residual_group=f"r{i}") for i, one in enumerate(mixtures)]
        planned = some(model, named, "baseline", "zero-additive")
        assert store.missing(planned) == ()
        pairs = ledger(store, planned).paired("si_snr", arm="zero-additive", baseline="baseline", tier="clean")
        assert (pairs.groups, pairs.residual_groups) == (("t0", "t1", "t2"), ("r0", "r1", "r2"))

    def test_a_run_that_failed_is_a_failed_row(self, full, planned, monkeypatch):
        runs = list(scored_runs(full, planned))[:2]
        scores = {"si_snr": Score(math.nan, "estimate is silent", failed=True), "stoi": Score(math.nan, "no speech")}
        monkeypatch.setattr(COLLECT, "scored_runs", lambda *_: [replace(runs[0], scores=scores), runs[1]])
        rows = ledger(full, planned).rows
        assert {row.metric: row.failed for row in rows if row.reason} == {"si_snr": True, "stoi": False}
        assert not any(row.failed for row in rows if row.reason is None)

    def test_mixtures_of_different_groups_share_a_batch(self, model, mixtures, store):
        named = [replace(one, group=f"t{i}", residual_group=f"r{i}") for i, one in enumerate(mixtures)]
        stored = []
        execute(some(model, named, "baseline"), model, named, store, progress=stored.append)
        assert [one.runs for one in stored] == [3]

    def test_it_has_a_row_for_each_arm_mixture_seed_and_metric(self, full, planned):
        made = ledger(full, planned)
        metrics = {"si_snr", "si_snri"}
        where = [f"L{layer:02d}" for layer in range(4)] + ["mean"]
        ratios = {f"{form}/{name}" for form in ("block_ratio", "block_ratio_sum") for name in where}
        for arm in planned.arms:
            compared = set() if planned.arms[arm][0].spans or arm == "baseline" else COMPARED
            wanted = metrics | compared | (ratios if planned.arms[arm][0].spans else set())
            rows = [row for row in made.rows if row.arm == arm]
            assert {row.metric for row in rows} == wanted
            assert len(rows) == len(wanted) * 6
            assert {(row.tier, row.group) for row in rows} == {("clean", "dog")}

    def test_arms_that_share_runs_have_the_same_figures(self, full, planned):
        pairs = ledger(full, planned).paired("si_snr", arm="gate", baseline="gate-again", tier="clean")
        assert pairs.n == 3
        assert np.array_equal(pairs.first, pairs.second)

    def probes(self, model, mixture, spec, **wanted):
        conditions = model.conditions(
            torch.from_numpy(mixture.wave)[None], [mixture.prompt], [mixture.spans if spec.spans else None]
        )
        noise = noise_of(mixture, spec.seed, conditions.audio_features.shape[1:])[None]
        edits = [*spec.edits, Record(**wanted)]
        left = []
        solve_batch(model, conditions, noise, solver=parse_solver(spec.solver), edits=edits, on_leave=left.append)
        return left[0].outcomes[-1]

    def test_entropy_rates_are_those_of_the_baselines_recordings(self, full, planned, model, mixtures):
        rates = entropy_rates(full, planned)
        assert list(rates) == ["clean-000", "clean-001", "clean-002"]
        for mixture in mixtures:
            specs = [spec for spec in planned.arms["baseline"] if spec.mixture == mixture.id]
            each = [rates_of(self.probes(model, mixture, spec).entropy).numpy() for spec in specs]
            np.testing.assert_allclose(rates[mixture.id], np.mean(each, axis=0), rtol=1e-4)
        assert entropy_rates(full, planned, arm="lsac") == {}
        assert entropy_rates(full, planned, arm="nothing") == {}

    @pytest.mark.parametrize("arm", ["spans", "gate", "shuffled"])
    def test_block_ratios_are_means_over_steps_against_the_true_spans(self, full, planned, model, mixtures, arm):
        spec = planned.arms[arm][0]
        recorded = self.probes(model, mixtures[0], spec, entropy=False, block_ratio=True)
        rows = {
            row.metric: row.value
            for row in ledger(full, planned).rows
            if (row.arm, row.mixture, row.seed) == (arm, "clean-000", 0)
        }
        forms = {"block_ratio": recorded.block_ratio, "block_ratio_sum": recorded.block_ratio_sum}
        for form, values in forms.items():
            ratios = values[:, :, 0]
            for layer, ratio in enumerate(ratios.mean(dim=1)):
                assert rows[f"{form}/L{layer:02d}"] == pytest.approx(float(ratio), rel=1e-4)
            assert rows[f"{form}/mean"] == pytest.approx(float(ratios.mean()), rel=1e-4)

    def test_the_two_forms_of_the_block_ratio_differ_by_the_counts_of_their_pairs(self, model, store):
        quarter = tiny_runs.mixture(spans=(("+", 0.0, 4 * tiny_runs.HOP / tiny_runs.RATE),))
        one = some(model, [quarter], "spans")
        execute(one, model, [quarter], store)
        rows = {row.metric: row.value for row in ledger(store, one).rows}
        within, across = 4**2 + 12**2, 2 * 4 * 12
        for layer in range(4):  # one step's ratio scales by the counts, and so does their mean
            scaled = rows[f"block_ratio/L{layer:02d}"] * within / across
            assert rows[f"block_ratio_sum/L{layer:02d}"] == pytest.approx(scaled, rel=1e-6)

    def test_the_model_is_free_again_after_a_failure(self, model, mixtures, store):
        idle = {"idle": {"edits": ({"kind": "DeepCache", "interval": 1},)}}
        with pytest.raises(CacheError):
            execute(some(model, mixtures, "idle", more=idle), model, mixtures, store)
        with attach(model, [], nfe=1):
            pass


def test_an_edit_that_looks_across_the_batch_gets_each_example_alone(model, mixtures, store, monkeypatch):
    monkeypatch.setattr(ZeroAdditive, "looks_across_batch", True)
    sizes = {}

    def noted(batch, spec, **others):
        sizes.setdefault(spec.edits, []).append(len(batch.seeds))
        return compute(batch, spec, **others)

    compute = COMPUTE.compute_each
    monkeypatch.setattr(CHUNK, "compute_each", noted)
    planned = plan(tiny_runs.arms("baseline", "zero-additive", "deepcache"), mixtures, model, seeds=(0,))
    assert execute(planned, model, mixtures, store) == 3 * len(mixtures)
    assert sizes == {(): [3], (DeepCache(interval=2),): [3], (ZeroAdditive(),): [1, 1, 1]}
