"""Proof, per release, of what attention caching does to SAM Audio.

``load_model`` gives a model, ``separate`` runs it with edits attached, ``attach`` puts the same edits around Meta's own
class, ``LSAC`` makes caching schedules, ``tune`` fits a solve with fewer evaluations, ``count_flops`` says what they
save. The claims of the paper are judged by the suite in ``bench/``.

References
----------
"Inside the Latent Flow: Causal Deciphering of Attention Dynamics in Audio Separation Foundation Models" (the paper).
"""

from sam_lsac.caching import LSAC, CacheAttention, DeepCache, LayerClasses, WrappedSolve
from sam_lsac.costs import count_flops
from sam_lsac.errors import SamLsacError
from sam_lsac.interventions import (
    FreezeSelfAttention,
    HijackGate,
    Record,
    ShuffleSpans,
    UniformCrossAttention,
    ZeroAdditive,
    ZeroCrossAttention,
    attach,
)
from sam_lsac.mixtures import Mixture, load_mixtures
from sam_lsac.model import load_model
from sam_lsac.schedule import Found, load_schedule
from sam_lsac.separate import Separation, separate
from sam_lsac.solver import AB2, AB3, EPSS, Euler, Fitted, Heun, Midpoint, Points, Sway
from sam_lsac.tune import tune

__all__ = [
    "AB2",
    "AB3",
    "EPSS",
    "LSAC",
    "CacheAttention",
    "DeepCache",
    "Euler",
    "Fitted",
    "Found",
    "FreezeSelfAttention",
    "Heun",
    "HijackGate",
    "LayerClasses",
    "Midpoint",
    "Mixture",
    "Points",
    "Record",
    "SamLsacError",
    "Separation",
    "ShuffleSpans",
    "Sway",
    "UniformCrossAttention",
    "WrappedSolve",
    "ZeroAdditive",
    "ZeroCrossAttention",
    "attach",
    "count_flops",
    "load_mixtures",
    "load_model",
    "load_schedule",
    "separate",
    "tune",
]
