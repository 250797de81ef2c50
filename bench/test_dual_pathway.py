"""The two pathways of text, section 4.1: what is lost without each."""

import pytest


@pytest.mark.claims("DP1", "DP2", "DP3", "DP4", "DP5")
def test_dual_pathway(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
