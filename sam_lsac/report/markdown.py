"""The report as Markdown, for a pull request or a wiki; and in short, for the summary of a job."""

import math
from collections.abc import Iterable, Sequence

from sam_lsac.claims.wording import MARKS, NOTHING, effect, estimate, number, percent
from sam_lsac.legible import legible
from sam_lsac.report.caveats import Caveat
from sam_lsac.report.compare import HEADINGS, NO_CHANGE, Comparison
from sam_lsac.report.evidence import counts, details
from sam_lsac.report.model import ClaimRow, Report
from sam_lsac.report.shipping import (
    COLUMNS as SETTING,
)
from sam_lsac.report.shipping import HEADING, advice_note, caching_text, fidelity_text, level_text, setting_cells
from sam_lsac.report.tables import TierCell
from sam_lsac.report.terminal import INTERVALS, arms_note, bounds_text, outside_lines, summary_line
from sam_lsac.report.variance import variance_name, variance_note

__all__ = ["summary", "to_markdown"]

COLUMNS = ("claim", "the paper says", "its figure", "ours", "verdict", "n", "cost")
SHORT = ("claim", "the paper says", "ours", "verdict")


def to_markdown(report: Report) -> str:
    """Return headings and tables: verdicts with their reasons, the rest by name, arms, caveats, environment."""
    report = legible(report)
    parts = ["# Claims, judged", _cell(summary_line(report)) + "."]
    if report.judged:
        parts.append(INTERVALS)
    for topic, rows in report.topics.items():
        parts += [f"## {_cell(topic)}", _table(COLUMNS, map(_claim, rows))]
        parts += [_cell(report.notes[topic])] if topic in report.notes else []
    if report.judged:
        reasons = [
            "\n".join(
                [
                    f"- **{_cell(row.id)}**, {row.verdict.status}: {_cell(row.verdict.reason)}{_expected(row)}",
                    *(f"  - {_cell(line)}" for line in details(row.verdict, report.smallest_effects)),
                ]
            )
            for row in report.judged
        ]
        parts += ["## Why", "\n".join(reasons)]
    parts += _outside(report)
    parts += _advice(report)
    if report.tables.arms:
        parts += ["## Arms", _cell(arms_note(report)), _arms(report)]
    if report.tables.variances:
        parts += [_cell(variance_note(report.metric)), _variances(report)]
    if report.caveats:
        parts += ["## To keep in mind", "\n".join(map(_box, report.caveats))]
    parts += ["## Environment", _table(("", ""), _environment(report))]
    return "\n\n".join(parts) + "\n"


def summary(report: Report, comparison: Comparison | None = None) -> str:
    """Return what a job's page shows (``GITHUB_STEP_SUMMARY``): what changed, then the verdicts of what was judged.

    Parameters
    ----------
    report
        Of this run.
    comparison
        With an earlier report; its flips come first.
    """
    report = legible(report)
    parts = ["## Claims, judged", _cell(summary_line(report)) + "."]
    if comparison is not None:
        parts += _changes(comparison)
    if report.judged:
        parts.append(_table(SHORT, ([row.id, row.quote, _lines(row.ours), _chip(row)] for row in report.judged)))
    parts += _outside(report)
    parts += _advice(report)
    return "\n\n".join(parts) + "\n"


def _changes(comparison: Comparison) -> list[str]:
    """Return flips first, then the other changes, then what was not compared."""
    parts = []
    for kind, heading in HEADINGS.items():
        if changes := comparison.of(kind):
            parts.append("\n".join([f"**{heading}**", "", *(f"- {_cell(str(change))}" for change in changes)]))
    if not comparison.changes:
        parts.append(NO_CHANGE)
    if comparison.notes:
        parts.append("\n".join(f"- {_cell(legible(note))}" for note in comparison.notes))
    return parts


def _outside(report: Report) -> list[str]:
    lines = outside_lines(report)
    return ["\n".join(f"- {_cell(line)}" for line in lines)] if lines else []


