"""The deterministic transform codec of the embedded checkpoint, and the interface that every codec has."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from sam_lsac.errors import InputError
from sam_lsac.model.blank import filled
from sam_lsac.model.config import DACVAEConfig, MDCTConfig
from sam_lsac.model.dacvae import DACVAE, pad_to_hop

__all__ = ["Codec", "MDCTCodec", "build_codec"]


class Codec(Protocol):
    """Waves to latents and back."""

    sample_rate: int
    hop_length: int
    message_bits: int  # of the watermark, 0 where there is none

    def __call__(self, wave: Tensor) -> Tensor:
        """Encode waves [B, 1, N] to latents [B, C, T]; N is reflect-padded to whole frames."""

    def decode(self, latents: Tensor, message: Tensor | None = None) -> Tensor:
        """Decode latents [B, C, T] to waves [B, 1, T * hop_length]; ``message`` is that of the watermark, if any."""

    def n_frames(self, n_samples: int) -> int:
        """Frames that ``n_samples`` need."""


class MDCTCodec(nn.Module):
    """Shapes and gains of the lowest bins of a modified discrete cosine transform; no parameters.

    A gain is the logarithm of the energy in a band of bins over three frames; a shape is one transform coefficient with
    most of that gain divided out. Separating then means to copy shapes and to add to gains, at an even scale, which a
    small network learns far sooner than masks on raw coefficients. Decoding multiplies them again, so the codec is
    exact within the kept bins. The frame axis is circular, which keeps SAM Audio's T = N / hop frames.

    References
    ----------
    Princen, Johnson and Bradley 1987, "Subband/transform coding using filter bank designs based on time domain aliasing
    cancellation". Shape-gain coding: Gersho and Gray 1992, "Vector Quantization and Signal Compression", section 12.10.
    """

    message_bits = 0
    basis: Tensor
    pooling: Tensor
    band: Tensor
    mean: Tensor
    scale: Tensor

    #: Largest log energy a gain may decode to; a wave within full scale cannot exceed it.
    MAX_LOG_GAIN = 6.0

    def __init__(self, config: MDCTConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        n_gains = len(config.gain_widths)
        shapes = {"basis": (2 * config.hop_length, config.n_bins), "pooling": (config.n_bins, n_gains)}
        for name, shape in (shapes | dict.fromkeys(("mean", "scale"), (config.n_channels, 1))).items():
            self.register_buffer(name, torch.empty(shape), persistent=False)
        self.register_buffer("band", torch.empty(config.n_bins, dtype=torch.int64), persistent=False)
        filled(self)

    def reset_buffers(self) -> None:
        """Compute the constants of the transform anew, on the default device."""
        hop, config = self.hop_length, self.config
        n = torch.arange(2 * hop, dtype=torch.float64)
        k = torch.arange(config.n_bins, dtype=torch.float64)
        window = torch.sin(math.pi / (2 * hop) * (n + 0.5))
        cosines = torch.cos(math.pi / hop * (n[:, None] + 0.5 + hop / 2) * (k[None] + 0.5))
        widths = torch.tensor(config.gain_widths)
        self.basis = (math.sqrt(2 / hop) * window[:, None] * cosines).float()  # [2 hop, n_bins]
        self.band = torch.arange(len(widths)).repeat_interleave(widths, output_size=config.n_bins)  # [n_bins]
        self.pooling = (self.band[:, None] == torch.arange(len(widths))).float() / widths  # [n_bins, n_gains]
        self.mean = torch.tensor(config.mean or (0.0,) * config.n_channels)[:, None]  # [C, 1]
        self.scale = torch.tensor(config.scale or (1.0,) * config.n_channels)[:, None]  # [C, 1]

    def forward(self, wave: Tensor) -> Tensor:
        """Encode waves [B, 1, N] to latents [B, C, T]."""
        wave = pad_to_hop(wave, self.hop_length)
        frames = wave[:, 0].unflatten(1, (-1, self.hop_length))  # [B, T, hop]
        coefficients = torch.cat([frames.roll(1, dims=1), frames], dim=2) @ self.basis  # [B, T, n_bins]
        energy = (coefficients.square() @ self.pooling).transpose(1, 2)  # [B, n_gains, T]
        energy = (energy.roll(1, dims=2) + energy + energy.roll(-1, dims=2)) / 3
        gain = torch.log(energy + self.config.floor)
        shape = coefficients.transpose(1, 2) * torch.exp(-0.5 * self.config.shape_power * gain[:, self.band])
        return (torch.cat([shape, gain], dim=1) - self.mean) * self.scale

    def decode(self, latents: Tensor, message: Tensor | None = None) -> Tensor:
        """Decode latents [B, C, T] to waves [B, 1, T * hop]; without a watermark, so ``message`` must be None."""
        if message is not None:
            raise InputError("This codec writes no watermark; call decode without a message.")
        first, second = (self.coefficients(latents).transpose(1, 2) @ self.basis.T).chunk(2, dim=2)  # [B, T, hop] each
        return (first.roll(-1, dims=1) + second).flatten(1).unsqueeze(1)

    def coefficients(self, latents: Tensor) -> Tensor:
        """Transform coefficients [B, n_bins, T] of latents [B, C, T]; the transform is orthonormal."""
        shape, gain = (latents / self.scale + self.mean).split(
            [self.config.n_bins, len(self.config.gain_widths)], dim=1
        )
        gain = gain.clamp(max=self.MAX_LOG_GAIN)
        return shape * torch.exp(0.5 * self.config.shape_power * gain[:, self.band])

    def n_frames(self, n_samples: int) -> int:
        """Frames that ``n_samples`` need."""
        return -(-n_samples // self.hop_length)


def build_codec(config: DACVAEConfig | MDCTConfig) -> Codec:
    """The codec that a configuration names."""
    return cast(Codec, MDCTCodec(config) if isinstance(config, MDCTConfig) else DACVAE(config))
