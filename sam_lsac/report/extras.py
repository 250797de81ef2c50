"""What a report can show besides scores, given by the code that ran the model; all of it optional."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sam_lsac.errors import InputError

__all__ = ["AttentionMap", "Extras", "NoiseFloor", "Player"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionMap:
    """The head-averaged self-attention of one layer and step of one mixture.

    Parameters
    ----------
    mixture
        Its name.
    layer, step
        The layer from 0, the step from 1.
    condition
        What was done to the model, such as "before"; the columns of the figure, in the order in which they come.
    weights
        [T, T], finite; rows are queries.
    span
        [T], True where the target is active; None to mark nothing.

    Raises
    ------
    InputError
        If the matrix is not square and finite, or the span has another length.
    """

    mixture: str
    layer: int
    step: int
    condition: str
    weights: NDArray[np.floating]
    span: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = self.weights.shape
        if len(shape) != 2 or shape[0] != shape[1] or not np.isfinite(self.weights).all():
            raise InputError(f"attention map of L{self.layer:02d}: needs a finite square matrix, got shape {shape}")
        if self.span is not None and self.span.shape != shape[:1]:
            raise InputError(f"attention map of L{self.layer:02d}: a span needs {shape[0]} entries, one a frame")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Player:
    """The sounds of one mixture, to be listened to side by side.

    Parameters
    ----------
    mixture, tier, prompt
        The mixture's name and tier, and the prompt that names its target.
    sample_rate
        Hz.
    tracks
        Waves [N] in -1 to 1 by name, shown in this order: the mixture, its target, and what some arms made of it.
    notes
        A word under a track, such as its SI-SNR, by the track's name.

    Raises
    ------
    InputError
        If a wave is not one finite, non-empty channel, or the sample rate is not positive.
    """

    mixture: str
    tier: str
    prompt: str
    sample_rate: int
    tracks: Mapping[str, NDArray[np.floating]]
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.sample_rate <= 0:
            raise InputError(f"player of {self.mixture}: the sample rate must be positive, got {self.sample_rate}")
        for name, wave in self.tracks.items():
            if wave.ndim != 1 or not wave.size or not np.isfinite(wave).all():
                raise InputError(f"player of {self.mixture}: {name} must be one finite, non-empty channel")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """By how much a metric differs between two decodes of the same latents (Meta's codec adds a random watermark).

    Parameters
    ----------
    metric
        Its column name.
    mean, largest
        Of the absolute difference, in the metric's unit.
    n
        Mixtures.
    note
        How it was measured.
    """

    metric: str
    mean: float
    largest: float
    n: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extras:
    """Data of a report that no ledger holds.

    Parameters
    ----------
    entropy
        [layers, steps], mean attention entropy in nats by tier (or under any one name), from layer 0 and step 1.
    classes
        Layers, from 0, that are "stable", "moderate" and "fast".
    maps
        Attention maps, in the order in which they are shown.
    players
        Sounds, one player a mixture.
    noise_floor
        One a metric; empty where it was not measured.
    speed_limits
        Largest possible speed-up of SAM-Audio-Small's transformer by caching, by length of audio ("10 s").

    Raises
    ------
    InputError
        If an entropy is not a finite matrix.
    """

    entropy: Mapping[str, NDArray[np.floating]] = field(default_factory=lambda: MappingProxyType({}))
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    maps: tuple[AttentionMap, ...] = ()
    players: tuple[Player, ...] = ()
    noise_floor: tuple[NoiseFloor, ...] = ()
    speed_limits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name, values in self.entropy.items():
            if values.ndim != 2 or not np.isfinite(values).all():
                raise InputError(f"entropy of {name}: needs a finite matrix of layers by steps, got {values.shape}")
