"""Every reader of what comes from elsewhere, with a whole file for it that is then damaged."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import soundfile
from hypothesis import strategies as st

from fixtures.corpus.archives import ArchiveError, read_member
from sam_lsac.caching import layer_classes
from sam_lsac.claims import load_claims
from sam_lsac.errors import SamLsacError
from sam_lsac.mixtures import load_mixtures
from sam_lsac.mixtures.audio import read_wave
from sam_lsac.model import load_model, save_checkpoint
from sam_lsac.report.json import from_json, to_json
from sam_lsac.runs import SQLiteStore
from sam_lsac.runs.side_files import SideFiles
from sam_lsac.runs.upkeep import check
from sam_lsac.schedule import load_schedule
from sam_lsac.solver import parse_solver
from sam_lsac.tune import tune
from tests import tiny_runs
from tests.reliability.damage import damaged, damaged_json, damaged_lines
from tests.report_sample import simulated_report
from tests.suite.rig import CLAIMS
from tests.test_readers import make_esc50, make_fsd50k, make_librispeech, make_stems
from tests.test_store import result

__all__ = ["OWN", "READERS", "Reader"]

#: The library's own errors; an archive's readers are of the fixtures' side.
OWN = (SamLsacError, ArchiveError)


NOTES = {
    "prompt": "dog barking", "target": "target.wav", "residual_prompt": "rain", "spans": [[0.1, 0.5]], "group": "dog",
    "credits": ["somebody"], "tier": "clean", "subset": "claims",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader.

    Parameters
    ----------
    prepare
        Makes what lies around the damaged file, once.
    path
        Of the damaged file below that.
    read
        Reads it, given that folder.
    cases
        From the whole file's content to damaged ones.
    """

    prepare: Callable[[Path], object]
    path: str
    read: Callable[[Path], object]
    cases: Callable[[bytes], st.SearchStrategy[bytes]]
    #: Whether reading may write beside the file, so that each case needs a folder of its own.
    writes: bool = False
    #: Whether each case loads a model.
    slow: bool = False

    @cache  # noqa: B019  # a handful, for the life of a session
    def whole(self) -> Path:
        """A folder in which nothing is damaged."""
        folder = Path(mkdtemp(prefix="sam_lsac-reliability-"))
        self.prepare(folder)
        return folder

    def content(self) -> bytes:
        """Of the whole file."""
        return (self.whole() / self.path).read_bytes()


def _checkpoint(folder: Path) -> None:
    save_checkpoint(tiny_runs.model(), folder)


def _load(folder: Path) -> None:
    layer_classes(load_model(folder))


def _sound(suffix: str, **form: str) -> Reader:
    wave = np.random.default_rng(0).normal(0.0, 0.1, 2000)
    return Reader(
        prepare=lambda folder: soundfile.write(folder / f"in{suffix}", wave, 8000, **form),
        path=f"in{suffix}",
        read=lambda folder: read_wave(folder / f"in{suffix}"),
        cases=damaged,
    )


def _store(folder: Path) -> None:
    with SQLiteStore(folder / "runs.sqlite") as store:
        store.put([result(seed, arrays={"target": np.arange(3.0)}) for seed in range(3)])


def _read_store(folder: Path) -> None:
    check(folder / "runs.sqlite")
    with SQLiteStore(folder / "runs.sqlite") as store:
        for run in store.get(store.keys()).values():
            store.array(run.spec.key, "target")
        store.put([result(9)])


def _array(folder: Path) -> None:
    (folder / "array").write_bytes(SideFiles(folder)._path(SideFiles(folder).write(np.arange(9.0))).read_bytes())
    for file in folder.glob("*.npy"):
        file.unlink()


def _read_array(folder: Path) -> None:
    content = (folder / "array").read_bytes()
    digest = hashlib.sha256(content).hexdigest()  # as of somebody who names what they wrote
    (folder / f"{digest}.npy").write_bytes(content)
    try:
        SideFiles(folder).read(digest)
    finally:
        (folder / f"{digest}.npy").unlink()


