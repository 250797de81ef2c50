"""An arm that fails on a mixture is a run that says so, and never the end of a plan."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from sam_lsac.claims.collect import ledger
from sam_lsac.errors import ModelError, NotFiniteError
from sam_lsac.interventions import HijackGate
from sam_lsac.runs import execute, open_store, plan
from sam_lsac.runs.compute import Batch, compute, compute_each
from sam_lsac.separate import separate
from sam_lsac.solver import Euler
from tests import tiny_runs

COMPUTE = sys.modules["sam_lsac.runs.compute"]
BURST = {"spans": True, "edits": ({"kind": "HijackGate", "value": 1e30},), "references": ("spans",)}


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


@pytest.fixture
def second_bursts(monkeypatch):
    """The noise of the second mixture overflows on the way, whatever the arm."""
    draw, second = COMPUTE.draw_noise, COMPUTE._request(tiny_runs.mixture(1))

    def drawn(shape, seed, *, mixture):
        noise = draw(shape, seed, mixture=mixture)
        if mixture == second:
            noise[0, 0] = 3e38
        return noise

    monkeypatch.setattr(COMPUTE, "draw_noise", drawn)


def some(model, mixtures, *names, **more):
    return plan(tiny_runs.arms(*names, **more), mixtures, model, seeds=(0,), metrics=("si_snr", "stoi"))


def test_an_arm_that_is_not_finite_is_a_failed_run_and_the_others_are_computed(model, mixtures, store):
    planned = some(model, mixtures, "baseline", "spans", "burst", "lsac", burst=BURST)
    assert execute(planned, model, mixtures, store) == 12
    rows = ledger(store, planned).rows
    of_burst = [row for row in rows if row.arm == "burst"]
    assert {row.metric for row in of_burst} == {
        "si_snr",
        "stoi",
        "fidelity/spans",
        "log_spectral_distance/spans",
        "block_ratio/mean",
    }
    for row in of_burst:
        assert (math.isnan(row.value), row.failed) == (True, True)
        assert "NaN or infinite after step 1 of euler:4" in row.reason
    assert not any(row.failed for row in rows if row.arm != "burst")
    assert all(math.isfinite(row.value) for row in rows if row.metric == "si_snr" and row.arm != "burst")


def test_it_is_read_back_as_it_was_written(model, mixtures, tmp_path):
    planned = some(model, mixtures, "spans", "burst", burst=BURST)
    path = tmp_path / "runs.sqlite"
    with open_store(path) as store:
        execute(planned, model, mixtures, store)
    with open_store(path, replay=True) as replay:
        assert execute(planned, model, mixtures, replay) == 0
        result = replay.get({planned.arms["burst"][0].key})[planned.arms["burst"][0].key]
        assert [score.failed for score in result.scores.values()] == [True] * 4
        assert (result.hits, result.probes, result.array_bytes) == ({}, {}, {})
        assert result.noise_digest is not None  # it was computed, and started from the noise of its pair


def test_of_a_batch_only_the_example_that_is_not_finite_fails(model, mixtures, store, second_bursts):
    planned = some(model, mixtures, "baseline", "lsac", "freeze-late")
    assert execute(planned, model, mixtures, store, keep=lambda _: True) == 9
    rows = ledger(store, planned).rows
    assert {row.mixture for row in rows if row.failed} == {"clean-001"}
    assert all(row.failed for row in rows if row.mixture == "clean-001")
    with open_store(store.path.with_name("alone.sqlite")) as other:
        rest = [mixtures[0], mixtures[2]]
        alone = some(model, rest, "baseline", "lsac", "freeze-late")
        execute(alone, model, rest, other, keep=lambda _: True)
        for spec in alone.runs:
            np.testing.assert_allclose(
                store.array(spec.key, "latents"), other.array(spec.key, "latents"), rtol=1e-3, atol=1e-4
            )
    pairs = ledger(store, planned).paired("si_snr", arm="lsac", baseline="baseline", tier="clean")
    assert (pairs.n, pairs.n_dropped) == (2, 1)


def test_a_reference_that_failed_is_the_reason_and_no_failure_of_the_arm(model, mixtures, store, monkeypatch):
    planned = some(model, mixtures, "baseline", "naive")
    each = COMPUTE.compute_each

    def broken(batch, spec, **options):
        return COMPUTE._failed(batch.only(0), "made so") if not spec.references else each(batch, spec, **options)

    monkeypatch.setattr(sys.modules["sam_lsac.runs.chunk"], "compute_each", broken)
    execute(planned, model, mixtures, store, batch_size=1)
    rows = [row for row in ledger(store, planned).rows if row.arm == "naive"]
    compared = [row for row in rows if "/" in row.metric]
    assert {row.reason for row in compared} == {"baseline has no output: made so"}
    assert not any(row.failed for row in rows)


def test_a_silent_output_has_failed_in_fidelity_too(model, mixtures, store, monkeypatch):
    decode = COMPUTE.decode
    silent = iter([False, True])

    def decoded(model, latents, *, seeds):
        waves = decode(model, latents, seeds=seeds)
        return tuple(torch.zeros_like(wave) for wave in waves) if next(silent) else waves

    monkeypatch.setattr(COMPUTE, "decode", decoded)
    planned = some(model, mixtures, "baseline", "naive")
    execute(planned, model, mixtures, store)
    rows = ledger(store, planned).rows
    assert {(row.arm, row.metric) for row in rows if row.failed} == {
        ("naive", metric) for metric in ("si_snr", "stoi", "fidelity/baseline", "log_spectral_distance/baseline")
    }
    assert {row.reason for row in rows if row.failed} == {"estimate is silent"}


def test_one_decode_a_run_stays(model, mixtures, store, monkeypatch):
    decode, counted = COMPUTE.decode, []
    monkeypatch.setattr(COMPUTE, "decode", lambda *given, **more: counted.append(1) or decode(*given, **more))
    execute(some(model, mixtures, "baseline", "lsac", "naive"), model, mixtures, store)
    assert len(counted) == 3  # batches: one for each arm, and none for references or failures


def test_a_plain_separation_stays_an_error(model, mixtures):
    with pytest.raises(NotFiniteError, match="after step 1"):
        separate(
            model,
            mixtures[0].wave,
            sample_rate=tiny_runs.RATE,
            prompt="dog",
            spans=[("+", 0.0, 0.1)],
            solver=Euler(4),
            edits=[HijackGate(value=1e30)],
        )
    assert issubclass(NotFiniteError, ModelError)


def test_edits_start_anew_where_the_run_without_them_is_not_finite(model, mixtures, second_bursts):
    """There is no state to share then: the run from the first step fails by itself."""
    planned = some(model, mixtures, "baseline", "freeze-late")
    batch = Batch(model, mixtures, [0] * 3)
    plain = compute_each(batch, planned.arms["baseline"][0], keep_steps={2})
    assert [reason is None for reason in plain.failures] == [True, False, True]
    assert plain.prefix.states == {}
    edited = compute_each(batch, planned.arms["freeze-late"][0], prefix=plain.prefix)
    assert [reason is None for reason in edited.failures] == [True, False, True]
    assert edited.hits
    assert np.isfinite(edited.waves[[0, 2]]).all()
    with pytest.raises(NotFiniteError):
        compute(batch, planned.arms["baseline"][0])
