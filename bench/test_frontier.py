"""What to ship on this checkpoint: fitted solves against methods, grids and caches, at the same or fewer FLOPs."""

import pytest

#: What a cache carries from one solve into the next.
LEAKS = tuple(f"FR{number}" for number in range(20, 28))


@pytest.mark.claims("FR1", "FR2", "FR3", "FR4", "FR5", "FR6", "FR7", "FR8", "FR9", "FR10", "FR11", "FR12", *LEAKS)
def test_frontier(verdict) -> None:
    """The claim holds on this checkpoint and tier; skipped where that is not decided."""
    assert verdict.status in ("supported", "shown"), verdict.reason
