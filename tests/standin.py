"""A small model with the call structure of Meta's ``sam_audio.SAMAudio``, and tiny networks that the edit tests share.

What it shares with Meta's class is what edits rely on: module names, which arguments come by keyword, `separate` that
calls ``self.forward`` directly under inference mode, and torchdiffeq as its solver. The arithmetic is its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchdiffeq import odeint

from sam_lsac.interventions import Attachment, Edit, attach
from sam_lsac.model.config import MDCTConfig, SAMAudioConfig, TextEncoderConfig, TransformerConfig
from sam_lsac.model.sam_audio import SAMAudio

CODEC = MDCTConfig()  # its defaults, whatever they are: only the number of channels matters here
CHANNELS = CODEC.n_channels
DIM, HEADS, LAYERS, TEXT_DIM, VIDEO_DIM = 16, 2, 4, 5, 6


class StandIn(nn.Module):
    """SAM Audio as an edit sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = _Transformer()
        self.proj = nn.Linear(6 * CHANNELS, DIM)
        self.embed_anchors = _Anchors()
        self.memory_proj = nn.Linear(TEXT_DIM, DIM)
        self.timestep_emb = _Time()

    def forward(
        self,
        noisy_audio: Tensor,
        audio_features: Tensor,
        text_features: Tensor | None,
        time: Tensor,
        masked_video_features: Tensor | None = None,
        text_mask: Tensor | None = None,
        anchor_ids: Tensor | None = None,
        anchor_alignment: Tensor | None = None,
        audio_pad_mask: Tensor | None = None,
    ) -> Tensor:
        x = torch.cat([noisy_audio, torch.zeros_like(audio_features), audio_features], dim=2)
        aligned = self.embed_anchors(self.proj(x), anchor_ids, anchor_alignment)
        memory = timestep_emb = self.timestep_emb(time, pos=time).unsqueeze(1)
        if text_features is not None:
            memory = self.memory_proj(text_features) + timestep_emb
        return self.transformer(
            aligned, time, padding_mask=audio_pad_mask, memory=memory, memory_padding_mask=text_mask
        )

    @torch.inference_mode()
    def separate(self, conditions: dict[str, Tensor], noise: Tensor, ode_opt: dict[str, Any]) -> Tensor:
        def vector_field(t: Tensor, noisy_audio: Tensor) -> Tensor:
            return self.forward(noisy_audio=noisy_audio, time=t.expand(noisy_audio.size(0)), **conditions)

        return odeint(vector_field, noise, torch.tensor([0.0, 1.0]), **ode_opt)[-1]


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rope_embeddings = _Rope()
        self.layers = nn.ModuleList(_Block() for _ in range(LAYERS))
        self.output = nn.Linear(DIM, 2 * CHANNELS)
        self.t_block = nn.Linear(1, 6 * DIM)

    def forward(self, x, time, *, padding_mask=None, memory=None, memory_padding_mask=None):
        t = self.t_block(time[:, None])
        for layer in self.layers:
            x = layer(
                x=x,
                cross_x=memory,
                t=t,
                padding_mask=padding_mask,
                memory_padding_mask=memory_padding_mask,
                rope=self.rope_embeddings,
            )
        return self.output(x)


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = _Attention()
        self.cross_attention = _Attention()
        self.feed_forward = nn.Sequential(nn.Linear(DIM, DIM), nn.SiLU(), nn.Linear(DIM, DIM))

    def forward(self, x, cross_x, t, padding_mask, memory_padding_mask, rope=None):
        shift, scale, gate, shift_ff, scale_ff, gate_ff = t.reshape(x.size(0), 6, -1).chunk(6, dim=1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        x = x + gate * self.attention(h, key_padding_mask=padding_mask, rope=rope)
        x = x + self.cross_attention(x=x, cross_x=cross_x, key_padding_mask=memory_padding_mask)
        return x + gate_ff * self.feed_forward(F.layer_norm(x, x.shape[-1:]) * (1 + scale_ff) + shift_ff)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n_heads = self.n_kv_heads = HEADS
        self.use_qk_norm = False  # and then, as in Meta's class, there is no q_norm at all
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(DIM, DIM, bias=False) for _ in range(4))

    def reshape_heads(self, x: Tensor, heads: int) -> Tensor:
        batch, length, width = x.shape
        return x.reshape(batch, length, width // heads, heads).permute(0, 3, 1, 2)

    def forward(self, x, cross_x=None, key_padding_mask=None, rope=None):
        source = x if cross_x is None else cross_x
        q, k, v = (
            self.reshape_heads(self.wq(x), HEADS),
            self.reshape_heads(self.wk(source), HEADS),
            self.reshape_heads(self.wv(source), HEADS),
        )
        if rope is not None:
            q, k = rope(q, bhle=True), rope(k, bhle=True)
        mask = None if key_padding_mask is None else key_padding_mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.wo(mixed.transpose(1, 2).reshape(x.shape))


class _Rope(nn.Module):
    def forward(self, x: Tensor, bhle: bool = False) -> Tensor:
        position = torch.arange(x.size(2 if bhle else 1), device=x.device, dtype=x.dtype)
        return x * torch.cos(0.1 * position)[:, None]


class _Anchors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3, padding_idx=3)
        self.gate = nn.Parameter(torch.tensor([-0.4]))
        self.proj = nn.Linear(3, DIM, bias=False)

    def forward(self, x, anchor_ids=None, anchor_alignment=None):
        if anchor_ids is None:
            return x
        return x + self.gate.tanh() * self.proj(self.embed(anchor_ids.gather(1, anchor_alignment)))


