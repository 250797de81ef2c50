"""The arithmetic of runs: a batch of examples, one variant of it solved, decoded and scored.

Pairing by construction: a batch draws the noise of each example once, from its seed and its mixture, and every variant
of the batch starts from that tensor. What a variant really started from is hashed and kept with its scores.

Shapes: B batch, T latent frames, C codec channels, N samples.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_lsac.errors import CacheError, NotFiniteError
from sam_lsac.interventions import Attachment, CacheReport, Edit, Record, Recording, ShuffleSpans
from sam_lsac.metrics import Score, measure
from sam_lsac.mixtures import Mixture
from sam_lsac.model import Conditions, SAMAudio
from sam_lsac.runs.plan import RunSpec
from sam_lsac.separate import decode, draw_noise, request_digest, solve_batch
from sam_lsac.solver import SolverState, parse_solver

__all__ = ["Batch", "Computed", "Prefix", "compute_each", "together", "unusable"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prefix:
    """States of the run without edits, from which edited runs of the same solver and batch may start.

    Parameters
    ----------
    states
        By the number of steps done.
    noise_digests
        SHA-256 of what each example started from.
    """

    states: dict[int, SolverState] = field(default_factory=dict)
    noise_digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Computed:
    """One variant of a batch.

    Parameters
    ----------
    latents
        Of target and residual, [B, T, 2 C].
    waves
        Separated targets, [B, N].
    noise_digests
        SHA-256 of the noise that each example started from.
    hits
        Calls that reused a stored tensor, by site path, the same for every example.
    probes
        For each example what was recorded: values [layers][steps] by quantity, and the layers and steps themselves.
    wall_s
        Seconds for one example: solve and decoding of the batch over B; where it started from a prefix, without that.
    prefix
        The states that were asked for.
    failures
        For each example why it has no output: a state or the wave is not finite. None where it has one.
    at_once
        Examples that memory had room for at once, where those were fewer than asked for.
    """

    latents: Tensor
    waves: NDArray[np.float32]
    noise_digests: tuple[str, ...]
    hits: dict[str, int]
    probes: tuple[dict[str, Any], ...]
    wall_s: float
    prefix: Prefix
    failures: tuple[str | None, ...]
    at_once: int | None = None

    def score(self, index: int, mixture: Mixture, metrics: Sequence[str]) -> dict[str, Score]:
        """Score one example against its true sources."""
        return measure(
            self.waves[index],
            target=mixture.target,
            residual=mixture.residual,
            wave=mixture.wave,
            sample_rate=mixture.sample_rate,
            metrics=metrics,
        )


class Batch:
    """Examples of one length, encoded once for all their variants.

    Parameters
    ----------
    model
        Encodes them.
    mixtures
        At any rate, of one length. The noise is that of `request_digest` at that rate, as `separate` has it.
    seeds
        Of the noise, one an example.
    """

    def __init__(self, model: SAMAudio, mixtures: Sequence[Mixture], seeds: Sequence[int]) -> None:
        self.model = model
        self._given = tuple(mixtures)
        self.mixtures = tuple(mixture.at(model.sample_rate) for mixture in mixtures)
        self.seeds = tuple(seeds)
        device = model.proj.weight.device
        waves = torch.from_numpy(np.stack([mixture.wave for mixture in self.mixtures])).to(device)
        with torch.inference_mode():
            self._plain = model.conditions(waves, [mixture.prompt for mixture in mixtures])
        _, n_frames, width = self._plain.audio_features.shape
        drawn = [
            draw_noise((n_frames, width), seed, mixture=_request(mixture))
            for mixture, seed in zip(mixtures, seeds, strict=True)
        ]
        self.noise = torch.stack(drawn).to(device)  # [B, T, 2 C]

    def conditions(self, *, text: bool, spans: bool) -> Conditions:
        """Conditions with or without the prompts and the activity spans."""
        given = self._plain
        if not text:
            given = replace(given, text_features=None, text_mask=None)
        if spans:
            if given.audio_pad_mask is None:
                raise TypeError("SAMAudio.conditions always gives the frame mask")
            with torch.inference_mode():
                rows = [mixture.spans for mixture in self.mixtures]
                ids, alignment = self.model.anchors(rows, given.audio_pad_mask)
            given = replace(given, anchor_ids=ids, anchor_alignment=alignment)
        return given

    def only(self, index: int) -> Batch:
        """The batch of one example, from the same noise."""
        alone = Batch(self.model, [self._given[index]], [self.seeds[index]])
        alone.noise = self.noise[index : index + 1]
        return alone


def compute_each(
    batch: Batch, spec: RunSpec, *, prefix: Prefix | None = None, keep_steps: Collection[int] = ()
) -> Computed:
    """Solve one variant of a batch and decode it, whatever becomes of single examples.

    Where a number is not finite the examples are computed one by one, from the first step: those that are finite alone
    have their output, and of the others the reason is kept, and no states. All else is as in `compute`.

    Raises
    ------
    EditError
        If an edit does not fit or had no effect.
    CacheError
        If a cache never hit.
    """
    try:
        return compute(batch, spec, prefix=prefix, keep_steps=keep_steps)
    except NotFiniteError as error:
        if len(batch.seeds) == 1:
            return _failed(batch, str(error))
    return together([compute_each(batch.only(index), spec) for index in range(len(batch.seeds))])


def compute(batch: Batch, spec: RunSpec, *, prefix: Prefix | None = None, keep_steps: Collection[int] = ()) -> Computed:
    """Solve one variant of a batch and decode it.

    Parameters
    ----------
    batch
        Its examples.
    spec
        Says solver, edits, inputs and what is recorded; its mixture and seed are not looked at.
    prefix
        States of the same batch, solver and inputs without edits. The run starts from the latest state before its edits
        first act, where there is one: bit-equal to the run from the start.
    keep_steps
        Steps after which the state is kept.

    Raises
    ------
    NotFiniteError
        If a state or a wave is not finite.
    EditError
        If an edit does not fit or had no effect.
    CacheError
        If a cache never hit.
    """
    solver, edits = parse_solver(spec.solver), edits_of(spec)
    last_plain = min((edit.first_acting_step for edit in edits), default=1) - 1
    start = max((step for step in prefix.states if step <= last_plain), default=0) if prefix else 0
    noise = batch.noise
    states: dict[int, SolverState] = {}
    left: list[Attachment] = []

    def on_step(step: int, state: SolverState) -> None:
        if step in keep_steps:
            states[step] = state

    before = time.perf_counter()
    latents = solve_batch(
        batch.model,
        batch.conditions(text=spec.text, spans=spec.spans),
        noise,
        solver=solver,
        edits=edits,
        state=prefix.states[start] if prefix and start else None,
        on_step=on_step,
        on_leave=left.append,
        cuda_graph=noise.is_cuda and not edits,
    )
    waves = decode(batch.model, latents, seeds=batch.seeds)[0].cpu().numpy()
    wall_s = (time.perf_counter() - before) / len(batch.seeds)
    digests = prefix.noise_digests if prefix and start else tuple(noise_digest(one) for one in noise)
    return Computed(
        latents=latents,
        waves=waves[:, : batch.mixtures[0].target.size],
        noise_digests=digests,
        hits=_checked_hits(left[0]),
        probes=_probes(left[0], len(batch.seeds)),
        wall_s=wall_s,
        prefix=Prefix(states=states, noise_digests=digests),
        failures=(None,) * len(batch.seeds),
    )


def _failed(batch: Batch, reason: str) -> Computed:
    """A batch of one example that has no output."""
    return Computed(
        latents=torch.full_like(batch.noise, torch.nan),
        waves=np.full((1, batch.mixtures[0].target.size), np.nan, dtype=np.float32),
        noise_digests=(noise_digest(batch.noise[0]),),
        hits={},
        probes=({},),
        wall_s=0.0,
        prefix=Prefix(),
        failures=(reason,),
    )


def together(parts: Sequence[Computed]) -> Computed:
    """One batch of examples that were computed in parts; without the states that these passed through.

    Parameters
    ----------
    parts
        Of one variant, each of some examples, in their order.
    """
    usable = [one for one in parts if None in one.failures]
    fewer = [one.at_once for one in parts if one.at_once is not None]
    return Computed(
        latents=torch.cat([one.latents for one in parts]),
        waves=np.concatenate([one.waves for one in parts]),
        noise_digests=tuple(digest for one in parts for digest in one.noise_digests),
        hits=next((one.hits for one in usable), {}),
        probes=tuple(probe for one in parts for probe in one.probes),
        wall_s=float(np.mean([one.wall_s for one in usable] or [0.0])),
        prefix=Prefix(),
        failures=tuple(reason for one in parts for reason in one.failures),
        at_once=min(fewer, default=None),
    )


def edits_of(spec: RunSpec) -> list[Edit]:
    """The edits of a run, and after them what it records.

    `Record` comes last, so that the Block Ratio is taken against the true spans also where they are shuffled.
    """
    edits = list(spec.edits)
    if spec.record:
        edits.append(Record(entropy="entropy" in spec.record, block_ratio="block_ratio" in spec.record))
    return edits


def unusable(spec: RunSpec, mixture: Mixture, model: SAMAudio) -> str | None:
    """Why a run on this mixture would say nothing, or None.

    Parameters
    ----------
    spec
        Of the run.
    mixture
        At the model's rate.
    model
        Turns spans into frames.
    """
    if not spec.spans:
        return None
    if not mixture.spans:
        return "the mixture has no spans"
    if any(isinstance(edit, ShuffleSpans) for edit in spec.edits):
        frames = torch.ones(1, model.audio_codec.n_frames(mixture.target.size), dtype=torch.bool)
        ids, alignment = model.anchors([mixture.spans], frames)
        anchors = ids.gather(1, alignment)
        if bool((anchors == anchors[0, 0]).all()):
            return "the spans mark all frames alike, so that shuffling them changes nothing"
    return None


def noise_digest(noise: Tensor) -> str:
    """SHA-256 in hex of one example's noise, [T, 2 C]."""
    return hashlib.sha256(noise.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).hexdigest()


def _request(mixture: Mixture) -> str:
    return request_digest(mixture.wave, sample_rate=mixture.sample_rate, prompt=mixture.prompt)


def _checked_hits(attachment: Attachment) -> dict[str, int]:
    for edit, outcome in zip(attachment.edits, attachment.outcomes, strict=True):
        if isinstance(outcome, CacheReport) and not sum(outcome.hits.values()):
            raise CacheError(
                f"{edit} reused nothing, so the run measures no cache; choose other steps or leave it out."
            )
    return attachment.hits


def _probes(attachment: Attachment, n_examples: int) -> tuple[dict[str, Any], ...]:
    probes: tuple[dict[str, Any], ...] = tuple({} for _ in range(n_examples))
    for outcome in attachment.outcomes:
        if not isinstance(outcome, Recording):
            continue
        for index, probe in enumerate(probes):
            probe |= {"layers": list(outcome.layers), "steps": list(outcome.steps)}
            for quantity in ("entropy", "block_ratio", "block_ratio_sum"):
                values: Tensor | None = getattr(outcome, quantity)  # [layers, steps, B]
                if values is not None:
                    probe[quantity] = values[:, :, index].tolist()
    return probes
