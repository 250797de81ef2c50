"""Sizes of the released models, for counting without a checkpoint at hand.

Meta's own figures are in each checkpoint's ``config.json``, which a loaded model carries; the table here is for the
names alone. Small reproduces the paper's count, base is the default of Meta's configuration class, large is the paper's
"3B" of 22 layers.

References
----------
Meta, ``sam_audio/model/config.py``; paper, section 2.4.
"""

from __future__ import annotations

import math

from torch import nn

from sam_lsac.errors import InputError, ModelError
from sam_lsac.model.config import SAMAudioConfig, TransformerConfig
from sam_lsac.records import unknown

__all__ = ["SIZES", "Countable", "frames", "sizes_of"]

#: Width, heads and layers by name; everything else is the default of `SAMAudioConfig`.
SIZES: dict[str, tuple[int, int, int]] = {"small": (1536, 12, 12), "base": (2048, 16, 16), "large": (2816, 22, 22)}

#: What can be counted: a model, its configuration, or a released size by name, with or without "facebook/sam-audio-".
Countable = nn.Module | SAMAudioConfig | str

_HUB_PREFIX = "facebook/sam-audio-"


def sizes_of(model: Countable) -> SAMAudioConfig:
    """The configuration of a model, or of a released size by name.

    Raises
    ------
    ModelError
        If the name is unknown, or the model carries no configuration.
    """
    if isinstance(model, SAMAudioConfig):
        return model
    if isinstance(model, str):
        return _named(model)
    config = getattr(model, "config", None)
    if not isinstance(config, SAMAudioConfig):
        raise ModelError(
            f"{type(model).__name__} carries no configuration of this library; pass the name of its size "
            f"({', '.join(SIZES)}), or SAMAudioConfig.from_dict(...) of its config.json."
        )
    return config


def frames(config: SAMAudioConfig, seconds: float) -> int:
    """Latent frames of so many seconds of audio.

    Raises
    ------
    InputError
        If ``seconds`` is not a positive number.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"A duration is a positive number of seconds, not {seconds!r}; the paper's is 10.")
    codec = config.audio_codec
    return max(1, -(-round(seconds * codec.sample_rate) // codec.hop_length))


def _named(name: str) -> SAMAudioConfig:
    size = name.removeprefix(_HUB_PREFIX)
    if size not in SIZES:
        raise ModelError(f"{unknown('size', name, SIZES)}; for any other checkpoint pass the loaded model.")
    dim, n_heads, n_layers = SIZES[size]
    return SAMAudioConfig(transformer=TransformerConfig(dim=dim, n_heads=n_heads, n_layers=n_layers, context_dim=dim))
