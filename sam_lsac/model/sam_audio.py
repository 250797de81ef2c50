"""SAM Audio: from a mixture, a prompt and activity spans to the velocity of the latent state.

Shapes: B batch, T latent frames, C codec channels, L text tokens, D model width, N samples.

References
----------
Meta, ``sam_audio/model/model.py``, ``align.py``, ``sam_audio/processor.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam_lsac.errors import InputError
from sam_lsac.model.blank import filled
from sam_lsac.model.codec import Codec, build_codec
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.model.text import T5TextEncoder
from sam_lsac.model.transformer import DiT
from sam_lsac.model.weights import LoadReport

__all__ = ["ANCHOR_IDS", "Conditions", "SAMAudio", "Span"]

#: Vocabulary of the span prompt (Meta, ``Batch.process_anchors``).
ANCHOR_IDS = {"<null>": 0, "+": 1, "-": 2, "<pad>": 3}

#: One span: "+" where the target sounds or "-" where it does not, start and end in seconds.
Span = tuple[str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything of one solve that does not change between evaluations; keyword arguments of ``SAMAudio.forward``.

    Parameters
    ----------
    audio_features
        Latents of the mixture, twice side by side, [B, T, 2 C].
    text_features
        Encoded prompts, [B, L, text_dim]; None removes the text.
    text_mask
        True where a token is kept, [B, L].
    masked_video_features
        [B, video_dim, T]; Meta feeds zeros where there is no video.
    anchor_ids
        Span vocabulary ids of each example, [B, S].
    anchor_alignment
        Which of ``anchor_ids`` holds at each frame, [B, T].
    audio_pad_mask
        True where a frame is kept, [B, T].
    """

    audio_features: Tensor
    text_features: Tensor | None
    text_mask: Tensor | None = None
    masked_video_features: Tensor | None = None
    anchor_ids: Tensor | None = None
    anchor_alignment: Tensor | None = None
    audio_pad_mask: Tensor | None = None

    def as_kwargs(self) -> dict[str, Tensor | None]:
        """The fields by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


class SAMAudio(nn.Module):
    """The network of one velocity evaluation, with the codec and the text encoder that feed it.

    Parameters
    ----------
    config
        From the checkpoint.
    text_encoder
        Maps prompts to features and a mask; None where only the transformer is needed.

    Attributes
    ----------
    name, folder, checkpoint_digest, layer_classes, load_report
        Where the weights come from, set by ``load_model``: the name, the folder, the SHA-256 of everything that was
        read, the checkpoint's calibrated layers by class ("stable", "moderate", "fast"), and what was loaded and
        skipped.
    """

    def __init__(self, config: SAMAudioConfig, text_encoder: T5TextEncoder | None = None) -> None:
        super().__init__()
        width = config.transformer.dim
        self.config = config
        self.audio_codec: Codec = build_codec(config.audio_codec)
        self.text_encoder = text_encoder
        self.transformer = DiT(config.transformer)
        self.proj = nn.Linear(config.in_channels, width)
        self.align_masked_video = AlignModalities(config.video_dim, width)
        self.embed_anchors = EmbedAnchors(config.num_anchors, config.anchor_embedding_dim, width)
        self.memory_proj = nn.Linear(config.text_encoder.dim, width)
        self.timestep_emb = SinusoidalEmbedding(width)
        self.name = "unnamed"
        self.folder: Path | None = None
        self.checkpoint_digest: str | None = None
        self.layer_classes: dict[str, list[int]] | None = None
        self.load_report: LoadReport | None = None

    @property
    def sample_rate(self) -> int:
        """Rate of the waves, in hertz."""
        return self.audio_codec.sample_rate

    def compile_layers(self, **options: Any) -> None:
        """Compile the transformer's layers, one graph for all, by ``torch.compile`` with these options.

        Edits act as before: an edited module runs as it is written, between compiled parts.
        """
        for layer in self.transformer.layers:
            layer.compile(**options)

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
        """Evaluate the velocity once; Meta's signature and argument names.

        Parameters
        ----------
        noisy_audio
            State of the flow, target and residual latents side by side, [B, T, 2 C].
        time
            Flow time, 0 (noise) to 1 (data), [B].
        audio_features, text_features, masked_video_features, text_mask, anchor_ids, anchor_alignment, audio_pad_mask
            See `Conditions`.

        Returns
        -------
        Tensor
            Velocity, [B, T, 2 C], in the state's type; inputs of another floating type than the weights are converted.
        """
        aligned = self.align_inputs(noisy_audio, audio_features, masked_video_features, anchor_ids, anchor_alignment)
        memory = timestep_emb = self.timestep_emb(time).unsqueeze(1).to(aligned.dtype)  # [B, 1, D]
        if text_features is not None:
            memory = self.memory_proj(text_features.to(aligned.dtype)) + timestep_emb  # [B, L, D]
        velocity = self.transformer(
            aligned, time, padding_mask=audio_pad_mask, memory=memory, memory_padding_mask=text_mask
        )
        return velocity.to(noisy_audio.dtype)

    def align_inputs(
        self,
        noisy_audio: Tensor,
        audio_features: Tensor,
        masked_video_features: Tensor | None = None,
        anchor_ids: Tensor | None = None,
        anchor_alignment: Tensor | None = None,
    ) -> Tensor:
        """Project state and mixture to the model width and add video and spans, [B, T, D]."""
        x = torch.cat([noisy_audio, torch.zeros_like(audio_features), audio_features], dim=2)  # [B, T, 6 C]
        x = x.to(self.proj.weight.dtype)
        if masked_video_features is not None:
            masked_video_features = masked_video_features.to(x.dtype)
        aligned = self.align_masked_video(self.proj(x), masked_video_features)
        return self.embed_anchors(aligned, anchor_ids, anchor_alignment)

    def conditions(
        self,
        waves: Tensor,
        prompts: Sequence[str],
        spans: Sequence[Sequence[Span] | None] | None = None,
        sizes: Tensor | None = None,
    ) -> Conditions:
        """Encode the inputs of a batch of separations.

        Parameters
        ----------
        waves
            Mixtures at the model's rate, padded to one length, [B, N].
        prompts
            One lower-case noun or verb phrase an example.
        spans
            For each example its spans in seconds, or None for none.
        sizes
            Valid samples of each example, [B]; None when all are full.

        Raises
        ------
        InputError
            If the counts differ or a span is malformed.
        """
        if self.text_encoder is None:
            raise InputError("This model was built without a text encoder; load it with load_model(...).")
        if waves.ndim != 2 or waves.size(0) != len(prompts):
            raise InputError(f"waves must be [{len(prompts)}, N], one row a prompt, but are {list(waves.shape)}.")
        latents = self.audio_codec(waves.unsqueeze(1)).transpose(1, 2)  # [B, T, C]
        features, mask = self.text_encoder(list(prompts))
        batch, n_frames = latents.shape[:2]
        if sizes is None:
            sizes = torch.full((batch,), waves.size(1))
        frames = torch.tensor([self.audio_codec.n_frames(int(size)) for size in sizes])
        keep = (torch.arange(n_frames)[None] < frames[:, None]).to(waves.device)  # [B, T]
        ids, alignment = self.anchors(spans, keep)
        return Conditions(
            audio_features=torch.cat([latents, latents], dim=2),
            text_features=features.to(latents.dtype),
            text_mask=mask,
            masked_video_features=latents.new_zeros(batch, self.config.video_dim, n_frames),
            anchor_ids=ids,
            anchor_alignment=alignment,
            audio_pad_mask=keep,
        )

    def anchors(self, spans: Sequence[Sequence[Span] | None] | None, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Turn spans in seconds into ids [B, S] and their alignment to frames [B, T]; ``keep`` is the frame mask.

        Raises
        ------
        InputError
            If there is not one list, or None, a mixture; if a span is not ("+" or "-", start, end), 0 <= start < end.
        """
        rows = list(spans) if spans is not None else [None] * keep.size(0)
        if len(rows) != keep.size(0):
            raise InputError(f"{len(rows)} span lists for {keep.size(0)} mixtures; give one list, or None, a mixture.")
        alignment = (~keep).long()  # padding points to <pad>, position 1
        ids = [[ANCHOR_IDS["<null>"], ANCHOR_IDS["<pad>"]] for _ in rows]
        for row, row_spans in enumerate(rows):
            for sign, start_s, end_s in row_spans or ():
                if sign not in ("+", "-") or not 0 <= start_s < end_s:
                    raise InputError(f'Span {(sign, start_s, end_s)}: give ("+" or "-", start_s, end_s), start < end.')
                first = math.ceil(start_s * self.sample_rate / self.audio_codec.hop_length)
                last = math.ceil(end_s * self.sample_rate / self.audio_codec.hop_length)
                alignment[row, first:last] = len(ids[row])
                ids[row].append(ANCHOR_IDS[sign])
        longest = max(len(row) for row in ids)
        padded = [row + [ANCHOR_IDS["<pad>"]] * (longest - len(row)) for row in ids]
        return torch.tensor(padded, device=keep.device), alignment


