"""The paper's figures, drawn from our runs: one small panel per tier, so that a phone shows them one by one."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from sam_lsac.claims import Finding
from sam_lsac.claims.wording import AXIS_NAMES, metric_name, unit_of
from sam_lsac.report.extras import AttentionMap
from sam_lsac.report.figures import INKS, MARKERS, caption, family_of, inks_of, panel, to_svg
from sam_lsac.report.tables import ArmRow, Point, TierCell

__all__ = ["attention_maps", "effects", "entropy_curves", "pareto", "points"]

SINGLE = re.compile(r"L\d+(,L\d+)*")  # a series of layers that are named by their numbers, not by a class
LONGEST = 26  # characters of an arm's name beside an axis; more would leave no room for the figure
CROWDED = 10.0  # per cent of the cost axis: points nearer than this share one label
PLACES = {  # of a label beside its point: offset in points, and how it is aligned
    "first": ((4, 3), "right", "bottom"),
    "second": ((0, 3), "center", "bottom"),
    "third": ((4, -4), "left", "top"),
}
TIER_STYLES = ("-", "--", ":")
HEAT = LinearSegmentedColormap.from_list("heat", [(0.18, 0.5, 0.76, 0.0), (0.18, 0.5, 0.76, 1.0)])  # on any ground


def axis_label(metric: str, what: str) -> str:
    """Return "SI-SNR loss, dB" of a metric and what is shown of it."""
    return ", ".join(word for word in (f"{metric_name(metric)} {what}".strip(), unit_of(metric)) if word)


def magnitude(metric: str) -> str:
    """Return "|SI-SNR deviation|, dB" of a metric."""
    unit = unit_of(metric)
    return f"|{metric_name(metric)} deviation|{f', {unit}' if unit else ''}"


def pareto(arms: Sequence[ArmRow], *, tier: str, axis: str, metric: str) -> str:
    """Return deviation against saved share on one tier: intervals at the arms, a band along each family."""
    figure, (axes,) = panel()
    families: dict[str, list[tuple[float, TierCell, str]]] = {}
    for row in arms:
        saved = getattr(row, axis)
        cell = next((one for one in row.cells if one.tier == tier), None)
        if saved is not None and cell is not None and cell.deviation is not None:
            families.setdefault(family_of(row.arm), []).append((100.0 * saved, cell, row.arm))
    ends = [cell.deviation_high or 0.0 for members in families.values() for _, cell, _ in members]
    axes.set_ylim(0.0, 1.08 * max(ends, default=0.0) or 1.0)
    inks = inks_of(family_of(row.arm) for row in arms)  # also of those not drawn here: one ink in all panels
    for family, members in families.items():
        _family(axes, inks[family], sorted(members, key=lambda one: one[0]))
    caption(axes, title=tier, x=f"{AXIS_NAMES[axis]} saved, %", y=magnitude(metric))
    axes.set_xlim(left=0.0)
    return to_svg(
        figure, name=f"pareto-{axis}-{tier}", label=f"{magnitude(metric)} against {AXIS_NAMES[axis]} saved, on {tier}"
    )


def _family(axes: Axes, ink: str, members: Sequence[tuple[float, TierCell, str]]) -> None:
    x = np.asarray([saved for saved, _, _ in members])
    y, low, high = (
        np.asarray([getattr(cell, name) for _, cell, _ in members], dtype=np.float64)
        for name in ("deviation", "deviation_low", "deviation_high")
    )
    colour = INKS[ink]
    axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.errorbar(x, y, yerr=(y - low, high - y), color=colour, marker=MARKERS[ink][0], capsize=2.0, elinewidth=0.8)
    words = [arm.split("-", 1)[-1] for _, _, arm in members]
    if len(x) > 1 and float(np.ptp(x)) < CROWDED:
        axes.annotate(
            "\n".join(reversed(words)), (x[-1], high[-1]), xytext=(0.03, 0.5), textcoords="axes fraction", fontsize=7,
            color=colour, arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5},
        )  # fmt: skip
        return
    offset, across, along = PLACES.get(ink, PLACES["second"])
    for word, saved, height in zip(words, x, y if along == "top" else high, strict=True):
        axes.annotate(
            word,
            (saved, height),
            xytext=offset,
            textcoords="offset points",
            ha=across,
            va=along,
            fontsize=7,
            color=colour,
        )


def effects(arms: Sequence[ArmRow], findings: Sequence[Finding], *, tier: str, metric: str) -> str:
    """Return d_z of every arm on one tier with its interval, and the d that findings say the paper has, hollow."""
    rows = [
        (row.arm, cell)
        for row in arms
        for cell in row.cells
        if cell.tier == tier and cell.d is not None and np.isfinite(cell.d)
    ]
    figure, (axes,) = panel((3.6, 0.9 + 0.22 * len(rows)))
    published = _published(findings, tier)
    inks = inks_of(family_of(row.arm) for row in arms)
    axes.axvspan(-0.2, 0.2, color=INKS["muted"], alpha=0.12, linewidth=0)
    axes.axvline(0.0, color=INKS["muted"], linewidth=0.6)
    for index, (arm, cell) in enumerate(rows):
        ink = inks[family_of(arm)]
        d, low, high = (float(value or 0.0) for value in (cell.d, cell.d_low, cell.d_high))
        axes.plot([low, high], [index, index], color=INKS[ink], linewidth=1.0)
        axes.plot([d], [index], marker=MARKERS[ink][0], color=INKS[ink], linestyle="none")
        if arm in published:
            axes.plot(
                [published[arm]], [index], marker="D", markersize=5.5, color=INKS["ink"], fillstyle="none", linestyle=""
            )
    names = [arm if len(arm) <= LONGEST else f"{arm[: LONGEST - 1]}…" for arm, _ in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    caption(axes, title=tier, x=f"d of the {metric_name(metric)} loss")
    return to_svg(figure, name=f"effects-{tier}", label=f"Cohen's d of every arm on {tier}, beside the paper's")


def _published(findings: Sequence[Finding], tier: str) -> dict[str, float]:
    found = {}
    for one in findings:
        match = re.fullmatch(r"d (-?\d*\.?\d+)", one.paper)
        if one.tier == tier and one.quantity == "loss" and match:
            found[one.arm] = float(match.group(1))
    return found


def points(points_: Sequence[Point], *, tier: str, name: str, labels: tuple[str, str], classes: Iterable[str]) -> str:
    """Return curves of one tier under labels of x and y: classes of layers with intervals, single layers in grey."""
    x_label, y_label = labels
    figure, (axes,) = panel()
    axes.axhline(0.0, color=INKS["muted"], linewidth=0.6)
    singles = 0
    inks = inks_of([*classes, *(one.series for one in points_ if not SINGLE.fullmatch(one.series))])
    for series, mine in _series(points_, tier):
        x, y = [one.x for one in mine], [one.estimate for one in mine]
        if SINGLE.fullmatch(series):
            axes.plot(x, y, color=INKS["muted"], linewidth=0.5, label="" if singles else "one layer")
            singles += 1
            continue
        ink = INKS[inks[series]]
        axes.plot(x, y, color=ink, linewidth=1.3, marker="o", markersize=3.5, label=series)
        for one in mine:
            if one.low is not None and one.high is not None:
                axes.plot([one.x, one.x], [one.low, one.high], color=ink, linewidth=0.8)
    axes.legend(frameon=False, fontsize=7, labelcolor=INKS["ink"])
    caption(axes, title=tier, x=x_label, y=y_label)
    return to_svg(figure, name=f"{name}-{tier}", label=f"{y_label} against {x_label}, on {tier}")


def sweep(points_: Sequence[Point], *, series: str, tiers: Sequence[str]) -> str:
    """Return one metric over the values of the gate, a line per tier."""
    figure, (axes,) = panel()
    title = axis_label(series, "")
    for tier, line in zip(tiers, TIER_STYLES, strict=False):
        mine = sorted((one for one in points_ if one.series == series and one.tier == tier), key=lambda one: one.x)
        if mine:
            x = [one.x for one in mine]
            axes.plot(x, [one.estimate for one in mine], color=INKS["first"], linestyle=line, label=tier)
            low, high = ([getattr(one, end) for one in mine] for end in ("low", "high"))
            axes.fill_between(x, np.asarray(low, float), np.asarray(high, float), color=INKS["first"], alpha=0.1, lw=0)
    caption(axes, title="", x="value in place of tanh(gate)", y=title)
    axes.legend(frameon=False, fontsize=7, labelcolor=INKS["ink"])
    return to_svg(figure, name=f"gate-{series.replace('/', '-')}", label=f"{title} over the values of the gate")


def _series(points_: Sequence[Point], tier: str) -> Iterator[tuple[str, list[Point]]]:
    for series in dict.fromkeys(one.series for one in points_):
        mine = sorted((one for one in points_ if one.series == series and one.tier == tier), key=lambda one: one.x)
        if mine:
            yield series, mine


def entropy_curves(entropy: NDArray[np.floating], classes: Mapping[str, Sequence[int]], *, name: str) -> str:
    """Return the attention entropy of every layer over the steps, coloured by class, from [layers, steps]."""
    figure, (axes,) = panel((3.6, 3.0))
    steps = np.arange(1, entropy.shape[1] + 1)
    shades = inks_of(classes)
    inks = {layer: shades[kind] for kind, layers in classes.items() for layer in layers}
    heights = _spread([float(row[-1]) for row in entropy], gap=0.042 * float(np.ptp(entropy)))
    for layer, row in enumerate(entropy):
        colour = INKS[inks.get(layer, "muted")]
        axes.plot(steps, row, color=colour, linewidth=1.0)
        axes.annotate(
            f"L{layer:02d}", (steps[-1], heights[layer]), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=6.5, color=colour, annotation_clip=False,
        )  # fmt: skip
    caption(axes, title=name, x="step", y="attention entropy, nats")
    return to_svg(figure, name=f"entropy-{name}", label=f"Attention entropy of every layer over the steps, {name}")


def _spread(values: Sequence[float], *, gap: float) -> list[float]:
    """Return heights near `values` that are `gap` apart, so that each has room for a label."""
    heights = list(values)
    order = sorted(range(len(values)), key=lambda index: values[index])
    for lower, upper in itertools.pairwise(order):
        heights[upper] = max(heights[upper], heights[lower] + gap)
    return heights


def attention_maps(maps: Sequence[AttentionMap], *, layer: int) -> str:
    """Return the maps of one layer side by side, on one scale; the bar on top is where the target is active."""
    mine = [one for one in maps if one.layer == layer]
    figure, axes = panel((1.55 * len(mine) + 0.3, 2.05), columns=len(mine))
    top = float(np.quantile(np.concatenate([one.weights.reshape(-1) for one in mine]), 0.995)) or 1.0
    for each, ax in zip(mine, axes, strict=True):
        frames = each.weights.shape[0]
        ax.imshow(each.weights, cmap=HEAT, vmin=0.0, vmax=top, interpolation="none", aspect="equal")
        for start, stop in _runs(each.span):
            ax.plot([start - 0.5, stop - 0.5], [-0.04 * frames] * 2, color=INKS["second"], linewidth=2.5, clip_on=False)
        ax.set_ylim(frames - 0.5, -0.06 * frames)
        ax.set_title(each.condition, fontsize=7.5, color=INKS["ink"])
        ax.set_xticks([])
        ax.set_yticks([])
    axes[0].set_ylabel(f"L{layer:02d}, step {mine[0].step}")
    return to_svg(figure, name=f"maps-{layer}", label=f"Self-attention of layer {layer} under the gate")


def _runs(span: NDArray[np.bool_] | None) -> list[tuple[int, int]]:
    """Return (start, stop) of every stretch of True."""
    if span is None:
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], span, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
