"""What one layer does in one evaluation, and the sizes by which what an edit keeps is counted: the words of costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LayerWork", "NetworkSizes"]

CrossAttention = Literal["whole", "uniform", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """What one layer does in one evaluation; an edit changes it with ``dataclasses.replace``.

    Parameters
    ----------
    runs
        False where the whole layer is passed by; nothing else of it then counts.
    matrix
        Whether it computes its self-attention matrix (W_q, W_k, Q K^T, softmax), or uses a kept one.
    cross_attention
        "whole", "uniform" (values of the tokens and one output row), or "none".
    probes
        Matrices that are computed beside it, to be measured.
    self_attention
        False where nothing of self-attention runs, neither the matrix nor what is mixed by it.
    feed_forward
        False where the feed-forward network does not run.
    """

    runs: bool = True
    matrix: bool = True
    cross_attention: CrossAttention = "whole"
    probes: int = 0
    self_attention: bool = True
    feed_forward: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """What the size of a kept tensor depends on.

    Parameters
    ----------
    n_layers, n_heads
        Of the transformer.
    width
        Channels D of what flows between layers.
    n_frames
        Latent frames T of one mixture.
    """

    n_layers: int
    n_heads: int
    width: int
    n_frames: int
