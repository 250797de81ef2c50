"""A claim is judged tier by tier: its verdict combines those of its cases, whatever else is judged beside them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sam_lsac.claims import KINDS, Ledger, judge, judge_case
from sam_lsac.errors import ClaimError
from tests.claim_worlds import CASES, PAIRED, leaking, losing, make_claim, make_context, rows_of

TIERS = ("clean", "noisy", "env")
MIXED = tuple(itertools.product(("true", "false", "weak", "empty"), repeat=3))[::5]  # 13 ways to fill three tiers
GATE = {
    "gate": -0.1,
    "flops_per_evaluation": 2e11,
    "entropy_rates": {f"m{i}": (0.1, 0.2, 0.3, 0.4 + i) for i in range(9)},
    **leaking(a=(0.0, 0.0)),
}
WITHOUT_TIERS = {
    "saved-share": {"arms": ["a"]},
    "layers-settle": {"family": "f"},
    "sign": {"direction": "negative"},
    "count": {"targets": {"flops_per_evaluation": 2e11}, "tolerance": 0.1},
    "state-leak": {"arms": ["a"]},
}
TABLE = {"table": {"arms": ["a"], "metrics": ["si_snr"], "tiers": ["clean"]}}


def combination(statuses):
    """Return a claim's status from those of its tiers, by the rule that the documentation states."""
    if "refuted" in statuses:
        return "refuted"
    if "not run" in statuses:
        return "not run"
    return statuses[0] if set(statuses) <= {"supported", "shown"} and len(set(statuses)) == 1 else "inconclusive"


def ledger_of(case, worlds, *, n=24, seed=0):
    """Return a ledger where each tier has its own world; "empty" leaves one mixture, too few to judge."""
    rows = []
    for place, (tier, name) in enumerate(zip(TIERS, worlds, strict=True)):
        draw = getattr(case, "true" if name == "empty" else name)
        rows += rows_of(draw(np.random.default_rng([seed, place]), 1 if name == "empty" else n), tier=tier)
    return Ledger(tuple(rows))


def three_tiers(name):
    case = CASES[name]
    return case, make_claim(kind=name.split(",")[0], **(case.claim | {"tiers": list(TIERS)}))


def test_every_kind_is_looked_at():
    assert {name.split(",")[0] for name in CASES} | set(WITHOUT_TIERS) | set(TABLE) == set(KINDS)


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_the_combination_of_the_cases(name):
    case, claim = three_tiers(name)
    context = make_context(**case.context)
    assert claim.cases == TIERS
    seen = set()
    for worlds in MIXED:
        ledger = ledger_of(case, worlds)
        whole = judge(claim, ledger, context)
        parts = {tier: judge_case(claim, tier, ledger, context) for tier in claim.cases}
        assert whole.tiers == {tier: part.status for tier, part in parts.items()}
        assert whole.status == combination(list(whole.tiers.values()))
        assert whole.findings == tuple(finding for part in parts.values() for finding in part.findings)
        assert [part.tiers for part in parts.values()] == [{tier: part.status} for tier, part in parts.items()]
        seen.add(whole.status)
    assert seen == {"refuted", "inconclusive"} | ({"supported"} if case.n == 24 else set())


@pytest.mark.parametrize("name", ["no-loss", "pareto", "rank-correlation"])
def test_what_is_selected_never_changes_a_tiers_verdict(name):
    case, claim = three_tiers(name)
    ledger = ledger_of(case, ("true", "false", "weak"))
    context = make_context(**case.context)
    alone = {tier: judge_case(claim, tier, ledger, context) for tier in TIERS}
    for k in (1, 2, 3):
        for chosen in itertools.permutations(TIERS, k):
            some = judge(claim, ledger, context, tiers=chosen)
            assert some.tiers == {tier: alone[tier].status for tier in TIERS if tier in chosen}
            assert some.findings == tuple(f for tier in TIERS if tier in chosen for f in alone[tier].findings)
            wanted = "refuted" if "noisy" in chosen else "not run" if k < 3 else "inconclusive"
            assert some.status == wanted


def test_a_partial_selection_says_what_was_judged_and_what_is_left_out():
    _, claim = three_tiers("equivalent")
    ledger = ledger_of(CASES["equivalent"], ("true", "true", "true"))
    some = judge(claim, ledger, make_context(), tiers=["noisy"])
    assert (some.status, some.tiers, len(some.findings)) == ("not run", {"noisy": "supported"}, 1)
    assert "noisy supported" in some.reason
    assert "left out: clean, env" in some.reason
    assert judge(claim, ledger, make_context()).status == "supported"
    assert "left out" not in judge(claim, ledger, make_context(), tiers=TIERS).reason


def test_the_level_of_a_tier_follows_from_the_whole_claim_whatever_is_selected():
    _, claim = three_tiers("equivalent")
    ledger = ledger_of(CASES["equivalent"], ("true", "false", "true"))
    assert claim.n_contradictions == KINDS["equivalent"].n_contradictions(claim) == 6
    assert claim.on("noisy").refutation_level == claim.refutation_level == pytest.approx(0.05 / 6)
    (shown,) = judge_case(claim, "clean", ledger, make_context()).findings
    assert (shown.status, shown.p_adjusted) == ("supported", shown.p)  # all tiers must hold, so nothing is divided
    (ruled_out,) = judge_case(claim, "noisy", ledger, make_context()).findings
    assert (ruled_out.status, ruled_out.p_adjusted) == ("refuted", pytest.approx(min(1.0, 6 * ruled_out.p)))


