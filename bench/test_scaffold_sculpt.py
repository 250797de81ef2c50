"""Convergence of layers, sections 2.2 and 4.2: what freezing early costs."""

import pytest


@pytest.mark.claims("SS1", "SS2", "SS3", "SS4")
def test_scaffold_sculpt(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
