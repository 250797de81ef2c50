"""How far LSAC and its rivals deviate from the full solve, section 4.4 and table 2."""

import pytest


@pytest.mark.claims("LS3", "LS4", "LS5", "LS6", "LS7")
def test_lsac_fidelity(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
