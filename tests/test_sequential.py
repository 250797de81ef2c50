"""Claims on fewer mixtures, and look by look: what decides, when it stops, and that nothing else matters to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, Ledger, Row, judge, judge_case, reach
from sam_lsac.claims.claim import Claim
from sam_lsac.claims.judge import stops_at
from sam_lsac.claims.looks import looks_of
from sam_lsac.claims.reach import in_reach
from sam_lsac.errors import ClaimError
from sam_lsac.report.looks import looks_text
from sam_lsac.statistics import nominal_levels
from tests.claim_worlds import (
    CASES,
    PAIRED,
    losing,
    make_claim,
    make_context,
    make_ledger,
    quickly,
    rows_of,
)

N = 24
PLANNED = {"clean": N}
SHARES = (1 / 2, 2 / 3, 5 / 6, 1.0)
SMALLER = PAIRED | {"rivals": ["r"], "score": "loss"}
TIERS = ("clean", "noisy", "env")


def smaller(**fields: object) -> Claim:
    return make_claim(kind="smaller-loss", **(SMALLER | fields))


def leads(*figures: float) -> dict[tuple[str, str], np.ndarray]:
    """Arm "r" loses more than "a" by these figures."""
    base = np.linspace(5.0, 9.0, len(figures))
    own = 0.5 + 0.1 * np.cos(np.arange(len(figures)))
    return {
        ("baseline", "si_snr"): base,
        ("a", "si_snr"): base - own,
        ("r", "si_snr"): base - own - np.asarray(figures),
    }


def figures(mean: float, sd: float, n: int = N) -> list[float]:
    """Figures without skewness whose mean and spread are the same after every even number of them."""
    return [mean + sd * (-1) ** place for place in range(n)]


def first(ledger: Ledger, n: int) -> Ledger:
    """The rows of the first mixtures of each tier."""
    return Ledger(tuple(row for row in ledger.rows if int(row.mixture.rsplit("-", 1)[1]) < n))


def drawn(world: Callable, *, seed: int, n: int = N, tiers: tuple[str, ...] = ("clean",)) -> Ledger:
    rng = np.random.default_rng(seed)
    return Ledger(tuple(row for tier in tiers for row in rows_of(world(rng, n), tier=tier)))


# ----------------------------------------------------------------------------------------------------------- the looks


def test_looks_begin_at_twelve_mixtures_and_end_with_all():
    def sizes(n: int, **fields: object) -> list[int]:
        return [look.sizes["clean"] for look in looks_of(smaller(**fields), {"clean": n})]

    assert [sizes(n) for n in (6, 12, 14, 24, 36)] == [[6], [12], [12, 14], [12, 16, 20, 24], [12, 18, 24, 30, 36]]
    assert sizes(48, mixtures_per_tier=24) == [12, 16, 20, 24]
    assert sizes(24, mixtures_per_tier=48) == [12, 16, 20, 24]


def test_shares_are_of_the_claims_own_mixtures():
    looks = looks_of(smaller(mixtures_per_tier=24), {"clean": 100})
    assert [look.shares for look in looks] == [pytest.approx(SHARES[:number]) for number in (1, 2, 3, 4)]
    assert [look.is_last for look in looks] == [False, False, False, True]


def test_where_only_the_last_look_is_left_it_has_no_share_and_so_the_plain_level():
    (look,) = looks_of(smaller(), {"clean": 11})
    assert (look.shares, look.is_last) == ((), True)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_say_what_may_be_decided_early(kind):
    by_rule_10 = {"no-loss", "negligible-loss", "effect-table", "complementary"}
    waits = {"layers-settle", "table"}
    wanted = {"refuted"} if kind in by_rule_10 else set() if kind in waits else {"supported", "refuted"}
    assert KINDS[kind].early == wanted


@pytest.mark.parametrize("name", CASES)
def test_what_looks_at_rare_failures_is_supported_by_all_mixtures_alone(name):
    case = CASES[name]
    claim = make_claim(kind=name.split(",")[0], **case.claim)
    context = make_context(**case.context)
    planned = {"clean": case.n}
    with quickly():
        supported = judge(claim, drawn(case.true, seed=5, n=case.n), context, planned=planned)
        refuted = judge(claim, drawn(case.false, seed=5, n=case.n), context, planned=planned)
    assert (supported.status, refuted.status) == ("supported", "refuted")
    look = supported.looks["clean"]
    if any(one.harm for one in supported.findings):
        assert (look.number, look.level) == (look.of, claim.judged_on(context).level)
    else:
        assert look.number < look.of
    assert refuted.looks["clean"].number < refuted.looks["clean"].of


# ---------------------------------------------------------------------------------------------------------- the levels


def test_each_look_has_its_nominal_levels_of_support_and_of_refutation():
    claim, context = smaller(tiers=["clean", "noisy"]), make_context()
    assert claim.n_contradictions == 2  # one on each tier, though one tier is judged here
    supports, refutes = (nominal_levels(claim.level / shared, SHARES) for shared in (1, 2))
    for number, (mean, sd) in {1: (2.0, 0.5), 4: (0.3, 1.0)}.items():
        verdict = judge_case(claim, "clean", make_ledger(leads(*figures(mean, sd))), context, planned=PLANNED)
        look = verdict.looks["clean"]
        assert (look.number, look.of, look.planned) == (number, 4, N)
        assert (look.level, look.refutation_level) == pytest.approx((supports[number - 1], refutes[number - 1]))


@pytest.mark.parametrize("side", [1, -1])
def test_what_the_whole_level_would_show_at_the_first_look_is_not_enough_there(side):
    """Shown by 12 mixtures at 0.05, and by all of them at their look's level, but by no look before."""
    claim, context = smaller(), make_context()
    values = [side * one for one in figures(0.6, 0.6)]
    early = judge(claim, make_ledger(leads(*values[:12])), context)
    verdict = judge(claim, make_ledger(leads(*values)), context, planned=PLANNED)
    assert early.status == verdict.status == ("supported" if side > 0 else "refuted")
    assert verdict.looks["clean"].number > 1