def _advice(report: Report) -> list[str]:
    """Return what to ship: a table, then for each level its fidelity, its code, caching and why none is cheaper."""
    advice = report.advice
    if advice is None:
        return []
    parts = [f"## {HEADING}", _cell(advice_note(advice, reference=report.reference))]
    if advice.levels:
        rows = ([level_text(advice, level), *setting_cells(level.setting)] for level in advice.levels)
        parts.append(_table(SETTING, rows))
    for level in advice.levels:
        lines = [f"- **{_cell(level_text(advice, level))}**"]
        if level.setting is not None:
            lines.append(f"  - `{level.setting.code.replace('`', '')}`")
            lines += [f"  - {_cell(fidelity_text(advice, cell))}" for cell in level.setting.tiers]
            lines.append(f"  - {_cell(caching_text(level))}")
        lines += [f"  - not {_cell(one)}" for one in level.cheaper]
        parts.append("\n".join(lines))
    return parts


def _claim(row: ClaimRow) -> list[str]:
    return [
        row.id, row.quote, row.paper or NOTHING, _lines(row.ours), _chip(row), str(row.verdict.n or NOTHING),
        _lines(row.cost),
    ]  # fmt: skip


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) or NOTHING


def _chip(row: ClaimRow) -> str:
    """Return the verdict, then a line for each tier that was judged."""
    tiers = [f"{MARKS[status]} {tier}" for tier, status in row.verdict.tiers.items()]
    return "\n".join([f"{MARKS[row.verdict.status]} {row.verdict.status}", *tiers])


def _box(caveat: Caveat) -> str:
    return f"- **{_cell(caveat.title)}.** {_cell(caveat.known)} {_cell(caveat.ours or caveat.missing)}".rstrip()


def _expected(row: ClaimRow) -> str:
    return f" Known on this checkpoint: {_cell(row.expected)}" if row.expected else ""


def _arms(report: Report) -> str:
    rows = []
    for row in report.tables.arms:
        cells = [_arm_cell(cell) for cell in row.cells]
        rows.append([row.arm, row.solver, percent(row.layer_steps_saved), percent(row.flops_saved), *cells])
    return _table(("arm", "solver", "layer-steps saved", "FLOPs saved", *report.tiers), rows)


def _variances(report: Report) -> str:
    rows = (
        [row.tier, variance_name(row), str(row.n_mixtures), str(row.n_seeds)]
        + [number(math.sqrt(one)) for one in (row.mixture, row.seed, row.rest)]
        for row in report.tables.variances
    )
    return _table(("tier", "of", "mixtures", "seeds", "between mixtures", "between seeds", "rest"), rows)


def _arm_cell(cell: TierCell) -> str:
    figures = f"{estimate(cell.deviation, cell.deviation_low, cell.deviation_high)}, d {effect(cell.d)}"
    missing = counts(cell, runs=True)
    return f"{figures if cell.deviation is not None else NOTHING}{f' ({missing})' if missing else ''}"


def _environment(report: Report) -> list[list[str]]:
    seen = report.environment
    versions = ", ".join(f"{name} {version}" for name, version in seen.packages.items())
    return [
        ["checkpoint", f"{seen.checkpoint}, {seen.n_layers} layers"],
        ["digest", seen.digest],
        ["device", seen.device],
        ["GPU", f"{seen.accelerator}, driver {seen.driver}"],
        ["CPU", seen.cpu],
        ["system", f"{seen.operating_system}, Python {seen.python}, torch {seen.torch}"],
        ["packages", versions],
        ["git commit", seen.git_commit],
        ["mixtures", ", ".join(f"{count} {tier}" for tier, count in seen.mixtures.items()) or "none"],
        ["noise seeds", ", ".join(map(str, seen.seeds)) or "none"],
        ["runs", str(seen.n_runs)],
        ["level and bounds", bounds_text(report)],
        ["made", seen.created],
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return text that cannot end a cell or a row, start a tag, link or image, or turn bold."""
    for sign in ("\\", "|", "*", "`"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("](", "]\\(").replace("<", "&lt;").replace("\n", "<br>")
