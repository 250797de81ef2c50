"""--sequential: fewer runs, the same verdicts whoever judges, and what the terminal and the report say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_lsac.claims import Claim, Context, Ledger, load_claims, parse_claims
from sam_lsac.suite.looks import Needs, look_by_look, needs_of
from sam_lsac.suite.options import HOUSE_CLAIMS
from sam_lsac.suite.planning import outline, plan_session
from sam_lsac.suite.runs_of import first_runs, limited, numbers_of, plan_of
from tests import tiny_runs
from tests.claim_worlds import ARMS, COMMON, PAIRED, SETTINGS, make_context, rows_of
from tests.suite.rig import CLAIMS, Rig, make_rig
from tests.test_sequential import figures, leads

PER_TIER = 14  # looks at 12 and at 14
#: MY5 is about the first four mixtures.
FEWER = CLAIMS.replace('id = "MY5"\n', 'id = "MY5"\nmixtures_per_tier = 4\n')


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return make_rig(tmp_path_factory.mktemp("sequential") / "house", claims=FEWER, per_tier=PER_TIER)


@pytest.fixture(scope="module")
def first(rig: Rig) -> str:
    """What the first sequential session of a rig printed."""
    finished = rig.pytest("--sequential", "--report", "first")
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED, finished.stdout + finished.stderr
    return finished.stdout


def test_what_is_decided_is_not_computed_any_further(rig: Rig, first: str) -> None:
    """Baseline and lsac on 12 of 14 mixtures, naive on the 4 that its claim asks for."""
    assert rig.n_runs() == 2 * (12 + 12 + 4)
    assert "store: runs/store.sqlite, 0 of 64 runs there, at most 64 missing" in first
    assert re.search(r"first 2 of at most 64 runs in \d+ s, .* the other 62 take at most", first)
    assert "computed 56 runs in" in first


def test_the_report_says_how_many_mixtures_each_claim_took(rig: Rig, first: str) -> None:
    words = " ".join(first.split())
    assert "judged sequentially: 1 supported" in words
    assert "looks after 2, 3, 4, 5 and 6 sixths of the mixtures (14 clean, 14 noisy), from 12 on" in words
    assert "O'Brien-Fleming (Lan-DeMets)" in words
    assert "MY1: clean look 1 of 2, 12 of 14 mixtures" in words
    report = rig.report_data(rig.folder / "first")
    assert report["sequential"]["planned"] == {"clean": 14, "noisy": 14}
    rows = {row["id"]: row["verdict"] for row in report["claims"]}
    assert {tier: (one["number"], one["of"], one["mixtures"]) for tier, one in rows["MY2"]["looks"].items()} == {
        "clean": (1, 2, 12),
        "noisy": (1, 2, 12),
    }
    assert (rows["MY1"]["n"], rows["MY5"]["n"], rows["MY5"]["looks"]) == (12, 4, {})
    for name in ("report.md", "report.html"):
        text = (rig.folder / "first" / name).read_text(encoding="utf-8")
        assert "Judged sequentially" in text
        assert "look 1 of 2, 12 of 14 mixtures" in text


def test_workers_and_a_replay_find_the_same(rig: Rig, first: str) -> None:
    """The store has only what was needed, so that a replay that judged once would lack runs."""
    assert first
    n_runs = rig.n_runs()
    finished = rig.pytest("--sequential", "--replay", "-n", "1", "--report", "again")
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED, finished.stdout + finished.stderr
    old, new = (rig.without_time(rig.folder / name) for name in ("first", "again"))
    assert new == old
    assert rig.n_runs() == n_runs
    refused = rig.pytest("--replay", "--report", "none")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "runs are not in" in refused.stdout + refused.stderr


def test_a_sequential_replay_without_its_runs_says_so(tmp_path: Path) -> None:
    rig = make_rig(tmp_path / "house", per_tier=3)
    assert rig.pytest("-k", "MY1 and clean").returncode == 0
    refused = rig.pytest("--sequential", "--replay")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR, refused.stdout + refused.stderr
    assert "INTERNALERROR" not in refused.stdout + refused.stderr
    assert "runs are not in" in refused.stdout + refused.stderr


# ---------------------------------------------------------------------------------------- the loop, without any model

ARM = PAIRED | {"kind": "smaller-loss", "score": "loss", "rivals": ["r"], "family": "f", "tiers": ["clean", "noisy"]}
BOOK = parse_claims(
    {
        "settings": SETTINGS,
        "arms": ARMS,
        "claims": [COMMON | ARM | {"id": "X1"}, COMMON | ARM | {"id": "X2", "rivals": ["s"], "tiers": ["clean"]}],
    }
)
PLANNED = {"clean": 24, "noisy": 24, "env": 24}


def looks_taken(world: Mapping[str, Mapping[tuple[str, str], np.ndarray]], claims: list[Claim]) -> list[Needs]:
    """What each look asks for."""
    asked: list[Needs] = []

    def compute(needs: Needs) -> tuple[Ledger, Callable[[Claim], Context]]:
        asked.append(needs)
        rows = [
            row
            for tier, columns in world.items()
            for row in rows_of(columns, tier=tier)
            if int(row.mixture[-3:]) < needs.get(tier, {}).get(row.arm, 0)
        ]
        return Ledger(tuple(rows)), lambda _claim: make_context()

    look_by_look(BOOK, claims, PLANNED, compute=compute)
    return asked


def test_an_arm_goes_on_only_while_a_case_that_is_undecided_needs_it() -> None:
    clear, open_ = leads(*figures(2.0, 0.3)), leads(*figures(0.36, 1.0))
    world = {"clean": clear | {("s", "si_snr"): open_["r", "si_snr"]}, "noisy": clear}
    cases = [BOOK["X1"].on("clean"), BOOK["X1"].on("noisy"), BOOK["X2"].on("clean")]
    asked = looks_taken(world, cases)
    at = [{tier: dict(arms) for tier, arms in needs.items()} for needs in asked]
    assert [needs["noisy"] for needs in at] == [dict.fromkeys(("baseline", "a", "r"), 12)] * 4
    assert [needs["clean"] for needs in at] == [{"baseline": n, "a": n, "r": 12, "s": n} for n in (12, 16, 20, 24)]


def test_an_arm_of_a_case_that_gave_up_goes_no_further() -> None:
    world = dict.fromkeys(("clean", "noisy"), leads(*figures(0.0, 1.0)))
    (asked,) = looks_taken(world, [BOOK["X1"].on("clean"), BOOK["X1"].on("noisy")])
    assert {tier: dict(arms) for tier, arms in asked.items()} == dict.fromkeys(
        ("clean", "noisy"), dict.fromkeys(("baseline", "a", "r"), 12)
    )


def test_where_all_is_decided_no_further_look_is_taken() -> None:
    world = dict.fromkeys(("clean", "noisy"), leads(*figures(2.0, 0.3)))
    assert len(looks_taken(world, [BOOK["X1"].on("clean"), BOOK["X1"].on("noisy")])) == 1


def test_no_look_asks_for_more_than_judging_once() -> None:
    world = dict.fromkeys(("clean", "noisy"), leads(*figures(0.3, 1.0)))
    cases = [BOOK["X1"].on("clean"), BOOK["X1"].on("noisy")]
    once = needs_of(BOOK, [(case, PLANNED) for case in cases])
    for needs in looks_taken(world, cases):
        for tier, arms in needs.items():
            assert all(n <= once[tier][arm] for arm, n in arms.items())


# -------------------------------------------------------------------------------------------------- parts of a plan


@pytest.fixture(scope="module")
def whole():
    """A plan of three arms, one of which names another as its reference, on six mixtures and two seeds."""
    arms = tiny_runs.arms(
        "baseline", "other", "lsac", other={"solver": "euler:3"},
        lsac={"edits": ({"kind": "LSAC", "level": "balanced"},), "references": ("baseline", "other")},
    )  # fmt: skip
    book = replace(load_claims(HOUSE_CLAIMS), arms=arms, claims=())
    mixtures = [*tiny_runs.mixtures(4), *(replace(tiny_runs.mixture(n), id=f"env-{n}", tier="env") for n in (7, 8))]
    tiers = dict.fromkeys(mixture.tier for mixture in mixtures)
    wanted = dict.fromkeys(tiers, ("baseline", "other", "lsac"))
    return plan_of(book, tiny_runs.model(), mixtures, wanted=wanted, grid={}, seeds=(0, 1)), tiers


def test_a_part_of_a_plan_has_the_first_mixtures_of_each_arm_and_what_they_are_compared_with(whole) -> None:
    planned, tiers = whole
    tier = next(iter(tiers))
    part = limited(planned, {tier: {"baseline": 3, "lsac": 2}}, grid={})
    order = list(dict.fromkeys(spec.mixture for spec in planned.arms["lsac"] if spec.tier == tier))
    assert {arm: list(dict.fromkeys(spec.mixture for spec in specs)) for arm, specs in part.arms.items()} == {
        "baseline": order[:3],
        "lsac": order[:2],
    }
    assert all(len(specs) == 2 * n for specs, n in zip(part.arms.values(), (3, 2), strict=True))
    there = {spec.key for spec in part.runs}
    assert {key for spec in part.runs for _, key in spec.references} <= there < {spec.key for spec in planned.runs}
    assert {spec.mixture for spec in part.references["other"]} == set(order[:2])


def test_the_whole_of_a_plan_is_a_part_of_it(whole) -> None:
    planned, tiers = whole
    everything = {tier: dict.fromkeys(planned.arms, 99) for tier in tiers}
    for part in (limited(planned, everything, grid={}), first_runs(planned, most=None, sixths=6)):
        assert part.arms == planned.arms
        assert {spec.key for spec in part.runs} == {spec.key for spec in planned.runs}


def test_first_runs_are_a_share_of_each_arms_own(whole) -> None:
    planned, _ = whole
    part = first_runs(planned, most=3, sixths=2)
    for specs in part.arms.values():
        assert set(numbers_of(dict.fromkeys((one.tier, one.mixture) for one in specs)).values()) == {1}


@pytest.mark.parametrize("most", [3, 6, 10, 24, 99])
def test_a_session_is_planned_with_the_mixtures_that_each_claim_asks_for(most: int) -> None:
    """LS5 takes four arms on env; LS9 shares two of them there, and takes all mixtures of its nine on three tiers."""
    book = load_claims(HOUSE_CLAIMS)
    few = tuple(replace(one, mixtures_per_tier=most) if one.id == "LS5" else one for one in book.claims)
    sizes = {"per_tier": 24, "seeds": (0,), "seconds": 2.0, "tokens": 4}
    alone, together = (
        plan_session(replace(book, claims=few), outline("embedded"), claims=claims, **sizes)
        for claims in (("LS5",), ("LS5", "LS9"))
    )
    assert alone.work.runs == 4 * min(most, 24)
    assert together.work.runs == 3 * 9 * 24 + min(most, 24)  # of naive-15, which is LS5's alone
