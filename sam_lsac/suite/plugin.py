"""The plugin of pytest: one line, ``pytest_plugins = ["sam_lsac.suite.plugin"]``, in the root ``conftest.py``.

A test that judges claims names them in its mark and asks for a ``verdict``; it becomes one case for each claim and
tier::

    @pytest.mark.claims("LS1", "LS2")
    def test_lsac_pareto(verdict) -> None:
        assert verdict.status in ("supported", "shown"), verdict.reason

Only hooks and fixtures are here; what they do is in the modules beside. A session that selects no claim loads no model
and does nothing of all this. Under pytest-xdist the controller computes and reports, and workers only judge: see
`sam_lsac.suite.workers`.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from sam_lsac.suite.options import add_options

if TYPE_CHECKING:
    from sam_lsac.claims import Verdict
    from sam_lsac.suite.session import Suite
    from sam_lsac.suite.workers import Handover

SUITE: pytest.StashKey[Suite] = pytest.StashKey()
HANDOVER: pytest.StashKey[Handover] = pytest.StashKey()
#: Key of a worker's input.
FOLDER = "sam_lsac_handover"
#: The name under which Hypothesis registers its plugin.
HYPOTHESIS = "hypothesispytest"
MARKS = (
    "claims(*ids): the claims that a test judges, one case for each claim and tier",
    "claim(id, tier): the one case of a test; select with -m \"claim(id='LS6')\"",
)
NARROWEST, WIDEST = 100, 160  # columns of the table


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    add_options(parser.getgroup("sam_lsac", "claims about attention caching").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Make the suite's marks known, and begin."""
    for mark in MARKS:
        config.addinivalue_line("markers", mark)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with a ``verdict`` one case for each claim and tier that its ``claims`` mark names."""
    ids = [claim_id for mark in metafunc.definition.iter_markers("claims") for claim_id in mark.args]
    if not ids or "verdict" not in metafunc.fixturenames:
        return
    cases = _suite(metafunc.config).cases(ids)
    params = [
        pytest.param(case, id=case.id, marks=pytest.mark.claim(id=case.claim_id, tier=case.tier)) for case in cases
    ]
    metafunc.parametrize("verdict", params, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the controller, in a worker, what was selected."""
    config = session.config
    handover = _handover(config)
    if handover is None:
        return
    from sam_lsac.suite.session import selected_cases

    mistake = config.stash[SUITE].mistake if SUITE in config.stash else None
    handover.tell(_worker_input(config)["workerid"], selected_cases(session.items), mistake=mistake)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Compute what the selected cases need, before the first test of all."""
    config = session.config
    stops = session.testsfailed and not config.option.continue_on_collection_errors
    if config.option.collectonly or stops or _is_worker(config) or _is_controller(config):
        return
    if SUITE in config.stash:
        from sam_lsac.suite.session import selected_cases

        config.stash[SUITE].gather(selected_cases(session.items))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where to find what the controller computed."""
    from sam_lsac.suite.workers import Handover

    if HANDOVER not in node.config.stash:
        node.config.stash[HANDOVER] = handover = Handover.new()
        node.config.add_cleanup(handover.remove)
    node.workerinput[FOLDER] = str(node.config.stash[HANDOVER].folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Compute, in the controller, what the workers selected, before any of them gets a test."""
    handover = node.config.stash[HANDOVER]
    cases, mistake = handover.told(node.workerinput["workerid"])
    if mistake is not None:
        raise pytest.UsageError(mistake)
    if cases:
        _suite(node.config).gather(cases, handover)


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Verdict:
    """The verdict of one case; skipped where nothing is decided, a strict xfail where its refutation is known."""
    from sam_lsac.suite.outcome import apply_verdict

    if not hasattr(request, "param"):
        pytest.fail('a verdict needs claims: mark the test with @pytest.mark.claims("ID", ...)', pytrace=False)
    evidence = _suite(request.config).evidence(_handover(request.config))
    case = request.param
    judged = evidence.verdict(case)
    apply_verdict(request.node, case, judged, known=evidence.known_refutation(case))
    return judged


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the skip of an undecided case point at its claim's row."""
    report = yield
    if report.when == "setup" and report.skipped and "verdict" in getattr(item, "fixturenames", ()):
        from sam_lsac.suite.outcome import move_skip
        from sam_lsac.suite.session import selected_cases

        for case in selected_cases([item]):
            claims = _suite(item.config).options.claims
            move_skip(report, case, claims=claims, root=item.config.rootpath)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a case whose figures are shown and not judged as passed, and say in words which it is."""
    properties = getattr(report, "user_properties", ())
    if report.when == "call" and report.passed and ("verdict", "shown") in map(tuple, properties):
        return "passed", ".", "SHOWN"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, and let a flipped verdict fail the session where that was asked for."""
    suite = session.config.stash.get(SUITE, None)
    if suite is None or _is_worker(session.config):
        return
    _without_hypothesis(session.config)
    closing = suite.close()
    if closing is not None and closing.failure and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the verdict table, and what was written and compared."""
    suite = config.stash.get(SUITE, None)
    if suite is None or suite.closing is None:
        return
    from sam_lsac.report import terminal_text

    reporter, closing = terminalreporter, suite.closing
    width = max(NARROWEST, min(WIDEST, reporter._tw.fullwidth))
    reporter.section("claims")
    reporter.write_line(terminal_text(closing.report, width=width, colour=reporter.hasmarkup, reasons=True))
    for line in closing.lines:
        reporter.write_line(line)
    if closing.failure:
        reporter.write_line(f"FAILED {closing.failure}", red=True)


def _suite(config: pytest.Config) -> Suite:
    """The suite of this session, made when the first claim is met: everything else is spared its imports."""
    if SUITE not in config.stash:
        from sam_lsac.suite.session import Suite

        config.stash[SUITE] = Suite(config)
    return config.stash[SUITE]


def _without_hypothesis(config: pytest.Config) -> None:
    """Spare a session without Hypothesis its import: the plugin imports all of it to say that it wrote nothing."""
    if "hypothesis" not in sys.modules and config.pluginmanager.has_plugin(HYPOTHESIS):
        config.pluginmanager.unregister(name=HYPOTHESIS)


def _handover(config: pytest.Config) -> Handover | None:
    """In a worker, the folder through which the controller speaks."""
    if not _is_worker(config):
        return None
    from pathlib import Path

    from sam_lsac.suite.workers import Handover

    return Handover(folder=Path(_worker_input(config)[FOLDER]))


def _worker_input(config: pytest.Config) -> dict[str, str]:
    """What the controller told this worker; empty in any other process."""
    given: dict[str, str] = getattr(config, "workerinput", {})
    return given


def _is_worker(config: pytest.Config) -> bool:
    return bool(_worker_input(config))


def _is_controller(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin("dsession")