def _schedule(folder: Path) -> None:
    tune(tiny_runs.model(), tiny_runs.mixtures(2), saved=0.5, most_fits=2).save(folder / "schedule.toml")


def _zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "sounds.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", b"RIFF" + bytes(1000))


def _text(folder: Path) -> None:
    (folder / "solver").write_text("ab2:3@0,1,2,8")


def _read_text(folder: Path) -> None:
    parse_solver((folder / "solver").read_bytes().decode("utf-8", "surrogateescape"))


def _table(make: Callable[..., Any], path: str, *tiers: str, **options: Any) -> Reader:
    return Reader(
        prepare=lambda folder: make(folder, **options),
        path=path,
        read=lambda folder: load_mixtures(folder, tiers=tiers, per_tier=1, duration_s=0.2),
        cases=damaged_lines,
    )


def _report(folder: Path) -> None:
    (folder / "report.json").write_text(to_json(simulated_report(bare=True)), encoding="utf-8")


READERS: dict[str, Reader] = {
    "config.json": Reader(prepare=_checkpoint, path="config.json", read=_load, cases=damaged_json, slow=True),
    "layer_classes.json": Reader(
        prepare=_checkpoint, path="layer_classes.json", read=_load, cases=damaged_json, slow=True
    ),
    "weights": Reader(prepare=_checkpoint, path="model.safetensors", read=_load, cases=damaged, slow=True),
    "config of the text encoder": Reader(
        prepare=_checkpoint, path="text_encoder/config.json", read=_load, cases=damaged_json, slow=True
    ),
    "weights of the text encoder": Reader(
        prepare=_checkpoint, path="text_encoder/model.safetensors", read=_load, cases=damaged, slow=True
    ),
    "claims.toml": Reader(
        prepare=lambda folder: (folder / "claims.toml").write_text(CLAIMS),
        path="claims.toml",
        read=lambda folder: load_claims(folder / "claims.toml"),
        cases=damaged_lines,
    ),
    "mixture.json": Reader(
        prepare=lambda folder: make_stems(folder, "0", notes=NOTES),
        path="0/mixture.json",
        read=lambda folder: load_mixtures(folder, duration_s=0.2),
        cases=damaged_json,
    ),
    "table of ESC-50": _table(make_esc50, "meta/esc50.csv", "env", n_clips=2),
    "table of FSD50K": _table(make_fsd50k, "FSD50K.ground_truth/dev.csv", "env", parts=("dev",)),
    "table of LibriSpeech": _table(make_librispeech, "SPEAKERS.TXT", "clean", n_utterances=1),
    "WAV": _sound(".wav", subtype="PCM_16"),
    "WAV, floating point": _sound(".wav", subtype="FLOAT"),
    "AIFF": _sound(".aiff"),
    "FLAC": _sound(".flac"),
    "OGG": _sound(".ogg"),
    "MP3": _sound(".mp3"),
    "run store": Reader(prepare=_store, path="runs.sqlite", read=_read_store, cases=damaged, writes=True),
    "side file": Reader(prepare=_array, path="array", read=_read_array, cases=damaged),
    "report.json": Reader(
        prepare=_report, path="report.json", read=lambda folder: from_json(folder / "report.json"), cases=damaged_json
    ),
    "schedule.toml": Reader(
        prepare=_schedule,
        path="schedule.toml",
        read=lambda folder: load_schedule(folder / "schedule.toml"),
        cases=damaged_lines,
    ),
    "archive": Reader(
        prepare=_zip, path="sounds.zip", read=lambda folder: read_member(folder / "sounds.zip", "a.wav"), cases=damaged
    ),
    "text of a solver": Reader(prepare=_text, path="solver", read=_read_text, cases=damaged_lines),
}
