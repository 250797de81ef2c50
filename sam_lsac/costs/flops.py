"""Floating-point operations of SAM Audio's network, counted on paper.

Convention. A multiply-add is two operations. Counted are matrix products and convolutions, padding included; norms,
activations, rotary embeddings, softmax, sums and table look-ups are not (together well below 1 %). Every evaluation is
counted in full, as Meta's ``SAMAudio.forward`` makes it: video and spans are always fed (zeros and the null span where
there are none), and what does not change within a solve is counted each time, although ``PreparedVelocity`` computes it
once. Codec and text encoder are not part of an evaluation. Batch 1.

With T frames, L tokens, width D, F hidden channels of the feed-forward network and C' output channels one evaluation is

===============  ==========================================================================================
self-attention   layers x (8 T D^2 + 4 T^2 D), half of it W_q, W_k and Q K^T, half W_v, A V and W_o
cross-attention  layers x (4 T D^2 + 4 L D^2 + 4 T L D)
feed-forward     layers x 6 T D F (4 T D F where it is not gated)
embedders        12 T D^2 for the two convolutions, and the time and text embedders
inputs           2 T D (state, mixture, video and span channels) + 2 L D (text channels)
output           2 T D C'
===============  ==========================================================================================

For SAM-Audio-Small, 10 s (T = 250) and 4 tokens that is 212.2 GFLOPs, 61.2 (28.9 %) of them self-attention; the paper
says 211.4 and 61.4 (29 %). So 211.4 is one evaluation, and a solve of 16 Euler steps takes 16 times as much. It is
211.7 for one token and 212.8 for eight; 0.1 less where the span projection is left out.

References
----------
Paper, section 2.4. ``torch.utils.flop_counter`` uses the same convention, which `counted_flops` checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sam_lsac.costs.sizes import Countable, frames, sizes_of
from sam_lsac.costs.work import planned_work
from sam_lsac.errors import InputError
from sam_lsac.interventions import Edit
from sam_lsac.interventions.work import LayerWork
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.solver import Euler, Solver

__all__ = ["FlopCount", "assumed_solver", "count_flops"]

#: Steps of the paper's solver.
PAPER_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopCount:
    """Floating-point operations by part of the network, in FLOPs.

    Parameters
    ----------
    self_attention, cross_attention, feed_forward
        Of all layers.
    embedders
        Convolutional input embedder, time and text embedders.
    inputs
        Projections of state, mixture, video, spans and text to the width of the network.
    output
        The last projection.
    probes
        Attention matrices that are computed only to be measured (`Record`).
    """

    self_attention: float = 0.0
    cross_attention: float = 0.0
    feed_forward: float = 0.0
    embedders: float = 0.0
    inputs: float = 0.0
    output: float = 0.0
    probes: float = 0.0

    @property
    def parts(self) -> dict[str, float]:
        """FLOPs by part."""
        return asdict(self)

    @property
    def total(self) -> float:
        """FLOPs of all parts."""
        return sum(self.parts.values())

    @property
    def self_attention_share(self) -> float:
        """Self-attention's part of the total, 0 to 1."""
        return self.self_attention / self.total

    def __add__(self, other: FlopCount) -> FlopCount:
        """Part by part."""
        theirs = other.parts
        return FlopCount(**{name: value + theirs[name] for name, value in self.parts.items()})

    def __mul__(self, factor: float) -> FlopCount:
        """Every part times a number."""
        return FlopCount(**{name: value * factor for name, value in self.parts.items()})


