"""FLOPs of one evaluation of SAM-Audio-Small, section 2.4."""

import pytest


@pytest.mark.claims("FL1")
def test_cost_flops(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
