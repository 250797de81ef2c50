"""The report as text for a terminal: the verdicts of what was judged, what each arm costs and loses, and the rest."""

import io
import textwrap
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sam_lsac.claims import Status
from sam_lsac.claims.wording import MARKS, NOTHING, effect, estimate, metric_name, percent, unit_of
from sam_lsac.legible import legible
from sam_lsac.report.evidence import counts, reach
from sam_lsac.report.looks import looks_text, sequential_text
from sam_lsac.report.model import ClaimRow, Report
from sam_lsac.report.shipping import (
    HEADING,
    advice_note,
    caching_text,
    fidelity_text,
    level_text,
    setting_cells,
    stated,
)
from sam_lsac.report.tables import ArmRow

__all__ = ["arms_table", "summary_line", "terminal_text", "verdict_table"]

COLOURS: dict[Status, str] = {
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "shown": "cyan",
    "not run": "bright_black",
}
NARROWEST = 80  # columns below which nothing is legible
LONGEST = 110  # characters of a quote or a reason that a cell shows
GAP = 2
NAME = 22  # characters of an arm's name
INTERVALS = "Intervals are of one comparison; the level of a verdict is shared by the claims of its section."


def terminal_text(report: Report, *, width: int = 100, colour: bool = False, reasons: bool = False) -> str:
    """Return the whole terminal report: verdicts, what to ship, arms, and one line of counts.

    Parameters
    ----------
    report
        What `build_report` made.
    width
        Columns, 80 at least.
    colour
        Whether to write ANSI colours; False for a pipe.
    reasons
        Whether the sentence behind each refuted or inconclusive verdict follows the table.
    """
    parts = [verdict_table(report, width=width, colour=colour, reasons=reasons)]
    if report.advice is not None:
        parts.append(advice_text(report, width=width))
    if report.tables.arms:
        parts.append(arms_table(report, width=width, colour=colour))
    return "\n".join([*parts, _wrapped(summary_line(report), max(width, NARROWEST)).rstrip()])


def summary_line(report: Report) -> str:
    """Return one line: the checkpoint, its mixtures, how many claims have each status, and how many are left out."""
    seen = report.environment
    counts = [f"{count} {name}" for name, count in report.counts.items() if count]
    looks = ", judged sequentially" if report.sequential is not None else ""
    others = sum(map(len, report.outside.values()))
    if others:
        counts.append(f"{others} outside this run")
    mixtures = "/".join(str(seen.mixtures.get(tier, 0)) for tier in report.tiers)
    return legible(
        f"{seen.checkpoint} ({seen.digest[:12]}), {mixtures} mixtures ({'/'.join(report.tiers)}){looks}: "
        f"{', '.join(counts)}"
    )


def verdict_table(report: Report, *, width: int = 100, colour: bool = False, reasons: bool = False) -> str:
    """Return the table of verdicts by topic; then, in one line a topic, the claims that this run was not asked for."""
    report = legible(report)
    width = max(width, NARROWEST)
    parts = []
    if report.judged:
        parts += [_judged(report, width=width, colour=colour), _wrapped(INTERVALS, width)]
    if reasons:
        parts += [_reason(row, width) for row in report.judged if _is_explained(row)]
        parts += ["".join(_wrapped(line, width) for line in reach_lines(report))] if report.judged else []
        parts += ["".join(_wrapped(line, width) for line in looks_lines(report))] if report.sequential else []
    if outside := outside_lines(report):
        parts.append("".join(_wrapped(line, width) for line in outside))
    return "\n".join(parts)


def outside_lines(report: Report) -> list[str]:
    """Return a line for each topic with claims that this run was not asked for; the same in every form."""
    return [f"Not in this run, {topic}: {', '.join(ids)}." for topic, ids in report.outside.items()]


def reach_lines(report: Report) -> list[str]:
    """Return what the verdicts cover and what their figures lack, a line for all claims that share it."""
    found: dict[str, list[str]] = {}
    for row in report.judged:
        if words := reach(row.verdict):
            found.setdefault(words, []).append(row.id)
    return [f"{', '.join(ids)}: {words}." for words, ids in found.items()]


def looks_lines(report: Report) -> list[str]:
    """Return how a sequential run judged, and where the cases of each claim stopped."""
    said = [(row.id, looks_text(row.verdict)) for row in report.judged]
    how = [sequential_text(report.sequential)] if report.sequential is not None else []
    return [*how, *(f"{claim_id}: {words}." for claim_id, words in said if words)]


def arms_note(report: Report) -> str:
    """Return what the figures of the table of arms are."""
    return (
        f"Saved against {report.reference} ({report.reference_solver}); mean |{metric_name(report.metric)} deviation| "
        "from the same solver without the edit, with d_z of the signed loss."
    )


def bounds_text(report: Report) -> str:
    """Return the level and the bounds that verdicts were made with."""
    metric = report.metric
    least = report.smallest_effects.get(metric.split("/")[0])
    smallest = f"; smallest effect of {metric_name(metric)} {least:g} {unit_of(metric)}".rstrip()
    looks = f". {sequential_text(report.sequential)}" if report.sequential is not None else ""
    return (
        f"alpha {report.alpha:g} per family; no loss: a deviation below {report.theta:g} of the matched rival's"
        f"{'' if least is None else smallest}{looks}"
    )


