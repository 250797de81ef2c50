"""A figure that is drawn once is the one that matplotlib saves: same layout, same ids, transparent."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from sam_lsac.report import figures
from sam_lsac.report.figures import INKS, RC, caption, panel, to_svg


def one_panel() -> Figure:
    figure, (axes,) = panel()
    axes.errorbar([1.0, 2.0], [3.0, 4.0], yerr=([0.1, 0.2], [0.3, 0.4]), color=INKS["first"], marker="o", label="a")
    axes.fill_between([1.0, 2.0], [2.5, 3.5], [3.5, 4.5], color=INKS["first"], alpha=0.1)
    axes.annotate(
        "far",
        (2.0, 4.0),
        xytext=(-40, 20),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "linewidth": 0.3},
    )
    axes.legend(frameon=False)
    caption(axes, title="clean", x="steps", y="a long name, dB")
    return figure


def named_rows() -> Figure:
    figure, (axes,) = panel((3.6, 2.0))
    axes.plot([0.1, 123456.0], [0, 1], color=INKS["second"])
    axes.set_yticks([0, 1], ["short", "a name that takes much of the room"])
    axes.invert_yaxis()
    caption(axes, title="noisy", x="d")
    return figure


def maps() -> Figure:
    figure, axes = panel((3.4, 2.0), columns=2)
    for each in axes:
        each.imshow(np.arange(16.0).reshape(4, 4), interpolation="none", aspect="equal")
        each.plot([0.5, 1.5], [-0.2, -0.2], color=INKS["third"], clip_on=False)
        each.set_xticks([])
    axes[0].set_ylabel("L01")
    return figure


class Saved:
    """Stands for matplotlib's canvas: what `Figure.savefig` writes, which lays a figure out before it draws it."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure

    def print_svg(self, file: Any, metadata: Any) -> None:
        """Save."""
        self._figure.savefig(file, format="svg", transparent=True, metadata=metadata)


def places(svg: str) -> list[tuple[str, str]]:
    """Where everything is."""
    return re.findall(r' d="([^"]+)"|transform="([^"]+)"', svg)


@pytest.mark.parametrize("drawn", [one_panel, named_rows, maps])
def test_it_is_the_figure_that_is_saved(drawn: Callable[[], Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    once = to_svg(drawn(), name="one", label="a figure")
    monkeypatch.setattr(figures, "FigureCanvasSVG", Saved)
    assert to_svg(drawn(), name="one", label="a figure") == once


@pytest.mark.parametrize("drawn", [one_panel, named_rows, maps])
def test_everything_is_where_its_layout_puts_it(drawn: Callable[[], Figure]) -> None:
    buffer, figure = io.StringIO(), drawn()
    with mpl.rc_context(dict(RC)):
        figure.savefig(buffer, format="svg", transparent=True)
    once = places(to_svg(drawn(), name="one", label="a figure"))
    assert len(once) > 10
    assert once == places(buffer.getvalue())