def test_a_p_value_is_adjusted_for_the_level_of_its_look():
    claim, context = smaller(), make_context()
    verdict = judge(claim, make_ledger(leads(*figures(2.0, 0.5))), context, planned=PLANNED)
    (decided,) = [one for one in verdict.findings if one.status]
    assert decided.p_adjusted == pytest.approx(decided.p * claim.alpha / verdict.looks["clean"].level)
    assert decided.p_adjusted < claim.alpha


def test_a_null_is_decided_no_more_often_than_its_level():
    """Over four looks; at the whole level at each of them it would be half as often again."""
    claim, context = replace(smaller(), alpha=0.3), make_context()
    world = losing(a=(0.5, 2.0), r=(0.5, 2.0))
    runs = 150
    with quickly():
        said = [judge(claim, drawn(world, seed=seed), context, planned=PLANNED).status for seed in range(runs)]
        once = [judge(claim, drawn(world, seed=seed), context).status for seed in range(runs)]
    for status in ("supported", "refuted"):
        assert said.count(status) <= 0.3 * runs + 3 * math.sqrt(0.3 * 0.7 * runs)
        assert said.count(status) >= 0.75 * once.count(status)  # hardly any power is given away


# ------------------------------------------------------------------------------------------------------ where it stops


@pytest.mark.parametrize("name", CASES)
def test_with_one_look_the_verdict_is_the_plain_one_bit_by_bit(name):
    case = CASES[name]
    claim, context = make_claim(kind=name.split(",")[0], **case.claim), make_context(**case.context)
    ledger = drawn(case.true, seed=3, n=11)
    assert judge(claim, ledger, context, planned={"clean": 11}) == judge(claim, ledger, context)


@pytest.mark.parametrize("values", [figures(2.0, 0.5, 60), figures(-2.0, 0.5, 60), figures(0.6, 0.6, 60)])
def test_a_decided_case_does_not_change_when_more_mixtures_come(values):
    claim, context = smaller(), make_context()
    whole = make_ledger(leads(*values))
    stopped = judge(claim, first(whole, N), context, planned=PLANNED)
    at = stopped.looks["clean"].mixtures
    assert at < N
    for n in range(at, 60, 7):
        assert judge(claim, first(whole, n), context, planned=PLANNED) == stopped
    assert stopped.n == at


