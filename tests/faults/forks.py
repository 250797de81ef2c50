"""Runs pytest again and again, each time in a fork of one process in which all that is not under test is imported once.

Started by its path, and itself without anything of the repository: a fork finds package, bench and tests in the copy
that its job names, and says so where it does not. Importing PyTorch and the rest takes longer than most tests.

A job is a line of JSON on the standard input: ``folder``, ``arguments`` of pytest, ``output`` (a file) and ``limit_s``.
The answer is a line with ``code``, the exit code of pytest, or null where it took too long.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

#: What most tests need and none tests.
PRELOADED = (
    "fast_bss_eval",
    "hypothesis.strategies",
    "jinja2",
    "matplotlib.pyplot",
    "pesq",
    "pydantic",
    "pystoi",
    "pytest",
    "rich.console",
    "scipy.signal",
    "scipy.stats",
    "soundfile",
    "soxr",
    "torch.testing",
    "torchdiffeq",
    "tqdm",
    "transformers.models.byt5.tokenization_byt5",
    "transformers.models.t5.modeling_t5",
)
#: Exit code of a fork that found another package than the copy's.
ELSEWHERE = 90
#: Exit code of a fork that failed beside the tests.
BROKEN = 91


def run_pytest(job: dict[str, Any]) -> int:
    """In a fork: run the tests of a copy."""
    folder = Path(job["folder"])
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    import pytest

    import sam_lsac

    if not Path(sam_lsac.__file__).resolve().is_relative_to(folder):
        return ELSEWHERE
    return int(pytest.main(job["arguments"]))


def forked(job: dict[str, Any]) -> int | None:
    """Do a job in a fork and wait for it; None where it took too long."""
    child = os.fork()
    if not child:
        code = BROKEN
        try:
            os.setsid()  # so that whatever the tests start ends with them
            code = run_pytest(job)
        except BaseException:
            traceback.print_exc()  # into the output, if it is there yet
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + job["limit_s"]
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    """Import what the command line names, and serve until the input ends."""
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != Path(__file__).resolve().parent]
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # forks share what is there
    for line in sys.stdin:
        answer = json.dumps({"code": forked(json.loads(line))})
        try:
            print(answer, flush=True)
        except BrokenPipeError:  # the campaign was stopped meanwhile
            os._exit(0)


if __name__ == "__main__":
    main()
