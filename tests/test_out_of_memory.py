"""Where memory has no room for a batch, halves of it are computed: nothing is lost, and the user is told."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from sam_lsac.__main__ import main
from sam_lsac.errors import InputError, PlanError, is_out_of_memory
from sam_lsac.model import save_checkpoint
from sam_lsac.runs import execute, open_store, plan
from sam_lsac.runs.local import Here, ScoredElsewhere
from tests import tiny_runs

VELOCITY = sys.modules["sam_lsac.model.velocity"]
NAMES = ("baseline", "lsac", "freeze-late", "naive", "gate")


@pytest.fixture(scope="module")
def model():
    return tiny_runs.model()


@pytest.fixture(scope="module")
def mixtures():
    return tiny_runs.mixtures(5)


def planned(model, mixtures):
    return plan(tiny_runs.arms(*NAMES), mixtures, model, seeds=(0,), metrics=("si_snr", "stoi"))


def filled(path, model, mixtures, *, batch_size, executor=None):
    """Latents and scores of every run by key, what the progress was told, and what was computed at once."""
    runs, notices = planned(model, mixtures), []
    with open_store(path) as store:
        execute(
            runs,
            model,
            mixtures,
            store,
            batch_size=batch_size,
            keep=lambda _: True,
            executor=executor,
            progress=lambda one: notices.append(one.arm) if not one.runs else None,
        )
        found = store.get([spec.key for spec in runs.runs])
        assert len(found) == len(runs.runs)
        latents = {key: store.array(key, "latents") for key in found}
    scores = {key: {name: score.value for name, score in one.scores.items()} for key, one in found.items()}
    beside = {key: (one.probes, one.hits, one.wall_s > 0) for key, one in found.items()}
    return latents, (scores, beside), notices, {key: one.environment.get("at_once") for key, one in found.items()}


def room_for(monkeypatch, n_examples, *, after=0):
    """Memory for so many examples of an evaluation, of which the first ones always fit."""
    real, n_evaluations = VELOCITY.PreparedVelocity.at, []

    def at(self, time, x):
        n_evaluations.append(len(x))
        if len(x) > n_examples and len(n_evaluations) > after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, time, x)

    monkeypatch.setattr(VELOCITY.PreparedVelocity, "at", at)
    return n_evaluations


@pytest.mark.parametrize("scored_elsewhere", [False, True], ids=["here", "scored elsewhere"])
def test_halves_are_computed_where_all_do_not_fit(model, mixtures, tmp_path, monkeypatch, scored_elsewhere):
    latents, figures, notices, at_once = filled(tmp_path / "two.sqlite", model, mixtures, batch_size=2)
    assert (notices, set(at_once.values())) == ([], {None})
    executor = ScoredElsewhere(model, Here(None)) if scored_elsewhere else None
    room_for(monkeypatch, 2)
    found = filled(tmp_path / "halved.sqlite", model, mixtures, batch_size=4, executor=executor)
    for key, expected in latents.items():
        np.testing.assert_array_equal(found[0][key], expected)  # the same batches of two, to the bit
    assert found[1] == figures
    assert found[2] == ["memory has room for 2 of 4 mixtures at once: figures differ by rounding"]
    assert sorted(found[3].values(), key=str) == sorted(["2"] * 4 * len(NAMES) + [None] * len(NAMES), key=str)


def test_quarters_where_halves_do_not_fit(model, mixtures, tmp_path, monkeypatch):
    alone = filled(tmp_path / "alone.sqlite", model, mixtures[:4], batch_size=1)
    room_for(monkeypatch, 1)
    found = filled(tmp_path / "quarters.sqlite", model, mixtures[:4], batch_size=4)
    assert found[1] == alone[1]
    assert set(found[3].values()) == {"1"}


@pytest.mark.parametrize("after", [3, 5, 9, 11, 14])
def test_what_was_computed_before_memory_ran_out_stands(model, mixtures, tmp_path, monkeypatch, after):
    with monkeypatch.context() as roomy:
        at_least = room_for(roomy, 4)
        whole = filled(tmp_path / "whole.sqlite", model, mixtures[:4], batch_size=4)
    n_evaluations = room_for(monkeypatch, 2, after=after)
    found = filled(tmp_path / "late.sqlite", model, mixtures[:4], batch_size=4)
    assert {"2"} < set(found[3].values()) if after > 4 else set(found[3].values()) == {"2"}
    for key, expected in whole[0].items():
        np.testing.assert_allclose(found[0][key], expected, rtol=1e-3, atol=1e-4)
    assert n_evaluations.count(4) == after + 1
    begun_again = (
        2 * 4 * 4
    )  # four steps of four examples: of one variant, and of the plain run whose states others need
    assert sum(n_evaluations) <= sum(at_least) + begun_again + 4


def test_one_mixture_that_does_not_fit_is_one_line_and_the_others_are_stored(model, mixtures, tmp_path, monkeypatch):
    n_evaluations = room_for(monkeypatch, 0, after=8)
    runs = planned(model, mixtures)
    with open_store(tmp_path / "runs.sqlite") as store:
        with pytest.raises(PlanError, match=r"no room for one mixture of 0\.3 s on cpu: give shorter mixtures"):
            execute(runs, model, mixtures, store, batch_size=1)
        assert 0 < len(store.get([spec.key for spec in runs.runs])) < len(runs.runs)
    assert len(n_evaluations) == 9


def test_any_other_error_is_not_taken_for_it(model, mixtures, tmp_path, monkeypatch):
    def broken(*_given):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(VELOCITY.PreparedVelocity, "at", broken)
    with open_store(tmp_path / "runs.sqlite") as store, pytest.raises(RuntimeError, match="mat1 and mat2"):
        execute(planned(model, mixtures), model, mixtures, store, batch_size=4)


def test_the_errors_that_say_so():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(InputError("too long"))
    limited = (
        "import resource, torch\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))\n"
        "from sam_lsac.errors import is_out_of_memory\n"
        "try:\n    torch.empty(2**38)\nexcept RuntimeError as error:\n    print(is_out_of_memory(error))"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"  # in the words of PyTorch's own allocator


def test_a_command_says_so_in_one_line(model, tmp_path, monkeypatch, capsys):
    save_checkpoint(model, tmp_path / "model")
    wave = np.random.default_rng(0).normal(0.0, 0.1, tiny_runs.RATE)
    soundfile.write(tmp_path / "in.wav", wave, tiny_runs.RATE, subtype="FLOAT")
    room_for(monkeypatch, 0)
    given = ["separate", str(tmp_path / "in.wav"), "--model", str(tmp_path / "model"), "--prompt", "dog"]
    assert main([*given, "--out", str(tmp_path / "out"), "--solver", "euler:2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sam_lsac separate: memory ran out: give shorter windows")
    assert not (tmp_path / "out").exists()
