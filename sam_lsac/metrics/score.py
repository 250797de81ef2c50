"""What a metric gives: a figure, or the reason why there is none, and whether the estimate is to blame."""

import math
from dataclasses import dataclass

from sam_lsac.errors import InputError

__all__ = ["Score"]


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one estimate.

    Parameters
    ----------
    value
        Finite, or NaN.
    reason
        Why `value` is NaN; None where it is finite.
    failed
        Whether there is no figure because the estimate is silent or not finite: what made it has failed. A figure that
        does not exist for another reason, such as a silent reference, is no failure.

    Raises
    ------
    InputError
        If `value` is infinite, NaN without a reason, or finite with one, or has failed.
    """

    value: float
    reason: str | None = None
    failed: bool = False

    def __post_init__(self) -> None:
        if math.isinf(self.value) or math.isnan(self.value) != bool(self.reason):
            raise InputError(
                f"a score is finite, or NaN with a reason; got {self.value!r} with reason {self.reason!r}: "
                "use Score(math.nan, 'why')"
            )
        if self.failed and not self.reason:
            raise InputError(f"an estimate with the figure {self.value!r} has not failed: leave failed out")
