"""Small random models in the layouts of real checkpoints, shared by the tests of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from sam_lsac.model import Conditions, SAMAudio
from sam_lsac.model.config import SAMAudioConfig, TextEncoderConfig
from sam_lsac.model.dacvae import ResidualUnit, WatermarkEncoder
from sam_lsac.model.text import T5TextEncoder

CHANNELS, TEXT_DIM, VIDEO_DIM, DIM, HEADS = 4, 16, 6, 32, 4

#: The smallest DACVAE whose watermark branch still has channels; its hop is Meta's, 1920.
TINY_DACVAE = {"encoder_dim": 2, "latent_dim": 8, "decoder_dim": 96, "codebook_dim": CHANNELS}

#: Kinds of inputs that `conditions` makes.
INPUTS = {
    "all": {},
    "video": {"video": "some"},
    "no video": {"video": None},
    "no spans": {"spans": False},
    "no padding": {"padding": False},
    "one token": {"n_tokens": 1},
    "no text": {"n_tokens": None},
}


def config_dict(**transformer: Any) -> dict[str, Any]:
    """What ``config.json`` of a checkpoint in Meta's layout says."""
    return {
        "in_channels": 6 * CHANNELS,
        "audio_codec": dict(TINY_DACVAE),
        "text_encoder": {"name": "text_encoder", "dim": TEXT_DIM},
        "vision_encoder": {"dim": VIDEO_DIM, "name": "PE-Core-L14-336", "batch_size": 300},
        "transformer": {
            "dim": DIM,
            "n_heads": HEADS,
            "n_layers": 2,
            "context_dim": DIM,
            "out_channels": 2 * CHANNELS,
            "max_positions": 64,
            "frequency_embedding_dim": 24,
            **transformer,
        },
        "span_predictor": "pe-a-frame-large",
        "visual_ranker": {"kind": "imagebind"},
        "text_ranker": None,
    }


def text_encoder(seed: int = 0) -> T5TextEncoder:
    """A random T5 with byte tokens."""
    torch.manual_seed(seed)
    size = T5Config(vocab_size=384, d_model=TEXT_DIM, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    config = TextEncoderConfig(name="text_encoder", dim=TEXT_DIM)
    return T5TextEncoder(T5EncoderModel(size).eval(), ByT5Tokenizer(), config)


def fill(module: torch.nn.Module, seed: int = 0) -> None:
    """Random parameters without a neutral value anywhere, so that leaving one out shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            low, high = (0.5, 1.5) if "norm" in name or name.endswith(("alpha", "gate")) else (-0.5, 0.5)
            if name.endswith("weight") and parameter.ndim > 1:
                high = (3 / parameter[0].numel()) ** 0.5
                low = -high
            parameter.uniform_(low, high, generator=generator)
        for (
            part
        ) in module.modules():  # keeps the deep codec from chaos, in which rounding would grow, and its tanh open
            if isinstance(part, ResidualUnit):
                part.block[3].weight.mul_(0.3)
            elif isinstance(part, WatermarkEncoder):
                part.pre[1].weight.mul_(0.3)


def model(seed: int = 0, **transformer: Any) -> SAMAudio:
    """A random model in Meta's layout, with a text encoder."""
    built = SAMAudio(SAMAudioConfig.from_dict(config_dict(**transformer)), text_encoder(seed))
    fill(built, seed)
    return built.eval().requires_grad_(False)


def conditions(
    *, n_tokens: int | None = 5, video: str | None = "zero", spans: bool = True, padding: bool = True
) -> tuple[Conditions, Tensor]:
    """Conditions of three examples of 20, 13 and 6 frames, and a state, [3, 20, 2 C]."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    frames = torch.arange(20)[None] < torch.tensor([20, 13, 6])[:, None]  # [3, 20]
    alignment = (~frames).long()
    alignment[0, 2:7], alignment[1, 5:11] = 2, 3
    ids = torch.tensor([[0, 3, 1, 2], [0, 3, 3, 1], [0, 3, 3, 3]])
    videos = {"zero": torch.zeros(3, VIDEO_DIM, 20), "some": draw(3, VIDEO_DIM, 20), None: None}
    features = draw(3, 20, CHANNELS)
    given = Conditions(
        audio_features=torch.cat([features, draw(3, 20, CHANNELS)], dim=2),
        text_features=None if n_tokens is None else draw(3, n_tokens, TEXT_DIM),
        text_mask=torch.arange(n_tokens)[None] < torch.tensor([n_tokens, max(1, n_tokens - 2), 1])[:, None]
        if n_tokens and padding
        else None,
        masked_video_features=videos[video],
        anchor_ids=ids if spans else None,
        anchor_alignment=alignment if spans else None,
        audio_pad_mask=frames if padding else None,
    )
    return given, draw(3, 20, 2 * CHANNELS)


def write_meta_checkpoint(folder: Path, built: SAMAudio, extra: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Write ``config.json``, ``checkpoint.pt`` and the text encoder as Meta does."""
    state: dict[str, Tensor] = {}
    for name, tensor in built.state_dict().items():
        if name.startswith("text_encoder."):
            continue
        if is_weight_normed(name):
            magnitude = tensor.flatten(1).norm(dim=1).view(-1, 1, 1)
            state[name + "_g"], state[name + "_v"] = magnitude, 3 * tensor
        else:
            state[name] = tensor.clone()
    state |= {"vision_encoder.model.weight": torch.zeros(3, 3), "span_predictor.bias": torch.zeros(2)}
    state |= extra or {}
    built.text_encoder.save(folder / "text_encoder")
    torch.save(state, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps(config_dict(n_layers=built.config.transformer.n_layers)))
    return state


def is_weight_normed(name: str) -> bool:
    """Whether Meta's codec stores this weight as a weight-norm pair: all but the watermark's causal convolutions."""
    if not (name.startswith("audio_codec.") and name.endswith(".weight")):
        return False
    causal_in_block = any(f".block.{i}." in name.split("decoder.model.")[-1] for i in (3, 6, 7, 11))
    if "decoder.model." in name:
        position = name.split("decoder.model.")[1].split(".")
        return position[1] == "weight" or position[2] not in ("3", "6", "7", "11") or not causal_in_block
    return "wm_model" not in name or name.endswith("encoder_block.pre.1.weight")
