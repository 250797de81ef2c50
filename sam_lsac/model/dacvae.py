"""The codec of SAM Audio: a variational DAC whose decoder always writes a watermark.

Module and parameter names are Meta's; weight norm is folded into plain weights when a checkpoint is loaded.

Shapes: B batch, C latent channels, T latent frames, N = T * hop samples, H channels inside a block.

References
----------
Meta, ``dacvae/model/dacvae.py``, ``dacvae/nn/layers.py``, ``dacvae/nn/bottleneck.py``, and ``sam_audio/model/codec.py``
(mean latents, reflection padding). Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN" (DAC).
San Roman et al. 2024, "Proactive Detection of Voice Cloning with Localized Watermarking" (AudioSeal).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from math import prod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.config import DACVAEConfig

__all__ = ["DACVAE", "pad_to_hop"]

#: Strides of the watermark branch, one a decoder block; fixed in Meta's code, not part of ``config.json``.
_WATERMARK_RATES = (8, 5, 4, 2)
_WATERMARK_LATENT = 128
_MESSAGE_BITS = 16


class DACVAE(nn.Module):
    """Waves to mean latents and back, with a watermark in every decoded wave.

    Parameters
    ----------
    config
        Sizes, from the checkpoint.
    """

    message_bits = _MESSAGE_BITS

    def __init__(self, config: DACVAEConfig) -> None:
        super().__init__()
        if prod(config.decoder_rates) != config.hop_length:
            raise CheckpointError(
                f"audio_codec: encoder_rates multiply to {config.hop_length}, decoder_rates to "
                f"{prod(config.decoder_rates)}; they must agree."
            )
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        self.n_channels = config.codebook_dim
        self.encoder = Encoder(config)
        self.quantizer = Bottleneck(config)
        self.decoder = Decoder(config)

    def forward(self, wave: Tensor) -> Tensor:
        """Encode waves [B, 1, N] to the mean latents [B, C, T]; N is padded by `pad_to_hop`."""
        wave = pad_to_hop(wave, self.hop_length)
        with _exact_convolutions():
            mean, _ = self.quantizer.in_proj(self.encoder(wave.to(self._dtype))).chunk(2, dim=1)
        return mean

    def decode(self, latents: Tensor, message: Tensor | None = None) -> Tensor:
        """Decode latents and write a watermark.

        Parameters
        ----------
        latents
            [B, C, T].
        message
            Bits of the watermark, 0 or 1, [B, 16]; None writes zeros. Meta draws it anew at each call from the global
            generator, so that two of its decodes of the same latents differ.

        Returns
        -------
        Tensor
            Waves, [B, 1, N].

        Raises
        ------
        InputError
            If the message has another shape or holds anything but 0 and 1.
        """
        expected = (latents.size(0), self.message_bits)
        if message is None:
            message = torch.zeros(expected, device=latents.device)
        if tuple(message.shape) != expected or not bool(((message == 0) | (message == 1)).all()):
            raise InputError(f"message must be {list(expected)} of 0 and 1, but is {list(message.shape)}.")
        with _exact_convolutions():
            return self.decoder(self.quantizer.out_proj(latents.to(self._dtype)), message.to(latents.device))

    @property
    def _dtype(self) -> torch.dtype:
        return self.quantizer.in_proj.weight.dtype

    def n_frames(self, n_samples: int) -> int:
        """Frames that ``n_samples`` need."""
        return -(-n_samples // self.hop_length)


class Bottleneck(nn.Module):
    """The projections into and out of the latent space; the first half of ``in_proj`` is the mean."""

    def __init__(self, config: DACVAEConfig) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(config.latent_dim, 2 * config.codebook_dim, kernel_size=1)
        self.out_proj = nn.Conv1d(config.codebook_dim, config.latent_dim, kernel_size=1)


class Encoder(nn.Module):
    """Waves [B, 1, N] to features [B, latent_dim, T]; each block doubles the channels and strides."""

    def __init__(self, config: DACVAEConfig) -> None:
        super().__init__()
        widths = [config.encoder_dim * 2**i for i in range(len(config.encoder_rates) + 1)]
        blocks = zip(pairwise(widths), config.encoder_rates, strict=True)
        self.block = nn.Sequential(
            _same_conv(1, widths[0], kernel_size=7),
            *(EncoderBlock(narrow, wide, stride) for (narrow, wide), stride in blocks),
            Snake1d(widths[-1]),
            _same_conv(widths[-1], config.latent_dim, kernel_size=3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, latent_dim, T]."""
        return self.block(x)


