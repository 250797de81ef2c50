"""Every score of one estimate: against the true sources, and against another output."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from sam_lsac.errors import InputError
from sam_lsac.metrics._waves import checked_rate, waves_of
from sam_lsac.metrics.registry import COMPARISONS, DEFAULT_METRICS, METRICS
from sam_lsac.metrics.score import Score
from sam_lsac.records import unknown

__all__ = ["compare", "measure"]


def compare(estimate: ArrayLike, reference: ArrayLike) -> dict[str, Score]:
    """Return every comparison of an output with another one.

    Parameters
    ----------
    estimate, reference
        [N] each: the output in question, and that of the reference arm for the same mixture and noise.

    Returns
    -------
    dict of str to Score
        By the rows of `COMPARISONS`.

    Raises
    ------
    InputError
        If the waves are not one-dimensional, of one length and real.
    """
    waves: dict[str, Any] = dict(waves_of(estimate=estimate, reference=reference))
    return {name: row.score(waves) for name, row in COMPARISONS.items()}


def measure(
    estimate: ArrayLike,
    *,
    target: ArrayLike,
    residual: ArrayLike,
    sample_rate: int,
    wave: ArrayLike | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Score]:
    """Return every named metric of one estimate of the target.

    Parameters
    ----------
    estimate, target, residual
        [N] each, the separated target and both true sources.
    sample_rate
        Hz.
    wave
        [N], the mixture that was separated; target + residual when None.
    metrics
        Column names, keys of `METRICS`.

    Returns
    -------
    dict of str to Score
        In the order of `metrics`.

    Raises
    ------
    InputError
        If a name is not in `METRICS`, the waves do not match, or the rate is not a positive integer.
    """
    if strangers := [name for name in metrics if name not in METRICS]:
        raise InputError(unknown("metric", strangers[0], METRICS))
    waves: dict[str, Any] = dict(waves_of(estimate=estimate, target=target, residual=residual))
    waves["wave"] = waves["target"] + waves["residual"] if wave is None else wave
    waves["sample_rate"] = checked_rate(sample_rate)
    return {name: METRICS[name].score(waves) for name in metrics}
