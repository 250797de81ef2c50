"""Interventions at inference time: where (`sites`), what (`edits`, `spans`, `probes`), until when (`attach`).

They act on any model whose modules have SAM Audio's names, ours and Meta's ``sam_audio.SAMAudio`` alike.
"""

from sam_lsac.interventions.attach import Attachment, attach, edits_of, first_acting_step
from sam_lsac.interventions.edit import CacheReport, Edit
from sam_lsac.interventions.edits import FreezeSelfAttention, UniformCrossAttention, ZeroAdditive, ZeroCrossAttention
from sam_lsac.interventions.probes import Record, Recording, attention_entropy, block_ratio, entropy_rates
from sam_lsac.interventions.spans import HijackGate, ShuffleSpans

__all__ = [
    "Attachment",
    "CacheReport",
    "Edit",
    "FreezeSelfAttention",
    "HijackGate",
    "Record",
    "Recording",
    "ShuffleSpans",
    "UniformCrossAttention",
    "ZeroAdditive",
    "ZeroCrossAttention",
    "attach",
    "attention_entropy",
    "block_ratio",
    "edits_of",
    "entropy_rates",
    "first_acting_step",
]
