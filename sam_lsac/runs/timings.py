"""Times of settings, measured pair by pair against another, and kept in the run store with every raw sample.

A stored run says how long it took, but not how long another would have taken at that moment. Here the two are solved
in turn, A B A B, and decoded, one example, on the device of the model. The table is made when the first time is kept;
a store without one has none.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from sam_lsac.costs import TimeRatio, one_thread, peak_memory, ratio_abab
from sam_lsac.errors import StoreError
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.digest import checkpoint_digest
from sam_lsac.records import STRICT, read
from sam_lsac.runs.arms import ResolvedArm, describe_edit
from sam_lsac.runs.compute import Batch
from sam_lsac.runs.database import Database
from sam_lsac.runs.versions import code_version, edit_version
from sam_lsac.separate import decode, solve_batch

__all__ = ["ArmTime", "Timings", "time_arm", "timing_key"]

_TABLE = "CREATE TABLE IF NOT EXISTS timings (key TEXT PRIMARY KEY, content TEXT NOT NULL, digest TEXT NOT NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTime:
    """How long an arm takes beside another, and how much memory.

    Parameters
    ----------
    ratio, low, high, level
        Median over the pairs of the arm's time over the other's, and its bootstrap interval.
    arm_seconds, against_seconds
        Of every pair, in the order measured.
    clock
        "processor", of one thread on a CPU, or "events", of a CUDA stream.
    device
        Its name.
    arm_peak_bytes, against_peak_bytes
        Added at the peak of a solve.
    seconds_of_audio
        Of the one example.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    ratio: float
    low: float
    high: float
    level: float
    arm_seconds: tuple[float, ...]
    against_seconds: tuple[float, ...]
    clock: Literal["processor", "events"]
    device: str
    arm_peak_bytes: int
    against_peak_bytes: int
    seconds_of_audio: float


class Timings:
    """The times that a run store keeps.

    Parameters
    ----------
    path
        Of the store.
    read_only
        Look and write nothing.

    Raises
    ------
    StoreError
        If the file is no run store, or damaged.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._db = Database(path, read_only=read_only, notice=lambda _words: None)

    def get(self, key: str) -> ArmTime | None:
        """The time under a key, or None.

        Raises
        ------
        StoreError
            If the row is not what was written.
        """
        with self._db.translated():
            there = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'timings'").fetchone()
            row = there and self._db.execute("SELECT content, digest FROM timings WHERE key = ?", (key,)).fetchone()
        if not row:
            return None
        content, digest = row
        damaged = StoreError(f"The time {key} in {self._path} is damaged; measure it anew, or restore the file.")
        if _digest(key, content) != digest:
            raise damaged
        where = f"a time in {self._path}"
        return read(ArmTime, json.loads(content), where=where, error=StoreError, remedy="measure it anew")

    def put(self, key: str, time: ArmTime) -> None:
        """Keep a time, in place of one that is there."""
        content = json.dumps(asdict(time), sort_keys=True)
        with self._db.locked():
            self._db.execute(_TABLE)
            self._db.execute("INSERT OR REPLACE INTO timings VALUES (?, ?, ?)", (key, content, _digest(key, content)))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def timing_key(model: SAMAudio, arm: ResolvedArm, against: ResolvedArm, *, seconds_of_audio: float) -> str:
    """Return the SHA-256 in hex of what a time depends on: both arms, checkpoint, code, length, device and machine.

    Parameters
    ----------
    model
        On its device.
    arm, against
        What is measured, and beside what.
    seconds_of_audio
        Of the example.
    """
    sides = [
        [one.solver.text, [[describe_edit(edit), edit_version(edit)] for edit in one.edits], one.text, one.spans]
        for one in (arm, against)
    ]
    weight = model.proj.weight
    content = [sides, checkpoint_digest(model), code_version(), seconds_of_audio, str(weight.dtype), _device(model)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def time_arm(model: SAMAudio, arm: ResolvedArm, against: ResolvedArm, mixture: Mixture, *, repeats: int = 7) -> ArmTime:
    """Measure solve and decoding of one example under two arms, in turn.

    Parameters
    ----------
    model
        On its device.
    arm, against
        What is measured, and beside what.
    mixture
        The example.
    repeats
        Pairs, at least 3.

    Raises
    ------
    EditError
        If an edit does not fit.
    """
    device = model.proj.weight.device
    batch = Batch(model, [mixture], [0])
    calls = [_call(batch, one) for one in (arm, against)]
    on_cores = device.type == "cpu"  # where others on the machine change the processor time of one thread least
    with one_thread() if on_cores else nullcontext():
        time: TimeRatio = ratio_abab(*calls, repeats=repeats, device=device, processor_time=True)
        peaks = [peak_memory(call, device=device).added_bytes for call in calls]
    return ArmTime(
        ratio=time.ratio,
        low=time.low,
        high=time.high,
        level=time.level,
        arm_seconds=time.a_seconds,
        against_seconds=time.b_seconds,
        clock="processor" if on_cores else "events",
        device=_device(model)[0],
        arm_peak_bytes=peaks[0],
        against_peak_bytes=peaks[1],
        seconds_of_audio=mixture.duration_s,
    )


def _call(batch: Batch, arm: ResolvedArm) -> Callable[[], object]:
    conditions = batch.conditions(text=arm.text, spans=arm.spans)

    def call() -> object:
        solved = solve_batch(batch.model, conditions, batch.noise, solver=arm.solver, edits=arm.edits)
        return decode(batch.model, solved, seeds=batch.seeds)

    return call


def _device(model: SAMAudio) -> tuple[str, str]:
    """Its name, and the machine's."""
    device = model.proj.weight.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    return name, platform.node()


def _digest(key: str, content: str) -> str:
    return hashlib.sha256(f"{key} {content}".encode()).hexdigest()
