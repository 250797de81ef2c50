"""The test of a claim: one case a tier, ``test_our_cache[MY1-clean]`` and ``test_our_cache[MY1-noisy]``."""

import pytest


@pytest.mark.claims("MY1")
def test_our_cache(verdict) -> None:
    """Supported by these mixtures; skipped, with what would decide it, where they decide nothing."""
    assert verdict.status == "supported", verdict.reason
