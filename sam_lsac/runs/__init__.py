"""Runs: what to compute (`plan`), where it is kept (`store`, `sqlite`), computing what is missing (`execute`).

Who hands `execute` an executor computes in many processes (`local_executor`) or on a cluster (`sam_lsac.runs.cluster`).
``execute(plan(arms, mixtures, model, seeds=...), model, mixtures, store)`` computes what the store does not have; doing
it again computes nothing. The scores of a plan, arm by arm, are ``scored_runs(store, plan)``.
"""

from sam_lsac.runs.arms import Arm, ResolvedArm, check_arm, resolve_arm
from sam_lsac.runs.calibrate import measure_entropy
from sam_lsac.runs.execute import Progress, execute
from sam_lsac.runs.executor import Executor
from sam_lsac.runs.local import local_executor
from sam_lsac.runs.noise_floor import decoder_noise
from sam_lsac.runs.plan import Plan, RunSpec, plan
from sam_lsac.runs.results import entropy_rates, scored_runs
from sam_lsac.runs.sqlite import SQLiteStore, open_store
from sam_lsac.runs.store import ReadOnlyStore, RunResult, Store

__all__ = [
    "Arm",
    "Executor",
    "Plan",
    "Progress",
    "ReadOnlyStore",
    "ResolvedArm",
    "RunResult",
    "RunSpec",
    "SQLiteStore",
    "Store",
    "check_arm",
    "decoder_noise",
    "entropy_rates",
    "execute",
    "local_executor",
    "measure_entropy",
    "open_store",
    "plan",
    "resolve_arm",
    "scored_runs",
]
