"""The span gate, section 4.3: what forcing it open does to attention and output."""

import pytest


@pytest.mark.claims("GH1", "GH2", "GH3", "GH4", "GH5", "GH6")
def test_gate_hijack(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
