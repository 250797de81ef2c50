"""LSAC against naive step reduction, section 4.4, on both cost axes."""

import pytest


@pytest.mark.claims("LS1", "LS2")
def test_lsac_pareto(verdict) -> None:
    """The claim holds on this checkpoint; skipped where it is not decided."""
    verdict.must_be_supported()
