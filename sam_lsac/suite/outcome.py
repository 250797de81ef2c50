"""From a verdict to what pytest makes of the case: passed, failed, skipped at the claim's row, or a strict xfail."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam_lsac.claims import Verdict
from sam_lsac.report.json import junit_properties
from sam_lsac.suite.cases import Case, row_of

__all__ = ["apply_verdict", "move_skip"]

UNDECIDED = ("inconclusive", "not run")


def apply_verdict(item: pytest.Item, case: Case, verdict: Verdict, *, known: str | None) -> None:
    """Mark a case as its verdict asks, before the test's own assertion is run.

    Parameters
    ----------
    item
        The test; it gets the verdict's figures as properties, which a JUnit file shows.
    case
        What it judges.
    verdict
        Of the case.
    known
        Why the case is known to be refuted on this checkpoint, or None. It is then a strict xfail: when the claim
        starts to hold, the session fails and says so.

    Raises
    ------
    pytest.skip.Exception
        If nothing was decided; a skip is no pass.
    """
    # record_property would warn under junit_family=xunit2, and warnings may be errors
    item.user_properties.extend([*junit_properties(verdict), *([("tier", case.tier)] if case.tier else [])])
    if verdict.status in UNDECIDED:
        pytest.skip(f"{case.id} {verdict.status}: {verdict.reason}")
    if known is not None:
        item.add_marker(pytest.mark.xfail(reason=known, strict=True))


def move_skip(report: pytest.TestReport, case: Case, *, claims: Path, root: Path) -> None:
    """Let the skip of an undecided case point at the claim's row, where its reader can do something.

    Parameters
    ----------
    report
        Of the test's setup; changed where it is such a skip.
    case
        What it judges.
    claims
        The claims file.
    root
        Where pytest runs; the file is named from there where it lies below.
    """
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return
    path = claims.resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    report.longrepr = (str(shown), row_of(path, case.claim_id), report.longrepr[2])
