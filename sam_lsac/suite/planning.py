"""A session planned without weights, mixtures or a store: the runs that claims need, and what they will take.

Sizes come from a checkpoint's configuration, or from the name of a released size. What is planned is what a session
plans: the same claims, arms, references and grid, on stand-ins for the mixtures.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sam_lsac.bundled import bundled
from sam_lsac.caching import LayerClasses, classify_layers, layer_classes
from sam_lsac.claims import Book, Context
from sam_lsac.claims.judge import not_applicable
from sam_lsac.claims.looks import mixtures_of
from sam_lsac.costs import cache_bytes
from sam_lsac.costs.sizes import frames, sizes_of
from sam_lsac.errors import EditError, InputError, ModelError, SamLsacError
from sam_lsac.interventions import Edit
from sam_lsac.mixtures import Mixture
from sam_lsac.model import SAMAudio
from sam_lsac.model.blank import blank
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.model.json_files import read_json
from sam_lsac.runs import Plan, RunSpec
from sam_lsac.runs.arms import schedule_of
from sam_lsac.runs.forecast import Forecast, forecast, row_bytes
from sam_lsac.schedule import FOLDER, load_schedule
from sam_lsac.suite.cases import arms_by_tier
from sam_lsac.suite.looks import needs_of
from sam_lsac.suite.runs_of import grid_of, limited, plan_of

__all__ = ["Planned", "outline", "plan_session"]

#: Examples that are computed at once; of `sam_lsac.runs.execute`.
BATCH = 8
LAYERS_HALVED = 22


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """What a session will take.

    Parameters
    ----------
    work
        Of all its runs.
    n_claims, n_arms, n_mixtures, n_seeds
        How many of each.
    left_out
        Why a claim needs no run, by its name.
    row_bytes, wave_bytes
        Of the store: its rows, and the waves and latents beside it.
    weight_bytes
        Of network and codec in float32; the text encoder is not known without a checkpoint.
    cache_bytes
        Most that the edits of one arm keep, for a batch.
    matrix_bytes
        One layer's attention matrices, for a batch: what an arm needs that looks at them.
    """

    work: Forecast
    n_claims: int
    n_arms: int
    n_mixtures: int
    n_seeds: int
    left_out: Mapping[str, str]
    row_bytes: int
    wave_bytes: int
    weight_bytes: int
    cache_bytes: int
    matrix_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Weights, caches and one layer's matrices: at least so much memory is taken."""
        return self.weight_bytes + self.cache_bytes + self.matrix_bytes


def outline(name: str) -> SAMAudio:
    """A model of a checkpoint's sizes without weights.

    Parameters
    ----------
    name
        "embedded", a checkpoint folder, or a released size, such as "small" or "facebook/sam-audio-large".

    Raises
    ------
    ModelError
        If the size is unknown.
    CheckpointError
        If the folder's configuration cannot be read.
    """
    folder = bundled("checkpoint") if name == "embedded" else Path(name).expanduser()
    has_folder = folder.is_dir()
    config = SAMAudioConfig.from_dict(read_json(folder / "config.json")) if has_folder else sizes_of(name)
    with blank():
        model = SAMAudio(config)
    model.name, model.checkpoint_digest = name, f"outline of {name}"
    model.folder = folder if has_folder else None
    if has_folder and (folder / "layer_classes.json").exists():
        model.layer_classes = LayerClasses.from_dict(read_json(folder / "layer_classes.json")).as_dict()
    try:
        layer_classes(model)
    except ModelError:  # what caching costs depends on how many layers are of a class, which calibration fixes
        n_layers = config.transformer.n_layers
        ways = 2 if n_layers == LAYERS_HALVED else 3
        model.layer_classes = classify_layers(range(n_layers), ways=ways).as_dict()
    return model