def test_a_first_impression_that_is_wrong_does_not_stop_what_it_does_not_decide():
    claim, context = smaller(), make_context()
    values = [*figures(0.3, 1.0, 12), *figures(-3.0, 1.0, 12)]
    verdict = judge(claim, make_ledger(leads(*values)), context, planned=PLANNED)
    assert verdict.status == "refuted"
    assert verdict.n > 12


def test_what_is_undecided_with_a_verdict_in_reach_takes_all_mixtures():
    claim, context = smaller(), make_context()
    verdict = judge(claim, make_ledger(leads(*figures(0.3, 1.0))), context, planned=PLANNED)
    look = verdict.looks["clean"]
    assert (verdict.status, verdict.n, look.number, look.mixtures) == ("inconclusive", N, 4, N)
    assert not look.gave_up
    assert "given up" not in looks_text(verdict)


@pytest.mark.parametrize(("n", "at"), [(24, 12), (36, 18), (48, 24), (60, 30)])
def test_without_a_verdict_in_reach_a_case_gives_up_at_half_of_its_mixtures(n, at):
    claim, context = smaller(), make_context()
    whole = make_ledger(leads(*figures(0.0, 1.0, n)))
    verdict = judge(claim, whole, context, planned={"clean": n})
    look = verdict.looks["clean"]
    assert (verdict.status, verdict.n, look.mixtures, look.gave_up) == ("inconclusive", at, at, True)
    assert looks_text(verdict).endswith("given up")
    assert verdict == judge(claim, first(whole, at), context, planned={"clean": n})
    stops = [stops_at(one, claim, whole, context) for one in looks_of(claim, {"clean": n})]
    assert stops.index(True) == look.number - 1


def test_reach_is_asked_at_the_undivided_level():
    """At 12 of 24 mixtures 0.17 at 0.05, but 0.01 at the level of that look; at 20 of them 0.05."""
    claim, context = smaller(), make_context()
    verdict = judge(claim, make_ledger(leads(*figures(0.2, 1.0))), context, planned=PLANNED)
    assert (verdict.n, verdict.looks["clean"].gave_up) == (20, True)


def test_a_case_does_not_give_up_where_too_many_figures_are_missing():
    claim, context = smaller(), make_context()
    rows = rows_of(leads(*figures(0.0, 1.0)))
    lost = {("a", f"clean-{place:03d}") for place in (0, 3)}
    rows = [replace(row, value=math.nan, reason="?") if (row.arm, row.mixture) in lost else row for row in rows]
    verdict = judge(claim, Ledger(tuple(rows)), context, planned=PLANNED)
    assert verdict.looks["clean"].mixtures == 20  # of which two are a tenth


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_that_is_given_was_in_reach(name):
    """So each contrast that supports or refutes a kind is among those whose reach is asked."""
    case, kind = CASES[name], KINDS[name.split(",")[0]]
    context = make_context(**case.context)
    claim = make_claim(kind=kind.name, **case.claim).judged_on(context)
    if not kind.early or not claim.columns:
        pytest.skip("has no looks")
    with quickly():
        for world, status in ((case.true, "supported"), (case.false, "refuted")):
            ledger = drawn(world, seed=5, n=case.n)
            evidence = [one for one in kind.find(claim, ledger, context) if kind.decides(claim, one.finding)]
            assert kind.status(claim, [one.finding for one in evidence]) == status
            assert in_reach(claim, evidence, share=0.99) == {status}


def test_a_gain_brings_no_refutation_of_a_table_of_effects_into_reach():
    """Its arms must not lose; that one gains contradicts nothing, whatever its d."""
    claim, context = make_claim(kind="effect-table", **CASES["effect-table"].claim), make_context()
    ledger = drawn(losing(a=(-1.0, 0.5), r=(0.3, 0.5), s=(2.0, 1.0)), seed=5, n=60)
    with quickly():
        evidence = KINDS["effect-table"].find(claim.judged_on(context), ledger, context)
        assert in_reach(claim, evidence, share=0.5) == frozenset()


