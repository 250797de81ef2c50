"""Which command runs, and how it ends: 0, what the command says, 2 for a mistake, 128 + n for signal n."""

from __future__ import annotations

import contextlib
import os
import sys

from sam_lsac.commands import calibrate, plan, report, separate, store, tune
from sam_lsac.commands.arguments import MistakeError, Parser
from sam_lsac.commands.stopping import Stopped, stoppable
from sam_lsac.errors import SamLsacError, is_out_of_memory
from sam_lsac.legible import legible

__all__ = ["command_line", "main"]

COMMANDS = (separate, calibrate, tune, plan, report, store)
PIPE_CLOSED = 141  # 128 + SIGPIPE, as of a program that `head` has heard enough of


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments
        Those of the process where None.
    """
    for stream in (sys.stdout, sys.stderr):  # a name from a disk may hold what no terminal can show
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = None
    try:
        with stoppable():
            options = command_line().parse_args(arguments)
            code: int = options.run(options)
            sys.stdout.flush()
    except MistakeError as error:
        return _end(str(error), 2)
    except SamLsacError as error:
        return _end(f"sam_lsac {options.command if options else ''}: {error}", 2)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        kept = options.kept(options) if options else "nothing had begun"
        remedy = "give shorter windows or fewer mixtures, a smaller model, or another --device"
        return _end(f"sam_lsac {options.command if options else ''}: memory ran out: {remedy}; {kept}.", 2)
    except Stopped as stop:
        kept = options.kept(options) if options else "nothing had begun"
        return _end(f"sam_lsac {options.command if options else ''}: stopped; {kept}.", stop.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is quiet
        return PIPE_CLOSED
    return code


def command_line() -> Parser:
    """Return what reads the arguments, with every command in it."""
    parser = Parser(prog="python -m sam_lsac", description=f"Commands: {', '.join(one.NAME for one in COMMANDS)}.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def _end(words: str, code: int) -> int:
    print(legible(" ".join(words.split())), file=sys.stderr)
    return code
