"""Sizes and options of a SAM Audio checkpoint, read from its own ``config.json``.

References
----------
Meta, ``sam_audio/model/config.py``: the same keys and the same defaults. A key that this module does not know is an
error, because a silently ignored option would give a network that differs from the checkpoint's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

from sam_lsac.errors import CheckpointError

__all__ = ["DACVAEConfig", "MDCTConfig", "SAMAudioConfig", "TextEncoderConfig", "TransformerConfig"]

#: Parts of Meta's configuration that belong to networks which a separation does not need.
_UNUSED_PARTS = ("vision_encoder", "visual_ranker", "text_ranker", "span_predictor")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Options of the diffusion transformer (Meta: ``TransformerConfig``)."""

    dim: int = 2048
    n_heads: int = 16
    n_layers: int = 16
    dropout: float = 0.1
    norm_eps: float = 1e-5
    qk_norm: bool = True
    fc_bias: bool = False
    ffn_exp: int = 4
    ffn_dim_multiplier: float = 1
    multiple_of: int = 64
    non_linearity: str = "swiglu"
    use_rope: bool = True
    max_positions: int = 10000
    frequency_embedding_dim: int = 256
    timestep_non_linearity: str = "swiglu"
    t_block_non_linearity: str = "silu"
    t_block_bias: bool = True
    context_dim: int = 2048
    context_non_linearity: str = "swiglu"
    context_embedder_dropout: float = 0.0
    context_norm: bool = False
    out_channels: int = 256
    in_channels: int | None = None

    def __post_init__(self) -> None:
        if self.dim % self.n_heads:
            raise CheckpointError(f"transformer.dim = {self.dim} must be a multiple of n_heads = {self.n_heads}.")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.n_heads

    @property
    def ffn_hidden_dim(self) -> int:
        """Hidden channels of the feed-forward network, rounded up to ``multiple_of``."""
        hidden = int(self.ffn_exp * self.dim)
        if self.non_linearity == "swiglu":
            hidden = int(2 * hidden / 3)
        hidden = int(self.ffn_dim_multiplier * hidden)
        return self.multiple_of * -(-hidden // self.multiple_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class DACVAEConfig:
    """Options of Meta's variational codec (Meta: ``DACVAEConfig``)."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 8, 10, 12)
    latent_dim: int = 1024
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (12, 10, 8, 2)
    n_codebooks: int = 16
    codebook_size: int = 1024
    codebook_dim: int = 128
    quantizer_dropout: bool = False
    sample_rate: int = 48_000
    mean: float = 0.0
    std: float = 1.0

    @property
    def hop_length(self) -> int:
        """Samples of one latent frame."""
        return prod(self.encoder_rates)

    @property
    def n_channels(self) -> int:
        """Channels of one latent frame."""
        return self.codebook_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class MDCTConfig:
    """Options of the deterministic shape-gain codec of the embedded checkpoint.

    Parameters
    ----------
    sample_rate
        Rate of the waves in hertz.
    hop_length
        Samples of one frame; the sine window has twice as many.
    gain_widths
        Transform bins of each gain band, from the lowest bin up; bins above their sum are dropped at encoding and zero
        at decoding.
    shape_power
        Share of the local gain that is divided out of the shapes, 0 (none) to 1 (unit variance everywhere).
    floor
        Energy a bin, in squared full scale, that is added to every gain, so that silence stays finite.
    mean, scale
        One offset and one factor a channel, shapes first: latent = (value - mean) * scale.
    """

    sample_rate: int = 8_000
    hop_length: int = 128
    gain_widths: tuple[int, ...] = (2,) * 16 + (4,) * 8
    shape_power: float = 0.7
    floor: float = 1e-6
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.n_bins <= self.hop_length:
            raise CheckpointError(
                f"audio_codec.gain_widths cover {self.n_bins} bins, not 1 to hop_length = {self.hop_length}."
            )
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if values and len(values) != self.n_channels:
                raise CheckpointError(
                    f"audio_codec.{name} holds {len(values)} values; it needs {self.n_channels}, one a channel."
                )
        if self.scale and min(self.scale) <= 0:
            raise CheckpointError("audio_codec.scale must be positive.")
        if not (0 <= self.shape_power <= 1 and self.floor > 0):
            raise CheckpointError("audio_codec.shape_power must lie in 0..1 and audio_codec.floor above 0.")

    @property
    def n_bins(self) -> int:
        """Transform bins that are kept."""
        return sum(self.gain_widths)

    @property
    def n_channels(self) -> int:
        """Channels of one latent frame: a shape for each bin, then a gain for each band."""
        return self.n_bins + len(self.gain_widths)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """Options of the T5 text encoder (Meta: ``T5EncoderConfig``); ``name`` is a hub id or a subfolder."""

    name: str = "t5-base"
    max_length: int | None = 512
    pad_mode: str = "longest"
    dim: int = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class SAMAudioConfig:
    """Everything that ``config.json`` says about a separation (Meta: ``SAMAudioConfig``)."""

    in_channels: int = 768
    audio_codec: DACVAEConfig | MDCTConfig = field(default_factory=DACVAEConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    video_dim: int = 1024
    num_anchors: int = 3
    anchor_embedding_dim: int = 128

    def __post_init__(self) -> None:
        wanted = 6 * self.audio_codec.n_channels
        if self.in_channels != wanted:
            raise CheckpointError(
                f"in_channels = {self.in_channels}, but {self.audio_codec.n_channels} codec channels need {wanted} "
                "(state, zeros and mixture, each for target and residual)."
            )

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> SAMAudioConfig:
        """Build from the mapping in ``config.json``.

        Raises
        ------
        CheckpointError
            If a key is unknown or a value does not fit.
        """
        values = {key: value for key, value in config.items() if key not in _UNUSED_PARTS}
        video = config.get("vision_encoder") or {}
        codec = dict(values.pop("audio_codec", None) or {})
        kind = codec.pop("kind", "dacvae")
        if kind not in ("dacvae", "mdct"):
            raise CheckpointError(f'audio_codec.kind = {kind!r} is unknown; it must be "dacvae" or "mdct".')
        return _build(
            cls,
            "config.json",
            {
                "video_dim": video.get("dim", 1024),
                **values,
                "audio_codec": _build(DACVAEConfig if kind == "dacvae" else MDCTConfig, "audio_codec", codec),
                "text_encoder": _build(TextEncoderConfig, "text_encoder", values.get("text_encoder") or {}),
                "transformer": _build(TransformerConfig, "transformer", values.get("transformer") or {}),
            },
        )


def _build(cls: Any, where: str, values: Mapping[str, Any]) -> Any:
    known = [item.name for item in fields(cls)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CheckpointError(f"{where}: unknown key {key!r}; this version cannot reproduce that model.{hint}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
