"""The T5 text encoder of SAM Audio, by hub name or from a folder.

References
----------
Meta, ``sam_audio/model/text_encoder.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from sam_lsac.errors import CheckpointError
from sam_lsac.model.config import TextEncoderConfig

__all__ = ["T5TextEncoder", "load_text_encoder"]


class T5TextEncoder(nn.Module):
    """Prompts to the last hidden state of a T5 encoder.

    Parameters
    ----------
    model
        A ``transformers.T5EncoderModel``.
    tokenizer
        Its tokenizer.
    config
        Padding and truncation.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, config: TextEncoderConfig) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode B prompts: features [B, L, dim] and a mask [B, L], True where a token is kept."""
        device = next(self.model.parameters()).device
        encoded = self.tokenizer(
            texts, truncation=True, max_length=self.config.max_length, padding=self.config.pad_mode, return_tensors="pt"
        )
        mask = encoded["attention_mask"].to(device)
        features = self.model(input_ids=encoded["input_ids"].to(device), attention_mask=mask).last_hidden_state
        return features, mask.bool()

    @property
    def commit(self) -> str | None:
        """Commit of the hub repository that the encoder comes from; None for a folder."""
        return getattr(self.model.config, "_commit_hash", None)

    def save(self, folder: Path) -> None:
        """Write encoder and tokenizer into a folder; files are replaced whole, so that mapped weights stay valid."""
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as new, _without_progress_bars():
            cast(Any, self.model).save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            for path in Path(new).iterdir():
                shutil.copymode(Path(new) / "config.json", path)  # safetensors lets nobody else read it
                path.replace(folder / path.name)


def load_text_encoder(
    config: TextEncoderConfig, folder: Path | None = None, *, local_files_only: bool = False
) -> T5TextEncoder:
    """Load the encoder that a checkpoint names.

    Parameters
    ----------
    config
        ``name`` is a folder inside ``folder`` where that exists, else a hub id.
    folder
        The checkpoint folder.
    local_files_only
        Never use the network.

    Raises
    ------
    CheckpointError
        If the encoder cannot be found or has another width than the configuration says.
    """
    from transformers import AutoTokenizer, T5EncoderModel  # slow to import, and only needed with a prompt

    local = folder / config.name if folder is not None else None
    source = str(local) if local is not None and local.is_dir() else config.name
    try:
        with _without_progress_bars():
            model = T5EncoderModel.from_pretrained(source, local_files_only=local_files_only, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The text encoder {config.name!r} could not be loaded ({str(error).splitlines()[0]}). Put its folder into "
            "the checkpoint folder, or allow the download once and keep the cache."
        ) from error
    if model.config.d_model != config.dim:
        raise CheckpointError(
            f"Text encoder {config.name!r} has width {model.config.d_model}, config.json says {config.dim}."
        )
    return T5TextEncoder(model, tokenizer, config).eval().requires_grad_(False)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from printing while weights are read."""
    from transformers.utils import logging as transformers_logging

    logging = cast(Any, transformers_logging)  # its functions are not annotated
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
