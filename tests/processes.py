"""Processes of tests: forked from a server that has imported everything once, so that fifty of them take seconds."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
from collections.abc import Callable
from typing import Any

__all__ = ["start"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sam_lsac.commands.main", "sam_lsac.runs", "tests.tiny_runs"])


def start(work: Callable[..., object], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """Start a process that does some work, a function of a module, with arguments that can be pickled."""
    process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process
