"""A random model with the transform codec, short noise bursts as mixtures, and a few arms: a bench of seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_lsac.mixtures import Mixture
from sam_lsac.mixtures.audio import on_grid
from sam_lsac.model import SAMAudio
from sam_lsac.model.config import SAMAudioConfig
from sam_lsac.runs import Arm
from tests import tiny_models

RATE, HOP, LAYERS = 8000, 128, 4
BANDS = (16, 16, 32)
CHANNELS = sum(BANDS) + len(BANDS)
CLASSES = {"stable": [1], "moderate": [0], "fast": [2, 3]}

#: Arms of four steps; what they are compared with is "baseline".
ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "lsac": {"edits": ({"kind": "LSAC", "level": "balanced"},)},
    "lsac-safe": {"edits": ({"kind": "LSAC", "level": "safe"},)},
    "freeze-late": {"edits": ({"kind": "FreezeSelfAttention", "layers": "fast", "step": 3},)},
    "naive": {"solver": "euler:3"},
    "deepcache": {"edits": ({"kind": "DeepCache", "interval": 2},)},
    "zero-additive": {"edits": ({"kind": "ZeroAdditive"},)},
    "uniform": {"edits": ({"kind": "UniformCrossAttention"},)},
    "text-none": {"text": False},
    "midpoint": {"solver": "midpoint:4"},
    "lsac-midpoint": {"solver": "midpoint:4", "edits": ({"kind": "LSAC", "level": "balanced"},)},
    "ab2": {"solver": "ab2:4"},
    "freeze-late-ab2": {"solver": "ab2:4", "edits": ({"kind": "FreezeSelfAttention", "layers": "fast", "step": 3},)},
    "spans": {"spans": True},
    "gate": {"spans": True, "edits": ({"kind": "HijackGate", "value": 1.0},)},
    "gate-again": {"spans": True, "edits": ({"kind": "HijackGate", "value": 1},)},
    "shuffled": {"spans": True, "edits": ({"kind": "HijackGate", "value": 1.0}, {"kind": "ShuffleSpans", "seed": 0})},
}


def arms(*names: str, **more: dict[str, Any]) -> dict[str, Arm]:
    """Some of `ARMS` and more, all where none is named."""
    rows = ARMS | more
    return {name: Arm(name=name, **{"solver": "euler:4", **rows[name]}) for name in names or rows}


def model(seed: int = 0) -> SAMAudio:
    """Four layers and their classes."""
    config = tiny_models.config_dict(n_layers=LAYERS, out_channels=2 * CHANNELS)
    config |= {"audio_codec": {"kind": "mdct", "gain_widths": list(BANDS), "floor": 1e-4}, "in_channels": 6 * CHANNELS}
    built = SAMAudio(SAMAudioConfig.from_dict(config), tiny_models.text_encoder(seed))
    tiny_models.fill(built, seed)
    built.layer_classes = CLASSES
    return built.eval().requires_grad_(False)


def mixture(index: int = 0, *, n_samples: int = 16 * HOP, sample_rate: int = RATE, **changes: Any) -> Mixture:
    """White noise; the target sounds in the first half."""
    rng = np.random.default_rng(index)
    target = rng.normal(0.0, 0.1, n_samples)
    target[n_samples // 2 :] *= 1e-3
    values: dict[str, Any] = {
        "id": f"clean-{index:03d}",
        "tier": "clean",
        "target": on_grid(target),
        "residual": on_grid(rng.normal(0.0, 0.1, n_samples)),
        "sample_rate": sample_rate,
        "prompt": ("dog", "man speaking", "rain")[index % 3],
        "residual_prompt": None,
        "spans": (("+", 0.0, n_samples / 2 / sample_rate),),
        "group": "dog",
        "credits": (),
    }
    return Mixture(**(values | changes))


def mixtures(n: int = 3) -> list[Mixture]:
    """Several of one length, with prompts of different lengths."""
    return [mixture(index) for index in range(n)]
