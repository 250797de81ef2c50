"""Options of the suite, and the evidence that the claims share; see README.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sam_lsac.bundled import bundled

CLAIMS = bundled("bench") / "claims.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of ``pytest bench``."""
    group = parser.getgroup("sam_lsac", "claims of the paper (pytest bench)")
    group.addoption("--model", default="embedded", help="embedded, a checkpoint folder, or a hub id")
    group.addoption("--device", default="cpu", help="torch device of the model (default: cpu)")
    group.addoption("--mixtures", default="embedded", help="embedded, or a folder of stems or of a known corpus")
    group.addoption(
        "--mixtures-per-tier", type=int, default=24, help="cached mixtures per tier (default: 24, at most 48)"
    )
    group.addoption("--seeds", default=None, help="noise seeds, such as 0,1,2 (default: those of claims.toml)")
    group.addoption(
        "--store", type=Path, default=Path("runs") / "store.sqlite", help="run store (default: runs/store.sqlite)"
    )
    group.addoption("--replay", action="store_true", help="judge the runs in the store; compute nothing")
    group.addoption("--report", type=Path, default=Path("report"), metavar="DIR", help="folder of the report (report/)")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options before anything runs."""
    config.stash[REQUEST] = None
    if not config.getoption("collectonly") and _asks_for_bench(config):
        config.stash[REQUEST] = _validated(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with a ``verdict`` one case for each claim that its ``claims`` mark names."""
    if "verdict" in metafunc.fixturenames:
        ids = [claim_id for mark in metafunc.definition.iter_markers("claims") for claim_id in mark.args]
        metafunc.parametrize("verdict", [pytest.param(one, marks=pytest.mark.claim(one)) for one in ids], indirect=True)


@dataclass(kw_only=True)
class Judgement:
    """What a test of a claim asks."""

    claim_id: str
    status: str
    reason: str

    def must_be_supported(self) -> None:
        """Pass, fail, or skip where the claim was not decided; a skip is no pass."""
        if self.status in ("inconclusive", "not run"):
            pytest.skip(f"{self.claim_id} {self.status}: {self.reason}")
        if self.status != "supported":
            pytest.fail(f"{self.claim_id} {self.status}: {self.reason}", pytrace=False)


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> object:
    """The runs that all selected claims need; missing ones are computed first."""
    from sam_lsac.suite.gather import gather

    config = request.config
    selected = [mark.args[0] for item in request.session.items for mark in item.iter_markers("claim")]
    gathered = gather(config.stash[REQUEST] or _validated(config), selected)
    config.stash[EVIDENCE] = (gathered, selected)
    return gathered


@pytest.fixture
def verdict(request: pytest.FixtureRequest, evidence: object, record_property: object) -> Judgement:
    """The verdict of one claim; a refutation that is known for this checkpoint becomes a strict xfail."""
    from sam_lsac.report.json import junit_properties

    claim = evidence.book[request.param]
    judged = evidence.verdict(request.param)
    for name, value in junit_properties(judged):
        record_property(name, value)
    known = claim.known_refutation(evidence.context)
    if known and judged.status in ("supported", "refuted"):
        request.node.add_marker(pytest.mark.xfail(reason=known, strict=True))
    return Judgement(claim_id=request.param, status=judged.status, reason=judged.reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the verdict table, and write the report."""
    if config.stash.get(EVIDENCE, None) is None:
        return
    from sam_lsac.report import terminal_text
    from sam_lsac.report.write import write_report

    gathered, selected = config.stash[EVIDENCE]
    report = gathered.report(selected)
    reporter = terminalreporter
    width = max(100, min(160, reporter._tw.fullwidth))
    reporter.section("claims")
    reporter.write_line(terminal_text(report, width=width, colour=reporter.hasmarkup, reasons=True))
    for path in write_report(report, config.getoption("--report")):
        reporter.write_line(f"wrote {path}")


REQUEST: pytest.StashKey[object] = pytest.StashKey()
EVIDENCE: pytest.StashKey[tuple[object, list[str]]] = pytest.StashKey()


def _asks_for_bench(config: pytest.Config) -> bool:
    return any("bench" in Path(argument.split("::")[0]).parts for argument in config.args)


def _validated(config: pytest.Config) -> object:
    """The options as the evidence wants them; a usage error where one cannot be used."""
    from sam_lsac.errors import SamLsacError
    from sam_lsac.suite.gather import prepare

    option = config.getoption
    try:
        return prepare(
            CLAIMS,
            model=option("--model"),
            device=option("--device"),
            mixtures=option("--mixtures"),
            per_tier=option("--mixtures-per-tier"),
            seeds=option("--seeds"),
            store=option("--store"),
            replay=option("--replay"),
        )
    except SamLsacError as error:
        raise pytest.UsageError(str(error)) from error
