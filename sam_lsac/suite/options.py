"""Options of the suite: their names, how they are read, and every check that needs no model.

The rows are the same for pytest and for a command line of one's own: ``add_options(group.addoption)`` or
``add_options(parser.add_argument)``. All values arrive as text, so that a wrong one is refused here, in one sentence.
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from sam_lsac.bundled import bundled
from sam_lsac.errors import InputError, SamLsacError, StoreError

__all__ = ["HOUSE_CLAIMS", "Options", "add_options", "check_options", "read_options"]

#: The claims of this repository.
HOUSE_CLAIMS = bundled("bench") / "claims.toml"
LATEST = "last"
GIVEN = "given"
FAIL_ON = ("never", "flip")
FIRST_SEED_TOO_LARGE = 2**63
LONGEST_SHOWN = 60  # characters of a wrong value

_ROWS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--claims": {"metavar": "FILE", "help": "claims file (default: bench/claims.toml of sam_lsac)"},
        "--model": {"default": "embedded", "help": "embedded, a checkpoint folder, or a hub id"},
        "--device": {"default": "cpu", "help": "torch device of the model (default: cpu)"},
        "--mixtures": {"default": "embedded", "help": "embedded, or a folder of stems or of a known corpus"},
        "--mixtures-per-tier": {"default": "24", "metavar": "N", "help": "mixtures per tier (default: 24)"},
        "--schedule": {
            "metavar": "[NAME=]FILE",
            "action": "append",
            "help": "file of `sam_lsac tune` for the arms of schedule NAME (default: given); may be repeated",
        },
        "--seeds": {"metavar": "N,N", "help": "noise seeds, such as 0,1,2 (default: those of the claims file)"},
        "--store": {"metavar": "FILE", "help": "run store (default: runs/store.sqlite below the root folder)"},
        "--replay": {"action": "store_true", "help": "judge the runs in the store; compute nothing"},
        "--report": {"metavar": "DIR", "help": "folder of the report (default: report/ below the root folder)"},
        "--report-autosave": {"action": "store_true", "help": "keep every report under history/ in that folder"},
        "--report-compare": {
            "metavar": "OLD",
            "nargs": "?",
            "const": LATEST,
            "help": "say what changed against this report.json, or against the 'last' one of the history",
        },
        "--report-fail-on": {
            "metavar": "WHAT",
            "default": "never",
            "help": "flip: exit code 1 where --report-compare finds a flipped or vanished verdict (default: never)",
        },
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to judge, on what, and where runs and reports are kept.

    Parameters
    ----------
    claims
        The claims file.
    model
        Name, folder or hub id.
    device
        Of torch.
    mixtures
        "embedded", or a folder.
    per_tier
        So many mixtures of a tier.
    seeds
        Of the noise; None for those of the claims file.
    schedules
        Files of schedules by name; others are looked for in the checkpoint's folder.
    store
        The run store's file.
    replay
        Never compute; a missing run is an error.
    report
        Folder of the report.
    autosave
        Keep the report in the history too.
    compare
        A report.json, or "last"; None to compare nothing.
    fail_on
        What `compare` finds that makes the session fail.
    """

    claims: Path
    model: str
    device: str
    mixtures: str
    per_tier: int
    seeds: tuple[int, ...] | None
    schedules: Mapping[str, Path]
    store: Path
    replay: bool
    report: Path
    autosave: bool
    compare: str | None
    fail_on: Literal["never", "flip"]

    @property
    def history(self) -> Path:
        """Folder of the kept reports."""
        return self.report / "history"


def add_options(add: Callable[..., object]) -> None:
    """Declare every option.

    Parameters
    ----------
    add
        ``addoption`` of a group of pytest, or ``add_argument`` of an argument parser.
    """
    for name, settings in _ROWS.items():
        add(name, **settings)


def read_options(given: Callable[[str], Any], *, root: Path) -> Options:
    """Read what was given; nothing is looked up yet.

    Parameters
    ----------
    given
        From an option's name with its dashes to its value.
    root
        The folder in which store and report lie unless they are given.

    Raises
    ------
    InputError
        If a value cannot be what its option needs.
    """
    return Options(
        claims=Path(given("--claims")) if given("--claims") is not None else HOUSE_CLAIMS,
        model=given("--model"),
        device=given("--device"),
        mixtures=given("--mixtures"),
        per_tier=_count(given("--mixtures-per-tier")),
        seeds=None if given("--seeds") is None else _seeds(given("--seeds")),
        schedules=_schedules(given("--schedule") or ()),
        store=_path("--store", given("--store"), root / "runs" / "store.sqlite"),
        replay=given("--replay"),
        report=_path("--report", given("--report"), root / "report"),
        autosave=given("--report-autosave"),
        compare=given("--report-compare"),
        fail_on=_fail_on(given("--report-fail-on")),
    )


