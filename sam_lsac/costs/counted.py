"""Floating-point operations counted while the network runs, to check those counted on paper."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam_lsac.costs.flops import FlopCount, assumed_solver
from sam_lsac.costs.sizes import Countable, frames, sizes_of
from sam_lsac.interventions import Edit, attach
from sam_lsac.model import SAMAudio
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.solver import Solver

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

__all__ = ["counted_flops", "network_inputs"]

#: Modules outside the layers, by part of `FlopCount`.
_MODULES = {
    "embedders": ("transformer.x_embedder", "transformer.y_embedder", "transformer.t_embedder", "transformer.t_block"),
    "inputs": ("proj", "align_masked_video", "embed_anchors", "memory_proj"),
    "output": ("transformer.output",),
}


def counted_flops(
    model: Countable,
    *,
    seconds: float = 10.0,
    text_tokens: int = 4,
    edits: Sequence[Edit] = (),
    solver: Solver | None = None,
    device: str = "meta",
) -> FlopCount:
    """Run a network of the model's configuration with its edits attached, and count what was executed.

    On the meta device nothing is computed and no memory is taken, so that the real sizes can be counted anywhere; edits
    that look at values (`ShuffleSpans`, `Record`) need a real device. The matrices of `Record` count as self-attention.
    Attention runs in its plain form, because the counter knows no fused kernel of the CPU in some releases of PyTorch.

    Parameters
    ----------
    model, seconds, text_tokens, edits, solver
        As in `count_flops`; of a model only the configuration is used.
    device
        Where to run; anywhere but on "meta", with random weights.

    Raises
    ------
    ModelError, InputError, EditError
        As `count_flops` and `attach` do.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports the whole of triton

    config = sizes_of(model)
    counted = solver if solver is not None else assumed_solver(edits)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        network = SAMAudio(config).eval().requires_grad_(False)
        inputs = network_inputs(config, frames(config, seconds), text_tokens)
    counter = FlopCounterMode(display=False, custom_mapping=_onednn_formulas())
    run = attach(network, edits, nfe=counted.nfe, evaluations_per_step=counted.evaluations_per_step)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), run, counter:
        for _ in range(counted.nfe):
            network(**inputs)
    total = _by_part(counter, config.transformer.n_layers)
    return total if solver is not None else total * (1 / counted.nfe)


def _onednn_formulas() -> dict[Any, Any]:
    """The formula of oneDNN's linear layer on a CPU, which the counter does not know."""

    def product(x_shape: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
        return 2 * prod(x_shape) * out_shape[-1]

    return {torch.ops.mkldnn._linear_pointwise: product} if hasattr(torch.ops.mkldnn, "_linear_pointwise") else {}


def network_inputs(config: SAMAudioConfig, n_frames: int, text_tokens: int) -> dict[str, Any]:
    """Conditions of one mixture with one span, as Meta's processor makes them, and a state, on the default device."""
    width = 2 * config.audio_codec.n_channels
    alignment = torch.zeros(1, n_frames, dtype=torch.long)
    alignment[:, : n_frames // 2] = 2
    text: Tensor | None = torch.zeros(1, text_tokens, config.text_encoder.dim) if text_tokens else None
    return {
        "noisy_audio": torch.zeros(1, n_frames, width),
        "audio_features": torch.zeros(1, n_frames, width),
        "text_features": text,
        "time": torch.zeros(1),
        "masked_video_features": torch.zeros(1, config.video_dim, n_frames),
        "anchor_ids": torch.tensor([[0, 3, 1]]),
        "anchor_alignment": alignment,
    }


def _by_part(counter: FlopCounterMode, n_layers: int) -> FlopCount:
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    def of(*paths: str) -> float:
        return float(sum(counts.get(f"SAMAudio.{path}", 0) for path in paths))

    layers = {
        part: of(*(f"transformer.layers.{layer}.{module}" for layer in range(n_layers)))
        for part, module in (
            ("self_attention", "attention"),
            ("cross_attention", "cross_attention"),
            ("feed_forward", "feed_forward"),
        )
    }
    return FlopCount(**layers, **{part: of(*paths) for part, paths in _MODULES.items()})