@pytest.mark.parametrize("side", [1, -1])
def test_a_gain_beyond_the_margin_brings_the_refutation_of_equivalence_into_reach(side):
    """As a loss beyond it does."""
    claim, context = make_claim(kind="equivalent", **CASES["equivalent"].claim), make_context()
    ledger = drawn(losing(a=(side * 2.0, 0.5), r=(0.3, 0.5)), seed=5, n=60)
    with quickly():
        evidence = KINDS["equivalent"].find(claim.judged_on(context), ledger, context)
        assert in_reach(claim, evidence, share=0.5) == {"refuted"}


def test_giving_up_takes_few_verdicts_away_and_turns_none(monkeypatch):
    claim, context = smaller(), make_context()
    world = losing(a=(0.5, 2.0), r=(2.5, 2.0))  # shown in four of five ledgers
    runs = 120

    def said() -> list[str]:
        return [judge(claim, drawn(world, seed=seed), context, planned=PLANNED).status for seed in range(runs)]

    with quickly():
        given_up = said()
        monkeypatch.setattr(reach, "LEAST_POWER", 0.0)
        never = said()
    assert 0.5 * runs < never.count("supported") < runs
    assert all(one in (other, "inconclusive") for one, other in zip(given_up, never, strict=True))
    assert never.count("supported") - given_up.count("supported") <= 0.03 * runs


def test_tiers_stop_by_themselves_and_the_claim_joins_them():
    claim, context = smaller(tiers=list(TIERS)), make_context()
    values = {"clean": figures(2.0, 0.5), "noisy": figures(0.3, 1.0), "env": figures(-2.0, 0.5)}
    rows = [row for tier, one in values.items() for row in rows_of(leads(*one), tier=tier)]
    ledger, planned = Ledger(tuple(rows)), dict.fromkeys(TIERS, N)
    verdict = judge(claim, ledger, context, planned=planned)
    assert dict(verdict.tiers) == {"clean": "supported", "noisy": "inconclusive", "env": "refuted"}
    assert {tier: look.mixtures for tier, look in verdict.looks.items()} == {"clean": 12, "noisy": N, "env": 16}
    assert verdict.status == "refuted"
    for tier in TIERS:
        alone = judge_case(claim, tier, ledger, context, planned=planned)
        assert (alone.status, alone.looks) == (verdict.tiers[tier], {tier: verdict.looks[tier]})


def test_a_claim_that_compares_its_tiers_stops_with_all_of_them():
    claim = make_claim(
        kind="loss-order", direction="largest", **(PAIRED | {"tiers": ["clean", "env"]}), rivals=["r"],
        stronger_tier="env",
    )  # fmt: skip
    world = {"clean": losing(a=(2, 0.3), r=(1, 0.3)), "env": losing(a=(6, 0.3), r=(1, 0.3))}
    rng = np.random.default_rng(0)
    rows = [row for tier, one in world.items() for row in rows_of(one(rng, N), tier=tier)]
    verdict = judge(claim, Ledger(tuple(rows)), make_context(), planned={"clean": N, "env": N})
    assert (verdict.status, list(verdict.looks), verdict.looks[""].mixtures) == ("supported", [""], 12)
    unlike = judge(claim, Ledger(tuple(rows)), make_context(), planned={"clean": 12, "env": N})
    assert unlike.looks == {}  # no look before all mixtures of "clean"


def test_layers_are_settled_by_all_mixtures():
    claim = make_claim(kind="layers-settle", family="f")
    rates = {f"clean-{place:03d}": tuple(float(layer + 0.01 * place) for layer in range(12)) for place in range(N)}
    ledger, context = make_ledger(leads(*figures(0.0, 1.0))), make_context(entropy_rates=rates)
    verdict = judge(claim, ledger, context, planned=PLANNED)
    assert verdict == judge(claim, ledger, context)
    assert (verdict.status, verdict.n) == ("supported", N)


