"""What runs will take before any of them is computed: network evaluations, FLOPs, and bytes of the store.

The evaluations are those of `sam_lsac.runs.chunk`: an edited run starts from the state that the run without edits
passed through before the edits first act, where that run is there or pays to be added for its states alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sam_lsac.costs import count_flops, is_on_paper
from sam_lsac.costs.sizes import Countable, sizes_of
from sam_lsac.runs.compute import edits_of
from sam_lsac.runs.plan import RunSpec
from sam_lsac.solver import parse_solver

__all__ = ["Forecast", "forecast", "row_bytes"]

#: Bytes of a row's other columns (key, digests, environment, time), and of a score's besides its texts; both with their
#: part of the indices.
_ROW_BYTES, _SCORE_BYTES = 750, 175
_FIGURE_BYTES = 21  # a float of a probe as JSON
#: Figures by what is recorded: the Block Ratio is kept as two.
_FIGURES = MappingProxyType({"entropy": 1, "block_ratio": 2})


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What some runs take.

    Parameters
    ----------
    runs
        How many.
    evaluations
        Of the network, shared ones once.
    unshared
        What the evaluations would be if every run began at its first step.
    flops
        Of those evaluations; codec and text encoder are not counted.
    in_full
        Runs whose edits say only afterwards what they passed by: theirs is counted as if that were nothing.
    """

    runs: int = 0
    evaluations: int = 0
    unshared: int = 0
    flops: float = 0.0
    in_full: int = 0

    def __add__(self, other: Forecast) -> Forecast:
        """Both together."""
        return Forecast(
            runs=self.runs + other.runs,
            evaluations=self.evaluations + other.evaluations,
            unshared=self.unshared + other.unshared,
            flops=self.flops + other.flops,
            in_full=self.in_full + other.in_full,
        )

    def __mul__(self, times: int) -> Forecast:
        """The same on so many mixtures."""
        return Forecast(
            runs=self.runs * times,
            evaluations=self.evaluations * times,
            unshared=self.unshared * times,
            flops=self.flops * times,
            in_full=self.in_full * times,
        )


def forecast(specs: Sequence[RunSpec], model: Countable, *, seconds: float, text_tokens: int = 4) -> Forecast:
    """What the runs of one mixture and seed take, computed together.

    Parameters
    ----------
    specs
        Runs of one mixture and one seed, each once.
    model
        A model, its configuration, or the name of a released size.
    seconds
        Duration of the mixture.
    text_tokens
        Tokens of its prompt.

    Raises
    ------
    ModelError, InputError, EditError
        As `count_flops` does.
    """
    alone = [spec for spec in specs if any(edit.looks_across_batch for edit in spec.edits)]
    together = [spec for spec in specs if spec not in alone]
    total = Forecast()
    for group in (together, alone):
        families: dict[tuple[str, bool, bool], list[RunSpec]] = {}
        for spec in group:
            families.setdefault((spec.solver, spec.text, spec.spans), []).append(spec)
        for family in families.values():
            total += _family(family, sizes_of(model), seconds=seconds, text_tokens=text_tokens)
    return total


def row_bytes(spec: RunSpec, *, n_layers: int) -> int:
    """Bytes of a run in the store, its waves apart; within a quarter of what SQLite takes (a test compares).

    Parameters
    ----------
    spec
        Of the run.
    n_layers
        Of the model.
    """
    scores = sum(_SCORE_BYTES + 2 * len(column) for column in spec.columns)
    figures = sum(_FIGURES[name] for name in spec.record) * n_layers * parse_solver(spec.solver).n_steps
    return _ROW_BYTES + len(json.dumps(spec.to_json())) + scores + figures * _FIGURE_BYTES


def _family(specs: Sequence[RunSpec], model: Countable, *, seconds: float, text_tokens: int) -> Forecast:
    """Runs that differ in their edits alone: each from the latest kept state before its edits first act."""
    solver = parse_solver(specs[0].solver)
    tokens = text_tokens if specs[0].text else 0
    plain = count_flops(model, seconds=seconds, text_tokens=tokens).total
    edited = [spec for spec in specs if spec.edits]
    shared = {spec.key: _plain_steps(spec) for spec in edited}
    whole = Forecast(runs=0, evaluations=solver.nfe, unshared=0, flops=plain * solver.nfe)
    total = Forecast()
    if len(edited) == len(specs):
        if sum(shared.values()) > solver.n_steps:
            total += whole  # once more, for its states alone
        else:
            shared = dict.fromkeys(shared, 0)
    for spec in specs:
        edits = edits_of(spec)
        told = [edit for edit in edits if is_on_paper([edit])]
        flops = count_flops(model, seconds=seconds, text_tokens=tokens, edits=told, solver=solver).total
        saved = shared.get(spec.key, 0) * solver.evaluations_per_step
        total += Forecast(
            runs=1,
            evaluations=solver.nfe - saved,
            unshared=solver.nfe,
            flops=flops - saved * plain,
            in_full=int(len(told) < len(edits)),
        )
    return total


def _plain_steps(spec: RunSpec) -> int:
    """Steps of an edited run that equal the run without edits."""
    return min((edit.first_acting_step for edit in edits_of(spec)), default=1) - 1
