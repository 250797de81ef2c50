"""Model, solver and edits composed: one separation of a wave, and the solve of a batch below it.

Shapes: B batch, T latent frames, C codec channels, N samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sam_lsac.errors import EditError, InputError, ModelError
from sam_lsac.finite import StepWatch, check_decoded, check_given
from sam_lsac.interventions import Attachment, Edit, attach, edits_of
from sam_lsac.mixtures.audio import resample
from sam_lsac.model import Conditions, SAMAudio
from sam_lsac.model.graphs import CapturedVelocity
from sam_lsac.model.shortcuts import is_edited
from sam_lsac.model.velocity import PreparedVelocity
from sam_lsac.request import Span, check_request, check_seed, checked_noise, checked_rate, checked_wave
from sam_lsac.solver import Solver, SolverState, solver_of

__all__ = ["Separation", "decode", "draw_noise", "request_digest", "separate", "solve_batch"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separation:
    """What `separate` gives back.

    Parameters
    ----------
    target, residual
        What the prompt names, and the rest, [N], of the length and at the rate of the wave that was given.
    sample_rate
        In hertz.
    """

    target: NDArray[np.float32]
    residual: NDArray[np.float32]
    sample_rate: int


def separate(
    model: SAMAudio,
    wave: ArrayLike | Tensor,
    *,
    sample_rate: int,
    prompt: str,
    spans: Sequence[Span] | None = None,
    solver: Solver | str | None = None,
    edits: Iterable[Edit] | None = None,
    seed: int = 0,
    noise: Tensor | NDArray[np.floating[Any]] | None = None,
    on_step: Callable[[int, SolverState], None] | None = None,
    cuda_graph: bool = False,
) -> Separation:
    """Separate a wave into what a prompt names and the rest.

    Parameters
    ----------
    model
        Of ``load_model``.
    wave
        One channel, full scale at 1, [N]; resampled to the model's rate and back where the rates differ.
    sample_rate
        Of the wave, in hertz.
    prompt
        Lower-case noun and verb, such as "man speaking".
    spans
        ("+", start, end) in seconds where the target is active, ("-", start, end) where it is not.
    solver
        ``Euler(16)`` where None; its text, such as "midpoint:16", does too.
    edits
        Interventions and caches, attached for this solve.
    seed
        Of the noise, with the wave and the prompt (`request_digest`), and of the watermark's message where the codec
        writes one. A run of a mixture with this seed starts from the same noise.
    noise
        State at t = 0, [T, 2 C], in place of that; computed with in 32 bits, whatever its type.
    on_step
        Called after each solver step with its number, from 1, and the state.
    cuda_graph
        Launch each evaluation as one CUDA graph: the same bits, sooner. Not with edits.

    Raises
    ------
    InputError
        If the wave, rate, prompt, spans, seed or noise cannot be used.
    ModelError
        If the model is not sam_lsac's own class, or a state or the output is not finite; if a CUDA graph is asked for
        and the model is on another device.
    EditError
        If an edit does not fit the model or the solver, or had no effect; if another thread is solving with this model;
        if a CUDA graph is asked for beside edits.

    Examples
    --------
    Edits act on Meta's own class too, around its own ``separate``: ``with attach(meta_model, edits, nfe=16): ...``.
    """
    if not isinstance(model, SAMAudio):
        raise ModelError(
            f"separate(...) takes a model of load_model(...), not a {type(model).__name__}; on Meta's class use "
            "`with attach(model, edits, nfe=...)` around its own separate."
        )
    sample_rate = checked_rate(sample_rate)
    samples = checked_wave(wave, sample_rate)
    check_request(prompt, spans, duration_s=samples.size / sample_rate)
    solver, edits, seed = solver_of(solver), edits_of(edits), check_seed(seed)
    start = None if noise is None else checked_noise(noise)
    at_model_rate = torch.from_numpy(resample(samples, sample_rate, model.sample_rate).astype(np.float32))
    with torch.inference_mode():
        conditions = model.conditions(at_model_rate[None].to(model.proj.weight.device), [prompt], [spans])
        _, n_frames, width = conditions.audio_features.shape
        if start is None:
            asked = request_digest(samples, sample_rate=sample_rate, prompt=prompt)
            start = draw_noise((n_frames, width), seed, mixture=asked)
        latents = solve_batch(
            model, conditions, start[None], solver=solver, edits=edits, on_step=on_step, cuda_graph=cuda_graph
        )
        target, residual = decode(model, latents, seeds=[seed])
    waves = (_at_rate(one[0], model.sample_rate, sample_rate, samples.size) for one in (target, residual))
    return Separation(target=next(waves), residual=next(waves), sample_rate=sample_rate)


def solve_batch(
    model: SAMAudio,
    conditions: Conditions,
    noise: Tensor,
    *,
    solver: Solver,
    edits: Sequence[Edit] = (),
    state: SolverState | None = None,
    on_step: Callable[[int, SolverState], None] | None = None,
    on_leave: Callable[[Attachment], None] | None = None,
    cuda_graph: bool = False,
) -> Tensor:
    """Solve the flow of a batch with edits attached.

    Parameters
    ----------
    model, conditions
        Of the batch, see ``SAMAudio.conditions``.
    noise
        State at t = 0, [B, T, 2 C].
    solver, edits
        How.
    state
        Where an earlier solve of the same solver, batch and noise stood; the solve goes on from there, and the noise is
        only checked for its shape. No edit may act before the state's next step.
    on_step
        Called after each step with its number, from 1, and the state.
    on_leave
        Called with the attachment after the solve, for its hits and outcomes.
    cuda_graph
        Launch each evaluation as one CUDA graph, see `CapturedVelocity`.

    Returns
    -------
    Tensor
        Latents of target and residual side by side, [B, T, 2 C].

    Raises
    ------
    InputError
        If the noise has another shape than the conditions or is not finite, the mixture's latents are not finite, or
        the state does not lie on the solver's grid.
    ModelError
        If a state is not finite; the step is in the message. If a CUDA graph is asked for on another device.
    EditError
        If an edit does not fit, acts before the state, or had no effect; if a CUDA graph is asked for where the model
        is edited.
    """
    if cuda_graph:
        _check_capturable(model, edits)
    shape = conditions.audio_features.shape
    if noise.shape != shape or (state is not None and state.x.shape != shape):
        raise InputError(
            f"The noise, and a state, must be {list(shape)} as the conditions are; the noise is {list(noise.shape)}."
        )
    check_given(noise, conditions.audio_features)
    watch = StepWatch(on_step)
    start = SolverState(x=noise.to(conditions.audio_features.device)) if state is None else state
    with torch.inference_mode():
        with attach(
            model,
            edits,
            nfe=solver.nfe,
            evaluations_per_step=solver.evaluations_per_step,
            first_step=start.step + 1,
        ) as attachment:
            # inside the block, so that what is edited is not computed in vain
            velocity = PreparedVelocity(model, conditions)
            latents = solver.solve(CapturedVelocity(velocity) if cuda_graph else velocity, start, on_step=watch)
        watch.check(solver.name)
        if on_leave is not None:
            on_leave(attachment)
    return latents


def request_digest(wave: ArrayLike, *, sample_rate: int, prompt: str) -> str:
    """Name what is to be separated: SHA-256 in hex of a wave, its rate and the prompt.

    Neither solver nor edits are in it, nor whether a run is given the prompt and spans: all runs of one request that
    have one seed start from the same noise.

    Parameters
    ----------
    wave
        [N], as it is given, at its own rate; its float32 samples count.
    sample_rate
        In hertz.
    prompt
        Names the target.
    """
    asked = hashlib.sha256(json.dumps([int(sample_rate), prompt]).encode("ascii"))
    asked.update(np.asarray(wave, dtype="<f4").tobytes())
    return asked.hexdigest()


def draw_noise(shape: tuple[int, ...], seed: int, *, mixture: str = "") -> Tensor:
    """Draw the noise of one example on the CPU, so that it is the same bytes for every device and batch.

    The stream is that of SHA-256 over seed and mixture, all bits of it: PyTorch's generator looks at 32 bits of a seed.

    Parameters
    ----------
    shape
        (T, 2 C).
    seed
        From 0.
    mixture
        `request_digest` of what is separated, so that no two mixtures share their noise. Without it the noise is the
        seed's alone.

    Raises
    ------
    InputError
        If the seed is not a whole number from 0 to 2 ** 63 - 1.
    """
    digest = hashlib.sha256(json.dumps([check_seed(seed), mixture]).encode("ascii")).digest()
    stream = np.random.Generator(np.random.PCG64(np.frombuffer(digest, dtype="<u4")))
    return torch.from_numpy(stream.standard_normal(shape, dtype=np.float32))


def decode(model: SAMAudio, latents: Tensor, *, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Decode target and residual, stacked on the batch axis as Meta does.

    Parameters
    ----------
    model
        Whose codec.
    latents
        [B, T, 2 C].
    seeds
        One an example: of the watermark's messages, where the codec writes one. Runs of one example with one seed thus
        carry the same messages, whatever the edits.

    Returns
    -------
    tuple of Tensor
        Waves of target and residual, [B, T * hop] each.

    Raises
    ------
    ModelError
        If they are not finite.
    """
    codec = model.audio_codec
    stacked = torch.cat(latents.float().chunk(2, dim=2)).transpose(1, 2)  # [2 B, C, T]
    message = None
    if codec.message_bits:
        drawn = [_draw_messages(codec.message_bits, seed) for seed in seeds]  # [2, bits] each
        message = torch.stack(drawn, dim=1).flatten(0, 1).to(latents.device)  # [2 B, bits]
    with torch.inference_mode():
        target, residual = codec.decode(stacked, message)[:, 0].chunk(2)
        check_decoded(target, residual)
    return target, residual


def _check_capturable(model: SAMAudio, edits: Sequence[Edit]) -> None:
    device = model.proj.weight.device
    if device.type != "cuda":
        raise ModelError(f"CUDA graphs need a CUDA device, and the model is on {device}; leave them out, or move it.")
    if edits or is_edited(model):
        raise EditError("A CUDA graph records one evaluation for all steps, and edits tell steps apart; leave one out.")


def _draw_messages(n_bits: int, seed: int) -> Tensor:
    """The messages of target and residual, [2, n_bits], of a stream that is not the noise's."""
    generator = torch.Generator().manual_seed(check_seed(seed) ^ 0x5EA1)
    return torch.randint(2, (2, n_bits), generator=generator).float()


def _at_rate(wave: Tensor, from_hz: int, to_hz: int, n_samples: int) -> NDArray[np.float32]:
    """Resample a decoded wave and cut the codec's padding off."""
    samples: NDArray[np.float64] = wave.double().cpu().numpy()
    back = resample(samples, from_hz, to_hz)
    return np.pad(back, (0, max(0, n_samples - back.size)))[:n_samples].astype(np.float32)
