"""What the report shows besides verdicts: curves, attention maps, sounds, the noise floor and the grid of freezes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sam_lsac.caching import layer_classes
from sam_lsac.claims import Arm, Book
from sam_lsac.costs import speed_limit
from sam_lsac.errors import ModelError
from sam_lsac.interventions import Attachment, Record, Recording
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.report import AttentionMap, Extras, NoiseFloor, Player
from sam_lsac.runs import Plan, RunSpec, Store, decoder_noise, resolve_arm
from sam_lsac.runs.compute import Batch, unusable
from sam_lsac.separate import solve_batch

__all__ = ["Shown", "first_of_each_tier", "freezing_arms"]

#: Sounds: how many mixtures of each tier, and which arms.
PLAYED_PER_TIER = 2
PLAYED_ARMS = ("baseline", "lsac-balanced", "naive-12")
#: Heat maps: the paper's layers, in the middle of the solve; the arms are the columns of the figure.
MAP_LAYERS = (1, 6, 9)
MAP_STEP = 8
MAP_ARMS = {"before": "baseline-spans", "hijacked": "gate-open", "shuffled": "gate-open-shuffled"}
#: Freeze curves: every class and every single layer, frozen at these steps.
GRID_STEPS = (2, 4, 8, 12)
PAPER_TOKENS = 4


def freezing_arms(book: Book, model: SAMAudio) -> dict[str, Arm]:
    """The grid of freezes: each class of layers and each single layer, frozen at each of some steps.

    These arms judge no claim; they draw the paper's freeze curves.
    """
    try:
        classes = layer_classes(model).as_dict()
    except ModelError:
        classes = {}
    series: dict[str, str | tuple[int, ...]] = {name: name for name, layers in classes.items() if layers}
    series |= {f"L{layer:02d}": (layer,) for layer in range(model.config.transformer.n_layers)}
    return {
        f"freezing/{name}/{step}": Arm(
            name=f"freezing/{name}/{step}",
            solver=book.arms["baseline"].solver,
            edits=({"kind": "FreezeSelfAttention", "layers": layers, "step": step},),
        )
        for name, layers in series.items()
        for step in GRID_STEPS
    }


def first_of_each_tier(mixtures: Sequence[Mixture], count: int) -> list[Mixture]:
    """The first few mixtures of every tier, in their order."""
    seen: dict[str, int] = {}
    chosen = []
    for mixture in mixtures:
        seen[mixture.tier] = seen.get(mixture.tier, 0) + 1
        if seen[mixture.tier] <= count:
            chosen.append(mixture)
    return chosen


class Shown:
    """Makes the extras of one report.

    Parameters
    ----------
    book
        The claims file.
    model
        That was judged.
    mixtures
        Those of the plan.
    planned
        The runs.
    """

    def __init__(self, book: Book, model: SAMAudio, mixtures: Sequence[Mixture], planned: Plan) -> None:
        self._book = book
        self._model = model
        self._mixtures = mixtures
        self._played = first_of_each_tier(mixtures, PLAYED_PER_TIER)
        self._plan = planned

    def is_kept(self, spec: RunSpec) -> bool:
        """Whether a run's wave and latents are to be stored."""
        played = {one.key for arm in PLAYED_ARMS for one in self._plan.arms.get(arm, ())}
        return spec.mixture in {mixture.id for mixture in self._played} and spec.key in played

    def extras(self, store: Store, *, replay: bool) -> Extras:
        """Everything that the store has, and the attention maps, which are computed here; not so on a replay."""
        try:
            classes = layer_classes(self._model).as_dict()
        except ModelError:
            classes = {}
        limits = {f"{s} s": speed_limit("small", seconds=s, text_tokens=PAPER_TOKENS) for s in (10, 30, 60)}
        return Extras(
            entropy=self._entropy(store),
            classes={name: tuple(layers) for name, layers in classes.items()},
            speed_limits=limits,
            players=tuple(self._players(store)),
            noise_floor=self._noise_floor(store),
            maps=() if replay else tuple(self._maps()),
        )

    def _entropy(self, store: Store) -> dict[str, NDArray[np.float64]]:
        """Mean entropy of the baseline [layers, steps] by tier."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        specs = self._plan.arms["baseline"]
        results = store.get({spec.key for spec in specs})
        for spec in specs:
            if "entropy" in results[spec.key].probes:
                found.setdefault(spec.tier, []).append(np.asarray(results[spec.key].probes["entropy"]))
        return {tier: np.mean(values, axis=0) for tier, values in found.items()}

    def _players(self, store: Store) -> Iterator[Player]:
        """The first mixtures of each tier, with what the arms made of them."""
        for mixture in self._played:
            heard = mixture.at(self._model.sample_rate)
            tracks = {"mixture": heard.wave, "target": heard.target}
            notes = {}
            for arm in PLAYED_ARMS:
                spec = self._run(arm, mixture)
                wave = None if spec is None else store.array(spec.key, "target")
                if spec is not None and wave is not None:
                    tracks[arm] = wave
                    notes[arm] = f"SI-SNR {store.get({spec.key})[spec.key].scores['si_snr'].value:.1f} dB"
            yield Player(
                mixture=mixture.id,
                tier=mixture.tier,
                prompt=mixture.prompt,
                sample_rate=self._model.sample_rate,
                tracks=tracks,
                notes=notes,
            )

    def _noise_floor(self, store: Store) -> tuple[NoiseFloor, ...]:
        """How far two decodes of the played baselines' latents differ."""
        pairs = [(mixture, self._run("baseline", mixture)) for mixture in self._played]
        kept = [(mixture, store.array(spec.key, "latents")) for mixture, spec in pairs if spec is not None]
        usable = [(mixture, latents) for mixture, latents in kept if latents is not None]
        if not usable:
            return ()
        moved = decoder_noise(self._model, [latents for _, latents in usable], [mixture for mixture, _ in usable])
        note = "two watermark messages" if self._model.audio_codec.message_bits else "this codec writes no watermark"
        return tuple(
            NoiseFloor(metric=metric, mean=float(found.mean()), largest=float(found.max()), n=found.size, note=note)
            for metric, found in moved.items()
            if found.size
        )

    def _maps(self) -> Iterator[AttentionMap]:
        """Head-averaged self-attention of one mixture under the gate's arms."""
        if any(arm not in self._plan.arms for arm in MAP_ARMS.values()):
            return
        arms = {name: resolve_arm(self._book.arms[arm], self._model) for name, arm in MAP_ARMS.items()}
        mixture = self._mapped()
        if mixture is None:
            return
        heard = mixture.at(self._model.sample_rate)
        layers = tuple(layer for layer in MAP_LAYERS if layer < self._model.config.transformer.n_layers)
        seed = self._plan.arms[MAP_ARMS["before"]][0].seed
        batch = Batch(self._model, [heard], [seed])
        span = self._active_frames(heard, batch.noise.size(1))
        for name, arm in arms.items():
            left: list[Attachment] = []
            solve_batch(
                self._model,
                batch.conditions(text=arm.text, spans=True),
                batch.noise,
                solver=arm.solver,
                edits=[*arm.edits, Record(entropy=False, maps=tuple((layer, MAP_STEP) for layer in layers))],
                on_leave=left.append,
            )
            recorded = next(one for one in left[0].outcomes if isinstance(one, Recording))
            for layer in layers:
                weights = recorded.maps[layer, MAP_STEP][0].float().numpy()
                yield AttentionMap(
                    mixture=mixture.id, layer=layer, step=MAP_STEP, condition=name, weights=weights, span=span
                )

    def _mapped(self) -> Mixture | None:
        """The first mixture whose spans can be shuffled."""
        specs = {spec.mixture: spec for spec in self._plan.arms[MAP_ARMS["shuffled"]]}
        for mixture in self._mixtures:
            at_rate = mixture.at(self._model.sample_rate)
            if mixture.id in specs and unusable(specs[mixture.id], at_rate, self._model) is None:
                return mixture
        return None

    def _active_frames(self, mixture: Mixture, n_frames: int) -> NDArray[np.bool_]:
        """Where the true spans mark the target, [T]."""
        ids, alignment = self._model.anchors([mixture.spans], torch.ones(1, n_frames, dtype=torch.bool))
        anchors = ids.gather(1, alignment)[0]
        active: NDArray[np.bool_] = (anchors == 1).numpy()
        return active

    def _run(self, arm: str, mixture: Mixture) -> RunSpec | None:
        return next((spec for spec in self._plan.arms.get(arm, ()) if spec.mixture == mixture.id), None)
