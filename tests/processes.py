"""Processes of tests: forked from a server that has imported everything once, so that fifty of them take seconds."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.process
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["run_python", "start", "start_python"]

_ROOT = Path(__file__).resolve().parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "hypothesis.strategies",
        "matplotlib.backends.backend_svg",
        "pydantic",
        "pytest",
        "rich.progress",
        "sam_lsac.commands.main",
        "sam_lsac.runs",
        "sam_lsac.suite.closing",
        "sam_lsac.suite.gather",
        "tests.processes",
        "tests.tiny_runs",
        "torch._dynamo",
        "transformers.convert_slow_tokenizer",
    ]
)
#: pytest warns of plugins that it cannot rewrite since they are imported; so they are, in the server.
_ADDOPTS = "-W ignore::pytest.PytestAssertRewriteWarning"


def start(work: Callable[..., object], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """Start a process that does some work, a function of a module, with arguments that can be pickled."""
    process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def start_python(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: str, errors: str | None = None
) -> multiprocessing.process.BaseProcess:
    """Start in a fork what ``python`` starts with these arguments, a script's or ``-m`` and a module's.

    Parameters
    ----------
    arguments
        Of the command line.
    cwd
        The folder to start in.
    env
        The whole environment.
    output
        Path of a file or a terminal for what is printed.
    errors
        Of another for the standard error; the same when None.
    """
    return start(_as_python, list(arguments), str(cwd), dict(env), output, errors or output)


def run_python(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run what `start_python` starts to its end, or to a limit, which raises subprocess.TimeoutExpired."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = start_python(arguments, cwd=cwd, env=env, output=str(output), errors=str(errors))
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(arguments), timeout_s)
        said, complained = (path.read_text(encoding="utf-8") for path in (output, errors))
    return subprocess.CompletedProcess(list(arguments), process.exitcode, said, complained)


def _as_python(arguments: list[str], cwd: str, env: dict[str, str], output: str, errors: str) -> None:
    """In a fork: have what a new interpreter has, and run."""
    gc.freeze()  # what the server imported is never collected, which pytest tries five times over
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, with all it starts
    for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o600)
        os.dup2(opened, stream.fileno())
        os.close(opened)
        stream.reconfigure(line_buffering=os.isatty(stream.fileno()))  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update({"PYTEST_ADDOPTS": _ADDOPTS, **env})
    is_module = arguments[0] == "-m"
    first = cwd if is_module else str(Path(arguments[0]).parent)
    own = [one for one in sys.path if one and Path(one) != _ROOT and not Path(one).is_relative_to(_ROOT / "tests")]
    sys.path[:] = [first, *os.environ.get("PYTHONPATH", "").split(os.pathsep), *own]
    import sam_lsac

    if not Path(sam_lsac.__file__).is_relative_to(_ROOT):
        raise ImportError(f"the server imported {sam_lsac.__file__}; start pytest in {_ROOT}")
    sys.argv = arguments[1:] if is_module else list(arguments)
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")
