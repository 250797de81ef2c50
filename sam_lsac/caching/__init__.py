"""Caching over the steps of a solve: LSAC, the layer classes it goes by, branches at given steps, and their rivals."""

from sam_lsac.caching.baselines import DeepCache
from sam_lsac.caching.branches import CacheBranch, FittedBranch
from sam_lsac.caching.layers import SAM_AUDIO_SMALL, LayerClasses, classify_layers, layer_classes
from sam_lsac.caching.lsac import LEVELS, LSAC, CacheAttention, LSACLevel
from sam_lsac.caching.wrapped import WrappedSolve

__all__ = [
    "LEVELS",
    "LSAC",
    "SAM_AUDIO_SMALL",
    "CacheAttention",
    "CacheBranch",
    "DeepCache",
    "FittedBranch",
    "LSACLevel",
    "LayerClasses",
    "WrappedSolve",
    "classify_layers",
    "layer_classes",
]
