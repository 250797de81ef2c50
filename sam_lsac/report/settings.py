"""Settings: arms that could be shipped, told from those that only take a model apart, and the code that makes one."""

from collections.abc import Collection, Mapping
from typing import Any

from sam_lsac.claims import Arm, Book, Context
from sam_lsac.runs.arms import EDITS, schedule_of
from sam_lsac.solver import Solver

__all__ = ["SAME_COST", "caches", "code_of", "shippable"]

#: Shares of FLOPs that differ by no more are one cost.
SAME_COST = 1e-9
_CACHING = "sam_lsac.caching"
_PEERS = "sam_lsac.caching.peers"
#: Where classes of layers are named by a word.
_CLASSES = "sl.caching.layer_classes(model)"
_LSAC = "LSAC"
#: What a schedule has beside its solver.
_FITTED = "FittedBranch"


def caches(arm: Arm) -> bool:
    """Whether an arm has a cache."""
    return any(_is_cache(edit) for edit in arm.edits)


def shippable(book: Book, context: Context, *, among: Collection[str] = ()) -> tuple[str, ...]:
    """Return the arms that do the reference's work for fewer FLOPs: other solvers and caches, on the same prompts.

    Parameters
    ----------
    book
        With the arms and the reference.
    context
        With the costs; an arm without one is not returned.
    among
        Arms to look at; empty for all.
    """
    reference = book.arms[book.views.reference]
    given = (reference.text, reference.spans)
    return tuple(
        name
        for name, arm in book.arms.items()
        if (not among or name in among)
        and (arm.text, arm.spans) == given
        and schedule_of(arm) is None
        and all(map(_is_cache, arm.edits))
        and name in context.costs
        and context.costs[name].flops_saved > SAME_COST
    )


def code_of(arm: Arm, solver: Solver, *, schedule: str | None = None) -> str:
    """Return the arguments of `sl.separate` that run an arm, where `sl` is this library and `model` the checkpoint.

    Parameters
    ----------
    arm
        With its edits as rows.
    solver
        Of the arm, for which the edits are made.
    schedule
        The expression of the file that the solver, and the branches fitted with it, were read from, if they were.
    """
    solved = f'"{arm.solver}"' if schedule is None else f"sl.load_schedule({schedule}).solver"
    fitted = [] if schedule is None else [row for row in arm.edits if row["kind"] == _FITTED]
    told = [f"*sl.load_schedule({schedule}).edits"] if fitted else []
    edits = ", ".join([*told, *(_edit(row, solver) for row in arm.edits if row not in fitted)])
    peers = f"  # from {_PEERS} import PEERS" if any(map(_is_peer, arm.edits)) else ""
    return f"solver={solved}, edits=[{edits}]{peers}" if edits else f"solver={solved}"


def _is_cache(edit: Mapping[str, Any]) -> bool:
    return f"{EDITS[edit['kind']].__module__}.".startswith(f"{_CACHING}.")


def _is_peer(edit: Mapping[str, Any]) -> bool:
    return EDITS[edit["kind"]].__module__.startswith(_PEERS)


def _edit(row: Mapping[str, Any], solver: Solver) -> str:
    values = {name: value for name, value in row.items() if name != "kind"}
    if row["kind"] == _LSAC:
        limit = f"max_bytes={values['max_bytes']!r}" if "max_bytes" in values else ""
        return f"sl.LSAC.{values['level']}(model, n_steps={solver.n_steps}).edit({limit})"
    words = ", ".join(f"{name}={_value(name, value)}" for name, value in values.items())
    return f'PEERS["{row["kind"]}"]({words})' if _is_peer(row) else f"sl.{row['kind']}({words})"


def _value(name: str, value: Any) -> str:
    if name == "layers" and isinstance(value, str):
        return f"{_CLASSES}.{value}"
    return repr(tuple(value) if isinstance(value, list) else value)  # an array of TOML; fields are tuples
