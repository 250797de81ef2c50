"""A level of an arm is made for the steps of the arm's own solver, whatever a step takes."""

from __future__ import annotations

import pytest

from sam_lsac.caching import CacheAttention
from sam_lsac.runs import Arm, resolve_arm
from tests import tiny_runs


@pytest.mark.parametrize("solver", ["euler:8", "ab2:8", "midpoint:8", "heun:8"])
@pytest.mark.parametrize(("level", "freeze_steps"), [("safe", {1: 4}), ("balanced", {0: 6, 1: 2})])
def test_a_level_becomes_freeze_steps_of_the_arms_own_steps(
    solver: str, level: str, freeze_steps: dict[int, int]
) -> None:
    arm = Arm(name="arm", solver=solver, edits=({"kind": "LSAC", "level": level},))
    assert resolve_arm(arm, tiny_runs.model()).edits == (CacheAttention(freeze_steps=freeze_steps, n_steps=8),)
