"""How fast a machine evaluates a network of some width, in FLOPs a second."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch

from sam_lsac.costs.clock import one_thread, seconds_of
from sam_lsac.costs.counted import network_inputs
from sam_lsac.costs.flops import count_flops
from sam_lsac.costs.sizes import Countable, frames, sizes_of
from sam_lsac.model import SAMAudio
from sam_lsac.model.blank import blank
from sam_lsac.processes import usable_cores

__all__ = ["measured_rate"]

#: Layers that are timed: enough that what is outside of them is little, few enough that any width fits a memory.
LAYERS = 4
REPEATS = 3


def measured_rate(model: Countable, *, seconds: float, text_tokens: int = 4, device: str = "cpu") -> float:
    """Evaluate a network of this width, with few layers and random weights, and return FLOPs a second.

    On a CPU that is the rate of one thread times the cores that may be used: a session computes with a process a core.

    Parameters
    ----------
    model
        A model, its configuration, or the name of a released size; only the sizes are used.
    seconds
        Duration of the audio.
    text_tokens
        Tokens of the prompt.
    device
        Where to run.

    Raises
    ------
    ModelError, InputError
        As `count_flops` does.
    """
    config = sizes_of(model)
    n_layers = min(LAYERS, config.transformer.n_layers)
    config = replace(config, transformer=replace(config.transformer, n_layers=n_layers))
    with blank():
        network = SAMAudio(config)
    network.audio_codec = None  # type: ignore[assignment]  # it is no part of an evaluation, and large
    network = network.to_empty(device=device).eval().requires_grad_(False)
    with torch.device(device):
        for module in network.modules():
            if callable(reset := getattr(module, "reset_buffers", None)):
                reset()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)  # time does not depend on the values
    with torch.device(device):
        inputs = network_inputs(config, frames(config, seconds), text_tokens)
    on_cores = torch.device(device).type == "cpu"
    with torch.inference_mode(), one_thread() if on_cores else nullcontext():
        network(**inputs)
        fastest = min(seconds_of(lambda: network(**inputs), device=device) for _ in range(REPEATS))
    at_once = usable_cores() if on_cores else 1
    return at_once * count_flops(config, seconds=seconds, text_tokens=text_tokens).total / fastest
