"""Options of the suite: their names, how they are read, and every check that needs no model.

The rows are the same for pytest and for a command line of one's own: ``add_options(group.addoption)`` or
``add_options(parser.add_argument)``. All values arrive as text, so that a wrong one is refused here, in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from sam_lsac.bundled import bundled
from sam_lsac.errors import InputError, SamLsacError
from sam_lsac.processes import usable_cores
from sam_lsac.suite.usable import check_cluster, check_device, check_new_folder, check_store
from sam_lsac.suite.values import is_seed, path, shown, whole

__all__ = ["HOUSE_CLAIMS", "Options", "add_options", "check_options", "read_options"]

#: The claims of this repository.
HOUSE_CLAIMS = bundled("bench") / "claims.toml"
LATEST = "last"
GIVEN = "given"
FAIL_ON = ("never", "flip")
LOCAL = "local"

_ROWS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "--claims": {"metavar": "FILE", "help": "claims file (default: bench/claims.toml of sam_lsac)"},
        "--model": {"default": "embedded", "help": "embedded, a checkpoint folder, or a hub id"},
        "--device": {"default": "cpu", "help": "torch device of the model (default: cpu)"},
        "--processes": {
            "metavar": "N",
            "help": "processes that compute: whole runs on a CPU, scores beside a GPU (default: one a core)",
        },
        "--executor": {
            "metavar": "WHERE",
            "default": LOCAL,
            "help": "local: processes of this machine (default); ray: a Ray cluster started for it; auto or "
            "ray://HOST:PORT: one that runs",
        },
        "--mixtures": {"default": "embedded", "help": "embedded, or a folder of stems or of a known corpus"},
        "--follow-outside": {
            "action": "store_true",
            "help": "read also files that a table or a link leads out of the mixtures' folder to",
        },
        "--mixtures-per-tier": {"default": "24", "metavar": "N", "help": "mixtures per tier (default: 24)"},
        "--schedule": {
            "metavar": "[NAME=]FILE",
            "action": "append",
            "help": "file of `sam_lsac tune` for the arms of schedule NAME (default: given); may be repeated",
        },
        "--seeds": {"metavar": "N,N", "help": "noise seeds, such as 0,1,2 (default: those of the claims file)"},
        "--store": {"metavar": "FILE", "help": "run store (default: runs/store.sqlite below the root folder)"},
        "--sequential": {
            "action": "store_true",
            "help": "judge after each batch; compute no more for what is decided or out of reach (docs/verdicts.md)",
        },
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
    processes
        That compute; with 1 all is done in this one.
    executor
        "local" for those processes, or which Ray cluster computes instead.
    mixtures
        "embedded", or a folder.
    follow_outside
        Read also what a table or a link leads out of that folder to.
    per_tier
        So many mixtures of a tier.
    seeds
        Of the noise; None for those of the claims file.
    schedules
        Files of schedules by name; others are looked for in the checkpoint's folder.
    store
        The run store's file.
    sequential
        Judge look by look, and stop each case where it is decided.
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
    processes: int
    executor: str
    mixtures: str
    follow_outside: bool
    per_tier: int
    seeds: tuple[int, ...] | None
    schedules: Mapping[str, Path]
    store: Path
    sequential: bool = False
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
        processes=usable_cores() if (n := given("--processes")) is None else whole("--processes", n, example=2),
        executor=_executor(given("--executor"), processes=given("--processes")),
        mixtures=given("--mixtures"),
        follow_outside=given("--follow-outside"),
        per_tier=whole("--mixtures-per-tier", given("--mixtures-per-tier"), example=24),
        seeds=None if given("--seeds") is None else read_seeds(given("--seeds")),
        schedules=_schedules(given("--schedule") or ()),
        store=_path("--store", given("--store"), root / "runs" / "store.sqlite"),
        sequential=given("--sequential"),
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
        If device, cluster, report folder or the report to compare with cannot be used.
    StoreError
        If the run store cannot.
    """
    check_device("--device", options.device)
    check_store("--store", options.store, replay=options.replay)
    check_new_folder("--report", options.report)
    _check_comparison(options)
    if not (options.replay or options.executor == LOCAL):  # last, since it takes longest
        check_cluster("--executor", options.executor, device=options.device)


def read_seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(map(is_seed, parts)):
        raise InputError(f"--seeds {shown(text)}: give whole numbers from 0 to 2 ** 63 - 1, such as 0,1,2.")
    seeds = tuple(map(int, parts))
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {shown(text)}: give different numbers, such as 0,1,2.")
    return seeds


def _schedules(texts: Iterable[str]) -> Mapping[str, Path]:
    """Files by name; without one, the file is that of the schedule "given"."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        name, file = (name, file) if equals else (GIVEN, text)
        if not file.strip() or not name.strip() or "\0" in text:
            raise InputError(f"--schedule {shown(text)}: give a file of `sam_lsac tune`, or NAME=FILE.")
        if name in found:
            raise InputError(f"--schedule {shown(text)}: {name} is there twice; give each name one file.")
        found[name] = Path(file)
    return MappingProxyType(found)


def _path(option: str, text: str | None, default: Path) -> Path:
    return default if text is None else path(option, text, remedy=f"give a path, or leave the option out for {default}")


def _executor(text: str, *, processes: str | None) -> str:
    if text == LOCAL:
        return text
    if text not in ("ray", "auto") and re.fullmatch(r"ray://[^/\s]+:\d{1,5}", text) is None:
        raise InputError(f"--executor {shown(text)}: choose from local, ray, auto, or ray://HOST:PORT.")
    if processes is not None:
        raise InputError(
            f"--processes {shown(processes)} is about this machine, and --executor {text} has one a core or GPU of "
            "a cluster; leave one of the two out."
        )
    return text


def _fail_on(text: str) -> Literal["never", "flip"]:
    if text == "flip":
        return "flip"
    if text == "never":
        return "never"
    raise InputError(f"--report-fail-on {shown(text)}: choose from {', '.join(FAIL_ON)}.")


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


def near(path: Path) -> Path:
    """A path as one would type it here: relative where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
