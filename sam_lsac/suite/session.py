"""One session of pytest that judges claims: what its hooks share, in a plain process, a controller or a worker.

Whatever takes long to import is imported where it is used: a session that only collects needs none of it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from sam_lsac.errors import SamLsacError
from sam_lsac.legible import legible
from sam_lsac.suite.cases import Case
from sam_lsac.suite.collected import collected_cases
from sam_lsac.suite.options import Options, near, read_options

if TYPE_CHECKING:
    from sam_lsac.claims import Book
    from sam_lsac.suite.closing import Closing
    from sam_lsac.suite.evidence import Evidence
    from sam_lsac.suite.gather import Prepared
    from sam_lsac.suite.workers import Handover

__all__ = ["Suite", "selected_cases"]

#: Of GitHub's runners: a file that takes Markdown.
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


class Suite:
    """The claims' side of a session.

    Parameters
    ----------
    config
        Of pytest.

    Attributes
    ----------
    mistake
        What is wrong with the claims file or a claim's name, if anything; raised before anything runs.
    closing
        What was written at the end.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._prepared: Prepared | None = None
        self._evidence: Evidence | None = None
        self.mistake: str | None = None
        self.closing: Closing | None = None

    @cached_property
    def options(self) -> Options:
        """As given; a usage error where one cannot be."""
        with _usage_errors():
            return read_options(self._config.getoption, root=self._config.rootpath)

    @cached_property
    def book(self) -> Book:
        """The claims file."""
        from sam_lsac.claims import load_claims

        with _usage_errors():
            return load_claims(self.options.claims)

    def cases(self, claim_ids: Iterable[str]) -> tuple[Case, ...]:
        """The cases of a test; where there are none because of a mistake, `gather` raises it, before anything runs."""
        try:
            with _usage_errors():
                return collected_cases(self.options.claims, claim_ids)
        except pytest.UsageError as error:  # raised while collecting it would be one module's error, with a traceback
            self.mistake = self.mistake or str(error)
            return ()

    def gather(self, cases: Sequence[Case], handover: Handover | None = None) -> None:
        """Compute what a selection needs, where the terminal can see it.

        Parameters
        ----------
        cases
            The selection; nothing is done where it is empty.
        handover
            Where workers wait for it.

        Raises
        ------
        pytest.UsageError
            If an option cannot be used; nothing was computed or written.
        pytest.exit.Exception
            If it was interrupted.
        """
        if self.mistake is not None:
            raise pytest.UsageError(self.mistake)
        if not cases or self._evidence is not None:
            return
        with _lasting(), _usage_errors():
            from sam_lsac.suite.gather import prepare

            self._prepared = prepared = prepare(self.options, cases, book=self.book)
        self._say(prepared.header())
        self._evidence = self._compute(prepared)
        if handover is not None:
            handover.give(prepared, self._evidence)

    @property
    def prepared(self) -> Prepared | None:
        """What the selection needs, with its model loaded; None before `gather`, and where nothing was selected."""
        return self._prepared

    def evidence(self, handover: Handover | None) -> Evidence:
        """What cases are judged on; a worker takes it from the controller."""
        if self._evidence is None:
            if handover is None:
                raise pytest.UsageError("a verdict was asked for before the runs were computed")
            self._evidence = handover.take()
        return self._evidence

    def close(self) -> Closing | None:
        """Write the report, once; None where no claim was asked for or its runs are not there.

        Raises
        ------
        pytest.exit.Exception
            If it was interrupted.
        """
        if self._prepared is None or self._evidence is None:
            return None
        from sam_lsac.suite.progress import interruptible

        given = os.environ.get(STEP_SUMMARY)
        try:
            with _lasting(), interruptible():
                from sam_lsac.suite.closing import close

                report = self._evidence.report(self._prepared.cases)
                self.closing = close(report, self.options, step_summary=Path(given) if given else None)
        except KeyboardInterrupt:
            self._stop(self._prepared, remedy="the same command judges them")
        return self.closing

    def _compute(self, prepared: Prepared) -> Evidence:
        from sam_lsac.suite.gather import compute
        from sam_lsac.suite.progress import interruptible, show_progress

        most = "at most " if self.options.sequential else ""
        showing = show_progress(prepared.n_missing, sys.stdout, at_most=bool(most))
        try:
            with _usage_errors(), interruptible(), self._uncaptured(), showing as step:
                return compute(prepared, step=step)
        except KeyboardInterrupt:
            self._stop(prepared, remedy=f"the same command goes on with {most}the other {{missing}}")

    def _stop(self, prepared: Prepared, *, remedy: str) -> NoReturn:
        """End the session, and say what an interrupt has left."""
        from sam_lsac.suite.gather import n_stored

        stored, wanted = n_stored(prepared), prepared.n_runs
        kept = f"{stored} of {wanted} runs are in {near(self.options.store)}"
        goes_on = remedy.format(missing=wanted - stored)
        self._say(())  # the line of dots ends here
        pytest.exit(f"stopped: {kept}; {goes_on}", returncode=pytest.ExitCode.INTERRUPTED)

    def _say(self, lines: Iterable[str]) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            if reporter._tw.width_of_current_line:  # after the dots of workers, of which that knows nothing
                reporter.line("")
            for line in lines:
                reporter.write_line(line)

    @contextmanager
    def _uncaptured(self) -> Iterator[None]:
        """Give back the real terminal, which pytest may have taken from the process."""
        manager = self._config.pluginmanager.get_plugin("capturemanager")
        if manager is None:
            yield
            return
        with manager.global_and_fixture_disabled():
            yield


def selected_cases(items: Iterable[pytest.Item]) -> tuple[Case, ...]:
    """What the selected tests judge, each once."""
    params = (getattr(item, "callspec", None) for item in items)
    found = (spec.params.get("verdict") for spec in params if spec is not None)
    return tuple(dict.fromkeys(case for case in found if isinstance(case, Case)))


@contextmanager
def _lasting() -> Iterator[None]:
    """Keep what is imported and loaded in the block out of all collections of garbage, during it and after.

    It stays until the process ends, and each collection, of which pytest makes several at the end, looks at all of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except SamLsacError as error:
        raise pytest.UsageError(legible(" ".join(str(error).split()))) from error
