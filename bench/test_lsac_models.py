"""LSAC on the 22-layer model and under other solvers, section 4.4."""

import pytest


@pytest.mark.claims("LS8", "LS9")
def test_lsac_models(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
