"""CUDA graphs: what one evaluation launches, kernel by kernel, recorded once and launched again as a whole.

On a fast GPU the network's kernels end sooner than a processor can launch them, so that eager evaluations wait for the
launches. A graph launches the same kernels on the same inputs, and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from sam_lsac.errors import ModelError
from sam_lsac.model.velocity import PreparedVelocity

__all__ = ["CapturedVelocity", "captured"]


class CapturedVelocity:
    """The velocity of one solve, whose evaluations from the second on are launches of one CUDA graph.

    The first is computed as ever, which readies whatever PyTorch readies when it first meets a shape.

    Parameters
    ----------
    velocity
        Of a model without edits: what they do at a step, and whether they do it, cannot be recorded.
    """

    def __init__(self, velocity: PreparedVelocity) -> None:
        self._velocity = velocity
        self._n_calls = 0
        self._times: Tensor  # [B], and the state [B, T, 2 C]: what the graph reads
        self._state: Tensor
        self._launch: Callable[[], Tensor]

    def __call__(self, time: float, state: Tensor) -> Tensor:
        """Evaluate the velocity; arguments and result as those of `PreparedVelocity`.

        Raises
        ------
        ModelError
            If the state is not on a CUDA device.
        """
        self._n_calls += 1
        if self._n_calls == 1:
            return self._velocity(time, state)
        if self._n_calls == 2:
            self._times, self._state = self._velocity.times(time, state), state.clone()
            self._launch = captured(lambda: self._velocity.at(self._times, self._state))
        self._times.fill_(time)
        self._state.copy_(state)
        return self._launch().clone()  # the graph writes its next result where it wrote this one


def captured(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Record what a function launches, and return what launches it again.

    Parameters
    ----------
    work
        Waits for no result, and has been called before with tensors of these shapes.

    Returns
    -------
    Callable
        Launches the same on whatever stands now in the tensors that were read, and returns the tensor that is written
        to each time.

    Raises
    ------
    ModelError
        If there is no CUDA device.

    References
    ----------
    PyTorch, "CUDA semantics", CUDA Graphs.
    """
    if not torch.cuda.is_available():
        raise ModelError("CUDA graphs need a CUDA device; load the model with device='cuda', or leave them out.")
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        graph.capture_begin()
        try:
            result = work()
        except BaseException:
            with suppress(RuntimeError):  # of a recording that is broken; the reason is what ended the work
                graph.capture_end()
            raise
        graph.capture_end()

    def launch() -> Tensor:
        graph.replay()
        return result

    return launch
