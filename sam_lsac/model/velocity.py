"""The velocity of one solve, with everything that does not change between its evaluations computed once.

Constant are the mixture's half of ``proj``, what the video adds, what the spans add and the projected text. A module
that is edited (its ``forward`` replaced, or hooked) when it would run is called at every evaluation instead, with the
same order of sums, so that edits act as on ``SAMAudio.forward`` and an edit without effect changes no bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_lsac.model.kernels import linear
from sam_lsac.model.sam_audio import Conditions, SAMAudio
from sam_lsac.model.shortcuts import is_edited

__all__ = ["PreparedVelocity"]


class PreparedVelocity:
    """A function of time and state, equal to ``model(state, time=time, **conditions.as_kwargs())`` up to rounding.

    Parameters
    ----------
    model
        Its weights must stay as they are during the solve.
    conditions
        Of the batch that is solved.
    """

    def __init__(self, model: SAMAudio, conditions: Conditions) -> None:
        self._model = model
        self._conditions = conditions
        weight = model.proj.weight
        self._dtype = weight.dtype
        width = conditions.audio_features.size(2)  # 2 C
        mixture = conditions.audio_features.to(self._dtype)
        self._mixture = F.linear(mixture, weight[:, 2 * width :], model.proj.bias)  # [B, T, D]
        self._state_weight = weight[:, :width].contiguous()  # [D, 2 C]
        self._video = _cast(conditions.masked_video_features, self._dtype)
        self._text = _cast(conditions.text_features, self._dtype)
        nothing = weight.new_zeros(1, 1, weight.size(0))  # [1, 1, D]
        spans = (conditions.anchor_ids, conditions.anchor_alignment)
        self._video_term = _once(model.align_masked_video, nothing, self._video)  # [B, T, D]
        self._span_term = _once(model.embed_anchors, nothing, *spans)  # [B, T, D]
        self._text_term = _once(model.memory_proj, self._text)  # [B, L, D]
        self._audio_pad_mask = _if_any_padding(conditions.audio_pad_mask)
        self._text_mask = _if_any_padding(conditions.text_mask)

    def __call__(self, time: float, state: Tensor) -> Tensor:
        """Evaluate the velocity.

        Parameters
        ----------
        time
            Flow time, 0 (noise) to 1 (data).
        state
            [B, T, 2 C].

        Returns
        -------
        Tensor
            [B, T, 2 C], in the state's type.
        """
        return self.at(self.times(time, state), state)

    def times(self, time: float, state: Tensor) -> Tensor:
        """A flow time for each example of a state, [B]."""
        precise = torch.promote_types(state.dtype, torch.float32)
        return torch.full((state.size(0),), time, dtype=precise, device=state.device)

    def at(self, times: Tensor, state: Tensor) -> Tensor:
        """Evaluate the velocity of a state [B, T, 2 C] at times [B]."""
        aligned = self._align(state)
        velocity: Tensor = self._model.transformer(
            aligned,
            times,
            padding_mask=self._audio_pad_mask,
            memory=self._memory(times),
            memory_padding_mask=self._text_mask,
        )
        return velocity.to(state.dtype)

    def _align(self, state: Tensor) -> Tensor:
        """Project the state and add the constant terms, [B, T, D]."""
        model, given = self._model, self._conditions
        if is_edited(model.proj):
            mixture = given.audio_features
            aligned = model.proj(torch.cat([state, torch.zeros_like(mixture), mixture], dim=2).to(self._dtype))
        else:
            aligned = linear(state.to(self._dtype), self._state_weight) + self._mixture
        if self._video is not None:
            aligned = self._add(model.align_masked_video, aligned, self._video_term, self._video)
        if given.anchor_ids is not None and given.anchor_alignment is not None:
            aligned = self._add(model.embed_anchors, aligned, self._span_term, given.anchor_ids, given.anchor_alignment)
        return aligned

    def _memory(self, times: Tensor) -> Tensor:
        """Projected text and time, [B, L, D], or the time alone, [B, 1, D]."""
        embedded = self._model.timestep_emb(times).unsqueeze(1).to(self._dtype)  # [B, 1, D]
        if self._text is None:
            return embedded
        module = self._model.memory_proj
        term = module(self._text) if self._text_term is None or is_edited(module) else self._text_term
        return term + embedded

    @staticmethod
    def _add(module: nn.Module, aligned: Tensor, term: Tensor | None, *inputs: Tensor) -> Tensor:
        """Add what a module adds: its constant term, or, where it is edited, what it says now."""
        if term is None or is_edited(module):
            result: Tensor = module(aligned, *inputs)
            return result
        return aligned + term


def _once(module: nn.Module, *inputs: Tensor | None) -> Tensor | None:
    """What a module gives, unless an input is missing or it is edited."""
    if any(value is None for value in inputs) or is_edited(module):
        return None
    result: Tensor = module(*inputs)
    return result


def _if_any_padding(mask: Tensor | None) -> Tensor | None:
    """The mask, or None where it keeps everything; attention without a mask is faster."""
    return None if mask is None or bool(mask.all()) else mask


def _cast(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if value is None else value.to(dtype)
