"""The frontier, drawn: what settings change against the FLOPs that they save, a panel a tier, every setting named."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from sam_lsac.claims.wording import AXIS_NAMES
from sam_lsac.report.figures import INKS, caption, family_of, panel, signs_of, to_svg
from sam_lsac.report.frontier import FrontierPoint
from sam_lsac.report.plots import axis_label

__all__ = ["frontier_panel", "frontier_signs"]

SIZE = (5.2, 3.9)  # inches
FONT = 6.5
LETTER, LINE = 0.56 * FONT, 1.15 * FONT  # points: about how wide a character is, and how high a line
MARK = 3.0  # points: half of a marker's width
ROOM = 0.8  # of the figure is inside the axes, about

Box = tuple[float, float, float, float]  # left, bottom, right, top in points


def frontier_signs(points: Sequence[FrontierPoint]) -> dict[str, tuple[str, str, str]]:
    """Return ink, marker and its character by family of settings, the same in every panel; no two are alike."""
    return signs_of(family_of(one.arm) for one in points)


def frontier_panel(points: Sequence[FrontierPoint], *, tier: str, metric: str) -> str:
    """Return one panel: means with intervals.

    Parameters
    ----------
    points
        All of the report, so that colours and markers are the same in every panel.
    tier, metric
        Which of them are drawn.
    """
    mine = [one for one in points if (one.tier, one.metric) == (tier, metric)]
    signs = frontier_signs(points)
    figure, (axes,) = panel(SIZE)
    for one in mine:
        ink, marker, _ = signs[family_of(one.arm)]
        ends = [[one.estimate - one.low], [one.high - one.estimate]]
        axes.errorbar(
            [100.0 * one.saved], [one.estimate], yerr=ends, color=INKS[ink], marker=marker, linestyle="none",
            capsize=1.5, elinewidth=0.7,
        )  # fmt: skip
    axes.set_xlim(0.0, 100.0)
    axes.margins(y=0.12)
    _name(axes, mine, signs)
    caption(axes, title=tier, x=f"{AXIS_NAMES['flops_saved']} saved, %", y=axis_label(metric, ""))
    label = f"{axis_label(metric, '')} against {AXIS_NAMES['flops_saved']} saved, of every setting on {tier}"
    return to_svg(figure, name=f"frontier-{metric}-{tier}", label=label)


def _name(axes: Axes, points: Sequence[FrontierPoint], signs: Mapping[str, tuple[str, str, str]]) -> None:
    """Write each setting's name beside its point, where the least lies under it."""
    width, height = (72.0 * ROOM * inches for inches in SIZE)
    low, high = axes.get_ylim()
    spots = [(width * one.saved, height * (one.estimate - low) / ((high - low) or 1.0)) for one in points]
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in spots]
    for one, (x, y) in zip(points, spots, strict=True):
        ink = INKS[signs[family_of(one.arm)][0]]
        places = list(_places(x, y, len(one.arm) * LETTER))
        offset, box = min(places, key=lambda place: _covered(place[1], taken, (width, height)))
        taken.append(box)
        far = np.hypot(*offset) > 3 * MARK
        axes.annotate(
            one.arm, (100.0 * one.saved, one.estimate), xytext=offset, textcoords="offset points", fontsize=FONT,
            color=ink, ha="left", va="bottom",
            arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 0.3} if far else None,
        )  # fmt: skip


def _places(x: float, y: float, width: float) -> Iterator[tuple[tuple[float, float], Box]]:
    """Yield places of a label around a point, the nearest first: offset of its lower left corner, and its box."""
    for away in (MARK + 1.0, 4 * MARK, 7 * MARK, 11 * MARK):
        for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
            left = away * dx - width * (1 - dx) / 2
            bottom = away * dy - LINE * (1 - dy) / 2
            yield (left, bottom), (x + left, y + bottom, x + left + width, y + bottom + LINE)


def _covered(box: Box, taken: Sequence[Box], room: tuple[float, float]) -> float:
    """Return the area of a box that lies on others or outside the room."""
    inside = _common(box, (0.0, 0.0, *room))
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return 2.0 * (whole - inside) + sum(_common(box, other) for other in taken)


def _common(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    along = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, along)
