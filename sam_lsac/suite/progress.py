"""What the terminal shows while runs are computed: a bar, or a plain line every ten seconds where it is no terminal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from sam_lsac.runs import Progress

__all__ = ["Lines", "Tally", "interruptible", "show_progress"]

EVERY_S = 10.0
MINUTE_S = 60.0
HOUR_S = 3600.0

Step = Callable[[Progress], None]


class Tally:
    """Runs done of runs wanted, and what follows from the clock.

    Parameters
    ----------
    total
        Runs to compute.
    clock
        Seconds, from anywhere.
    at_most
        Whether fewer runs may do, so that all that is left is only the most that may be.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic, *, at_most: bool = False) -> None:
        self.total = total
        self._most = "at most " if at_most else ""
        self.done = 0
        self.computed = 0
        self.arm = ""
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, int] | None = None  # when the first computed runs came, and how many they were

    def step(self, stored: Progress) -> None:
        """Count runs that were just stored."""
        self.arm = stored.arm
        self.done += stored.runs
        self.computed += stored.runs if stored.computed else 0
        if self.computed and self._first is None:
            self._first = self._clock(), self.computed

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return self._clock() - self._started

    @property
    def run_s(self) -> float | None:
        """Seconds that a run takes, as a mean; None before the first is computed.

        Loading models in processes comes before the first runs and not before the others, so that their time is left
        out as soon as what came after them tells.
        """
        if self._first is None:
            return None
        since_s, later = self._since_first()
        return since_s / later if self._later_tell() else self.elapsed_s / self.computed

    @property
    def left_s(self) -> float | None:
        """At the rate so far; None before the first run is computed."""
        return None if self.run_s is None else self.run_s * (self.total - self.done)

    def _since_first(self) -> tuple[float, int]:
        """Seconds since the first computed runs came, and how many came after them."""
        if self._first is None:
            return 0.0, 0
        return self._clock() - self._first[0], self.computed - self._first[1]

    def _later_tell(self) -> bool:
        """Whether enough time has passed since the first runs that the later ones tell a rate of their own."""
        since_s, later = self._since_first()
        return bool(later) and since_s >= EVERY_S

    def _left(self) -> str:
        """The time left; at most that much as long as start-up is in the rate, or where fewer runs may do."""
        bound = self._most if self._later_tell() or self.done == self.total else "at most "
        return f"{bound}{duration(self.left_s or 0.0)}"

    def words(self) -> str:
        """Runs, rate, time left and the arm under way, such as "12/40 runs, 3.1 runs/s, 9 s left, lsac"."""
        parts = [f"{self.done} of {self._most}{self.total} runs" if self._most else f"{self.done}/{self.total} runs"]
        if self.run_s is None:
            return f"{parts[0]}, {duration(self.elapsed_s)} so far, no rate yet"
        rate = 1 / self.run_s if self.run_s > 0 else float("inf")
        parts += [
            f"{rate:.1f} runs/s" if rate >= 1 else f"{1 / rate:.1f} s/run",
            f"{self._left()} left",
        ]
        return ", ".join([*parts, self.arm] if self.arm else parts)

    def estimate(self) -> str:
        """What the first batch tells about the rest."""
        return (
            f"first {self.computed} of {self._most}{self.total} runs in {duration(self.elapsed_s)}, start-up included: "
            f"at that rate the other {self.total - self.done} take {self._left()}"
        )


class Lines:
    """A plain line now and then, for logs.

    Parameters
    ----------
    tally
        What is told.
    write
        Takes a line.
    clock
        That of the tally.
    every_s
        Seconds between lines.
    """

    def __init__(
        self,
        tally: Tally,
        write: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        self._tally = tally
        self._write = write
        self._clock = clock
        self._every_s = every_s
        self._last = clock()

    def tick(self) -> None:
        """Write a line if it is time; also while a batch is under way, so that a log never seems dead."""
        if self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            self._write(f"computing: {self._tally.words()}")


@contextmanager
def show_progress(total: int, stream: TextIO, *, every_s: float = EVERY_S, at_most: bool = False) -> Iterator[Step]:
    """Show a bar on a terminal, else lines, until the block is left; gives the function that counts.

    Parameters
    ----------
    total
        Runs to compute.
    stream
        The real terminal or log, not one that is captured.
    every_s
        Seconds between lines.
    at_most
        Whether fewer runs may do.
    """
    if not total:
        yield lambda _stored: None
        return
    from rich.console import Console

    tally = Tally(total, at_most=at_most)
    is_terminal = stream.isatty()
    console = Console(file=stream, force_terminal=is_terminal, highlight=False, markup=False, soft_wrap=True)
    with (
        _bar(tally, console) if is_terminal and not console.is_dumb_terminal else _lines(tally, stream, every_s) as step
    ):
        yield step


@contextmanager
def _bar(tally: Tally, console: Console) -> Iterator[Step]:
    columns = (bars.BarColumn(bar_width=20), _Words(tally))
    with bars.Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=tally.total)

        def step(stored: Progress) -> None:
            if not stored.runs:  # a notice
                console.print(stored.arm)
                return
            first = not tally.computed and stored.computed
            tally.step(stored)
            bar.update(task, completed=tally.done)
            if first:
                console.print(tally.estimate())

        yield step


class _Words(bars.ProgressColumn):
    """The tally in words, also between runs, while the clock goes on."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def render(self, task: bars.Task) -> Text:
        """Words at this moment."""
        return Text(self._tally.words(), overflow="ellipsis", no_wrap=True)


@contextmanager
def _lines(tally: Tally, stream: TextIO, every_s: float) -> Iterator[Step]:
    def write(line: str) -> None:
        stream.write(f"{line}\n")
        stream.flush()

    lines = Lines(tally, write, every_s=every_s)
    over = threading.Event()

    def tick() -> None:
        while not over.wait(min(1.0, every_s)):
            lines.tick()

    def step(stored: Progress) -> None:
        if not stored.runs:  # a notice
            write(stored.arm)
            return
        first = not tally.computed and stored.computed
        tally.step(stored)
        if first:
            write(tally.estimate())

    ticking = threading.Thread(target=tick, name="progress", daemon=True)
    ticking.start()
    try:
        yield step
        write(f"computed {tally.done} runs in {duration(tally.elapsed_s)}")
    finally:
        over.set()
        ticking.join()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, which CI sends to what it cancels, stop the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def duration(seconds: float) -> str:
    """Seconds in the unit that one would say."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"
