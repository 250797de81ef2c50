"""Scores of an output against those of its references, whose waves the store keeps.

The waves are always read from the store, also where they were computed a moment ago: a run that is resumed is compared
with the very samples that a run in one go is.
"""

from __future__ import annotations

from math import nan
from typing import Any

from numpy.typing import NDArray

from sam_lsac.errors import PlanError, StoreError
from sam_lsac.metrics import COMPARISONS, Score, compare, comparison
from sam_lsac.runs.plan import RunSpec
from sam_lsac.runs.store import Store

__all__ = ["References"]


class References:
    """The references of a batch's runs, each read once.

    Parameters
    ----------
    store
        Has them, with their waves ("target").
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, NDArray[Any] | str] = {}

    def scores(self, spec: RunSpec, wave: NDArray[Any], *, failed: bool) -> dict[str, Score]:
        """Compare a run's output with that of each of its references.

        Parameters
        ----------
        spec
            Of the run.
        wave
            Its output, [N].
        failed
            Whether the output is silent.

        Returns
        -------
        dict of str to Score
            By column, such as "fidelity/baseline". Where the reference has no output itself, NaN and why.

        Raises
        ------
        PlanError
            If a reference was not computed.
        StoreError
            If its wave was not kept, or its file is gone or damaged.
        """
        found: dict[str, Score] = {}
        for arm, key in spec.references:
            reference = self._reference(arm, key)
            if isinstance(reference, str):
                given = dict.fromkeys(COMPARISONS, Score(nan, f"{arm} has no output: {reference}", failed))
            else:
                given = compare(wave, reference)
            found |= {comparison(kind, arm): score for kind, score in given.items()}
        return found

    def _reference(self, arm: str, key: str) -> NDArray[Any] | str:
        """The wave of a reference, or why it has none."""
        if key not in self._read:
            self._read[key] = self._from_store(arm, key)
        return self._read[key]

    def _from_store(self, arm: str, key: str) -> NDArray[Any] | str:
        result = self._store.get({key}).get(key)
        if result is None:
            raise PlanError(
                f"The run of {arm!r} that others are compared with is neither in {self._store.location} nor in the "
                "plan; make the plan with plan(...), which adds it."
            )
        try:
            wave = self._store.array(key, "target")
        except StoreError as error:
            raise StoreError(f"Nothing can be compared with {arm!r}, whose wave is needed: {error}") from error
        if wave is not None:
            return wave
        if none := next((score.reason for score in result.scores.values() if score.reason), None):
            return none
        raise StoreError(
            f"{self._store.location} has the run of {arm!r} without its wave: no arm named it as a reference when it "
            "was computed; compute into a new store."
        )
