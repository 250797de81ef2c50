"""Six things about the paper's method that every report states, with the figures of this checkpoint.

They hold whatever the verdicts are: what the paper's figures count, what its comparisons are matched on, and what a
test can and cannot show. A sentence in `known` stands without any run; `ours` is computed, or says what is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sam_lsac.claims import ArmCost, Book, Context, Finding, Verdict
from sam_lsac.claims.wording import metric_name, number, percent, unit_of
from sam_lsac.report.extras import Extras, NoiseFloor
from sam_lsac.report.tables import ArmRow
from sam_lsac.solver import parse_solver

__all__ = ["Caveat", "caveats"]

LSAC, NAIVE = "lsac-balanced", "naive-12"  # the pair that the paper compares at about 25 % of layer-steps
STEPS = 16
STATEMENTS = (  # title, what is known without any run, how to get our figures
    (
        "211.4 GFLOPs is one network evaluation",
        "The paper's 211.4 GFLOPs are one evaluation of the transformer on 10 s of audio, not a solve.",
        "Not counted: pytest bench/test_cost_flops.py counts it on SAM-Audio-Small's configuration.",
    ),
    (
        "Naive truncation is not matched in total FLOPs",
        "A cached layer-step saves the query and key projections, QK^T and the softmax, and still computes the values, "
        "the output and the feed-forward network. So equal layer-steps are not equal FLOPs.",
        "Not run: pytest bench/ -k lsac computes costs and the Pareto claim on both axes.",
    ),
    (
        "Caching attention has a ceiling",
        "Even with every layer cached from the first step on, the rest of the transformer remains.",
        "Not run: pytest bench/ -k lsac computes the costs that the ceiling follows from.",
    ),
    (
        "A p value that is not significant shows nothing",
        "Every claim of no effect is therefore judged by an equivalence test (TOST) and an interval for d, and may end "
        "as inconclusive.",
        "Not run: pytest bench/ -k lsac makes the equivalence tests.",
    ),
    (
        "The paper's solver is not the product's default",
        "Meta's default is the midpoint method with 16 steps, so 32 evaluations; the paper uses Euler, 16.",
        "Not run: pytest bench/ -k lsac runs LSAC under Euler, midpoint and AB2 (claim LS9).",
    ),
    (
        "The real codec decodes with noise",
        "Meta's codec adds a watermark with a random message at every call. All arms of a comparison get one message; "
        "what two messages alone would change is the noise floor.",
        "Not measured on this checkpoint: it needs two decodes of the same latents.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """One box of the report; `ours` is None where nothing was computed, and `missing` then says how to get it."""

    title: str
    known: str
    ours: str | None
    missing: str


def caveats(
    book: Book, verdicts: Mapping[str, Verdict], context: Context, *, arms: Sequence[ArmRow], extras: Extras
) -> tuple[Caveat, ...]:
    """Return the six findings, in a fixed order."""
    ours = (
        _evaluation(context),
        _unmatched(context, verdicts.get("LS1")),
        _ceiling(context.costs, extras.speed_limits),
        _equivalence([verdicts[one] for one in ("SS1", "LS6", "LS7", "LS9") if one in verdicts]),
        _solvers(book, arms),
        _floor(extras.noise_floor),
    )
    return tuple(
        Caveat(title=title, known=known, ours=figures, missing=missing)
        for (title, known, missing), figures in zip(STATEMENTS, ours, strict=True)
    )


def _evaluation(context: Context) -> str | None:
    total, attention = context.flops_per_evaluation, context.self_attention_flops_per_evaluation
    if total is None:
        return None
    share = "" if attention is None else f", {attention / 1e9:.1f} of them self-attention ({attention / total:.1%})"
    solve = f"A {STEPS}-step Euler solve is {STEPS} of them: {STEPS * total / 1e12:.2f} TFLOPs."
    return f"We count {total / 1e9:.1f} GFLOPs per evaluation{share}. {solve}"


def _unmatched(context: Context, pareto: Verdict | None) -> str | None:
    ours, naive = context.costs.get(LSAC), context.costs.get(NAIVE)
    if ours is None or naive is None:
        return None
    words = (
        f"LSAC-Balanced saves {percent(ours.layer_steps_saved)} of layer-steps and {percent(ours.flops_saved)} of all "
        f"FLOPs; {NAIVE} saves {percent(naive.layer_steps_saved)} and {percent(naive.flops_saved)}."
    )
    counts = [
        f"{sum(one.status == 'supported' for one in mine)} of {len(mine)} naive runs on {name}"
        for axis, name in (("layer_steps_saved", "layer-steps"), ("flops_saved", "total FLOPs"))
        if (mine := _on_axis(pareto, axis))
    ]
    return f"{words} LSAC dominates {' and '.join(counts)}." if counts else words


def _on_axis(verdict: Verdict | None, axis: str) -> list[Finding]:
    return [] if verdict is None else [one for one in verdict.findings if one.axis == axis]


def _ceiling(costs: Mapping[str, ArmCost], limits: Mapping[str, float]) -> str | None:
    bounds = " and ".join(f"{limit:.2f}x faster on {length}" for length, limit in limits.items())
    words = [f"SAM-Audio-Small could be at most {bounds}."] if bounds else []
    cost = costs.get(LSAC)
    if cost is not None and cost.layer_steps_saved > 0.0:
        share = cost.flops_saved / cost.layer_steps_saved
        words.append(
            f"On this checkpoint a cached layer-step saves {percent(share)} of one layer-step's share of all FLOPs, so "
            f"caching everything could make the transformer {1.0 / (1.0 - share):.2f}x faster at most."
        )
    return " ".join(words) or None


def _equivalence(verdicts: Sequence[Verdict]) -> str | None:
    counts: list[str] = []
    for verdict in verdicts:
        judged = [one for one in verdict.findings if one.quantity == "loss" and one.status and _claims_nothing(one)]
        if judged:
            shown = sum(one.status == "supported" for one in judged)
            counts.append(f"{verdict.claim_id}: {shown} of {len(judged)}")
    return f"Comparisons in which no effect is shown, not merely not found: {', '.join(counts)}." if counts else None


def _claims_nothing(finding: Finding) -> bool:
    return not finding.arm.startswith("naive-")


def _solvers(book: Book, arms: Sequence[ArmRow]) -> str | None:
    words = []
    for row in arms:
        method = row.solver.split(":")[0]
        if row.arm != LSAC and not row.arm.startswith(f"{LSAC}-"):
            continue
        worst = max((cell for cell in row.cells if cell.deviation is not None), key=_deviation, default=None)
        if worst is not None:
            words.append(f"{method} ({row.evaluations} evaluations) {number(worst.deviation)} dB on {worst.tier}")
    if not words:
        return None
    base = parse_solver(book.arms["baseline"].solver) if "baseline" in book.arms else None
    plain = f" The baseline here makes {base.nfe} evaluations." if base else ""
    return f"Largest mean deviation of LSAC-Balanced from the same solver without it: {'; '.join(words)}.{plain}"


def _deviation(cell: object) -> float:
    return float(getattr(cell, "deviation", None) or 0.0)


def _floor(floors: Sequence[NoiseFloor]) -> str | None:
    """One sentence a metric, or one for all of them where none moves."""
    if not floors:
        return None
    notes = {one.note for one in floors}
    measured = f" ({'; '.join(sorted(notes))})" if notes != {""} else ""
    if not any(one.largest for one in floors):
        moves = ", ".join(f"{metric_name(one.metric)} (n = {one.n})" for one in floors)
        return f"Nothing moves{measured}: {moves}."
    words = [
        f"{metric_name(one.metric)} differs by {number(one.mean)} {unit_of(one.metric)}".rstrip()
        + f" on average and {number(one.largest)} at most (n = {one.n})"
        for one in floors
    ]
    return f"{'. '.join(words)}{measured}."
