"""A badge: one small SVG file that says how many claims hold on which checkpoint, for a README."""

from html import escape
from pathlib import Path

from sam_lsac.claims import Status
from sam_lsac.claims.wording import MARKS
from sam_lsac.legible import legible
from sam_lsac.report.model import Report
from sam_lsac.report.write import write_whole

__all__ = ["badge", "write_badge"]

NAME = "badge.svg"
COLOURS: dict[Status, str] = {
    "supported": "#1d6b38",
    "refuted": "#a3231f",
    "inconclusive": "#7a5200",
    "shown": "#14609c",
    "not run": "#5b6067",
}
LABEL = "#33373d"
WIDEST = 24  # characters of a checkpoint's name
EACH, PAD, HEIGHT = 6.6, 7.0, 20  # pixels of a character at 11 px, beside a text, and of the badge


def badge(report: Report) -> str:
    """Return the SVG: the checkpoint, then how many claims are supported and refuted, each with its sign.

    The colour is that of the worst: refuted where any claim is, supported where some are and none is refuted, and
    grey where nothing was decided; figures that are shown and not judged decide nothing.
    """
    report = legible(report)
    counts = report.counts
    name = report.environment.checkpoint
    name = name if len(name) <= WIDEST else f"{name[: WIDEST - 1]}…"
    decided: tuple[Status, ...] = ("supported", "refuted")
    words = "  ".join(f"{MARKS[status]} {counts[status]} {status}" for status in decided)
    worst: Status = "refuted" if counts["refuted"] else "supported" if counts["supported"] else "not run"
    label = f"claims on {name}"
    left, right = (round(EACH * len(text) + 2 * PAD) for text in (label, words))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(f"{label}: {words}")}">\n'
        f"<title>{escape(f'{label}: {words}')}</title>\n"
        f'<rect width="{left}" height="{HEIGHT}" fill="{LABEL}"/>\n'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[worst]}"/>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f"{_text(label, left / 2, left)}{_text(words, left + right / 2, right)}</g>\n</svg>\n"
    )


def _text(words: str, middle: float, width: int) -> str:
    """Return a text that takes its share of the badge whatever font there is."""
    size = f'textLength="{width - 2 * PAD:g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{middle:g}" y="14" {size}>{escape(words)}</text>\n'


def write_badge(report: Report, folder: Path | str) -> Path:
    """Write badge.svg into a folder, which is made, and return it.

    Raises
    ------
    StoreError
        If the folder cannot be written to.
    """
    return write_whole(Path(folder) / NAME, badge(report))
