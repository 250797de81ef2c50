"""From options and claim ids to verdicts: compute the runs that are missing, then judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from sam_lsac.claims import Arm, ArmCost, Book, Context, Ledger, Verdict, judge, load_claims
from sam_lsac.claims.collect import ledger
from sam_lsac.costs import arm_cost, count_flops
from sam_lsac.errors import InputError
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import SAMAudio, load_model
from sam_lsac.report import Extras, Report, build_report, environment
from sam_lsac.runs import Plan, Progress, entropy_rates, execute, open_store, plan, resolve_arm
from sam_lsac.solver import parse_solver
from sam_lsac.suite.extras import Shown, first_of_each_tier, freezing_arms

__all__ = ["Evidence", "Options", "gather", "prepare"]

#: The embedded checkpoint hears a fixed excerpt of each cached mixture; any other model hears the whole.
EMBEDDED_SECONDS = 2.0
#: The paper's count of SAM-Audio-Small is for ten seconds of audio; its prompt is not stated.
PAPER_SECONDS = 10.0
PAPER_TOKENS = 4
#: The grid of freezes has many arms and judges nothing, so it takes fewer mixtures of each tier.
GRID_PER_TIER = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to judge, on what, and where runs are kept; made by `prepare`.

    Parameters
    ----------
    book
        The claims file.
    model
        Loaded.
    device
        Where it is.
    mixtures
        Loaded, at most at the model's rate.
    store
        The run store's file.
    replay
        Never compute; a missing run is an error.
    seeds
        Of the noise.
    """

    book: Book
    model: SAMAudio
    device: str
    mixtures: Sequence[Mixture]
    store: Path
    replay: bool
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Runs of a model, as the claims see them."""

    book: Book
    ledger: Ledger
    context: Context
    extras: Extras
    grid: Mapping[str, Arm]
    device: str

    def verdict(self, claim_id: str) -> Verdict:
        """Judge one claim."""
        return judge(self.book[claim_id], self.ledger, self.context)

    def report(self, claim_ids: Iterable[str]) -> Report:
        """Gather the verdicts of these claims with everything that a reader needs beside them."""
        verdicts = [self.verdict(claim_id) for claim_id in claim_ids]
        seen = environment(self.context, self.ledger, device=self.device)
        return build_report(
            self.book, verdicts, self.ledger, self.context, environment=seen, arms=self.grid, extras=self.extras
        )


class _Gathering:
    """The parts of the evidence, each made once."""

    def __init__(self, options: Options, claim_ids: Sequence[str]) -> None:
        self.options = options
        self.book = book = options.book
        self.model = options.model
        self.mixtures = options.mixtures
        claims = [book[claim_id] for claim_id in claim_ids]
        named = [arm for claim in claims for arm in (*claim.baselines, *claim.arms, *claim.rivals, *claim.controls)]
        self.arms = tuple(dict.fromkeys(["baseline", *named]))

    @cached_property
    def grid(self) -> Mapping[str, Arm]:
        """The grid of freezes, where claims about freezing were asked for."""
        freezes = any(edit["kind"] == "FreezeSelfAttention" for arm in self.arms for edit in self.book.arms[arm].edits)
        return freezing_arms(self.book, self.model) if freezes else {}

    @cached_property
    def plan(self) -> Plan:
        seeds = self.options.seeds
        arms = {name: self.book.arms[name] for name in self.arms}
        planned = plan(arms, self.mixtures, self.model, seeds=seeds)
        if not self.grid:
            return planned
        few = first_of_each_tier(self.mixtures, GRID_PER_TIER)
        grid = plan(self.grid, few, self.model, seeds=seeds)
        return Plan(arms={**planned.arms, **grid.arms})

    @cached_property
    def n_tokens(self) -> int:
        """Median length of the prompts, for costs."""
        if self.model.text_encoder is None:
            raise InputError(
                f"{self.model.name} has no text encoder, so no prompt can be given; load a whole checkpoint."
            )
        _, mask = self.model.text_encoder([mixture.prompt for mixture in self.mixtures])
        return int(mask.sum(dim=1).median())

    def run(self) -> Evidence:
        with open_store(self.options.store, replay=self.options.replay) as store:
            missing = len(store.missing(self.plan))
            shown = Shown(self.book, self.model, self.mixtures, self.plan)
            with tqdm(total=missing, unit="run", desc="computing", disable=not missing) as bar:

                def stored(done: Progress) -> None:
                    bar.update(done.runs)

                execute(self.plan, self.model, self.mixtures, store, progress=stored, keep=shown.is_kept)
            scores = ledger(store, self.plan)
            rates = entropy_rates(store, self.plan)
            extras = shown.extras(store, replay=self.options.replay)
        return Evidence(
            book=self.book,
            ledger=scores,
            context=self._context(rates),
            extras=extras,
            grid=self.grid,
            device=self.options.device,
        )

    def _context(self, rates: Mapping[str, tuple[float, ...]]) -> Context:
        model = self.model
        small = count_flops("small", seconds=PAPER_SECONDS, text_tokens=PAPER_TOKENS)
        sizes = model.config.transformer
        return Context(
            checkpoint=str(model.name),
            digest=str(model.checkpoint_digest),
            n_layers=sizes.n_layers,
            is_small=sizes.n_layers == 12 and sizes.dim == 1536,
            costs={arm: self._cost(arm) for arm in self.arms},
            gate=float(model.embed_anchors.gate.detach()),
            flops_per_evaluation=small.total,
            self_attention_flops_per_evaluation=small.self_attention,
            entropy_rates=rates or None,
        )

    def _cost(self, name: str) -> ArmCost:
        arm = resolve_arm(self.book.arms[name], self.model)
        return arm_cost(
            name,
            self.model,
            arm.solver,
            edits=arm.edits,
            baseline_solver=parse_solver(self.book.arms["baseline"].solver),
            seconds=self.mixtures[0].duration_s,
            text_tokens=self.n_tokens if arm.text else 0,
        )


def gather(options: Options, claim_ids: Sequence[str]) -> Evidence:
    """Compute what the claims need and the store lacks, and collect it.

    Raises
    ------
    SamLsacError
        If the store cannot be used; on ``replay``, if a run is missing.
    """
    return _Gathering(options, claim_ids).run()


def prepare(  # one keyword for each option of the command line
    claims: Path,
    *,
    model: str,
    device: str,
    mixtures: str,
    per_tier: int,
    seeds: str | None,
    store: Path,
    replay: bool,
) -> Options:
    """Load and check everything that can be wrong before anything runs.

    Raises
    ------
    SamLsacError
        If the model, device, mixtures, seeds or claims file cannot be used; the sentence says what to do.
    """
    book = load_claims(claims)
    chosen = book.settings.seeds if seeds is None else _seeds(seeds)
    _check_device(device)
    if replay and not store.exists():
        raise InputError(f"--replay: there is no run store at {store}; run once without --replay.")
    loaded = load_model(model, device=device)
    cached = mixtures == "embedded"
    heard = load_mixtures(
        mixtures,
        tiers=book.settings.tiers,
        per_tier=per_tier,
        sample_rate=loaded.sample_rate,
        duration_s=EMBEDDED_SECONDS if cached and loaded.name == "embedded" else None,
    )
    return Options(book=book, model=loaded, device=device, mixtures=heard, store=store, replay=replay, seeds=chosen)


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used here ({reason}); use cpu, or cuda with CUDA.") from error


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text!r}: give different whole numbers from 0, such as 0,1,2.")
    return tuple(int(part) for part in parts)