def check_options(options: Options) -> None:
    """Refuse what cannot be used here, before a model is loaded; nothing is left behind.

    Raises
    ------
    InputError
        If device, report folder or the report to compare with cannot be used.
    StoreError
        If the run store cannot.
    """
    _check_device(options.device)
    _check_store(options.store, replay=options.replay)
    _check_report(options.report)
    _check_comparison(options)


def _count(text: str) -> int:
    if not _is_whole(text) or int(text) < 1:
        raise InputError(f"--mixtures-per-tier {_shown(text)}: give a whole number, at least 1, such as 24.")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(_is_whole(part) and int(part) < FIRST_SEED_TOO_LARGE for part in parts):
        raise InputError(f"--seeds {_shown(text)}: give whole numbers from 0 to 2 ** 63 - 1, such as 0,1,2.")
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {_shown(text)}: give different numbers, such as 0,1,2.")
    return seeds


def _schedules(texts: Iterable[str]) -> Mapping[str, Path]:
    """Files by name; without one, the file is that of the schedule "given"."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        name, file = (name, file) if equals else (GIVEN, text)
        if not file.strip() or not name.strip() or "\0" in text:
            raise InputError(f"--schedule {_shown(text)}: give a file of `sam_lsac tune`, or NAME=FILE.")
        if name in found:
            raise InputError(f"--schedule {_shown(text)}: {name} is there twice; give each name one file.")
        found[name] = Path(file)
    return MappingProxyType(found)


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number of a length that Python's int() takes."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_SHOWN


def _path(option: str, text: str | None, default: Path) -> Path:
    if text is None:
        return default
    if not text.strip() or "\0" in text:
        raise InputError(f"{option} {_shown(text)}: give a path, or leave the option out for {default}.")
    return Path(text)


def _fail_on(text: str) -> Literal["never", "flip"]:
    if text == "flip":
        return "flip"
    if text == "never":
        return "never"
    raise InputError(f"--report-fail-on {_shown(text)}: choose from {', '.join(FAIL_ON)}.")


def _check_device(name: str) -> None:
    """Compute one number there: only that shows that a device is more than a name."""
    import torch

    try:
        usable = float(torch.ones(1, device=name).add(1.0).item()) == 2.0
        reason = "it computes nothing"
    except Exception as error:  # of whatever type torch or a driver raises
        usable, reason = False, textwrap.shorten(str(error) or type(error).__name__, 100, placeholder=" …")
    if not usable:
        raise InputError(f"--device {_shown(name)} cannot be used here ({reason}); use cpu, or cuda with CUDA.")


def _check_store(path: Path, *, replay: bool) -> None:
    from sam_lsac.runs import SQLiteStore

    if path.is_dir():
        raise StoreError(f"--store {path} is a folder; name a file, such as {path / 'store.sqlite'}.")
    if replay and not path.exists():
        raise StoreError(f"--replay: there is no run store at {path}; run once without --replay.")
    if path.exists() and (replay or path.stat().st_size):
        SQLiteStore(path, read_only=True).close()
    if not replay and (reason := _unwritable(path)):
        raise StoreError(f"--store {path} cannot be written ({reason}); name another file.")


def _check_report(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--report {folder} is a file; name a folder.")
    if reason := _unwritable(folder / "report.json"):
        raise InputError(f"--report {folder} cannot be written ({reason}); name another folder.")


def _check_comparison(options: Options) -> None:
    from sam_lsac.report import from_json

    if options.compare is None:
        if options.fail_on != "never":
            raise InputError(
                f"--report-fail-on {options.fail_on} needs something to compare with; add --report-compare=OLD, or "
                "--report-compare=last."
            )
        return
    if options.compare == LATEST:
        return
    path = Path(options.compare)
    if path.is_dir():
        raise InputError(f"--report-compare {path} is a folder; write --report-compare=last, or name a report.json.")
    try:
        from_json(path)
    except SamLsacError as error:
        raise InputError(f"--report-compare: {error}") from error


def _unwritable(path: Path) -> str | None:
    """Why a file could not be written, or None; asked of the system by opening, which alone tells the truth."""
    try:
        if path.exists():
            with path.open("r+b"):
                pass
        home = path.parent
        while not home.exists():
            home = home.parent
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def near(path: Path) -> Path:
    """A path as one would type it here: relative where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…")
