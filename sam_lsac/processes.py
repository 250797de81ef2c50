"""Who is at work: a process by its machine and number, and whether it is known to have ended.

What a process leaves on a disk (a file that is half written, a run that it has begun) carries its name. A later process
asks here whether the owner still lives, and takes over only what nobody will finish.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass

__all__ = ["Process", "usable_cores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of some machine.

    Parameters
    ----------
    host
        Of the machine, in letters, digits, dots, dashes and underscores.
    pid
        On that machine.
    """

    host: str
    pid: int

    @classmethod
    def this(cls) -> Process:
        """The process that asks."""
        return cls(host=re.sub(r"[^\w.-]", "_", platform.node(), flags=re.ASCII), pid=os.getpid())

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another machine nothing is known."""
        return self.host == Process.this().host and not _is_alive(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host or 'this machine'}"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # the systems that cannot say more


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine lives; taken for granted where the system cannot be asked without harm."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):  # a number that no process can have
        return False
    except PermissionError:
        return True
    return True
