"""A solve whose numbers are no longer finite is an error that says where, never a wave of NaN."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sam_lsac.errors import InputError, NotFiniteError
from sam_lsac.solver import SolverState

__all__ = ["StepWatch", "check_decoded", "check_given"]


class StepWatch:
    """A solver's ``on_step`` that notes after every step whether the state is finite.

    The answers stay on the device until the end, so that a GPU is not waited for at every step.

    Parameters
    ----------
    on_step
        Called after the note with the same step and state; None where nobody else looks.
    """

    def __init__(self, on_step: Callable[[int, SolverState], None] | None) -> None:
        self._on_step = on_step
        self._finite: list[tuple[int, Tensor]] = []

    def __call__(self, step: int, state: SolverState) -> None:
        """Note one step."""
        self._finite.append((step, state.x.isfinite().all()))
        if self._on_step is not None:
            self._on_step(step, state)

    def check(self, solver: str) -> None:
        """Raise where a state was not finite.

        Parameters
        ----------
        solver
            Its name, for the error.

        Raises
        ------
        NotFiniteError
            The first such step is in the message.
        """
        broken = next((step for step, finite in self._finite if not finite), None)
        if broken is not None:
            raise NotFiniteError(
                f"The state is NaN or infinite after step {broken} of {solver}. Give edits smaller values, keep the "
                "wave within full scale (1), and where the model runs in float16, load it in float32 or bfloat16."
            )


def check_given(noise: Tensor, features: Tensor) -> None:
    """Raise where a solve cannot begin: its noise or the latents of its mixture are not finite.

    Parameters
    ----------
    noise
        State at t = 0, [B, T, 2 C].
    features
        Latents of the mixture, [B, T, 2 C].

    Raises
    ------
    InputError
        If they are not finite.
    """
    if not noise.isfinite().all():
        raise InputError("The noise holds NaN or infinite values; give finite ones, as draw_noise does.")
    if not features.isfinite().all():
        raise InputError(
            "The codec's latents of the mixture are not finite, so the wave is far too loud: full scale is 1, divide "
            "the samples by their largest magnitude."
        )


def check_decoded(*waves: Tensor) -> None:
    """Raise where a decoded wave is not finite.

    Raises
    ------
    NotFiniteError
        If one is not.
    """
    if not all(bool(wave.isfinite().all()) for wave in waves):
        raise NotFiniteError(
            "The decoded waves are NaN or infinite, though the solve was finite: the state was too much for the codec. "
            "Give edits smaller values, and keep the wave within full scale (1)."
        )
