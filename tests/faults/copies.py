"""A copy of the package with its tests, in which one fault at a time is planted; the repository stays as it is."""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.forks import ELSEWHERE, PRELOADED
from tests.faults.rows import COPIED, ROOT, Fault

__all__ = ["Copy", "Outcome", "copied"]

LEFT_OUT = ("runs", "report", "mutants")
HIDDEN = (".ci", ".github")  # of what begins with a dot, what tests read
_FIRST_RED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_PASSED, _FAILED = 0, 1  # exit codes of pytest
_ARGUMENTS = (
    *("-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of plugins that were imported before the fork
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the tests said.

    Parameters
    ----------
    status
        "caught" by a red test, "survived", or an "error" that is neither.
    by
        The first red test, or what went wrong.
    seconds
        That it took.
    """

    status: str
    by: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A folder that looks like the repository; its package, bench and tests are files of its own.

    Parameters
    ----------
    root
        The folder.
    server
        A process of ``forks.py``, which runs its tests.
    """

    root: Path
    server: subprocess.Popen[str]

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Have a fault in the copy for the time of a block."""
        path = self.root / fault.file
        sound, faulty = path.read_text(encoding="utf-8"), fault.planted_in(self.root)
        try:
            path.write_text(faulty, encoding="utf-8")
            yield
        finally:
            path.write_text(sound, encoding="utf-8")

    def run(self, tests: Sequence[str], *, limit_s: float) -> Outcome:
        """Run tests up to the first red one."""
        output = self.root.with_name("output")
        job = {"folder": str(self.root), "arguments": [*_ARGUMENTS, *tests], "output": str(output), "limit_s": limit_s}
        began = time.perf_counter()
        if self.server.stdin is None or self.server.stdout is None:
            raise TypeError("a server of forks is started with pipes")
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        seconds = time.perf_counter() - began
        if not answer:
            return Outcome(status="error", by="the process that runs the tests ended", seconds=seconds)
        return _read(json.loads(answer)["code"], output, seconds)


def _read(code: int | None, output: Path, seconds: float) -> Outcome:
    """What an exit code and the words of pytest say."""
    if code == _PASSED:
        return Outcome(status="survived", by="", seconds=seconds)
    said = output.read_text(encoding="utf-8", errors="replace")
    red = _FIRST_RED.search(said)
    if code == _FAILED and red is not None:
        return Outcome(status="caught", by=red.group(1), seconds=seconds)
    last = (said.strip().splitlines() or ["nothing was said"])[-1]
    words = {None: "nothing was red in time", ELSEWHERE: "the package of another folder was imported"}
    return Outcome(status="error", by=words.get(code, f"pytest ended with {code}: {last}"), seconds=seconds)


@contextmanager
def copied(root: Path = ROOT, *, preloaded: Sequence[str] = PRELOADED) -> Iterator[Copy]:
    """A copy of a repository for the time of a block; what no fault is planted in is linked."""
    with TemporaryDirectory(prefix="sam_lsac-faults-") as folder:
        place = Path(folder).resolve() / "repository"
        place.mkdir()
        for path in root.iterdir():
            if path.name in COPIED:
                shutil.copytree(path, place / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif path.name in HIDDEN or not (path.name in LEFT_OUT or path.name.startswith(".")):
                (place / path.name).symlink_to(path)
        hashed = py_compile.PycInvalidationMode.CHECKED_HASH  # by content: a fault may come and go within a second
        compileall.compile_dir(place / "sam_lsac", quiet=1, invalidation_mode=hashed)
        server = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("forks.py")), *preloaded],
            cwd=folder,
            env=_environment(place),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            try:
                yield Copy(root=place, server=server)
            finally:
                server.terminate()


def _environment(place: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return given | {
        "PYTHONPATH": str(place),  # of what the tests start
        "PYTHONDONTWRITEBYTECODE": "1",  # what is compiled of a fault must not outlive it
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
