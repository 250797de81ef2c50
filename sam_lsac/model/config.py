"""Sizes and options of a SAM Audio checkpoint, read from its own ``config.json``.

A key that this module does not know is an error, because a silently ignored option would give a network that differs
from the checkpoint's. Every number has bounds. They lie far beyond every released model (the large one is 2,816
channels wide and 22 layers deep) and within what a computer can hold, so that a damaged or hostile file is refused with
the key's name before anything is allocated.

References
----------
Meta, ``sam_audio/model/config.py``: the same keys and the same defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, Len

from sam_lsac.errors import CheckpointError
from sam_lsac.records import STRICT, read, unknown

__all__ = ["DACVAEConfig", "MDCTConfig", "SAMAudioConfig", "TextEncoderConfig", "TransformerConfig"]

#: Parts of Meta's configuration that belong to networks which a separation does not need.
_UNUSED_PARTS = ("vision_encoder", "visual_ranker", "text_ranker", "span_predictor")

_REMEDY = "restore config.json from the checkpoint's source"

#: Channels of one layer.
Width = Annotated[int, Interval(ge=1, le=65_536)]
#: Things that are counted: layers, heads.
Count = Annotated[int, Interval(ge=1, le=512)]
#: A share of what is dropped in training.
Share = Annotated[float, Interval(ge=0, lt=1)]
#: Added below a root, so that silence stays finite: not less than float32 can hold beside a mean of squares.
Epsilon = Annotated[float, Interval(ge=1e-12, le=0.1)]
#: In hertz: from what is audio at all to twice what any recorder writes.
SampleRate = Annotated[int, Interval(ge=1_000, le=768_000)]
#: A codec's offset or factor: beyond it a latent is not finite in float32.
Offset = Annotated[float, Interval(ge=-1e9, le=1e9)]
Factor = Annotated[float, Interval(ge=1e-9, le=1e9)]
#: Strides of the codec's blocks; a stride of 1 halves nothing.
Strides = Annotated[tuple[Annotated[int, Interval(ge=2, le=64)], ...], Len(1, 8)]

NonLinearity = Literal["relu", "gelu", "approx_gelu", "srelu", "silu", "swiglu"]

_MOST_HIDDEN = 2**20  # channels of a feed-forward network
_MOST_ROTATIONS = 2**26  # positions times channels of a head: 256 MiB of cosines and sines
_MOST_HOP = 65_536  # samples of one frame


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Options of the diffusion transformer (Meta: ``TransformerConfig``).

    Raises
    ------
    CheckpointError
        If sizes do not fit each other, or a feed-forward network or the table of positions would be too large.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    dim: Width = 2048
    n_heads: Count = 16
    n_layers: Count = 16
    dropout: Share = 0.1
    norm_eps: Epsilon = 1e-5
    qk_norm: bool = True
    fc_bias: bool = False
    ffn_exp: Annotated[int, Interval(ge=1, le=64)] = 4
    ffn_dim_multiplier: Annotated[float, Interval(gt=0, le=64)] = 1
    multiple_of: Width = 64
    non_linearity: NonLinearity = "swiglu"
    use_rope: bool = True
    max_positions: Annotated[int, Interval(ge=1, le=1_000_000)] = 10000
    frequency_embedding_dim: Annotated[int, Interval(ge=2, le=65_536)] = 256
    timestep_non_linearity: NonLinearity = "swiglu"
    t_block_non_linearity: NonLinearity = "silu"
    t_block_bias: bool = True
    context_dim: Width = 2048
    context_non_linearity: NonLinearity = "swiglu"
    context_embedder_dropout: Share = 0.0
    context_norm: bool = False
    out_channels: Width = 256
    in_channels: Width | None = None

    def __post_init__(self) -> None:
        if self.dim % self.n_heads:
            raise CheckpointError(
                f"transformer.dim = {self.dim} must be a multiple of n_heads = {self.n_heads}: {_REMEDY}."
            )
        if self.dim % 2 or (self.use_rope and self.head_dim % 2):
            raise CheckpointError(
                f"transformer.dim = {self.dim} must be even, and with use_rope so must dim / n_heads = "
                f"{self.head_dim}: {_REMEDY}."
            )
        if not 1 <= self.ffn_hidden_dim <= _MOST_HIDDEN:
            raise CheckpointError(
                f"transformer.ffn_exp = {self.ffn_exp} and ffn_dim_multiplier = {self.ffn_dim_multiplier} give "
                f"{self.ffn_hidden_dim} hidden channels, not 1 to {_MOST_HIDDEN}: {_REMEDY}."
            )
        if self.use_rope and self.max_positions * self.head_dim > _MOST_ROTATIONS:
            raise CheckpointError(
                f"transformer.max_positions = {self.max_positions} is too many for heads of {self.head_dim} channels "
                f"(at most {_MOST_ROTATIONS // self.head_dim}): {_REMEDY}."
            )

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
    """Options of Meta's variational codec (Meta: ``DACVAEConfig``).

    Raises
    ------
    CheckpointError
        If a frame has too many samples.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    encoder_dim: Annotated[int, Interval(ge=1, le=1024)] = 64
    encoder_rates: Strides = (2, 8, 10, 12)
    latent_dim: Width = 1024
    decoder_dim: Annotated[int, Interval(ge=96, le=65_536)] = 1536  # below 96 the watermark's branch has no channels
    decoder_rates: Strides = (12, 10, 8, 2)
    n_codebooks: Width = 16
    codebook_size: Width = 1024
    codebook_dim: Annotated[int, Interval(ge=1, le=4096)] = 128
    quantizer_dropout: bool = False
    sample_rate: SampleRate = 48_000
    mean: Offset = 0.0
    std: Factor = 1.0

    def __post_init__(self) -> None:
        if self.hop_length > _MOST_HOP:
            raise CheckpointError(
                f"audio_codec.encoder_rates multiply to {self.hop_length} samples a frame, more than {_MOST_HOP}: "
                f"{_REMEDY}."
            )

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

    Raises
    ------
    CheckpointError
        If the bands cover no bin or too many, or there is not one offset and one factor a channel.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    sample_rate: SampleRate = 8_000
    hop_length: Annotated[int, Interval(ge=1, le=4096)] = 128
    gain_widths: tuple[Annotated[int, Interval(ge=1, le=4096)], ...] = (2,) * 16 + (4,) * 8
    shape_power: Annotated[float, Interval(ge=0, le=1)] = 0.7
    floor: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-6
    mean: tuple[Offset, ...] = ()
    scale: tuple[Factor, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.n_bins <= self.hop_length:
            raise CheckpointError(
                f"audio_codec.gain_widths cover {self.n_bins} bins, not 1 to hop_length = {self.hop_length}: {_REMEDY}."
            )
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if values and len(values) != self.n_channels:
                raise CheckpointError(
                    f"audio_codec.{name} holds {len(values)} values; it needs {self.n_channels}, one a channel: "
                    f"{_REMEDY}."
                )

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
    """Options of the T5 text encoder (Meta: ``T5EncoderConfig``); ``name`` is a subfolder or a hub id.

    Raises
    ------
    CheckpointError
        If prompts are to be padded to a length that is not given.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str = "t5-base"
    max_length: Annotated[int, Interval(ge=1, le=65_536)] | None = 512
    pad_mode: Literal["longest", "max_length"] = "longest"
    dim: Width = 768

    def __post_init__(self) -> None:
        if self.pad_mode == "max_length" and self.max_length is None:
            raise CheckpointError(f'text_encoder.pad_mode = "max_length" needs a text_encoder.max_length: {_REMEDY}.')


@dataclass(frozen=True, slots=True, kw_only=True)
class SAMAudioConfig:
    """Everything that ``config.json`` says about a separation (Meta: ``SAMAudioConfig``).

    Raises
    ------
    CheckpointError
        If channels of codec and transformer, or the widths of text and transformer, do not fit.
    """

    in_channels: int = 768
    audio_codec: DACVAEConfig | MDCTConfig = field(default_factory=DACVAEConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    video_dim: int = 1024
    num_anchors: int = 3
    anchor_embedding_dim: int = 128

    def __post_init__(self) -> None:
        channels, transformer = self.audio_codec.n_channels, self.transformer
        if self.in_channels != 6 * channels:
            raise CheckpointError(
                f"in_channels = {self.in_channels}, but {channels} codec channels need {6 * channels} (state, zeros "
                f"and mixture, each for target and residual): {_REMEDY}."
            )
        if transformer.out_channels != 2 * channels:
            raise CheckpointError(
                f"transformer.out_channels = {transformer.out_channels}, but {channels} codec channels need "
                f"{2 * channels} (target and residual): {_REMEDY}."
            )
        if transformer.context_dim != transformer.dim:
            raise CheckpointError(
                f"transformer.context_dim = {transformer.context_dim} must be transformer.dim = {transformer.dim}, the "
                f"width of the projected text: {_REMEDY}."
            )

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, where: str = "config.json") -> SAMAudioConfig:
        """Build from the mapping in ``config.json``.

        Parameters
        ----------
        config
            What the file holds; parts that belong to networks which a separation does not need are ignored.
        where
            The file's name, for errors.

        Raises
        ------
        CheckpointError
            If a key is unknown, or a value is not of its type, beyond its bounds, or does not fit the others.
        """
        top = {key: value for key, value in config.items() if key not in _UNUSED_PARTS}
        if config.get("vision_encoder") is not None and "video_dim" not in top:
            top["video_dim"] = _video_dim(config["vision_encoder"], where)
        sizes = _read(_TopLevel, top, where)
        codec = dict(sizes.audio_codec or {})
        kind = codec.pop("kind", "dacvae")
        if not isinstance(kind, str) or kind not in _CODECS:
            raise CheckpointError(f"{where}: audio_codec: {unknown('kind', kind, _CODECS)}")
        return cls(
            in_channels=sizes.in_channels,
            video_dim=sizes.video_dim,
            num_anchors=sizes.num_anchors,
            anchor_embedding_dim=sizes.anchor_embedding_dim,
            audio_codec=_read(_CODECS[kind], codec, f"{where}: audio_codec"),
            text_encoder=_read(TextEncoderConfig, sizes.text_encoder or {}, f"{where}: text_encoder"),
            transformer=_read(TransformerConfig, sizes.transformer or {}, f"{where}: transformer"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TopLevel:
    """The keys of ``config.json`` as they stand in the file: sizes, and parts that are read one by one."""

    __pydantic_config__: ClassVar[Any] = STRICT

    in_channels: Annotated[int, Interval(ge=6, le=6 * 8192)] = 768
    video_dim: Width = 1024
    num_anchors: Annotated[int, Interval(ge=3, le=4096)] = 3  # "<null>", "+" and "-" at least
    anchor_embedding_dim: Width = 128
    audio_codec: dict[str, Any] | None = None
    text_encoder: dict[str, Any] | None = None
    transformer: dict[str, Any] | None = None


_CODECS: dict[str, type[DACVAEConfig | MDCTConfig]] = {"dacvae": DACVAEConfig, "mdct": MDCTConfig}


def _read(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    return read(kind, values, where=where, error=CheckpointError, remedy=_REMEDY)


def _video_dim(vision_encoder: object, where: str) -> Any:
    """The width of Meta's video features, the one thing of the unused vision encoder that a separation needs."""
    if not isinstance(vision_encoder, Mapping):
        raise CheckpointError(f"{where}: vision_encoder: must be an object: {_REMEDY}.")
    return vision_encoder.get("dim", 1024)
