"""From matplotlib to SVG that lives inside a page: its colours, fonts and width are the page's.

A figure is drawn in the colours of `INKS`, which stand for CSS variables; the page decides what they are in light and
in dark. Text stays text.
"""

import html
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["INKS", "MARKERS", "inks_of", "signs_of", "to_svg"]

INKS: Mapping[str, str] = MappingProxyType(
    {
        "ink": "#010101",
        "muted": "#020202",
        "rule": "#030303",
        "paper": "#040404",
        "first": "#050505",
        "second": "#060606",
        "third": "#070707",
        "fourth": "#080808",
        "fifth": "#090909",
        "sixth": "#0a0a0a",
        "seventh": "#0b0b0b",
        "eighth": "#0c0c0c",
    }
)
"""Colours by the name of their CSS variable, `--NAME`."""

SERIES = ("first", "second", "third")  # inks of what is drawn side by side; any more share one
MARKERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"first": ("o", "●"), "second": ("s", "■"), "third": ("^", "▲"), "muted": ("d", "◆")}
)
"""The marker of each of these inks, in matplotlib's word and as a character."""

SIGNS = (*SERIES, "fourth", "fifth", "sixth", "seventh", "eighth")  # inks of a figure with many families
SHAPES = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"), ("*", "★"))

SIZE = (3.6, 2.7)  # inches; a page shows it about 1.3 times as large
RC: Mapping[Any, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "font.size": 8.0,
        "axes.edgecolor": INKS["muted"],
        "axes.labelcolor": INKS["ink"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.labelsize": 8.0,
        "text.color": INKS["ink"],
        "xtick.color": INKS["muted"],
        "ytick.color": INKS["muted"],
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "grid.color": INKS["rule"],
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.3,
        "lines.markersize": 4.5,
    }
)


def panel(size: tuple[float, float] = SIZE, *, rows: int = 1, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of `size` inches and its axes, row by row, in the report's style."""
    with mpl.rc_context(dict(RC)):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.reshape(-1))


def caption(axes: Axes, *, title: str, x: str, y: str = "") -> None:
    """Write title and labels, and draw lines across at the ticks of y where it has a label."""
    axes.set_title(title, loc="left", fontsize=9.0, color=INKS["ink"])
    axes.set_xlabel(x)
    if y:
        axes.set_ylabel(y)
        axes.grid(visible=True, axis="y", color=INKS["rule"], linewidth=0.5)
    axes.set_axisbelow(True)


def inks_of(names: Iterable[str]) -> dict[str, str]:
    """Return an ink for each name, in their order; "muted" for all beyond the third."""
    different = list(dict.fromkeys(names))
    return dict(itertools.zip_longest(different, SERIES[: len(different)], fillvalue="muted"))


def signs_of(names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Return an ink, a marker and its character for each name, in their order; of 64 names no two have the same two."""
    count = len(SIGNS)
    found: dict[str, tuple[str, str, str]] = {}
    for place, name in enumerate(dict.fromkeys(names)):
        found[name] = (SIGNS[place % count], *SHAPES[(place + place // count) % len(SHAPES)])
    return found


def family_of(arm: str) -> str:
    """Return the first word of an arm's name, by which arms are told apart: a dash ends it."""
    return arm.split("-", maxsplit=1)[0]


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """Return a figure as SVG to be put into HTML.

    Parameters
    ----------
    figure
        Drawn in `INKS`.
    name
        Different for each figure of a page: it makes the ids unique.
    label
        What the figure shows, for those who do not see it.
    """
    name = re.sub(r"[^\w-]", "-", name)
    buffer = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")  # transparent
    with mpl.rc_context({**RC, "svg.hashsalt": name}):  # `savefig` would draw all of it twice, once for the layout
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)  # a style here would be the whole page's
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    for ink, colour in INKS.items():
        svg = svg.replace(colour, f"var(--{ink})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    view = re.search(r'viewBox="[^"]+"', svg)
    opening = f'<svg role="img" aria-label="{html.escape(label)}" {view.group() if view else ""}>'
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).strip()