# ------------------------------------------------------------------------------------------------------ fewer mixtures


@pytest.mark.parametrize("planned", [None, PLANNED])
def test_a_claim_on_fewer_mixtures_is_judged_on_exactly_the_first(planned):
    values = [*figures(2.0, 0.5, 6), *figures(-9.0, 0.5, 18)]
    whole = make_ledger(leads(*values))
    few = smaller(mixtures_per_tier=6)
    verdict = judge(few, whole, make_context(), planned=planned)
    alone = judge(smaller(), first(whole, 6), make_context())
    assert verdict == alone
    assert (verdict.n, verdict.status) == (6, "supported")
    assert judge(smaller(), whole, make_context()).status == "refuted"


@pytest.mark.parametrize("planned", [None, PLANNED, {"clean": 60}])
def test_nothing_else_that_was_run_matters_to_a_claim_on_fewer_mixtures(planned):
    """Neither further mixtures, nor other arms, whose figures could be the worst that a failure is given."""
    columns = leads(*figures(0.6, 0.2))
    rows = rows_of(columns)
    rows = [
        replace(row, value=math.nan, reason="silent", failed=True) if (row.arm, row.mixture[-1]) == ("r", "4") else row
        for row in rows
    ]
    few = smaller(mixtures_per_tier=14)
    kept = [row for row in rows if int(row.mixture[-3:]) < 14]
    others = [replace(row, arm="s", value=-1000.0 * (1 + place)) for place, row in enumerate(kept) if row.arm == "a"]
    alone = judge(few, Ledger(tuple(kept)), make_context(), planned=planned)
    assert alone.n_failed
    for more in ([*kept, *others], rows, [*rows, *others]):
        assert judge(few, Ledger(tuple(more)), make_context(), planned=planned) == alone


def test_the_first_mixtures_are_those_of_the_plan_and_not_of_the_alphabet():
    names = [f"clean-{place:03d}" for place in reversed(range(N))]
    renamed = {f"clean-{place:03d}": name for place, name in enumerate(names)}
    rows = [replace(row, mixture=renamed[row.mixture]) for row in rows_of(leads(*figures(2.0, 0.5)))]
    ledger = Ledger(tuple(rows))
    assert ledger.mixtures("clean") == tuple(names)
    few = ledger.sample([("clean", "a", "si_snr")], {"clean": 3})
    assert few.mixtures("clean") == tuple(names[:3])
    assert len(few.rows) == 3


def test_more_mixtures_than_there_are_change_nothing():
    ledger = make_ledger(leads(*figures(0.5, 0.75)))
    assert judge(smaller(mixtures_per_tier=99), ledger, make_context()) == judge(smaller(), ledger, make_context())


def test_layers_may_be_settled_by_fewer_mixtures():
    claim = make_claim(kind="layers-settle", family="f", mixtures_per_tier=9)
    rates = {f"clean-{place:03d}": tuple(float(layer) for layer in range(12)) for place in range(N)}
    rows = rows_of(leads(*figures(0.0, 1.0)))
    verdict = judge(claim, Ledger(tuple(rows)), make_context(entropy_rates=rates))
    assert verdict.n == 9


@pytest.mark.parametrize("value", [0, 2, -1, 2.5, "6", True])
def test_too_few_mixtures_for_a_test_are_refused(value):
    with pytest.raises(ClaimError, match="mixtures_per_tier"):
        smaller(mixtures_per_tier=value)


def test_a_claim_that_needs_no_mixtures_takes_no_number_of_them():
    with pytest.raises(ClaimError, match="kind sign needs no mixtures: leave mixtures_per_tier out"):
        make_claim(kind="sign", direction="negative", mixtures_per_tier=6)


def test_a_row_is_what_a_sample_is_made_of():
    row = Row(arm="a", tier="clean", mixture="m", group="g", seed=0, metric="si_snr", value=1.0)
    assert Ledger((row,)).sample([("clean", "b", "si_snr")], {"clean": 1}).rows == ()
    assert Ledger((row,)).sample([("clean", "a", "si_snr")], {}).rows == ()
