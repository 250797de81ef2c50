"""From options and cases to evidence: load and check everything, compute the runs that are missing, then judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sam_lsac.claims import KINDS, Arm, ArmCost, Book, Claim, Context, Ledger, load_claims
from sam_lsac.claims.collect import ledger, seconds
from sam_lsac.claims.judge import not_applicable
from sam_lsac.claims.looks import mixtures_of
from sam_lsac.costs import count_flops
from sam_lsac.errors import InputError, SamLsacError
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import SAMAudio, load_model
from sam_lsac.records import unknown
from sam_lsac.runs import Executor, Plan, Progress, Store, entropy_rates, execute, local_executor, open_store
from sam_lsac.runs.arms import schedule_of
from sam_lsac.schedule import find_schedule
from sam_lsac.suite.beside import carried_over, first_costs, paper_costs, run_costs, without_library
from sam_lsac.suite.cases import Case, arms_by_tier
from sam_lsac.suite.evidence import Evidence, context_for
from sam_lsac.suite.extras import Shown
from sam_lsac.suite.kept import kept_bytes, schedule_files
from sam_lsac.suite.looks import Needs, look_by_look, needs_of
from sam_lsac.suite.options import LOCAL, Options, check_options, near
from sam_lsac.suite.runs_of import grid_of, limited, numbers_of, plan_of
from sam_lsac.suite.timing import time_keys

__all__ = ["Prepared", "compute", "n_stored", "prepare"]

#: The embedded checkpoint hears a fixed excerpt of each cached mixture; any other model hears the whole.
EMBEDDED_SECONDS = 2.0
#: The paper's count of SAM-Audio-Small is for ten seconds of audio; its prompt is not stated.
PAPER_SECONDS = 10.0
PAPER_TOKENS = 4
#: Examples at once. On a CPU two are as fast as eight, and many small batches keep many processes at work to the end.
#: It does not depend on how many there are, so that neither does any figure.
_BATCH_SIZE, _BATCH_SIZES = 8, MappingProxyType({"cpu": 2})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Everything that a selection needs, loaded and checked; nothing is computed or written yet.

    Parameters
    ----------
    options
        As given.
    book
        The claims file.
    cases
        The selection.
    model
        On its device; where everything is replayed, it counts prompts and encodes none.
    mixtures
        Of the tiers of the selection, at the model's rate.
    plan
        The runs that the selection needs.
    context
        What is known of the checkpoint without a run.
    grid
        Arms that judge nothing and draw the curves of freezing.
    n_missing
        Runs of the plan that the store does not have; the most that are computed where judging is sequential.
    planned
        Mixtures of each tier.
    """

    options: Options
    book: Book
    cases: tuple[Case, ...]
    model: SAMAudio
    mixtures: Sequence[Mixture]
    plan: Plan
    context: Context
    grid: Mapping[str, Arm]
    n_missing: int
    planned: Mapping[str, int]

    @property
    def n_runs(self) -> int:
        """Runs of the plan, each once."""
        return len(self.plan.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the noise."""
        return _seeds(self.options, self.book)

    def header(self) -> tuple[str, ...]:
        """What is about to be judged, on what, and how much of it is there."""
        tiers = [mixture.tier for mixture in self.mixtures]
        counts = ", ".join(f"{tiers.count(tier)} {tier}" for tier in dict.fromkeys(tiers)) or "none"
        weight = self.model.proj.weight
        dtype = str(weight.dtype).removeprefix("torch.")
        seeds = ", ".join(str(seed) for seed in self.seeds)
        most = "at most " if self.options.sequential else ""
        there = f"{self.n_runs - self.n_missing} of {self.n_runs} runs there, {most}{self.n_missing} missing"
        return (
            f"model: {self.model.name} ({str(self.model.checkpoint_digest)[:12]}), {self.options.device}, {dtype}",
            f"mixtures: {counts}; seeds: {seeds}; cases: {len(self.cases)} of {near(self.options.claims)}",
            f"store: {near(self.options.store)}, {there if self.n_runs else 'no run is needed'}",
        )


def prepare(options: Options, cases: Sequence[Case], *, book: Book | None = None) -> Prepared:
    """Load and check everything that can be wrong before anything runs.

    Parameters
    ----------
    options
        As given.
    cases
        What is to be judged.
    book
        The claims file where it is loaded already.

    Raises
    ------
    SamLsacError
        If an option, the claims file, the checkpoint or a mixture cannot be used, or an arm does not fit the model; the
        sentence says what to do.
    """
    check_options(options)
    book = load_claims(options.claims) if book is None else book
    model = load_model(options.model, device=options.device, encodes_prompts=not _only_judges(options))
    context = _context(model)
    files = schedule_files(book.arms, model, given=options.schedules)
    book, absent = _with_schedules(book, model, options)
    missing = {} if options.replay else without_library(book)  # stored runs are judged without it
    context = replace(context, absent=absent | missing, schedules=files)
    claims = [book[case.claim_id].on(case.tier) for case in cases]
    claims = [claim for claim in claims if not_applicable(claim, context) is None]  # the others are judged without runs
    wanted = arms_by_tier(book, claims, baseline=book.views.reference)
    mixtures = _mixtures(options, model, tiers=tuple(wanted) or book.settings.tiers)
    named = [arm for claim in claims for arm in (*claim.baselines, *claim.arms, *claim.rivals, *claim.controls)]
    arms = tuple(dict.fromkeys([book.views.reference, *named]))
    grid = grid_of(book, model, arms)
    runs = plan_of(book, model, mixtures, wanted=wanted, grid=grid, seeds=_seeds(options, book))
    planned = numbers_of((mixture.tier, mixture.id) for mixture in mixtures)
    if any(claim.mixtures_per_tier is not None for claim in claims):
        needs = needs_of(book, [(claim, mixtures_of(claim, planned)) for claim in claims])
        runs = limited(runs, needs, grid=grid)
    return Prepared(
        options=options,
        book=book,
        cases=tuple(cases),
        model=model,
        mixtures=mixtures,
        plan=runs,
        context=replace(
            context,
            costs=paper_costs(book, model, mixtures, arms=arms),
            cache_bytes=kept_bytes(book, model, arms=arms, seconds=mixtures[0].duration_s),
        ),
        grid=grid,
        n_missing=_n_missing(options, runs),
        planned=planned,
    )


def _only_judges(options: Options) -> bool:
    """Whether every run must be there already; a look of ``--sequential`` says itself what it lacks."""
    return options.replay and not options.sequential


def compute(prepared: Prepared, *, step: Callable[[Progress], object]) -> Evidence:
    """Compute the runs that are missing, and collect all.

    Parameters
    ----------
    prepared
        What to compute.
    step
        Called with what was stored, as soon as it is.

    Raises
    ------
    SamLsacError
        If the store cannot be used, lacks runs on ``replay``, or an edit or a cache does nothing.
    """
    options, model, book = prepared.options, prepared.model, prepared.book
    kept = Shown(book, model, prepared.mixtures, prepared.plan)
    claims = [book[case.claim_id] for case in prepared.cases]

    def say(words: str) -> None:
        step(Progress(arm=words, runs=0, computed=False))

    with open_store(options.store, replay=options.replay, notice=say) as store:
        with _executor(prepared, notice=say) as executor:

            def run(part: Plan) -> None:
                execute(
                    part,
                    model,
                    prepared.mixtures,
                    store,
                    progress=step,
                    batch_size=_BATCH_SIZES.get(model.proj.weight.device.type, _BATCH_SIZE),
                    keep=kept.is_kept,
                    executor=executor,
                )

            planned = _run_looks(prepared, store, run) if options.sequential else prepared.plan
            run(planned)  # nothing is left where looks were taken
        scores = ledger(store, planned)
        reference = book.views.reference
        costs = run_costs(book, model, prepared.mixtures, plan=planned, store=store)
        early = _first_costs(prepared, store, claims)
        rates = entropy_rates(store, planned, arm=reference) if reference in planned.arms else {}
        times = seconds(store, planned)
        extras = Shown(book, model, prepared.mixtures, planned).extras(store, replay=options.replay)
    return Evidence(
        book=book,
        plan=planned,
        ledger=scores,
        context=replace(
            prepared.context,
            costs={**prepared.context.costs, **costs},
            leaks=carried_over(book, model, prepared.mixtures, claims=[] if options.replay else claims),
            entropy_rates=rates or None,
            seconds=times,
        ),
        device=options.device,
        grid=prepared.grid,
        extras=extras,
        planned=prepared.planned if options.sequential else None,
        first_costs=early,
        store=options.store,
        time_keys=time_keys(book, model, prepared.mixtures, arms=prepared.context.costs),
    )


def _run_looks(prepared: Prepared, store: Store, run: Callable[[Plan], None]) -> Plan:
    """Run look by look; return the runs that were needed."""
    book, needed = prepared.book, prepared.plan
    cases = [book[case.claim_id].on(case.tier) for case in prepared.cases]
    cases = [one for one in cases if not_applicable(one, prepared.context) is None]
    cases = [one for one in cases if one.columns or KINDS[one.kind].watches]

    def compute(needs: Needs) -> tuple[Ledger, Callable[[Claim], Context]]:
        nonlocal needed
        needed = limited(prepared.plan, needs, grid=prepared.grid)
        run(needed)
        early = _first_costs(prepared, store, cases)
        return ledger(store, needed), partial(
            context_for, context=prepared.context, planned=prepared.planned, first_costs=early
        )

    look_by_look(book, cases, prepared.planned, compute=compute)
    return needed


def _first_costs(prepared: Prepared, store: Store, claims: Sequence[Claim]) -> dict[int | None, dict[str, ArmCost]]:
    return first_costs(
        prepared.book,
        prepared.model,
        prepared.mixtures,
        plan=prepared.plan,
        store=store,
        claims=claims,
        sequential=prepared.options.sequential,
    )


def _executor(prepared: Prepared, *, notice: Callable[[str], object]) -> Executor:
    """Where the missing runs are computed; a cluster is joined only if there are some."""
    options = prepared.options
    if options.executor == LOCAL or options.replay or not prepared.n_missing:
        return local_executor(prepared.model, processes=options.processes, notice=notice)
    from sam_lsac.runs.cluster import RayExecutor

    return RayExecutor(prepared.model, where=options.executor, notice=notice)


def n_stored(prepared: Prepared) -> int:
    """How many runs of the plan the store has by now."""
    return prepared.n_runs - _n_missing(prepared.options, prepared.plan)


def _seeds(options: Options, book: Book) -> tuple[int, ...]:
    return book.settings.seeds if options.seeds is None else options.seeds


def _with_schedules(book: Book, model: SAMAudio, options: Options) -> tuple[Book, dict[str, str]]:
    """The book with the checkpoint's own schedules, solver and edits, in place of their names, and why arms have none.

    A schedule that was given must be usable; one that the checkpoint's folder merely lacks leaves its claims unjudged.
    """
    arms, absent = dict(book.arms), dict[str, str]()
    named = {name: schedule for name, arm in arms.items() if (schedule := schedule_of(arm)) is not None}
    if unknown_ := [name for name in options.schedules if name not in named.values()]:
        raise InputError(f"--schedule {unknown('schedule', unknown_[0], sorted(set(named.values())))}")
    for name, schedule in named.items():
        try:
            found = find_schedule(schedule, model, given=options.schedules)
        except SamLsacError as error:
            if schedule in options.schedules:
                raise
            absent[name] = str(error)
        else:
            arms[name] = found.run_by(arms[name])
    return replace(book, arms=arms), absent


def _mixtures(options: Options, model: SAMAudio, *, tiers: Sequence[str]) -> list[Mixture]:
    """Those of some tiers; of a folder also those that name no tier are looked at, and no claim is about them."""
    excerpt = options.mixtures == "embedded" and model.name == "embedded"
    loaded = load_mixtures(
        options.mixtures,
        tiers=tiers,
        per_tier=options.per_tier,
        sample_rate=model.sample_rate,
        duration_s=EMBEDDED_SECONDS if excerpt else None,
        follow_outside=options.follow_outside,
    )
    chosen = [mixture for mixture in loaded if mixture.tier in tiers]
    if not chosen:
        raise InputError(
            f"--mixtures {options.mixtures}: none is of tier {', '.join(tiers)}, which the claims are about; give each "
            'mixture.json its "tier".'
        )
    return chosen


def _n_missing(options: Options, planned: Plan) -> int:
    """Count without making a store; on a replay every run must be there.

    It vouches for what a replay leaves unloaded: to compute it, the checkpoint of this digest was loaded whole.
    """
    path = Path(options.store)
    if not path.exists() or not path.stat().st_size:
        return len(planned.runs)
    with open_store(path, replay=True) as store:
        missing = store.missing(planned)
        if _only_judges(options):
            if missing or not planned.runs:  # none vouches: what is wrong with the checkpoint is said first
                load_model(options.model, device=options.device)
            store.require(planned)
        return len(missing)


def _context(model: SAMAudio) -> Context:
    small = count_flops("small", seconds=PAPER_SECONDS, text_tokens=PAPER_TOKENS)
    sizes = model.config.transformer
    return Context(
        checkpoint=str(model.name),
        digest=str(model.checkpoint_digest),
        n_layers=sizes.n_layers,
        is_small=sizes.n_layers == 12 and sizes.dim == 1536,
        gate=float(model.embed_anchors.gate.detach()),
        flops_per_evaluation=small.total,
        self_attention_flops_per_evaluation=small.self_attention,
    )