def test_a_tier_with_too_little_data_does_not_hide_a_refutation():
    case, claim = three_tiers("equivalent")
    said = judge(claim, ledger_of(case, ("empty", "false", "true")), make_context())
    assert said.tiers == {"clean": "inconclusive", "noisy": "refuted", "env": "supported"}
    assert said.status == "refuted"
    assert "Only 1 mixtures" in said.reason
    assert said.n == 24


def test_a_tier_without_runs_keeps_the_claim_from_being_supported_but_not_from_being_refuted():
    case, claim = three_tiers("equivalent")
    for world, status in (("true", "not run"), ("false", "refuted")):
        rows = [row for row in ledger_of(case, (world, "true", "true")).rows if row.tier != "env"]
        said = judge(claim, Ledger(tuple(rows)), make_context())
        assert (said.status, said.tiers["env"]) == (status, "not run")
        assert "columns have no runs" in said.reason


@pytest.mark.parametrize("kind", WITHOUT_TIERS)
def test_a_claim_without_tiers_is_one_case(kind):
    claim = make_claim(kind=kind, **WITHOUT_TIERS[kind])
    said = judge(claim, Ledger(()), make_context(**GATE))
    assert (claim.cases, said.tiers) == ((None,), {})
    assert said.status in ("supported", "shown")
    assert judge_case(claim, None, Ledger(()), make_context(**GATE)) == said
    with pytest.raises(ClaimError, match="one case"):
        judge_case(claim, "clean", Ledger(()), make_context(**GATE))


def test_a_claim_that_compares_tiers_is_one_case():
    fields = PAIRED | {"rivals": ["r"], "direction": "largest", "tiers": ["clean", "env"], "stronger_tier": "env"}
    claim = make_claim(kind="loss-order", **fields)
    assert claim.cases == (None,)
    with pytest.raises(ClaimError, match="one case"):
        claim.on("env")
    with pytest.raises(ClaimError, match="one case"):
        judge(claim, Ledger(()), make_context(), tiers=["env"])


@pytest.mark.parametrize(("tiers", "words"), [(["claen"], "did you mean 'clean'"), ([], "no tiers to judge")])
def test_tiers_that_the_claim_does_not_have_are_errors(tiers, words):
    _, claim = three_tiers("equivalent")
    with pytest.raises(ClaimError, match=words):
        judge(claim, Ledger(()), make_context(), tiers=tiers)


def test_a_claim_about_another_model_is_not_run_on_any_tier():
    _, claim = three_tiers("equivalent")
    said = judge(replace(claim, applies_to="22-layers"), Ledger(()), make_context())
    assert (said.status, said.tiers) == ("not run", dict.fromkeys(TIERS, "not run"))
    assert said.reason.count("22 layers") == 1


@pytest.mark.parametrize("arm", ["baseline", "a", "r", "control"])
def test_a_claim_is_not_run_where_one_of_its_arms_cannot_be(arm):
    """Also a control, which would be missing beside the others."""
    fields = PAIRED | {"rivals": ["r"], "controls": ["control"], "score": "loss"}
    claim = make_claim(kind="smaller-loss", **fields)
    world = losing(a=(0, 0.2), r=(1, 0.2), control=(1, 0.2))
    ledger = Ledger(tuple(rows_of(world(np.random.default_rng(0), 24))))
    assert judge(claim, ledger, make_context()).status == "supported"
    said = judge(claim, ledger, make_context(absent={arm: "no such library"}))
    assert (said.status, said.reason) == ("not run", "no such library")


# ---------------------------------------------------------------------------------------------------- known refutations


def known(value, **fields):
    base = PAIRED | {"kind": "equivalent", "tiers": ["clean", "noisy"]}
    return make_claim(**(base | fields), known_refutations={"toy": value})


def test_a_known_refutation_is_about_all_tiers_or_those_that_it_names():
    every, some = known("why"), known({"tiers": ["noisy"], "reason": "why"})
    context = make_context()
    assert [every.known_refutation(context, tier) for tier in ("clean", "noisy", None)] == ["why"] * 3
    assert [some.known_refutation(context, tier) for tier in ("clean", "noisy", None)] == [None, "why", "why"]
    assert some.on("clean").known_refutation(context, "clean") is None
    assert some.known_refutation(make_context(checkpoint="other"), "noisy") is None


@pytest.mark.parametrize(
    ("value", "fields", "words"),
    [
        ({"tiers": ["env"], "reason": "why"}, {}, "unknown tier 'env'"),
        ({"tiers": ["nosy"], "reason": "why"}, {}, "did you mean 'noisy'"),
        ({"tiers": ["clean"]}, {}, "reason is missing"),
        ({"tier": ["clean"], "reason": "why"}, {}, "did you mean 'tiers'"),
        (
            {"tiers": ["clean"], "reason": "why"},
            {"kind": "loss-order", "rivals": ["r"], "direction": "largest", "stronger_tier": "clean"},
            "unknown tier 'clean'",
        ),
    ],
)
def test_tiers_of_a_known_refutation_are_cases_of_its_claim(value, fields, words):
    with pytest.raises(ClaimError) as caught:
        known(value, **fields)
    assert words in str(caught.value)
