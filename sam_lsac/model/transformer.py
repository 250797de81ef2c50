"""The diffusion transformer of SAM Audio, inference and training, top-down in one file.

Module and parameter names are Meta's, so that checkpoints load without a key map; the arithmetic is Meta's too.

Shapes: B batch, T latent frames, L text tokens, D model width, H heads, E = D / H.

References
----------
Meta, ``sam_audio/model/transformer.py``, ``patcher.py``, ``rope.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.blank import filled
from sam_lsac.model.config import TransformerConfig
from sam_lsac.model.kernels import Linear, gated_layers, rms_norm

__all__ = ["Attention", "DiT", "DiTBlock", "RMSNorm", "RotaryEmbedding"]

_NON_LINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "approx_gelu": lambda x: F.gelu(x, approximate="tanh"),
    "srelu": lambda x: F.relu(x) ** 2,
    "silu": F.silu,
    "swiglu": F.silu,
}


class DiT(nn.Module):
    """Velocity of the latent state, given the aligned inputs, the time and the text memory.

    Parameters
    ----------
    config
        Sizes and options, from the checkpoint.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.in_channels is not None:
            self.data_proj = nn.Linear(config.in_channels, config.dim)  # in Meta's checkpoints of that kind, unused
        self.rope_embeddings = (
            RotaryEmbedding(
                theta=max(10000, 2 * config.max_positions), head_dim=config.head_dim, max_seqlen=config.max_positions
            )
            if config.use_rope
            else None
        )
        self.layers = nn.ModuleList(DiTBlock(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = Linear(config.dim, config.out_channels, bias=config.fc_bias)
        self.x_embedder = Patcher(config.dim)
        self.y_embedder = ContextEmbedder(config)
        self.t_embedder = TimestepEmbedder(config)
        self.t_block_non_linearity = _non_linearity(config.t_block_non_linearity)
        self.t_block = nn.Linear(config.dim, config.dim * 6, bias=config.t_block_bias)
        self.final_layer_scale_shift_table = _table(2, config.dim)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        *,
        padding_mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Evaluate the network once.

        Parameters
        ----------
        x
            Aligned inputs, [B, T, D].
        time
            Flow time in 0..1, [B].
        padding_mask
            True where a frame is kept, [B, T].
        memory
            Text features with the time embedding added, [B, L, D].
        memory_padding_mask
            True where a token is kept, [B, L].

        Returns
        -------
        Tensor
            Velocity, [B, T, out_channels].
        """
        h = self.x_embedder(x.transpose(1, 2)).transpose(1, 2)  # [B, T, D]
        t = self.t_embedder(time)  # [B, D]
        t0 = self.t_block(self.t_block_non_linearity(t))  # [B, 6 D]
        y = self.y_embedder(memory)  # [B, L, D]
        for layer in self.layers:
            h = layer(
                x=h,
                cross_x=y,
                t=t0,
                padding_mask=padding_mask,
                memory_padding_mask=memory_padding_mask,
                rope=self.rope_embeddings,
            )
        shift, scale = (self.final_layer_scale_shift_table[None] + t[:, None]).chunk(2, dim=1)  # [B, 1, D] each
        return self.output(modulate(self.norm(h), shift, scale))  # [B, T, out_channels]


class DiTBlock(nn.Module):
    """Self-attention, cross-attention on the un-normalised state, feed-forward; the first and last gated by time."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.cross_attention = Attention(config)
        self.scale_shift_table = _table(6, config.dim)

    def forward(
        self,
        x: Tensor,
        cross_x: Tensor | None,
        t: Tensor,
        padding_mask: Tensor | None,
        memory_padding_mask: Tensor | None,
        rope: RotaryEmbedding | None = None,
    ) -> Tensor:
        """Map the state [B, T, D] to the state after this layer, [B, T, D]."""
        biases = self.scale_shift_table[None] + t.reshape(x.size(0), 6, -1)  # [B, 6, D]
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = biases.chunk(6, dim=1)  # [B, 1, D] each
        attended = self.attention(
            modulate(self.attention_norm(x), shift_sa, scale_sa), key_padding_mask=padding_mask, rope=rope
        )
        h = torch.addcmul(x, attended, gate_sa)
        h = h + self.cross_attention(x=h, cross_x=cross_x, key_padding_mask=memory_padding_mask)
        return torch.addcmul(h, self.feed_forward(modulate(self.ffn_norm(h), shift_ff, scale_ff)), gate_ff)


class Attention(nn.Module):
    """Multi-head attention; heads are interleaved over the channels on input and blocked at the input of ``wo``."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.n_heads = config.n_heads
        self.n_kv_heads = config.n_heads
        self.use_qk_norm = config.qk_norm
        self.wq = Linear(config.dim, config.dim, bias=config.fc_bias)
        self.wk = Linear(config.dim, config.dim, bias=config.fc_bias)
        self.wv = Linear(config.dim, config.dim, bias=config.fc_bias)
        self.wo = Linear(config.dim, config.dim, bias=config.fc_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, config.norm_eps)
            self.k_norm = RMSNorm(self.head_dim, config.norm_eps)

    def reshape_heads(self, x: Tensor, heads: int) -> Tensor:
        """Split channels [B, T, E H] into heads [B, H, T, E]; channel c belongs to head c mod H."""
        return x.reshape(*x.shape[:2], -1, heads).permute(0, 3, 1, 2).contiguous()  # for the fused kernel

    def forward(
        self,
        x: Tensor,
        cross_x: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        rope: RotaryEmbedding | None = None,
    ) -> Tensor:
        """Attend from ``x`` [B, T, D] to ``cross_x`` [B, L, D] or to itself; the mask [B, L] is True where kept."""
        source = x if cross_x is None else cross_x
        q = self.reshape_heads(self.wq(x), self.n_heads)  # [B, H, T, E]
        k = self.reshape_heads(self.wk(source), self.n_kv_heads)  # [B, H, L, E]
        v = self.reshape_heads(self.wv(source), self.n_kv_heads)  # [B, H, L, E]
        if self.use_qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rope(q, bhle=True), rope(k, bhle=True)
        mask = None if key_padding_mask is None else key_padding_mask[:, None, None, :]  # [B, 1, 1, L]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # [B, H, T, E]
        return self.wo(mixed.transpose(1, 2).flatten(2))  # [B, T, D]


class FeedForward(nn.Module):
    """SwiGLU, or a plain two-layer network for the other non-linearities."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.swiglu = config.non_linearity == "swiglu"
        self.non_linearity = _non_linearity(config.non_linearity)
        self.w1 = Linear(config.dim, config.ffn_hidden_dim, bias=config.fc_bias)
        self.w2 = Linear(config.ffn_hidden_dim, config.dim, bias=config.fc_bias)
        if self.swiglu:
            self.w3 = Linear(config.dim, config.ffn_hidden_dim, bias=config.fc_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        if self.swiglu:
            return gated_layers(x, gate=self.w1, value=self.w3, output=self.w2, non_linearity=self.non_linearity)
        return self.w2(self.non_linearity(self.w1(x)))


class ProjectionLayer(nn.Module):
    """The two-layer projection of the time and text embedders; its hidden width is its output width."""

    def __init__(self, in_dim: int, out_dim: int, *, non_linearity: str, bias: bool) -> None:
        super().__init__()
        self.swiglu = non_linearity == "swiglu"
        self.non_linearity = _non_linearity(non_linearity)
        self.w1 = Linear(in_dim, out_dim, bias=bias)
        self.w2 = Linear(out_dim, out_dim, bias=bias)
        if self.swiglu:
            self.w3 = Linear(in_dim, out_dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in_dim] to [..., out_dim]."""
        if self.swiglu:
            return gated_layers(x, gate=self.w1, value=self.w3, output=self.w2, non_linearity=self.non_linearity)
        return self.w2(self.non_linearity(self.w1(x)))


class ContextEmbedder(nn.Module):
    """Project the text memory [B, L, context_dim] to the width of the transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.context_norm = config.context_norm
        if config.context_norm:
            self.norm = RMSNorm(config.context_dim, config.norm_eps)
        self.projection = ProjectionLayer(
            config.context_dim, config.dim, non_linearity=config.context_non_linearity, bias=config.fc_bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, context_dim] to [B, L, D]."""
        return self.projection(self.norm(x) if self.context_norm else x)


class TimestepEmbedder(nn.Module):
    """Embed the flow time: cosines, then sines, of geometrically spaced frequencies, then a projection."""

    freqs: Tensor

    def __init__(self, config: TransformerConfig, *, max_period: float = 10000.0) -> None:
        super().__init__()
        self.frequency_embedding_size = config.frequency_embedding_dim
        self.projection = ProjectionLayer(
            config.frequency_embedding_dim, config.dim, non_linearity=config.timestep_non_linearity, bias=config.fc_bias
        )
        self.max_period = max_period
        self.register_buffer("freqs", torch.empty(self.frequency_embedding_size // 2), persistent=False)
        filled(self)

    def reset_buffers(self) -> None:
        """Compute the frequencies; a load calls it again, on the real device."""
        half = self.frequency_embedding_size // 2
        self.freqs = torch.exp(-math.log(self.max_period) * torch.arange(half, dtype=torch.float32) / half)

    def forward(self, t: Tensor) -> Tensor:
        """Map times [B] to embeddings [B, D]."""
        angles = t[:, None].float() * self.freqs[None].float()  # [B, F / 2]
        embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)  # [B, F]
        embedding = F.pad(embedding, (0, self.frequency_embedding_size % 2))
        return self.projection(embedding.to(self.projection.w1.weight.dtype))


class RotaryEmbedding(nn.Module):
    """Rotate interleaved channel pairs of queries and keys by an angle that grows with the position."""

    cos: Tensor
    sin: Tensor

    def __init__(self, *, theta: float, head_dim: int, max_seqlen: int) -> None:
        super().__init__()
        self.theta = theta
        self.head_dim = head_dim
        self.max_seqlen = max_seqlen
        for name in ("cos", "sin"):
            self.register_buffer(name, torch.empty(max_seqlen, head_dim // 2), persistent=False)
        filled(self)

    def reset_buffers(self) -> None:
        """Compute the rotations; a load calls it again, on the real device."""
        freqs = 1.0 / (self.theta ** (torch.arange(0, self.head_dim, 2)[: self.head_dim // 2].float() / self.head_dim))
        angles = torch.outer(torch.arange(self.max_seqlen), freqs).float()  # [max_seqlen, E / 2]
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, x: Tensor, bhle: bool = False) -> Tensor:
        """Rotate [B, T, H, E], or [B, H, T, E] with ``bhle``; computed in float32, returned in the input's dtype."""
        length = x.size(2 if bhle else 1)
        if length > self.max_seqlen:
            raise InputError(f"{length} frames are more than the model's {self.max_seqlen} positions; cut the mixture.")
        cos, sin = self.cos[:length].float(), self.sin[:length].float()  # [T, E / 2]
        if not bhle:
            cos, sin = cos[:, None], sin[:, None]  # [T, 1, E / 2]
        pairs = x.float().unflatten(-1, (-1, 2)).contiguous()  # [..., E / 2, 2]
        if torch.compiler.is_compiling():  # the compiler fuses real products, and has no complex ones
            even, odd = pairs.unbind(-1)
            rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
        else:  # ten times faster than products one by one
            rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
        return rotated.flatten(-2).type_as(x)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last axis, computed in float32."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [..., dim]."""
        return rms_norm(x, self.weight, self.eps)


class Patcher(nn.Module):
    """The convolutional input embedder (Meta's patch size is 1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = ResnetBlock1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, T] to [B, D, T]."""
        return self.block(x)


class ResnetBlock1d(nn.Module):
    """Two convolution blocks and an identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block1 = ConvBlock1d(dim, num_groups=1)
        self.block2 = ConvBlock1d(dim, num_groups=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, T] to [B, D, T]."""
        return x + self.block2(self.block1(x))


class ConvBlock1d(nn.Module):
    """Group norm, SiLU and a same-padded convolution of width 3."""

    def __init__(self, dim: int, *, num_groups: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(num_groups=num_groups, num_channels=dim)
        self.project = nn.Conv1d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, T] to [B, D, T]."""
        return self.project(F.silu(self.groupnorm(x)))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift a normalised state."""
    return torch.addcmul(shift, x, 1 + scale)


def _non_linearity(kind: str) -> Callable[[Tensor], Tensor]:
    if kind not in _NON_LINEARITIES:
        raise CheckpointError(f"Non-linearity {kind!r} is unknown; it must be one of {', '.join(_NON_LINEARITIES)}.")
    return _NON_LINEARITIES[kind]


def _table(rows: int, dim: int) -> nn.Parameter:
    """Scales and shifts [rows, dim], normal with variance 1 / dim."""
    return nn.Parameter(torch.empty(rows, dim).normal_().div_(dim**0.5))
