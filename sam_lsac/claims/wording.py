"""How figures, intervals, shares and verdicts are written, the same in every form of the report."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from sam_lsac.claims.verdict import Finding
from sam_lsac.errors import InputError
from sam_lsac.metrics import column

__all__ = ["MARKS", "NOTHING", "effect", "figure", "number"]

NOTHING = "\N{EN DASH}"
MARKS: Mapping[str, str] = MappingProxyType(
    {"supported": "✓", "refuted": "✗", "inconclusive": "?", "shown": "•", "not run": NOTHING}
)
"""A sign for each verdict, so that none is told by colour alone."""

AXIS_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "layer_steps_saved": "layer-steps",
        "flops_saved": "total FLOPs",
        "self_attention_flops_saved": "self-attention FLOPs",
    }
)
WITHOUT_UNIT = ("growth", "gate", "Kendall's W", "Spearman rho", "saved share", "factor", "ratio")


def number(value: float | None, *, signed: bool = False) -> str:
    """Return two decimals where these say enough, else two significant digits; an en dash for None."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    digits = ".3g" if size >= 1000.0 else ".1f" if size >= 100.0 else ".2f" if size >= 0.1 or size == 0.0 else ".2g"
    if size < 1e-12:
        digits = ".2f"
    text = f"{value:{'+' if signed else ''}{digits}}"
    return text[1:] if text in ("-0.00", "+0.00") else text


def percent(share: float | None) -> str:
    """Return a fraction in per cent, with one decimal."""
    return NOTHING if share is None else f"{100.0 * share:.1f} %"


def unit(finding: Finding) -> str:
    """Return the unit of a finding's estimate, or the empty text."""
    if finding.quantity in WITHOUT_UNIT:
        return ""
    return "nats/step" if finding.quantity == "entropy rate" else unit_of(finding.metric)


def estimate(value: float | None, low: float | None, high: float | None, *, unit: str = "") -> str:
    """Return "value unit [low, high]" with as many decimals as the interval's width deserves, two at least."""
    if value is None or low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        return f"{number(value)} {unit}".rstrip()
    half = max(high - low, 0.0) / 2.0
    decimals = 2 if half <= 0.0 else min(6, max(2, math.ceil(-math.log10(half))))
    texts = [f"{part:.{decimals}f}" for part in (value, low, high)]
    texts = [text.removeprefix("-") if float(text) == 0.0 else text for text in texts]
    return f"{' '.join(part for part in (texts[0], unit) if part)} [{texts[1]}, {texts[2]}]"


def figure(finding: Finding) -> str:
    """Return an estimate with its unit and its interval."""
    if finding.quantity == "saved share":
        return percent(finding.estimate)
    if finding.quantity.endswith("flops_per_evaluation") and finding.estimate is not None:
        return f"{finding.estimate / 1e9:.1f} GFLOPs"
    times = "x" if finding.quantity in ("factor", "ratio") else ""
    return times + estimate(finding.estimate, finding.ci_low, finding.ci_high, unit=unit(finding))


def measured(value: float | None, metric: str, *, digits: str = ".3g") -> str:
    """Return a figure of a metric with its unit, in the format that `digits` names; an en dash for None."""
    return NOTHING if value is None else column(metric).text(value, digits=digits)


def p_text(p_adjusted: float | None) -> str:
    """Return an adjusted p value in words."""
    if p_adjusted is None:
        return "not tested"
    return "adjusted p < 0.0001" if p_adjusted < 1e-4 else f"adjusted p = {p_adjusted:.2g}"


def effect(d: float | None) -> str:
    """Return Cohen's d with its sign and two decimals."""
    if d is None or not math.isfinite(d):
        return number(d)
    return "0.00" if abs(d) < 0.005 else f"{d:+.2f}"


def metric_name(metric: str) -> str:
    """Return a metric as it is written in the field; several, joined by commas, as one text."""
    return ", ".join(column(one).label if _is_column(one) else one for one in metric.split(", ")) if metric else ""


def unit_of(metric: str) -> str:
    """Return the unit of a metric's figures; empty for what is no metric, such as a layer's name."""
    return column(metric).unit if _is_column(metric) else ""


def _is_column(metric: str) -> bool:
    try:
        column(metric)
    except InputError:
        return False
    return True