def _judged(report: Report, *, width: int, colour: bool) -> str:
    widths = _widths(width)
    header = ("", "the paper says", "its figure", f"ours [{100 * (1 - report.alpha):g} % interval]", "verdict", "n")
    blocks: list[RenderableType] = [_grid(widths, [[Text(word) for word in header]], right=(5,)), _rule(width)]
    for topic, rows in report.topics.items():
        cells = [_cells(row, widths[3]) for row in rows]
        note = [Text(report.notes[topic], style="italic"), Text("")] if topic in report.notes else []
        blocks += [Text(topic, style="bold underline"), *note, _grid(widths, cells, right=(5,)), Text("")]
    return _render(Group(*blocks), width=width, colour=colour)


def _is_explained(row: ClaimRow) -> bool:
    """Whether the sentence behind a verdict is needed: it is open, against the claim, or about some tiers only."""
    return row.verdict.status in ("refuted", "inconclusive") or (row.verdict.status == "not run" and bool(row.ours))


def _widths(width: int) -> tuple[int, ...]:
    """Return the columns' widths: what is left after the fixed ones is shared between the quote and our figures."""
    free = width - (4 + 12 + 14 + 3) - 5 * GAP
    quote = free * 2 // 5
    return 4, quote, 12, free - quote, 14, 3


def _grid(
    widths: Sequence[int], rows: Iterable[Sequence[RenderableType]], *, right: Collection[int], gap: int = GAP
) -> Table:
    """Return rows in columns of fixed widths; those of `right` are flush right."""
    table = Table.grid(padding=(0, gap, 0, 0))
    for index, width in enumerate(widths):
        table.add_column(width=width, justify="right" if index in right else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _rule(width: int) -> Text:
    return Text("─" * width)


def _cells(row: ClaimRow, width: int) -> list[RenderableType]:
    status = row.verdict.status
    lines = row.ours or (textwrap.shorten(row.verdict.reason, LONGEST, placeholder=" …"),)
    ours = "\n".join(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False) for line in lines)
    quote = textwrap.shorten(row.quote, LONGEST, placeholder=" …")
    chip = Text(f"{MARKS[status]} {status}", style=COLOURS[status])
    for tier, its in row.verdict.tiers.items():
        chip.append(f"\n  {MARKS[its]} {tier}", style=COLOURS[its])
    return [
        Text(row.id, style="bold"),
        Text(quote),
        Text(row.paper or NOTHING),
        Text(ours),
        chip,
        Text(str(row.verdict.n or NOTHING)),
    ]


def _reason(row: ClaimRow, width: int) -> str:
    expected = f" Known on this checkpoint: {row.expected}" if row.expected else ""
    return _wrapped(f"{row.id} {row.verdict.status}: {row.verdict.reason}{expected}", width)


def _wrapped(words: str, width: int) -> str:
    return textwrap.fill(words, width, subsequent_indent="    ", break_on_hyphens=False) + "\n"


def advice_text(report: Report, *, width: int = 100) -> str:
    """Return what to ship, a few lines for each level of fidelity; empty where the book asks for no advice."""
    report = legible(report)
    advice, width = report.advice, max(width, NARROWEST)
    if advice is None:
        return ""
    lines = [HEADING, *_folded(advice_note(advice, reference=report.reference), width)]
    for level in advice.levels:
        cells = setting_cells(level.setting)
        lines += _folded(f"{level_text(advice, level)}: {stated(cells) if level.setting else cells[0]}.", width)
        if level.setting is None:
            lines += _folded(f"First {level.cheaper[0]}.", width, indent=4) if level.cheaper else []
            continue
        tiers = "; ".join(fidelity_text(advice, cell) for cell in level.setting.tiers)
        lines += [*_folded(f"{tiers}.", width, indent=4), f"    {level.setting.code}"]
        lines += _folded(caching_text(level), width, indent=4)
    return "\n".join(lines) + "\n"


def _folded(words: str, width: int, *, indent: int = 2) -> list[str]:
    blank = " " * indent
    return textwrap.wrap(words, width, initial_indent=blank, subsequent_indent=f"{blank}  ", break_on_hyphens=False)


def arms_table(report: Report, *, width: int = 100, colour: bool = False) -> str:
    """Return, per arm, what it saves on both axes and, per tier, its deviation with interval and d_z."""
    report = legible(report)
    width = max(width, NARROWEST)
    each = min(22, (width - NAME - 12 - 2) // max(1, len(report.tiers)) - 1)
    widths = (NAME, 6, 6, *(each for _ in report.tiers))
    right = range(1, len(widths))
    unit = unit_of(report.metric)
    header = ("\narm", "layer-\nsteps", "total\nFLOPs", *(f"{tier}\n{unit}" for tier in report.tiers))
    rows = [[Text(cell) for cell in _arm_cells(row, report.reference_solver)] for row in report.tables.arms]
    top = [[Text(word) for word in header]]
    what = Group(_grid(widths, top, right=right, gap=1), _rule(width), _grid(widths, rows, right=right, gap=1))
    title = _wrapped(arms_note(report), width)
    return f"{title}{_render(what, width=width, colour=colour)}"


def _arm_cells(row: ArmRow, reference_solver: str) -> list[str]:
    cells = []
    name = row.arm if len(row.arm) <= NAME else f"{row.arm[: NAME - 1]}…"  # on one line, or it could pass for another
    for cell in row.cells:
        words = estimate(cell.deviation, cell.deviation_low, cell.deviation_high)
        lines = [words, f"d {effect(cell.d)}"] if cell.deviation is not None else [NOTHING]
        cells.append("\n".join([*lines, counts(cell, runs=True)]).rstrip())
    solver = "" if row.solver == reference_solver else f"\n  {row.solver}"
    return [
        f"{name}{solver}",
        *(percent(one).replace(" ", "") for one in (row.layer_steps_saved, row.flops_saved)),
        *cells,
    ]


def _render(what: RenderableType, *, width: int, colour: bool) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(what)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n") + "\n"
