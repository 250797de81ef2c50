"""A headline's words and figures are of the arm that it names: a small loss of the arm, a large one of its rivals."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_lsac.claims import Finding, Verdict, headline, judge
from sam_lsac.claims.wording import effect, figure
from tests.claim_worlds import PAIRED, losing, make_claim, make_context, make_ledger

RIVALS = PAIRED | {"rivals": ["r", "s"]}
FIELDS: dict[str, dict[str, Any]] = {
    "loss-order": {"direction": "smallest"},
    "effect-table": {},
    "no-loss": {"matched": {"a": "r"}},
    "smaller-loss": {"score": "loss", "rivals": ["r"]},
}


def said(kind: str) -> tuple[Verdict, tuple[str, ...]]:
    """Arm a loses nothing, its rivals 1.5 and 3."""
    claim = make_claim(kind=kind, **(RIVALS | {"arms": ["a"]} | FIELDS[kind]))
    world = losing(a=(0.0, 0.1), r=(1.5, 0.4), s=(3.0, 0.5))
    verdict = judge(claim, make_ledger(world(np.random.default_rng(0), 24)), make_context())
    return verdict, headline(claim, verdict)


def losses(verdict: Verdict, arm: str) -> list[Finding]:
    found = [one for one in verdict.findings if one.quantity == "loss" and one.arm == arm]
    assert found, arm
    return found


def test_an_order_shows_the_arms_own_loss() -> None:
    verdict, lines = said("loss-order")
    own = [one for one in losses(verdict, "a") if not one.status]
    assert [line.split(" loss ")[1] for line in lines[1:]] == [figure(one) for one in own]
    assert all(abs(one.estimate or np.inf) < 0.5 for one in own)


def test_a_table_of_effects_shows_each_groups_own() -> None:
    verdict, lines = said("effect-table")
    spread = {arm: [one.d or 0.0 for one in losses(verdict, arm)] for arm in ("a", "r", "s")}
    assert max(spread["a"]) < min(spread["r"])
    assert lines[1] == f"a d {effect(min(spread['a']))} to {effect(max(spread['a']))}"
    both = spread["r"] + spread["s"]
    assert lines[2] == f"r/s d {effect(min(both))} to {effect(max(both))}"


def test_no_loss_shows_the_arm_without_and_the_rivals_with() -> None:
    _, lines = said("no-loss")
    text = " | ".join(lines)
    assert "1 of 1 a without loss" in text
    assert "2 of 2 r/s with loss" in text
    assert any(line.startswith("worst a on clean ") for line in lines)
    assert any(line.startswith("mildest r on clean ") for line in lines)


def test_a_comparison_shows_the_arm_first() -> None:
    verdict, lines = said("smaller-loss")
    own, rival = (next(one for one in losses(verdict, arm) if not one.status) for arm in ("a", "r"))
    assert lines[0] == f"clean {figure(own)} against {figure(rival)}"
