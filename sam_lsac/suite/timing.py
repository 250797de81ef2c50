"""Times of a session's settings beside the full solve: measured on request, and found again by every later report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sam_lsac.claims import Book
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.runs import resolve_arm
from sam_lsac.runs.timings import ArmTime, Timings, time_arm, timing_key

__all__ = ["measure_times", "stored_times", "time_keys"]


def time_keys(book: Book, model: SAMAudio, mixtures: Sequence[Mixture], *, arms: Iterable[str]) -> dict[str, str]:
    """Return by arm what its time on the first mixture, beside the reference's, is kept under.

    Parameters
    ----------
    book, model, mixtures
        Of the selection.
    arms
        Names of the book's.
    """
    against = resolve_arm(book.arms[book.views.reference], model)
    length = mixtures[0].duration_s
    return {
        name: timing_key(model, resolve_arm(book.arms[name], model), against, seconds_of_audio=length) for name in arms
    }


def stored_times(store: Path | None, keys: Mapping[str, str]) -> dict[str, ArmTime]:
    """Return the times that are there, by arm.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    if store is None or not keys or not store.is_file():
        return {}
    timings = Timings(store, read_only=True)
    try:
        found = {name: timings.get(key) for name, key in keys.items()}
    finally:
        timings.close()
    return {name: time for name, time in found.items() if time is not None}


def measure_times(
    book: Book,
    model: SAMAudio,
    mixture: Mixture,
    *,
    arms: Sequence[str],
    store: Path,
    repeats: int = 7,
    step: Callable[[str], object] = lambda _arm: None,
) -> dict[str, ArmTime]:
    """Measure each arm beside the reference on one mixture, and keep all samples.

    Parameters
    ----------
    book, model, mixture
        Of the selection.
    arms
        Names of the book's.
    store
        The run store.
    repeats
        Pairs.
    step
        Told of each arm before it is measured.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    keys = time_keys(book, model, [mixture], arms=arms)
    against = resolve_arm(book.arms[book.views.reference], model)
    timings = Timings(store)
    try:
        for name in arms:
            step(name)
            timings.put(
                keys[name], time_arm(model, resolve_arm(book.arms[name], model), against, mixture, repeats=repeats)
            )
    finally:
        timings.close()
    return stored_times(store, keys)
