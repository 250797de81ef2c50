"""The report as one self-contained HTML file: no script, no network, light and dark, desk and phone."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
import numpy as np
import soundfile
from markupsafe import Markup
from numpy.typing import NDArray

from sam_lsac.claims import Finding
from sam_lsac.claims.wording import (
    AXIS_NAMES,
    MARKS,
    NOTHING,
    effect,
    estimate,
    figure,
    metric_name,
    number,
    percent,
)
from sam_lsac.legible import legible
from sam_lsac.report import plots
from sam_lsac.report.evidence import counts, details, groups, harm
from sam_lsac.report.extras import Player
from sam_lsac.report.figures import MARKERS, family_of, inks_of
from sam_lsac.report.frontier_plot import frontier_panel, frontier_signs
from sam_lsac.report.model import ClaimRow, Report
from sam_lsac.report.shipping import (
    COLUMNS,
    HEADING,
    advice_note,
    caching_text,
    fidelity_text,
    level_text,
    setting_cells,
)
from sam_lsac.report.terminal import arms_note, bounds_text, outside_lines
from sam_lsac.report.variance import variance_name, variance_note

__all__ = ["to_html"]

FOLDER = resources.files("sam_lsac.report") / "templates"
AXES = ("layer_steps_saved", "flops_saved")
SECTIONS = {
    "verdicts": "Verdicts",
    "advice": HEADING,
    "caveats": "To keep in mind",
    "frontier": "The frontier",
    "arms": "What arms save and lose",
    "tables": "Tables",
    "convergence": "Convergence",
    "gate": "The span gate",
    "speakers": "By speaker",
    "listen": "Listen",
    "floor": "Noise floor",
    "environment": "Environment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One sound of a player."""

    name: str
    source: str
    note: str


def to_html(report: Report) -> str:
    """Return the whole page.

    Parameters
    ----------
    report
        A section for which it has nothing is not shown, but named in one line.
    """
    report = legible(report)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": number,
        "percent": percent,
        "effect": effect,
        "figure": figure,
        "metric": metric_name,
        "p": _p,
        "groups": groups,
    }
    environment.globals |= {"MARKS": MARKS, "NOTHING": NOTHING, "AXES": AXIS_NAMES, "estimate": estimate}
    environment.globals |= {"counts": counts, "details": details, "harm": harm}
    environment.globals |= {"variance_name": variance_name, "variance_note": variance_note}
    environment.globals |= {"fidelity_text": fidelity_text, "caching_text": caching_text, "level_text": level_text}
    environment.globals |= {"setting_cells": setting_cells, "SETTING": COLUMNS}
    figures = _figures(report)
    sections = _sections(report, figures)
    return environment.get_template("report.html").render(
        report=report,
        style=Markup(_template("report.css")),  # noqa: S704 - our own file
        figures=figures,
        sections=[name for name, shown in sections.items() if shown],
        titles=SECTIONS,
        empty=[SECTIONS[name] for name, shown in sections.items() if not shown and name != "advice"],
        outside=outside_lines(report),
        arms_note=arms_note(report),
        advice_note=advice_note(report.advice, reference=report.reference) if report.advice else "",
        frontier_legend=frontier_signs(report.tables.frontier),
        bounds=bounds_text(report),
        legend=_legend(report),
        shades=inks_of(report.extras.classes),
        magnitude=plots.magnitude(report.metric),
        tables=_tables(report),
        speakers=_speaker_arms(report),
        players=[(player, _tracks(player)) for player in report.extras.players],
    )


def _sections(report: Report, figures: Mapping[str, Sequence[Markup]]) -> dict[str, bool]:
    """Return whether there is anything to show in each section."""
    tables, extras = report.tables, report.extras
    return {
        "verdicts": True,
        "advice": report.advice is not None,
        "caveats": bool(report.caveats),
        "frontier": bool(figures["frontier"]),
        "arms": bool(tables.arms),
        "tables": bool(_tables(report)),
        "convergence": bool(figures["freezing"] or figures["entropy"]),
        "gate": bool(figures["maps"] or tables.block_ratios or figures["gate"]),
        "speakers": bool(tables.speakers),
        "listen": bool(extras.players),
        "floor": bool(extras.noise_floor),
        "environment": True,
    }


def _template(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _figures(report: Report) -> dict[str, list[Markup]]:
    """Return the SVGs of each section; an empty list where there is nothing to draw."""
    tables, extras, metric = report.tables, report.extras, report.metric
    arms = [row for row in tables.arms if row.baseline == report.reference]
    tiers = [tier for tier in report.tiers if any(c.tier == tier and c.n for row in arms for c in row.cells)]
    costed = any(row.layer_steps_saved is not None for row in arms)
    drawn = {
        axis: [plots.pareto(arms, tier=tier, axis=axis, metric=metric) for tier in tiers] if costed else []
        for axis in AXES
    }
    findings = [finding for row in report.claims for finding in row.verdict.findings]
    drawn["effects"] = [plots.effects(arms, findings, tier=tier, metric=metric) for tier in tiers]
    drawn["frontier"] = _frontier(report)
    drawn["freezing"] = [
        plots.points(
            tables.freezing, tier=tier, name="freezing", classes=extras.classes,
            labels=("frozen from step", plots.axis_label(metric, "loss")),
        )
        for tier in report.tiers
        if any(point.tier == tier for point in tables.freezing)
    ]  # fmt: skip
    drawn["entropy"] = [
        plots.entropy_curves(values, extras.classes, name=name) for name, values in extras.entropy.items()
    ]
    drawn["maps"] = [
        plots.attention_maps(extras.maps, layer=layer) for layer in dict.fromkeys(one.layer for one in extras.maps)
    ]
    drawn["gate"] = [
        plots.sweep(tables.gate, series=series, tiers=report.tiers)
        for series in dict.fromkeys(point.series for point in tables.gate)
    ]
    return {name: [Markup(svg) for svg in svgs] for name, svgs in drawn.items()}  # noqa: S704 - escaped by matplotlib


def _frontier(report: Report) -> list[str]:
    """Return a panel for each column and tier of the frontier that has points."""
    points = report.tables.frontier
    panels = dict.fromkeys((one.metric, one.tier) for one in points)
    return [frontier_panel(points, tier=tier, metric=metric) for metric, tier in panels]


def _tables(report: Report) -> list[tuple[ClaimRow, dict[str, dict[str, list[Finding]]]]]:
    """Return each judged claim that is a table, with its cells by tier and arm."""
    found = []
    for row in report.judged:
        cells: dict[str, dict[str, list[Finding]]] = {}
        for one in row.verdict.findings if row.kind == "table" else ():
            cells.setdefault(one.tier, {}).setdefault(one.arm, []).append(one)
        if cells:
            found.append((row, cells))
    return found


def _legend(report: Report) -> list[tuple[str, str, str]]:
    """Return ink, marker and name of each family of arms in the plots."""
    inks = inks_of(family_of(row.arm) for row in report.tables.arms if row.baseline == report.reference)
    return [(ink, MARKERS[ink][1], family) for family, ink in inks.items()]


def _speaker_arms(report: Report) -> Sequence[str]:
    return list(dict.fromkeys(arm for row in report.tables.speakers for arm in row.deviations))


def _tracks(player: Player) -> list[Track]:
    return [
        Track(name=name, source=_audio(wave, player.sample_rate), note=player.notes.get(name, ""))
        for name, wave in player.tracks.items()
    ]


def _audio(wave: NDArray[np.floating], sample_rate: int) -> str:
    """Return a wave, clipped to -1 to 1, as a data URL of 16-bit FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