def plan_session(
    book: Book,
    model: SAMAudio,
    *,
    claims: Sequence[str],
    per_tier: int,
    seeds: Sequence[int],
    seconds: float,
    tokens: int,
) -> Planned:
    """Plan the runs of some claims, and count.

    Parameters
    ----------
    book
        The claims file.
    model
        Of `outline`.
    claims
        Names of claims.
    per_tier
        Mixtures of each tier.
    seeds
        Of the noise.
    seconds
        Duration of each mixture.
    tokens
        Of each prompt.

    Raises
    ------
    SamLsacError
        If a claim, an arm or a figure is not possible.
    """
    book, absent = _with_schedules(book, model)
    sizes = model.config.transformer
    context = Context(
        checkpoint=model.name,
        digest=str(model.checkpoint_digest),
        n_layers=sizes.n_layers,
        is_small=sizes.n_layers == 12 and sizes.dim == 1536,
        absent=absent,
    )
    chosen = [book[claim_id] for claim_id in claims]
    reasons = {claim.id: not_applicable(claim, context) for claim in chosen}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    judged = [claim for claim in chosen if claim.id not in left_out]
    wanted = arms_by_tier(book, judged, baseline=book.views.reference)
    if not wanted:
        raise InputError(
            f"No run is needed of {model.name}: {next(iter(left_out.values()), 'the claims are judged without any.')}"
        )
    numbers = [(claim, mixtures_of(claim, dict.fromkeys(wanted, per_tier))) for claim in judged]
    ends = {per_tier, *(n for _, of in numbers for n in of.values())}
    mixtures, times = _stand_ins(book, tuple(wanted), ends=ends, sample_rate=model.sample_rate)
    named = [arm for one in judged for arm in (*one.baselines, *one.arms, *one.rivals, *one.controls)]
    grid = grid_of(book, model, tuple(dict.fromkeys([book.views.reference, *named])))
    planned = plan_of(book, model, mixtures, wanted=wanted, grid=grid, seeds=seeds[:1])
    if len(ends) > 1:
        stood = [(claim, {tier: _covering(n, tier, times) for tier, n in of.items()}) for claim, of in numbers]
        planned = limited(planned, needs_of(book, stood), grid=grid)
    work, rows, waves = Forecast(), 0, 0
    known: dict[str, tuple[Forecast, int]] = {}  # most mixtures have the same runs
    for name, specs in _by_mixture(planned).items():
        many = times[name] * len(seeds)
        alike = repr([(one.solver, one.edits, one.text, one.spans, one.record) for one in specs])
        if alike not in known:
            row = sum(row_bytes(spec, n_layers=sizes.n_layers) for spec in specs)
            known[alike] = forecast(specs, model, seconds=seconds, text_tokens=tokens), row
        foreseen, row = known[alike]
        work, rows = work + foreseen * many, rows + row * many
        waves += many * _wave_bytes(book, model, planned, specs, seconds=seconds)
    n_frames = frames(model.config, seconds)
    edits = {repr(edit): edit for spec in planned.runs for edit in spec.edits}
    return Planned(
        work=work,
        n_claims=len(judged),
        n_arms=len({*planned.arms, *planned.references}),
        n_mixtures=sum(times.values()),
        n_seeds=len(seeds),
        left_out=left_out,
        row_bytes=rows,
        wave_bytes=waves,
        weight_bytes=4 * sum(parameter.numel() for parameter in model.parameters()),
        cache_bytes=max((_kept(model, edit, n_frames=n_frames) for edit in edits.values()), default=0),
        matrix_bytes=4 * BATCH * sizes.n_heads * n_frames**2,
    )


def _by_mixture(planned: Plan) -> dict[str, list[RunSpec]]:
    found: dict[str, list[RunSpec]] = {}
    for spec in planned.runs:
        found.setdefault(spec.mixture, []).append(spec)
    return found


def _wave_bytes(book: Book, model: SAMAudio, planned: Plan, specs: Sequence[RunSpec], *, seconds: float) -> int:
    """Bytes of the waves and latents that are kept of one mixture's runs, as `sam_lsac.runs.execute` keeps them."""
    first = int(specs[0].mixture.rsplit("-", 1)[1]) < book.views.sounds.per_tier
    heard = {spec.key for arm in book.views.sounds.arms for spec in planned.arms.get(arm, ())} if first else set()
    shown = sum(spec.key in heard for spec in specs)
    kept = sum(spec.key in planned.waves or spec.key in heard for spec in specs)
    latents = frames(model.config, seconds) * model.config.transformer.out_channels
    return 4 * (kept * round(seconds * model.sample_rate) + shown * latents)


def _kept(model: SAMAudio, edit: Edit, *, n_frames: int) -> int:
    try:
        return cache_bytes(model, edit, n_frames=n_frames, batch=BATCH)
    except EditError:  # it keeps nothing that it could speak of
        return 0


def _with_schedules(book: Book, model: SAMAudio) -> tuple[Book, dict[str, str]]:
    """The book with the folder's schedules, solvers and edits; without weights none is held against its checkpoint."""
    arms, absent = dict(book.arms), dict[str, str]()
    for name, arm in book.arms.items():
        schedule = schedule_of(arm)
        if schedule is None:
            continue
        try:
            if model.folder is None:
                raise InputError(f"There is no schedule {schedule!r} for {model.name}; `sam_lsac tune` fits one.")
            found = load_schedule(model.folder / FOLDER / f"{schedule}.toml")
        except SamLsacError as error:
            absent[name] = str(error)
        else:
            arms[name] = found.run_by(arm)
    return replace(book, arms=arms), absent


def _covering(n: int, tier: str, times: Mapping[str, int]) -> int:
    """How many of a tier's stand-ins stand for its first n mixtures."""
    covered = itertools.accumulate(many for name, many in times.items() if name.rsplit("-", 1)[0] == tier)
    return sum(up_to <= n for up_to in covered)


def _stand_ins(
    book: Book, tiers: Sequence[str], *, ends: Collection[int], sample_rate: int
) -> tuple[list[Mixture], dict[str, int]]:
    """Short mixtures for those of the session, and how many each stands for.

    The first few of a tier have runs of their own (curves, sounds); all others are alike up to each of the `ends`,
    which are how many mixtures some arm is run on.
    """
    few = max(book.views.freezing.per_tier, book.views.sounds.per_tier)
    places = sorted({*ends, *range(1, min(few, max(ends)) + 1)})
    mixtures: list[Mixture] = []
    times: dict[str, int] = {}
    for tier in tiers:
        for index, (before, end) in enumerate(itertools.pairwise((0, *places))):
            rng = np.random.default_rng([index, len(mixtures)])
            wave = (np.round(rng.uniform(-0.5, 0.5, 64) * 2**15) / 2**15).astype(np.float32)
            name = f"{tier}-{index}"
            times[name] = end - before
            mixtures.append(
                Mixture(
                    id=name,
                    tier=tier,
                    target=wave,
                    residual=wave[::-1].copy(),
                    sample_rate=sample_rate,
                    prompt="stand-in",
                    residual_prompt=None,
                    spans=(),
                    group=name,
                    credits=(),
                )
            )
    return mixtures, times
