"""SAM Audio, inference only, with Meta's module and parameter names."""

from sam_lsac.model.checkpoint import load_model, save_checkpoint
from sam_lsac.model.sam_audio import Conditions, SAMAudio

__all__ = ["Conditions", "SAMAudio", "load_model", "save_checkpoint"]
