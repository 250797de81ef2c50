"""The simulation of every kind of claim, small: that it covers all kinds, keeps the levels, and would see a fault."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import load_claims
from tests.calibration import measure as measuring
from tests.calibration.measure import BOOK, Cell, Rates, cells, chosen, line, measure
from tests.calibration.scenarios import ARITHMETIC, SCENARIOS, simulate
from tests.calibration.worlds import WORLDS, group_numbers

CLAIMS = {claim.id: claim for claim in load_claims(BOOK).claims}


def rates_of(claim, scenario, world="normal", simulations=30, **how):
    return measure(Cell(claim=claim, scenario=scenario, world=world, simulations=simulations, **how))


def test_every_kind_of_the_book_is_simulated():
    assert {claim.kind for claim in CLAIMS.values()} <= set(SCENARIOS) | ARITHMETIC
    assert {claim.kind for claim in chosen()} == {claim.kind for claim in CLAIMS.values()} - ARITHMETIC
    asked = cells(chosen(), worlds=WORLDS, simulations=1)
    assert {cell.world for cell in asked} == set(WORLDS)
    assert {cell.claim for cell in asked} == {claim.id for claim in chosen()}


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda world: world.name)
def test_noise_has_mean_zero_and_unit_variance(world):
    targets, residuals = group_numbers(48_000, world.n_groups)
    noise = np.concatenate([world.noise(np.random.default_rng(seed), targets) for seed in range(1 + 40 * world.extent)])
    assert noise.mean() == pytest.approx(0.0, abs=0.2)
    assert (noise**2).mean() == pytest.approx(1.0, abs=0.35)
    assert set(targets) == set(residuals) == set(range(world.n_groups))


@pytest.mark.parametrize("claim", ["GH2", "LS3", "SS1"])
def test_a_null_is_neither_supported_nor_refuted(claim):
    assert rates_of(claim, "null").faults == []


@pytest.mark.parametrize(("claim", "truth", "status"), [("GH2", "true", "supported"), ("LS3", "false", "refuted")])
def test_what_is_plain_is_found(claim, truth, status):
    assert rates_of(claim, truth, simulations=5).counts == Counter({status: 5})


def test_a_null_is_neither_supported_nor_refuted_at_any_look():
    assert rates_of("GH2", "null", simulations=12, sequential=True).faults == []


def test_many_missing_figures_decide_nothing():
    assert rates_of("GH2", "true", "30 % missing", simulations=5).counts == Counter({"inconclusive": 5})


def test_a_rule_without_its_level_is_seen(monkeypatch):
    """The same claim with its level multiplied by 30: what it then says wrongly is too frequent."""
    claim = CLAIMS["GH2"]
    monkeypatch.setattr(measuring, "chosen", lambda ids: [replace(claim, alpha=0.99, relatives=claim.relatives[:1])])
    loose = rates_of("GH2", "null", simulations=30)
    assert loose.counts["inconclusive"] < 20
    strict = replace(loose, allowed=dict.fromkeys(loose.allowed, 0.01))
    assert len(strict.faults) >= 1


def test_faults_are_what_three_errors_do_not_explain():
    rates = Rates(
        claim="X", kind="sign", scenario="null", world="normal", n=24, simulations=1000, level=0.01,
        counts=Counter(supported=19, refuted=22), allowed={"supported": 0.01, "refuted": 0.01},
    )  # fmt: skip
    assert [fault.split()[0] for fault in rates.faults] == ["refuted"]
    covered = replace(rates, counts=Counter(), intervals=2000, covered=1855)
    assert covered.faults == ["the 95% interval of d covers 92.8%"]
    assert replace(covered, covered=1860).faults == []
    assert replace(covered, world="t3").faults == []
    assert "| X | sign | null | normal | 24 | 1000 | 1 | 1.9 ± 0.4* | 2.2 ± 0.5* | 0.0 ± 0.0 |  |" in line(rates)


def test_a_ledger_repeats_with_its_seed():
    claim = CLAIMS["LS3"]
    scenario = SCENARIOS[claim.kind](claim)[0]
    one, same, other = (simulate(claim, scenario, WORLDS["skewed"], seed=seed)[0] for seed in ((0, 1), (0, 1), (0, 2)))
    assert one.rows == same.rows != other.rows