class EncoderBlock(nn.Module):
    """Three dilated residual units and a strided convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(in_channels, dilation=dilation) for dilation in (1, 3, 9)),
            Snake1d(in_channels),
            nn.Conv1d(in_channels, out_channels, kernel_size=2 * stride, stride=stride, padding=stride // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, 2 H, N / stride]."""
        return self.block(x)


class Decoder(nn.Module):
    """Features [B, latent_dim, T] to watermarked waves [B, 1, N].

    The blocks' main branches give features at the sample rate; ``wm_model`` maps those to the wave and to a hidden
    signal, which walks down the watermark branches of the blocks to 1/320 of the rate, takes the message, and walks up
    again.
    """

    def __init__(self, config: DACVAEConfig) -> None:
        super().__init__()
        if len(config.decoder_rates) != len(_WATERMARK_RATES) or config.hop_length % prod(_WATERMARK_RATES):
            raise CheckpointError(
                f"audio_codec.decoder_rates = {list(config.decoder_rates)} do not fit the watermark's strides "
                f"{list(_WATERMARK_RATES)}: they must be four, and multiply to a multiple of {prod(_WATERMARK_RATES)}."
            )
        widths = [config.decoder_dim // 2**i for i in range(len(config.decoder_rates) + 1)]
        blocks = zip(pairwise(widths), config.decoder_rates, _WATERMARK_RATES, strict=True)
        self.model = nn.ModuleList([_same_conv(config.latent_dim, widths[0], kernel_size=7)])
        self.model.extend(DecoderBlock(pair, stride, watermark_stride) for pair, stride, watermark_stride in blocks)
        self.wm_model = Watermarker(widths[-1], hidden=widths[0] // 3)
        self.alpha = (widths[-1] // 3) / _WATERMARK_LATENT  # 32 / 128 in Meta's codec

    def forward(self, x: Tensor, message: Tensor) -> Tensor:
        """Map [B, latent_dim, T] and the bits [B, 16] to [B, 1, N]."""
        first, *blocks = self.model
        x = first(x)
        for block in blocks:
            x = block(x)
        encoder, decoder = self.wm_model.encoder_block, self.wm_model.decoder_block
        wave = encoder.pre[:3](x)  # [B, 1, N]
        hidden = encoder.pre[3](wave)  # [B, H, N]
        for block in reversed(blocks):
            hidden = cast(DecoderBlock, block).watermark_down(hidden)
        hidden = self.wm_model.msg_processor(encoder.post(hidden), message)  # [B, 128, N / 320]
        hidden = decoder.pre(hidden)
        for block in blocks:
            hidden = cast(DecoderBlock, block).watermark_up(hidden)
        return wave + self.alpha * decoder.post(hidden)


class DecoderBlock(nn.Module):
    """A main branch that upsamples, and the watermark's two branches, a third as wide, in one numbered list."""

    def __init__(self, channels: tuple[int, int], stride: int, watermark_stride: int) -> None:
        super().__init__()
        wide, narrow = channels
        hidden_wide, hidden_narrow = wide // 3, narrow // 3
        self.block = nn.ModuleList(
            [
                Snake1d(wide),
                nn.ConvTranspose1d(
                    wide, narrow, 2 * stride, stride, padding=(stride + 1) // 2, output_padding=stride % 2
                ),
                nn.ELU(),
                CausalConvTranspose1d(hidden_wide, hidden_narrow, 2 * watermark_stride, watermark_stride),
                ResidualUnit(narrow, dilation=1),
                ResidualUnit(narrow, dilation=3),
                CausalResidualUnit(hidden_narrow),
                CausalResidualUnit(hidden_narrow),
                ResidualUnit(narrow, dilation=9),
                nn.Identity(),
                nn.ELU(),
                CausalConv1d(hidden_narrow, hidden_wide, 2 * watermark_stride, watermark_stride),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Upsample [B, wide, N] to [B, narrow, N * stride]."""
        return self._apply_layers(x, (0, 1, 4, 5, 8))

    def watermark_down(self, x: Tensor) -> Tensor:
        """Map [B, narrow / 3, N] to [B, wide / 3, N / watermark_stride]."""
        return self._apply_layers(x, (7, 10, 11))

    def watermark_up(self, x: Tensor) -> Tensor:
        """Map [B, wide / 3, N] to [B, narrow / 3, N * watermark_stride]."""
        return self._apply_layers(x, (2, 3, 6))

    def _apply_layers(self, x: Tensor, layers: tuple[int, ...]) -> Tensor:
        for index in layers:
            x = self.block[index](x)
        return x


class Watermarker(nn.Module):
    """The ends of the watermark branch: features to wave and hidden signal, message, hidden signal to watermark."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.encoder_block = WatermarkEncoder(channels, hidden)
        self.msg_processor = MessageEmbedding()
        self.decoder_block = WatermarkDecoder(channels, hidden)


class WatermarkEncoder(nn.Module):
    """``pre[:3]`` maps features to the wave, ``pre[3]`` the wave to the hidden signal, ``post`` follows the descent."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(
            Snake1d(channels), _same_conv(channels, 1, kernel_size=7), nn.Tanh(), CausalConv1d(1, channels // 3, 7)
        )
        self.post = nn.Sequential(SkipLSTM(hidden), nn.ELU(), CausalConv1d(hidden, _WATERMARK_LATENT, 7))


class WatermarkDecoder(nn.Module):
    """``pre`` precedes the ascent, ``post`` maps the hidden signal to the watermark."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(CausalConv1d(_WATERMARK_LATENT, hidden, 7), SkipLSTM(hidden))
        self.post = nn.Sequential(nn.ELU(), CausalConv1d(channels // 3, 1, 7))


class MessageEmbedding(nn.Module):
    """Add the sum of one embedding a bit to every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.msg_processor = nn.Embedding(2 * _MESSAGE_BITS, _WATERMARK_LATENT)

    def forward(self, hidden: Tensor, message: Tensor) -> Tensor:
        """Map [B, 128, N] and bits [B, 16] to [B, 128, N]; bit k has rows 2 k and 2 k + 1."""
        rows = 2 * torch.arange(_MESSAGE_BITS, device=hidden.device) + message.long()  # [B, 16]
        summed = self.msg_processor(rows).sum(dim=1)  # [B, 128]
        return hidden + summed[:, :, None]


class SkipLSTM(nn.Module):
    """A two-layer LSTM over the frames, with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, H, N]."""
        frames = x.permute(2, 0, 1)  # [N, B, H]
        return (self.lstm(frames)[0] + frames).permute(1, 2, 0)


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution with Snake activations, same-padded."""

    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake1d(channels),
            _same_conv(channels, channels, kernel_size=7, dilation=dilation),
            Snake1d(channels),
            _same_conv(channels, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, H, N]."""
        return x + self.block(x)


class CausalResidualUnit(nn.Module):
    """The watermark's residual unit: half as wide inside, ELU, causal."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ELU(), CausalConv1d(channels, channels // 2, 3), nn.ELU(), CausalConv1d(channels // 2, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, H, N]."""
        return x + self.block(x)


class Snake1d(nn.Module):
    """``x + sin(alpha x)^2 / alpha`` with one alpha a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, H, N]."""
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).square()


class CausalConv1d(nn.Conv1d):
    """A convolution that sees no later sample; N must be a multiple of the stride."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, N] to [B, H', N / stride]."""
        return super().forward(F.pad(x, (self.kernel_size[0] - self.stride[0], 0)))


class CausalConvTranspose1d(nn.ConvTranspose1d):
    """The transposed counterpart, trimmed on the right to N * stride."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map [B, H, N] to [B, H', N * stride]."""
        return super().forward(x, output_size)[..., : x.size(-1) * self.stride[0]]


def pad_to_hop(wave: Tensor, hop_length: int) -> Tensor:
    """Reflect-pad waves [B, 1, N] on the right to whole frames (Meta, ``DACVAEEncoder._pad``).

    Raises
    ------
    InputError
        If the wave is too short to be reflected.
    """
    missing = -wave.size(-1) % hop_length
    if missing and missing >= wave.size(-1):
        raise InputError(
            f"The wave has {wave.size(-1)} samples, too few to reflect into a frame of {hop_length}; "
            f"give at least {hop_length // 2 + 1}."
        )
    return F.pad(wave, (0, missing), "reflect") if missing else wave


def _same_conv(in_channels: int, out_channels: int, *, kernel_size: int, dilation: int = 1) -> nn.Conv1d:
    padding = (kernel_size - 1) * dilation // 2
    return nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation, padding=padding)


def _exact_convolutions() -> AbstractContextManager[None]:
    """cuDNN without TF32, whose 10-bit mantissa is audible in a decoded wave; Meta turns cuDNN off here altogether."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
