"""A driver of a cluster: fills a store with the runs of tests/test_pool.py, and kills something in the middle.

``python -m tests.cluster.drive CHECKPOINT STORE WHERE [MARK worker|all]``: when runs are stored and a worker with the
mark is at work, it is killed with -9, or all processes with the mark. What the driver was told is printed, in JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from sam_lsac.errors import SamLsacError
from sam_lsac.model import load_model
from sam_lsac.runs import plan
from sam_lsac.runs.cluster import RayExecutor
from tests import tiny_runs
from tests.cluster.nodes import end, marked, warm
from tests.test_pool import ALONE, ARMS, METRICS, filled


def mixtures():
    """Of two lengths, one without spans."""
    return [
        *tiny_runs.mixtures(2),
        tiny_runs.mixture(2, n_samples=24 * tiny_runs.HOP),
        tiny_runs.mixture(3, spans=()),
    ]


def planned(model):
    return plan(tiny_runs.arms(*ARMS, "alone", **ALONE), mixtures(), model, seeds=(0, 1), metrics=METRICS)


def main(folder: str, store: str, where: str, mark: str = "", who: str = "") -> None:
    torch.set_num_threads(1)
    model = load_model(folder)
    said: list[str] = []
    killed: list[int] = []

    def kill(stored):
        if mark and stored.computed and not killed and (at_work := marked(mark, title="ray::Host.go_on")):
            killed.extend(at_work[:1] if who == "worker" else marked(mark))
            end(killed)

    found = {"error": None, "runs": 0}
    begun = time.monotonic()
    try:
        with RayExecutor(model, where=where, notice=said.append, patience_s=120.0) as executor:
            joined_s = time.monotonic() - begun
            warm(executor)
            warm_s = time.monotonic() - begun
            filled(Path(store), planned(model), model, mixtures(), executor, progress=kill)
            found |= {
                "slots": executor.n_slots,
                "runs": len(planned(model).runs),
                "joined_s": joined_s,
                "warm_s": warm_s,
            }
    except SamLsacError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found | {"said": said, "killed": killed, "wall_s": time.monotonic() - begun}))


if __name__ == "__main__":
    main(*sys.argv[1:])
