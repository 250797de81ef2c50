"""LSAC against naive step reduction, section 4.4, on both cost axes."""

import pytest


@pytest.mark.claims("LS1", "LS2")
def test_lsac_pareto(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
