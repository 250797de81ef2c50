"""What a report says of arms besides their scores and FLOPs: bytes that caches keep, and where schedules lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sam_lsac.claims import Arm, Book
from sam_lsac.costs.memory import cache_bytes
from sam_lsac.costs.sizes import frames
from sam_lsac.errors import EditError
from sam_lsac.model import SAMAudio
from sam_lsac.runs import resolve_arm
from sam_lsac.runs.arms import schedule_of
from sam_lsac.schedule import own_path
from sam_lsac.suite.options import near

__all__ = ["kept_bytes", "schedule_files"]


def kept_bytes(book: Book, model: SAMAudio, *, arms: Iterable[str], seconds: float) -> dict[str, int]:
    """Return by arm what its edits keep from step to step for one example; an arm whose edits do not say has none.

    Parameters
    ----------
    book, arms
        Whose arms, and which.
    model
        In whose dtype values are kept.
    seconds
        Duration of the example.
    """
    n_frames, dtype = frames(model.config, seconds), model.proj.weight.dtype
    found = {}
    for name in arms:
        try:
            edits = resolve_arm(book.arms[name], model).edits
            found[name] = sum(cache_bytes(model, edit, n_frames=n_frames, dtype=dtype) for edit in edits)
        except EditError:
            continue
    return found


def schedule_files(arms: Mapping[str, Arm], model: SAMAudio, *, given: Mapping[str, Path]) -> dict[str, str]:
    """Return by arm the Python expression of the file that holds its schedule, whether it is there or not.

    Parameters
    ----------
    arms
        As the book has them, with the names of schedules.
    model
        Whose folder is looked in.
    given
        Files by name, which come before those of the checkpoint's folder.
    """
    found = {}
    for name, arm in arms.items():
        schedule = schedule_of(arm)
        if schedule is None:
            continue
        own = own_path(schedule, model)
        if schedule in given:
            found[name] = json.dumps(str(near(given[schedule])), ensure_ascii=False)
        elif own is not None and model.folder is not None:
            found[name] = f'model.folder / "{own.relative_to(model.folder).as_posix()}"'
    return found
