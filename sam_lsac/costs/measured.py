"""FLOPs of a run from its hits: what a cache cost that says only afterwards what it passed by.

A cache that goes by a threshold passes by other modules on other mixtures. Its hits say which ones did not run, by the
path of the site: a whole layer, or its self-attention, cross-attention or feed-forward network. What remains is as on
paper. A cached attention matrix is another matter, since the rest of its site runs; such an edit says so on paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sam_lsac.costs.flops import PAPER_STEPS, FlopCount, count_flops
from sam_lsac.costs.savings import ArmCost
from sam_lsac.costs.sizes import Countable, sizes_of
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit
from sam_lsac.solver import Euler, Solver

__all__ = ["flops_of_hits", "is_on_paper", "measured_cost"]

_SITE = re.compile(r"transformer\.layers\.(\d+)(?:\.(attention|cross_attention|feed_forward))?")
_PARTS = {"attention": "self_attention", "cross_attention": "cross_attention", "feed_forward": "feed_forward"}


def is_on_paper(edits: Sequence[Edit]) -> bool:
    """Whether every edit says itself what it saves, so that `count_flops` can count it before anything ran."""
    return all(type(edit).work is not Edit.work for edit in edits)


def flops_of_hits(
    model: Countable,
    hits: Mapping[str, float],
    solver: Solver,
    *,
    seconds: float = 10.0,
    text_tokens: int = 4,
) -> FlopCount:
    """Count the floating-point operations of a solve in which some modules did not run.

    Parameters
    ----------
    model, seconds, text_tokens
        As in `count_flops`.
    hits
        Evaluations in which a module was passed by, by site path; of one run, or as means over several.
    solver
        Of the runs.

    Raises
    ------
    InputError
        If a site is no layer or part of one, does not exist, or was hit more often than the network was evaluated.
    ModelError
        As `count_flops` does.
    """
    n_layers = sizes_of(model).transformer.n_layers
    whole = count_flops(model, seconds=seconds, text_tokens=text_tokens, solver=solver)
    saved = dict.fromkeys(_PARTS.values(), 0.0)
    for path, count in hits.items():
        layer, part = _site(path)
        if layer >= n_layers or not (math.isfinite(count) and 0 <= count <= solver.nfe):
            raise InputError(
                f"{count} hits of {path} do not fit a solve of {solver.nfe} evaluations and {n_layers} layers; give "
                "the hits of a run of this model and solver."
            )
        for name in [_PARTS[part]] if part else _PARTS.values():
            saved[name] += count
    shares = {name: getattr(whole, name) * (1 - count / (n_layers * solver.nfe)) for name, count in saved.items()}
    return replace(whole, **shares)


def measured_cost(
    arm: str,
    model: Countable,
    solver: Solver,
    *,
    hits: Sequence[Mapping[str, int]],
    baseline_solver: Solver | None = None,
    seconds: float = 10.0,
    text_tokens: int = 4,
) -> ArmCost:
    """Cost of one solve of an arm as a mean over its runs, against the plain solve of the baseline.

    Parameters
    ----------
    arm
        Its name.
    model, seconds, text_tokens
        As in `count_flops`.
    solver
        Of the arm.
    hits
        Of its runs, one table each.
    baseline_solver
        ``Euler(16)`` where None.

    Raises
    ------
    InputError
        If there are no runs, or their hits do not fit model and solver.
    ModelError
        As `count_flops` does.
    """
    if not hits:
        raise InputError(f"The cost of {arm!r} is known from its runs alone, and there are none; compute some.")
    baseline_solver = Euler(PAPER_STEPS) if baseline_solver is None else baseline_solver
    n_layers = sizes_of(model).transformer.n_layers
    paths = sorted({path for one in hits for path in one})
    means = {path: sum(one.get(path, 0) for one in hits) / len(hits) for path in paths}
    cost = flops_of_hits(model, means, solver, seconds=seconds, text_tokens=text_tokens)
    baseline = count_flops(model, seconds=seconds, text_tokens=text_tokens, solver=baseline_solver)
    passed_by = sum(count for path, count in means.items() if _site(path)[1] in ("", "attention"))
    return ArmCost(
        arm=arm,
        layer_steps_saved=1 - (n_layers * solver.nfe - passed_by) / (n_layers * baseline_solver.nfe),
        flops_total=cost.total,
        flops_saved=1 - cost.total / baseline.total,
        self_attention_flops_saved=1 - cost.self_attention / baseline.self_attention,
    )


def _site(path: str) -> tuple[int, str]:
    """Layer and part of a site's path; the part is empty for a whole layer."""
    found = _SITE.fullmatch(path)
    if found is None:
        raise InputError(f"{path!r} is neither a layer nor its attention, cross_attention or feed_forward.")
    return int(found[1]), found[2] or ""
