"""On what schedules are tried beyond their calibration, and what the table of it says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.training import fidelity_elsewhere
from fixtures.training.fidelity_elsewhere import against, conditions, longer, main
from sam_lsac.metrics import si_snr
from sam_lsac.mixtures import load_mixtures
from sam_lsac.model import load_model
from sam_lsac.runs.compute import Batch
from sam_lsac.separate import decode
from sam_lsac.solver import Euler
from tests import tiny_runs

RATE = 8_000


@pytest.fixture(scope="module")
def tried():
    return {
        name: (mixtures, seed) for name, mixtures, seed in conditions(SimpleNamespace(sample_rate=RATE), per_tier=1)
    }


def power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))


def test_nothing_is_tried_on_what_schedules_are_fitted_on(tried) -> None:
    fitted = load_mixtures(per_tier=3, subset="calibration", sample_rate=RATE, duration_s=2.0)
    assert len(fitted) == 9
    seen = {mixture.id for mixture in fitted}
    assert not [one.id for mixtures, _ in tried.values() for one in mixtures if one.id in seen]
    assert {one.tier for one in tried["other mixtures"][0]} == {"clean", "noisy", "env"}


def test_other_noise_is_another_seed_of_the_same_mixtures(tried) -> None:
    plain, seed = tried["other mixtures"]
    others = [tried[f"other noise, {number}"] for number in (1, 2, 3)]
    assert all(one[0] == plain for one in others)
    assert len({seed, *(one[1] for one in others)}) == 4


@pytest.mark.parametrize("change_db", [-10, 10])
def test_a_residual_is_louder_or_quieter_by_so_much_beside_its_target(tried, change_db: int) -> None:
    for before, after in zip(tried["other mixtures"][0], tried[f"residual {change_db:+d} dB"][0], strict=True):
        ratios = [power(one.residual) / power(one.target) for one in (before, after)]
        assert 10 * np.log10(ratios[1] / ratios[0]) == pytest.approx(change_db, abs=0.1)
        assert np.abs(after.wave).max() <= 1


def test_white_noise_is_as_loud_as_the_residual_that_it_replaces(tried) -> None:
    for before, after in zip(tried["other mixtures"][0], tried["white noise as residual"][0], strict=True):
        ratios = [power(one.residual) / power(one.target) for one in (before, after)]
        assert 10 * np.log10(ratios[1] / ratios[0]) == pytest.approx(0, abs=0.5)
        assert abs(np.corrcoef(after.residual[1:], after.residual[:-1])[0, 1]) < 0.05


def test_longer_ones_are_as_long_as_they_say(tried) -> None:
    assert {one.duration_s for one in tried["5 s"][0]} == {5.0}
    assert {one.duration_s for one in tried["10 s"][0]} == {10.0}


def test_far_lengths_are_as_long_as_they_say_and_a_cache_that_is_too_large_is_left_out(monkeypatch) -> None:
    model = load_model("embedded")
    schedules = {"87": fidelity_elsewhere.find_schedule("87", model, given={})}
    unseen = fidelity_elsewhere._unseen
    monkeypatch.setattr(
        fidelity_elsewhere, "_unseen", lambda *given, seconds, **more: unseen(*given, seconds=0.5, **more)
    )
    rows = list(longer(model, schedules, seconds=[1]))
    assert rows[0] == "| dB | cache of LSAC Balanced | LSAC Balanced | 87 |"
    name, kept, lsac, fitted = rows[2].strip("| ").split(" | ")
    assert (name, kept) == ("2 mixtures, 1 s", "0.00 GB")
    assert float(lsac) > float(fitted) > 0
    monkeypatch.setattr(fidelity_elsewhere, "_MOST_KEPT", 1)
    assert list(longer(model, schedules, seconds=[1]))[2].split(" | ")[2] == "too large"


def test_the_table_is_of_outputs_against_the_reference_solves(monkeypatch) -> None:
    model, mixtures = tiny_runs.model(), tiny_runs.mixtures(2)
    monkeypatch.setattr(fidelity_elsewhere, "_unseen", lambda *_args, **_more: mixtures)
    rows = list(against(model, Euler(8), {"itself": Euler(8), "shorter": Euler(3)}, per_tier=1))
    assert rows[0] == "| against euler:8, n = 2 | evaluations | dB, median (worst) |"
    assert rows[2] == "| itself | 8 | inf (inf) |"

    def output(solver: Euler, index: int) -> np.ndarray:
        batch = Batch(model, [mixtures[index]], [fidelity_elsewhere._SEED + index])
        velocity = fidelity_elsewhere.Examples(
            model, [mixtures[index]], seeds=[fidelity_elsewhere._SEED + index], batch_size=1
        ).velocity
        return decode(model, solver.solve(velocity, batch.noise), seeds=[0])[0][0].numpy()[: mixtures[index].wave.size]

    found = [si_snr(output(Euler(3), index), output(Euler(8), index)).value for index in (0, 1)]
    assert rows[3] == f"| shorter | 3 | {np.median(found):.1f} ({min(found):.1f}) |"


def test_what_is_no_solver_is_one_line(capsys) -> None:
    assert main(["--reference", "oiler:16"]) == 2
    said = capsys.readouterr().err
    assert "oiler" in said
    assert said.count("\n") == 1
