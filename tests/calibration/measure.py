"""Rates of verdicts over simulated ledgers, and which of them are too high."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from scipy import stats

from sam_lsac.bundled import bundled
from sam_lsac.claims import Book, Claim, Verdict, judge, load_claims
from sam_lsac.claims.reach import UNRESTRICTED
from tests.calibration.scenarios import ARITHMETIC, SCENARIOS, Effect, Scenario, known, simulate
from tests.calibration.worlds import RARE, WORLDS, World

BOOK = bundled("bench") / "claims.toml"
BEYOND_CHANCE = float(stats.norm.sf(3.0))  # three Monte-Carlo errors
RESAMPLES = 49  # of intervals that decide nothing
#: Scenarios that are run in every world; the others in the normal one alone.
HARD = ("null", "boundary")
#: Kinds in which a rare failure of an arm withholds support, unless the sample has none.
HARMLESS = frozenset({"no-loss", "negligible-loss", "effect-table", "complementary"})
#: Where no interval of d can cover: the fourth moment is infinite, or a failure may not be in the sample.
UNCOVERED = frozenset({"t3", "rare failures"})


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Verdicts on one claim in one scenario and world."""

    claim: str
    kind: str
    scenario: str
    world: str
    n: int
    simulations: int
    level: float
    counts: Counter[str]
    allowed: dict[str, float] = field(default_factory=dict)
    covered: int = 0
    intervals: int = 0
    coverage: float = 0.95

    @property
    def faults(self) -> list[str]:
        """What happens more often than it may, in words."""
        found = []
        for status, rate in self.allowed.items():
            count = self.counts[status]
            if stats.binom.sf(count - 1, self.simulations, rate) < BEYOND_CHANCE:
                found.append(f"{status} {count} times in {self.simulations}, allowed {rate:.2g}")
        if self.world not in UNCOVERED and self.intervals:
            # intervals of one ledger are not independent: the ledgers count
            rate = self.covered / self.intervals
            error = math.sqrt(self.coverage * (1 - self.coverage) / self.simulations)
            if rate < self.coverage - 3 * error:
                found.append(f"the {self.coverage:.0%} interval of d covers {rate:.1%}")
        return found


@cache
def _book() -> Book:
    return load_claims(BOOK)


