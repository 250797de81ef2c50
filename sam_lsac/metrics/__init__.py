"""Scores of one separated source, as pure functions of (estimate, reference).

One rule holds for every metric: a score is either a finite number, or NaN together with the reason. Nothing is
clipped, replaced by a constant or left out, so that pairs are dropped in one later place, where they are counted. Where
there is no figure because the estimate is silent or not finite, the score says that it has failed.

==========================  ====  ==============================================================================
column                      unit  meaning
==========================  ====  ==============================================================================
si_snr                      dB    scale-invariant signal-to-noise ratio, both signals with zero mean (`snr`)
si_snri                     dB    the same, less the SI-SNR of the unprocessed mixture
sar                         dB    signal-to-artefacts ratio of BSS-eval with the two true sources and 512-tap
                                  filters (`bss`)
stoi                        1     short-time objective intelligibility, computed by pystoi (`speech`)
pesq                        MOS   PESQ, computed by pesq: narrow-band at 8 kHz, wide-band (after resampling) at any
                                  other rate
sar_museval                 dB    SAR as museval computes it; taken only where a claim names it
fidelity/ARM                dB    SI-SNR against the output of that arm for the same mixture and noise (`fidelity`)
log_spectral_distance/ARM   dB    distance of the spectra from that output's, at three resolutions; less is better
==========================  ====  ==============================================================================

A module has one family of scores; `registry` names them all.
"""

from sam_lsac.metrics.bss import sar, sar_museval
from sam_lsac.metrics.columns import Column, Metric
from sam_lsac.metrics.fidelity import fidelity, log_spectral_distance
from sam_lsac.metrics.registry import COMPARISONS, DEFAULT_METRICS, METRICS, column, comparison
from sam_lsac.metrics.score import Score
from sam_lsac.metrics.scoring import compare, measure
from sam_lsac.metrics.snr import UNBOUNDED_SI_SNR, si_snr, si_snr_improvement
from sam_lsac.metrics.speech import pesq, stoi

__all__ = [
    "COMPARISONS",
    "DEFAULT_METRICS",
    "METRICS",
    "UNBOUNDED_SI_SNR",
    "Column",
    "Metric",
    "Score",
    "column",
    "compare",
    "comparison",
    "fidelity",
    "log_spectral_distance",
    "measure",
    "pesq",
    "sar",
    "sar_museval",
    "si_snr",
    "si_snr_improvement",
    "stoi",
]
