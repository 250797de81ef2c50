"""The end of a session: the report's files, its history, what changed since an older one, and CI's summary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sam_lsac.errors import SamLsacError
from sam_lsac.report import Comparison, Report, compare, write_report
from sam_lsac.report.badge import write_badge
from sam_lsac.report.history import autosave, last, resolve
from sam_lsac.report.markdown import summary
from sam_lsac.suite.options import LATEST, Options, near

__all__ = ["Closing", "close"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What was written, and what changed.

    Parameters
    ----------
    report
        Of the session.
    lines
        To be printed after the table.
    comparison
        With the older report; None where there was none to compare with.
    failure
        Why the session fails besides its tests, or None.
    """

    report: Report
    lines: tuple[str, ...]
    comparison: Comparison | None = None
    failure: str | None = None


def close(report: Report, options: Options, *, step_summary: Path | None = None) -> Closing:
    """Write the report and compare it.

    Parameters
    ----------
    report
        Of the session.
    options
        Say where, and what to compare with.
    step_summary
        File to which a summary in Markdown is added: the GITHUB_STEP_SUMMARY of GitHub's runners.
    """
    lines: list[str] = []
    comparison = failure = None
    try:
        older = _older(options)
        comparison = None if older is None else compare(older, report)
        lines += _written(report, options, comparison=comparison, step_summary=step_summary)
        lines += _compared(options, older, comparison)
    except (SamLsacError, OSError) as error:
        failure = str(error)
    if comparison is not None and comparison.fails(on=options.fail_on):
        failure = failure or f"--report-fail-on {options.fail_on}: a verdict flipped or vanished"
    return Closing(report=report, lines=tuple(lines), comparison=comparison, failure=failure)


def _older(options: Options) -> Path | None:
    """The report to compare with, found before this session's own joins the history."""
    if options.compare is None or (options.compare == LATEST and last(options.history) is None):
        return None
    return resolve(options.compare, options.history)


def _written(
    report: Report, options: Options, *, comparison: Comparison | None, step_summary: Path | None
) -> Iterator[str]:
    for path in (*write_report(report, options.report), write_badge(report, options.report)):
        yield f"wrote {near(path)}"
    if options.autosave:
        yield f"wrote {near(autosave(report, options.history))}"
    if step_summary is not None:
        with step_summary.open("a", encoding="utf-8") as file:
            file.write(f"{summary(report, comparison)}\n")


def _compared(options: Options, older: Path | None, comparison: Comparison | None) -> Iterator[str]:
    if older is not None and comparison is not None:
        yield f"compared with {near(older)}:"
        yield from str(comparison).splitlines()
    elif options.compare is not None:
        yield f"nothing to compare with: no report in {near(options.history)} yet; --report-autosave keeps them"
