"""How long something takes, always against something else measured beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from sam_lsac.errors import InputError

__all__ = ["TimeRatio", "one_thread", "ratio_abab", "seconds_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRatio:
    """Time of one thing over the time of another.

    Parameters
    ----------
    ratio
        Median over the pairs of time of a / time of b; below 1, a is faster.
    low, high
        Bootstrap interval of that median.
    level
        Its coverage, 0 to 1.
    a_seconds, b_seconds
        Of every pair, in the order measured.
    """

    ratio: float
    low: float
    high: float
    level: float
    a_seconds: tuple[float, ...]
    b_seconds: tuple[float, ...]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the processor in the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def seconds_of(
    call: Callable[[], object], *, device: str | torch.device = "cpu", processor_time: bool = False
) -> float:
    """Run a call once and time it, in seconds.

    Parameters
    ----------
    call
        What to run.
    device
        Where its work is done. On a CUDA device the time between two events on the current stream, else the wall clock.
    processor_time
        On a CPU, what this process used of it, over all threads, and not the wall clock: on a shared machine the time
        in which others ran is left out.
    """
    if torch.device(device).type != "cuda":
        clock = time.process_time if processor_time else time.perf_counter
        start = clock()
        call()
        return clock() - start
    with torch.cuda.device(device):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        first.record()
        call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3  # it is in milliseconds


def ratio_abab(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    repeats: int = 7,
    warmup: int = 1,
    device: str | torch.device = "cpu",
    processor_time: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> TimeRatio:
    """Time two calls in turn, A B A B ..., and compare them pair by pair.

    What drifts slowly (clock rates, temperature, other work on the machine) meets both alike. A ratio means something
    on any machine; seconds do not, so tests assert ratios only.

    Parameters
    ----------
    a, b
        What to compare.
    repeats
        Pairs, at least 3.
    warmup
        Pairs that are run before and not counted.
    device, processor_time
        Which clock; see `seconds_of`.
    level
        Coverage of the interval.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If ``repeats``, ``warmup`` or ``level`` is not possible.
    """
    from scipy import stats  # takes as long to import as the rest of the library

    if repeats < 3 or warmup < 0 or not 0 < level < 1:
        raise InputError(
            f"repeats = {repeats}, warmup = {warmup}, level = {level}: give at least 3 pairs, no negative warm-up, and "
            "a coverage between 0 and 1."
        )
    for _ in range(warmup):
        a()
        b()
    one = partial(seconds_of, device=device, processor_time=processor_time)
    pairs = [(one(a), one(b)) for _ in range(repeats)]
    a_seconds, b_seconds = zip(*pairs, strict=True)
    ratios = np.divide(a_seconds, b_seconds)
    interval = stats.bootstrap(
        (ratios,), np.median, confidence_level=level, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return TimeRatio(
        ratio=float(np.median(ratios)),
        low=float(interval.low),
        high=float(interval.high),
        level=level,
        a_seconds=a_seconds,
        b_seconds=b_seconds,
    )
