"""How many cases, and what is counted: a few in ``tox -e test``, all of them in ``tox -e reliability``."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings

#: A damaged name of a text encoder must not send the tests to the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

FULL = "reliability"
FULL_CASES = 600  # for each reader
FULL_SLOW_CASES = 150  # where each case loads a model
SMALL_CASES = 8
COLUMNS = ("cases", "accepted", "own errors", "foreign", "hangs", "files left", "executed")


@dataclass
class Tally:
    """What became of the cases of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0

    def count(self, what: str, n: int = 1) -> None:
        self.counts[what] += n


settings.register_profile(FULL, max_examples=FULL_CASES)
_TALLIES: pytest.StashKey[dict[str, Tally]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLIES] = {}


def is_full() -> bool:
    """Whether the whole campaign was asked for (``--hypothesis-profile=reliability``)."""
    return settings.get_current_profile_name() == FULL


def case_settings(*, slow: bool = False) -> settings:
    """For tests of generated cases; fewer where each takes long."""
    full = FULL_SLOW_CASES if slow else FULL_CASES
    return settings(
        max_examples=full if is_full() else 3 if slow else SMALL_CASES,
        deadline=None,
        derandomize=not is_full(),
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


@pytest.fixture
def tally(request: pytest.FixtureRequest):
    """Counts of this test, a row of the table."""
    tallies = request.config.stash[_TALLIES]
    name = request.node.name.removeprefix("test_").replace("_", " ")
    tallies[name] = found = Tally()
    began = time.monotonic()
    yield found
    found.wall_s = time.monotonic() - began


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of the whole campaign."""
    tallies = config.stash.get(_TALLIES, {})
    if not tallies or not is_full():
        return
    total = Tally()
    for one in tallies.values():
        total.counts.update(one.counts)
        total.wall_s += one.wall_s
    terminalreporter.section("reliability")
    terminalreporter.write_line(" | ".join([f"{'':44}", *(f"{name:>10}" for name in COLUMNS), "wall s"]))
    for name, one in (*((name, one) for name, one in tallies.items() if one.counts), ("all", total)):
        figures = [f"{one.counts[column]:10,}" for column in COLUMNS]
        terminalreporter.write_line(" | ".join([f"{name:44.44}", *figures, f"{one.wall_s:6.1f}"]))
