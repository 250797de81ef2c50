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
from sam_lsac.metrics import column
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.report import AttentionMap, Extras, NoiseFloor, Player
from sam_lsac.runs import Plan, RunSpec, Store, decoder_noise, resolve_arm
from sam_lsac.runs.compute import Batch, unusable
from sam_lsac.separate import solve_batch

__all__ = ["Shown", "first_of_each_tier", "freezing_arms"]

#: The paper's prompt is not stated; its count of FLOPs hardly depends on it.
PAPER_TOKENS = 4


def freezing_arms(book: Book, model: SAMAudio) -> dict[str, Arm]:
    """The grid of freezes: each class of layers and each single layer, frozen at each of some steps.

    These arms judge no claim; they draw the curves of freezing. The book's views name the steps.
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
            solver=book.arms[book.views.reference].solver,
            edits=({"kind": "FreezeSelfAttention", "layers": layers, "step": step},),
        )
        for name, layers in series.items()
        for step in book.views.freezing.steps
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
        self._views = book.views
        self._model = model
        self._mixtures = mixtures
        self._played = first_of_each_tier(mixtures, book.views.sounds.per_tier)
        self._plan = planned

    def is_kept(self, spec: RunSpec) -> bool:
        """Whether a run's wave and latents are to be stored."""
        played = {one.key for arm in self._views.sounds.arms for one in self._plan.arms.get(arm, ())}
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
        specs = self._plan.arms.get(self._views.reference, ())
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
            for arm in self._views.sounds.arms:
                spec = self._run(arm, mixture)
                wave = None if spec is None else store.array(spec.key, "target")
                if spec is not None and wave is not None:
                    tracks[arm] = wave
                    notes[arm] = self._note(store, spec)
            yield Player(
                mixture=mixture.id,
                tier=mixture.tier,
                prompt=mixture.prompt,
                sample_rate=self._model.sample_rate,
                tracks=tracks,
                notes=notes,
            )

    def _note(self, store: Store, spec: RunSpec) -> str:
        """What stands under a sound: its score by the book's metric."""
        score = store.get({spec.key})[spec.key].scores.get(self._views.metric)
        if score is None or score.reason:
            return ""
        shown = column(self._views.metric)
        return f"{shown.label} {shown.text(score.value)}"

    def _noise_floor(self, store: Store) -> tuple[NoiseFloor, ...]:
        """How far two decodes of the played baselines' latents differ."""
        pairs = [(mixture, self._run(self._views.reference, mixture)) for mixture in self._played]
        kept = [(mixture, spec, store.array(spec.key, "latents")) for mixture, spec in pairs if spec is not None]
        usable = [(mixture, spec.key, latents) for mixture, spec, latents in kept if latents is not None]
        if not usable:
            return ()
        results = store.get({key for _, key, _ in usable})
        moved = decoder_noise(
            self._model,
            [latents for _, _, latents in usable],
            [mixture for mixture, _, _ in usable],
            scores=[results[key].scores for _, key, _ in usable],
        )
        note = "two watermark messages" if self._model.audio_codec.message_bits else "this codec writes no watermark"
        return tuple(
            NoiseFloor(metric=metric, mean=float(found.mean()), largest=float(found.max()), n=found.size, note=note)
            for metric, found in moved.items()
            if found.size
        )

    def _maps(self) -> Iterator[AttentionMap]:
        """Head-averaged self-attention of one mixture under the gate's arms."""
        wanted = self._views.maps
        if not wanted.arms or any(arm not in self._plan.arms for arm in wanted.arms.values()):
            return
        arms = {name: resolve_arm(self._book.arms[arm], self._model) for name, arm in wanted.arms.items()}
        mixture = self._mapped()
        if mixture is None:
            return
        heard = mixture.at(self._model.sample_rate)
        layers = tuple(layer for layer in wanted.layers if layer < self._model.config.transformer.n_layers)
        seed = self._plan.arms[next(iter(wanted.arms.values()))][0].seed
        batch = Batch(self._model, [mixture], [seed])
        span = self._active_frames(heard, batch.noise.size(1))
        for name, arm in arms.items():
            left: list[Attachment] = []
            solve_batch(
                self._model,
                batch.conditions(text=arm.text, spans=arm.spans),
                batch.noise,
                solver=arm.solver,
                edits=[*arm.edits, Record(entropy=False, maps=tuple((layer, wanted.step) for layer in layers))],
                on_leave=left.append,
            )
            recorded = next(one for one in left[0].outcomes if isinstance(one, Recording))
            for layer in layers:
                weights = recorded.maps[layer, wanted.step][0].float().numpy()
                yield AttentionMap(
                    mixture=mixture.id, layer=layer, step=wanted.step, condition=name, weights=weights, span=span
                )

    def _mapped(self) -> Mixture | None:
        """The first mixture that every arm of the maps can use: one whose spans can be shuffled, for example."""
        arms = self._views.maps.arms.values()
        for mixture in self._mixtures:
            specs = [self._run(arm, mixture) for arm in arms]
            at_rate = mixture.at(self._model.sample_rate)
            if all(spec is not None and unusable(spec, at_rate, self._model) is None for spec in specs):
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
