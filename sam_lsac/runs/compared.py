"""Scores of an output against those of its references, whose waves are handed in."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any

from numpy.typing import NDArray

from sam_lsac.metrics import COMPARISONS, Score, compare, comparison
from sam_lsac.runs.plan import RunSpec

__all__ = ["References"]


class References:
    """The references of a batch's runs, each read once.

    Parameters
    ----------
    wave
        From an arm and the key of its run to the separated wave, [N], or why there is none.
    """

    def __init__(self, wave: Callable[[str, str], NDArray[Any] | str]) -> None:
        self._wave = wave
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
            self._read[key] = self._wave(arm, key)
        return self._read[key]
