"""The report as Markdown, for a pull request or a wiki."""

from collections.abc import Iterable, Sequence

from sam_lsac.claims.wording import MARKS, NOTHING, effect, estimate, percent
from sam_lsac.report.model import ClaimRow, Report
from sam_lsac.report.terminal import ARMS, INTERVALS, summary_line

__all__ = ["to_markdown"]

COLUMNS = ("claim", "the paper says", "its figure", "ours", "verdict", "n", "cost")


def to_markdown(report: Report) -> str:
    """Return headings and tables: verdicts with their reasons, arms, the six findings, environment."""
    parts = ["# The paper's claims, judged", summary_line(report) + ".", INTERVALS]
    for topic, rows in report.topics.items():
        parts += [f"## {topic}", _table(COLUMNS, map(_claim, rows))]
    reasons = [
        f"- **{row.id}**, {row.verdict.status}: {_cell(row.verdict.reason)}{_expected(row)}" for row in report.claims
    ]
    parts += ["## Why", "\n".join(reasons)]
    if report.tables.arms:
        parts += ["## Arms", ARMS]
        parts.append(_arms(report))
    parts.append("## Six findings about the method")
    parts.append("\n".join(f"- **{one.title}.** {one.known} {one.ours or one.missing}" for one in report.caveats))
    parts += ["## Environment", _table(("", ""), _environment(report))]
    return "\n\n".join(parts) + "\n"


def _claim(row: ClaimRow) -> list[str]:
    ours, cost = ("\n".join(lines) or NOTHING for lines in (row.ours, row.cost))
    chip = f"{MARKS[row.verdict.status]} {row.verdict.status}"
    return [row.id, row.quote, row.paper or NOTHING, ours, chip, str(row.verdict.n or NOTHING), cost]


def _expected(row: ClaimRow) -> str:
    return f" Known on this checkpoint: {_cell(row.expected)}" if row.expected else ""


def _arms(report: Report) -> str:
    rows = []
    for row in report.tables.arms:
        cells = [
            f"{estimate(cell.deviation, cell.deviation_low, cell.deviation_high)}, d {effect(cell.d)}"
            if cell.deviation is not None
            else NOTHING
            for cell in row.cells
        ]
        rows.append([row.arm, row.solver, percent(row.layer_steps_saved), percent(row.flops_saved), *cells])
    return _table(("arm", "solver", "layer-steps saved", "FLOPs saved", *report.tiers), rows)


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
        ["level and margin", f"alpha {report.alpha:g} per family, TOST within {report.margin_db:g} dB"],
        ["made", seen.created],
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return text that cannot end a cell or a row, start a tag or turn bold."""
    for sign in ("\\", "|", "*"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace("\n", "<br>")