def chosen(ids: Sequence[str] | None = None) -> list[Claim]:
    """Return the claims of these ids, or one of every sort that tests something."""
    book = _book()
    if ids:
        return [claim for claim in book.claims if claim.id in ids]
    sorts: dict[tuple[object, ...], Claim] = {}
    for claim in book.claims:
        if claim.kind not in ARITHMETIC:
            sort = (claim.kind, claim.direction, claim.score, claim.label, claim.stronger_tier, claim.margin is None)
            sorts.setdefault(sort, claim)
    return list(sorts.values())


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of the table, to be measured."""

    claim: str
    scenario: str
    world: str
    simulations: int
    sequential: bool = False


def cells(
    claims: Iterable[Claim],
    *,
    worlds: Iterable[str],
    scenarios: Sequence[str] | None = None,
    simulations: int,
    sequential: bool = False,
) -> list[Cell]:
    """Return the cells that tell something: easy scenarios in the normal world, those of errors in every one."""
    return [
        Cell(claim=claim.id, scenario=scenario.name, world=world, simulations=simulations, sequential=sequential)
        for claim in claims
        for scenario in SCENARIOS[claim.kind](claim)
        for world in worlds
        if (scenarios is None or scenario.name in scenarios) and (world == "normal" or scenario.name.startswith(HARD))
    ]


def measure(cell: Cell) -> Rates:
    """Return the rates of one cell."""
    (claim,) = chosen((cell.claim,))
    claim = replace(claim, settings=replace(claim.settings, bootstrap_resamples=RESAMPLES))
    (scenario,) = (one for one in SCENARIOS[claim.kind](claim) if one.name == cell.scenario)
    return _rates(claim, scenario, WORLDS[cell.world], simulations=cell.simulations, sequential=cell.sequential)


def _rates(claim: Claim, scenario: Scenario, world: World, *, simulations: int, sequential: bool) -> Rates:
    if world.n_groups > 4:
        scenario = replace(scenario, n=2 * scenario.n)
    level = claim.judged_on(known(claim)).level
    counts: Counter[str] = Counter()
    covered = intervals = 0
    own = zlib.crc32(f"{claim.id}/{scenario.name}/{world.name}".encode())
    for seed in range(simulations):
        ledger, context = simulate(claim, scenario, world, seed=(own, seed))
        planned = {tier: len(ledger.mixtures(tier)) for tier in claim.tiers or ("clean",)} if sequential else None
        verdict = judge(claim, ledger, context, planned=planned)
        counts[_said(verdict, world)] += 1
        hits = _coverage(verdict, scenario, world)
        covered, intervals = covered + sum(hits), intervals + len(hits)
    return Rates(
        claim=claim.id,
        kind=claim.kind,
        scenario=scenario.name,
        world=world.name,
        n=scenario.n,
        simulations=simulations,
        level=level,
        counts=counts,
        allowed=_allowed(claim, scenario, world, level=level),
        covered=covered,
        intervals=intervals,
        coverage=1 - claim.alpha,
    )


def _said(verdict: Verdict, world: World) -> str:
    """Return the status; where groups matter, "unrestricted" for support that speaks of other groups too."""
    if world.extent and verdict.status == "supported" and verdict.scope == UNRESTRICTED:
        return "unrestricted"
    return verdict.status


def _allowed(claim: Claim, scenario: Scenario, world: World, *, level: float) -> dict[str, float]:
    """Return by status how often it may happen."""
    if world.missing > claim.settings.missing_share:
        return {"supported": 0.0, "refuted": 0.0}
    if world.extent:
        return {"unrestricted": level} if "supported" in scenario.errors else {}
    if world.name == "rare failures":  # what is not in the sample cannot be seen
        cells = len(claim.tiers) * len(claim.metrics) * len(claim.arms)
        unseen = (1 - RARE) ** (scenario.n * cells)
        return {"supported": max(level, unseen)} if claim.kind in HARMLESS else {}
    return dict.fromkeys(sorted(scenario.errors), level)


def _coverage(verdict: Verdict, scenario: Scenario, world: World) -> list[bool]:
    """Return for every interval of the d of a loss whether the true d is in it."""
    if world.extent or world.name == "three seeds":  # there the deviation is another
        return []
    hits = []
    for one in verdict.findings:
        effect = scenario.effects(one.tier).get(one.arm) if one.quantity == "loss" else None
        if isinstance(effect, Effect) and one.d_low is not None and one.d_high is not None and one.versus:
            hits.append(one.d_low <= effect.mean / abs(effect.sd) <= one.d_high)
    return hits


HEADER = """\
Per cent of ledgers, with the Monte-Carlo error; * where that verdict is an error, allowed as often as the level.

| claim | kind | truth | world | n | ledgers | level | supported | refuted | inconclusive | d covered |
|---|---|---|---|---|---|---|---|---|---|---|"""


def line(rate: Rates) -> str:
    """Return the row of a Markdown table under `HEADER`."""
    verdicts = [_percent(rate, status) for status in ("supported", "refuted", "inconclusive")]
    covers = f"{100 * rate.covered / rate.intervals:.1f}" if rate.intervals else ""
    row = (rate.claim, rate.kind, rate.scenario, rate.world, rate.n, rate.simulations, f"{100 * rate.level:.2g}")
    return f"| {' | '.join(map(str, (*row, *verdicts, covers)))} |"


def _percent(rate: Rates, status: str) -> str:
    count = rate.counts[status] + (rate.counts["unrestricted"] if status == "supported" else 0)
    share = count / rate.simulations
    error = 100 * math.sqrt(share * (1 - share) / rate.simulations)
    beyond = (
        f" ({rate.counts['unrestricted']} unrestricted)"
        if status == "supported" and rate.counts["unrestricted"]
        else ""
    )
    return f"{100 * share:.1f} ± {error:.1f}{beyond}{'*' if status in rate.allowed else ''}"
