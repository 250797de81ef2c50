"""What a claims file says about how its results are shown: headings, sounds, maps, curves and standing caveats.

Every part is optional, so that a book of another repository, or one without any view, is reported too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["CaveatRow", "Views"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """Which arms are played, on how many mixtures of each tier."""

    per_tier: int = 0
    arms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """Which layers' attention is drawn at which step; the arms are the columns of the figure, by condition."""

    layers: tuple[int, ...] = ()
    step: int = 1
    arms: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freezing:
    """At which steps layers are frozen for the curves, on how many mixtures of each tier."""

    steps: tuple[int, ...] = ()
    per_tier: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Which metrics are drawn over the values of a forced gate."""

    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaveatRow:
    """One thing that is true of the method whatever the verdicts are.

    Parameters
    ----------
    title, known
        What stands without any run.
    missing
        What is said where our figures are not there.
    figures
        The function that computes our sentence; see `sam_lsac.report.caveats`.
    arms, rivals, claims
        What that function looks at.
    """

    title: str
    known: str
    missing: str = ""
    figures: str = ""
    arms: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How a book's results are shown.

    Parameters
    ----------
    topics
        Heading by the letters that a claim's id begins with.
    sounds, maps, freezing, sweep
        What is shown besides verdicts.
    caveats
        In their order.
    reference
        The arm that all others are compared with in tables and plots.
    metric
        The axis of fidelity in tables and plots.
    """

    topics: Mapping[str, str] = field(default_factory=_nothing)
    sounds: Sounds = field(default_factory=Sounds)
    maps: Maps = field(default_factory=Maps)
    freezing: Freezing = field(default_factory=Freezing)
    sweep: Sweep = field(default_factory=Sweep)
    caveats: tuple[CaveatRow, ...] = ()
    reference: str = "baseline"
    metric: str = "si_snr"

    def topic(self, claim_id: str) -> str | None:
        """Return the heading of a claim: that of the longest prefix of its id; None where it has none."""
        found = [prefix for prefix in self.topics if claim_id.startswith(prefix)]
        return self.topics[max(found, key=len)] if found else None