class _Time(nn.Module):
    def forward(self, x: Tensor, pos: Tensor | None = None) -> Tensor:
        return torch.sin((x if pos is None else pos)[:, None] * torch.arange(1, DIM + 1, dtype=x.dtype))


def tiny_sam_audio() -> SAMAudio:
    """Our model, tiny, with random weights and a gate that is not zero."""
    transformer = TransformerConfig(
        dim=DIM,
        n_heads=HEADS,
        n_layers=LAYERS,
        max_positions=64,
        context_dim=DIM,
        frequency_embedding_dim=8,
        out_channels=2 * CHANNELS,
    )
    config = SAMAudioConfig(
        in_channels=6 * CHANNELS,
        audio_codec=CODEC,
        text_encoder=TextEncoderConfig(dim=TEXT_DIM),
        transformer=transformer,
        video_dim=VIDEO_DIM,
        anchor_embedding_dim=3,
    )
    model = SAMAudio(config)
    with torch.no_grad():
        model.embed_anchors.gate.fill_(-0.4)
    return model


#: Both classes of model, by name.
BUILDERS: dict[str, Callable[[], nn.Module]] = {"ours": tiny_sam_audio, "meta-like": StandIn}


@dataclass
class Network:
    """A tiny network, and the conditions and noise of one solve of two examples, the second one padded."""

    model: nn.Module
    conditions: dict[str, Tensor]
    noise: Tensor

    def velocity(self, t: float, x: Tensor) -> Tensor:
        """One evaluation, as `separate` makes it."""
        return self.model.forward(noisy_audio=x, time=x.new_full((x.size(0),), t), **self.conditions)

    def solve(self, solver: Any, **kwargs: Any) -> Tensor:
        """One solve."""
        with torch.inference_mode():
            return solver.solve(self.velocity, self.noise, **kwargs)

    def attached(self, *edits: Edit, solver: Any) -> AbstractContextManager[Attachment]:
        """The edits attached for one solve of a solver."""
        return attach(self.model, edits, nfe=solver.nfe, evaluations_per_step=solver.evaluations_per_step)

    def solve_edited(self, *edits: Edit, solver: Any) -> Tensor:
        """One solve with edits."""
        with self.attached(*edits, solver=solver):
            return self.solve(solver)


def network(kind: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Network:
    """Build one of `BUILDERS` with its inputs: 12 frames, 3 tokens; example 1 has 9 frames and 2 tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BUILDERS[kind]().to(dtype).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.ndim > 1:  # larger than the default, so that attention is far from uniform
                parameter.mul_(2)
        features = torch.randn(2, 12, 2 * CHANNELS, dtype=dtype)
        text = torch.randn(2, 3, TEXT_DIM, dtype=dtype)
        noise = torch.randn(2, 12, 2 * CHANNELS, dtype=dtype)
    alignment = torch.zeros(2, 12, dtype=torch.long)
    alignment[0, 3:7] = alignment[1, 2:5] = 2
    alignment[1, 9:] = 1
    conditions = {
        "audio_features": features,
        "text_features": text,
        "text_mask": torch.tensor([[True, True, True], [True, True, False]]),
        "masked_video_features": torch.zeros(2, VIDEO_DIM, 12, dtype=dtype),
        "anchor_ids": torch.tensor([[0, 3, 1], [0, 3, 1]]),
        "anchor_alignment": alignment,
        "audio_pad_mask": torch.arange(12)[None] < torch.tensor([12, 9])[:, None],
    }
    return Network(model=model, conditions=conditions, noise=noise)


@contextmanager
def attention_by_hand(
    solver: Any, *, freeze_steps: dict[int, int] | None = None, uniform: bool = False
) -> Iterator[dict[tuple[int, int], Tensor]]:
    """Replace the attention kernel by a written-out one, and freeze self-attention or flatten cross-attention there.

    The reference that edits are held against: it knows no modules, only that every layer calls the kernel for
    self-attention first and for cross-attention second. Yields the self-attention matrices by (layer, evaluation).
    """
    matrices: dict[tuple[int, int], Tensor] = {}
    calls = itertools.count()

    def kernel(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        evaluation, index = divmod(next(calls), 2 * LAYERS)  # both from 0
        layer, is_cross = divmod(index, 2)
        keep = torch.ones_like(k[:, :1, None, :, 0], dtype=torch.bool) if attn_mask is None else attn_mask
        scores = q.float() @ k.float().mT / q.size(-1) ** 0.5
        weights = scores.masked_fill(~keep, -torch.inf).softmax(dim=-1)
        if is_cross and uniform:
            weights = (keep / keep.sum(dim=-1, keepdim=True)).expand_as(weights)
        if not is_cross:
            step = (freeze_steps or {}).get(layer, solver.n_steps)
            frozen_at = step * solver.evaluations_per_step - 1
            matrices[layer, evaluation] = weights = matrices[layer, frozen_at] if evaluation > frozen_at else weights
        return weights.to(v.dtype) @ v

    original = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = kernel
    try:
        yield matrices
    finally:
        F.scaled_dot_product_attention = original


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of a float32 solve: 1e-5 of the largest value, far below the effect of any edit."""
    error = (actual - expected).abs().max().item()
    bound = 1e-5 * expected.abs().max().item()
    assert error <= bound, f"differs by {error:.3g}, more than {bound:.3g}"