def count_flops(
    model: Countable,
    *,
    seconds: float = 10.0,
    text_tokens: int = 4,
    edits: Sequence[Edit] = (),
    solver: Solver | None = None,
) -> FlopCount:
    """Count the floating-point operations of one network evaluation, or of a whole solve.

    Parameters
    ----------
    model
        A model, its configuration, or the name of a released size, such as "small" or "facebook/sam-audio-small".
    seconds
        Duration of the audio.
    text_tokens
        Tokens of the prompt; 0 for no text at all, where the time is the only token.
    edits
        What they save or add is counted step by step.
    solver
        With a solver, the whole solve is counted. Without one, one evaluation: with edits, the mean evaluation of the
        Euler solve that they were made for, 16 steps where they do not say.

    Raises
    ------
    ModelError
        If the size is unknown or the model carries no configuration.
    InputError
        If the duration or the number of tokens is not possible.
    EditError
        If an edit does not fit the model or the solver, or cannot be counted on paper.
    """
    config = sizes_of(model)
    if isinstance(text_tokens, bool) or not isinstance(text_tokens, int) or text_tokens < 0:
        raise InputError(f"text_tokens is a whole number from 0, not {text_tokens!r}; a short prompt has about 4.")
    counted = solver if solver is not None else assumed_solver(edits)
    layers = _LayerFlops.of(config, frames(config, seconds), max(1, text_tokens))
    rest = _outside_layers(config, frames(config, seconds), text_tokens)
    total = FlopCount()
    for evaluation in planned_work(edits, config.transformer.n_layers, counted):
        total = sum((layers.count(work) for work in evaluation), start=total + rest)
    return total if solver is not None else total * (1 / counted.nfe)


def assumed_solver(edits: Sequence[Edit]) -> Solver:
    """The Euler solve whose mean evaluation stands for one evaluation under these edits."""
    made_for = (getattr(edit, "n_steps", None) for edit in edits)
    return Euler(next((steps for steps in made_for if isinstance(steps, int)), PAPER_STEPS) if edits else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerFlops:
    """The parts of one layer: the matrix, what is mixed by it, cross-attention by kind, feed-forward."""

    matrix: float
    mixing: float
    cross_attention: Mapping[str, float]
    feed_forward: float

    @classmethod
    def of(cls, config: SAMAudioConfig, n_frames: int, n_keys: int) -> _LayerFlops:
        """Sizes of a layer; ``n_keys`` are the tokens that cross-attention sees."""
        dim, hidden = config.transformer.dim, config.transformer.ffn_hidden_dim
        products = 3 if config.transformer.non_linearity == "swiglu" else 2
        half = 4 * n_frames * dim**2 + 2 * n_frames**2 * dim  # two projections of every frame, one T x T product
        return cls(
            matrix=half,
            mixing=half,
            cross_attention={
                "whole": 4 * n_frames * dim**2 + 4 * n_keys * dim**2 + 4 * n_frames * n_keys * dim,
                "uniform": 2 * n_keys * dim**2 + 2 * n_keys * dim + 2 * dim**2,
                "none": 0,
            },
            feed_forward=2 * products * n_frames * dim * hidden,
        )

    def count(self, work: LayerWork) -> FlopCount:
        """What a layer's work takes."""
        if not work.runs:
            return FlopCount()
        return FlopCount(
            self_attention=self.mixing * work.self_attention + self.matrix * work.matrix,
            cross_attention=self.cross_attention[work.cross_attention],
            feed_forward=self.feed_forward * work.feed_forward,
            probes=self.matrix * work.probes,
        )


def _outside_layers(config: SAMAudioConfig, n_frames: int, text_tokens: int) -> FlopCount:
    transformer, dim = config.transformer, config.transformer.dim
    convolutions = 2 * (2 * 3 * n_frames * dim**2)  # two, of width 3
    time = _projection(transformer.frequency_embedding_dim, dim, transformer.timestep_non_linearity)
    modulation = 2 * dim * 6 * dim
    text = max(1, text_tokens) * _projection(transformer.context_dim, dim, transformer.context_non_linearity)
    channels = config.in_channels + config.video_dim + config.anchor_embedding_dim
    return FlopCount(
        embedders=convolutions + time + modulation + text,
        inputs=2 * n_frames * dim * channels + 2 * text_tokens * dim * config.text_encoder.dim,
        output=2 * n_frames * dim * transformer.out_channels,
    )


def _projection(in_dim: int, out_dim: int, non_linearity: str) -> float:
    """One row through a ``ProjectionLayer``, whose hidden width is its output width."""
    into = 2 if non_linearity == "swiglu" else 1
    return 2 * (into * in_dim * out_dim + out_dim**2)
