"""What a column of figures is: the registry of metrics, that of comparisons with another arm's output, and probes."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from sam_lsac.errors import InputError
from sam_lsac.metrics.bss import sar, sar_museval
from sam_lsac.metrics.columns import Column, Metric
from sam_lsac.metrics.fidelity import fidelity, log_spectral_distance
from sam_lsac.metrics.snr import si_snr, si_snr_improvement
from sam_lsac.metrics.speech import pesq, stoi
from sam_lsac.records import unknown

__all__ = ["COMPARISONS", "DEFAULT_METRICS", "METRICS", "column", "comparison"]


def _rows(*rows: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({row.name: row for row in rows})


METRICS = _rows(
    Metric(name="si_snr", label="SI-SNR", unit="dB", score=lambda w: si_snr(w["estimate"], w["target"])),
    Metric(
        name="si_snri",
        label="SI-SNRi",
        unit="dB",
        score=lambda w: si_snr_improvement(w["estimate"], w["target"], mixture=w["wave"]),
    ),
    Metric(name="sar", label="SAR", unit="dB", score=lambda w: sar(w["estimate"], w["target"], residual=w["residual"])),
    Metric(
        name="stoi",
        label="STOI",
        score=lambda w: stoi(w["estimate"], w["target"], sample_rate=w["sample_rate"]),
    ),
    Metric(
        name="pesq",
        label="PESQ",
        unit="MOS",
        score=lambda w: pesq(w["estimate"], w["target"], sample_rate=w["sample_rate"]),
    ),
    Metric(
        name="sar_museval",
        label="SAR (museval)",
        unit="dB",
        score=lambda w: sar_museval(w["estimate"], w["target"], residual=w["residual"]),
        default=False,
    ),
)
"""The registry of metrics, by column name."""

COMPARISONS = _rows(
    Metric(
        name="fidelity",
        label="Fidelity",
        unit="dB",
        score=lambda w: fidelity(w["estimate"], w["reference"]),
    ),
    Metric(
        name="log_spectral_distance",
        label="Log-spectral distance",
        unit="dB",
        higher_is_better=False,
        score=lambda w: log_spectral_distance(w["estimate"], w["reference"]),
    ),
)
"""The registry of scores against another arm's output, by the part of a column's name before "/ARM"."""

DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.default)
"""Names of the metrics that are taken of every run."""

_PROBE = re.compile(r"(block_ratio|block_ratio_sum)/(mean|L\d\d)")
_PROBE_LABELS = {"block_ratio": "Block Ratio", "block_ratio_sum": "Block Ratio (sums)"}


def column(name: str) -> Column:
    """Return what a column of a ledger is: a metric, a comparison such as "fidelity/baseline", or "block_ratio/L06".

    Raises
    ------
    InputError
        If there is no such column.
    """
    if name in METRICS:
        return METRICS[name]
    if found := _PROBE.fullmatch(name):
        return Column(name=name, label=f"{_PROBE_LABELS[found.group(1)]} {found.group(2)}")
    kind, slash, arm = name.partition("/")
    if slash and arm.strip() and kind in COMPARISONS:
        row = COMPARISONS[kind]
        label = f"{row.label} to {arm}"
        return Column(name=name, label=label, unit=row.unit, higher_is_better=row.higher_is_better)
    compared = [comparison(kind, "baseline") for kind in COMPARISONS]
    raise InputError(unknown("metric", name, (*METRICS, *compared, "block_ratio/mean", "block_ratio/L06")))


def comparison(kind: str, arm: str) -> str:
    """Return the name of the column that compares with an arm's output, such as "fidelity/baseline"."""
    return f"{kind}/{arm}"