class SinusoidalEmbedding(nn.Module):
    """Cosines, then sines, of the time at geometrically spaced frequencies."""

    inv_freq: Tensor

    def __init__(self, dim: int, theta: float = 10000.0) -> None:
        super().__init__()
        self.dim = dim
        self.theta = theta
        self.register_buffer("inv_freq", torch.empty(dim // 2), persistent=False)
        filled(self)

    def reset_buffers(self) -> None:
        """Compute the frequencies; a load calls it again, on the real device."""
        half = self.dim // 2
        self.inv_freq = torch.exp(-math.log(self.theta) * torch.arange(half).float() / half)

    def forward(self, pos: Tensor) -> Tensor:
        """Map times [B] to embeddings [B, dim]."""
        angles = pos[:, None] * self.inv_freq[None]
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class EmbedAnchors(nn.Module):
    """Add the gated span embedding: ``x + tanh(gate) * proj(embedding)`` (paper, Eq. 4)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, out_dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_embeddings + 1, embedding_dim, padding_idx=num_embeddings)
        self.gate = nn.Parameter(torch.zeros(1))
        self.proj = nn.Linear(embedding_dim, out_dim, bias=False)

    def forward(self, x: Tensor, anchor_ids: Tensor | None = None, anchor_alignment: Tensor | None = None) -> Tensor:
        """Add spans to aligned inputs [B, T, D]; without ids the input is returned."""
        if anchor_ids is None or anchor_alignment is None:
            return x
        embedded = self.embed(anchor_ids.gather(1, anchor_alignment))  # [B, T, anchor_embedding_dim]
        return x + self.gate.tanh() * self.proj(embedded)


class AlignModalities(nn.Module):
    """Add gated, normalised video features; zeros still add what bias and LayerNorm make of them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size=1)
        self.layer_norm = nn.LayerNorm(out_channels)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, anchor: Tensor, tgt: Tensor | None = None) -> Tensor:
        """Add video features [B, video_dim, T] to aligned inputs [B, T, D]; None adds nothing."""
        if tgt is None:
            return anchor
        return anchor + self.gate.tanh() * self.layer_norm(self.conv(tgt).transpose(1, 2))
