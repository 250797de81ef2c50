"""Load a model from a checkpoint folder or a hub repository, and save one.

A checkpoint folder holds ``config.json``, the weights (``model.safetensors``, its shards, or Meta's ``checkpoint.pt``),
and optionally the folder of the text encoder and ``layer_classes.json``.

References
----------
Meta, ``sam_audio/model/base.py``: the same two files and names.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from sam_lsac.bundled import bundled
from sam_lsac.errors import CheckpointError
from sam_lsac.model.config import MDCTConfig, SAMAudioConfig
from sam_lsac.model.sam_audio import SAMAudio
from sam_lsac.model.text import T5TextEncoder, load_text_encoder
from sam_lsac.model.weights import WeightFiles, load_weights

__all__ = ["KNOWN_MODELS", "load_model", "save_checkpoint"]

#: Names that `load_model` knows; any folder and any other hub repository of the same layout work too.
KNOWN_MODELS = (
    "embedded",
    "facebook/sam-audio-small",
    "facebook/sam-audio-base",
    "facebook/sam-audio-large",
    "facebook/sam-audio-small-tv",
    "facebook/sam-audio-base-tv",
    "facebook/sam-audio-large-tv",
)

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_META_WEIGHTS = "checkpoint.pt"
_LAYER_CLASSES = "layer_classes.json"
_TEXT_ENCODER = "text_encoder"
_EMBEDDED = bundled("checkpoint")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> SAMAudio:
    """Load a model for inference.

    Parameters
    ----------
    name
        ``"embedded"``, a checkpoint folder, or a hub repository such as ``"facebook/sam-audio-small"``.
    device
        Where the weights go. On ``"cpu"`` they are mapped from the file where no conversion is needed.
    dtype
        Floating-point type of the transformer and the projections around it; None is float32, also where the file
        stores less. The codec and the text encoder run once a solve and stay in float32.
    revision
        Commit, branch or tag of a hub repository; None is its newest.

    Returns
    -------
    SAMAudio
        In evaluation mode and without gradients; ``.name``, ``.checkpoint_digest``, ``.layer_classes`` and
        ``.load_report`` say what was loaded.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be found or read, or its names, shapes or options do not fit.
    """
    name = os.fspath(name)
    folder = _find(name, revision)
    config = _read_config(folder)
    with torch.device("meta"):
        model = SAMAudio(config)
    files = _weight_files(folder)
    dtypes = {"audio_codec": torch.float32, "": dtype or torch.float32}
    model.load_report = load_weights(model, WeightFiles(files), device=torch.device(device), dtypes=dtypes)
    _fill_buffers(model, torch.device(device))
    model.text_encoder = load_text_encoder(config.text_encoder, folder).to(torch.device(device))
    model.name = folder.resolve().name if name != "embedded" and Path(name).expanduser().is_dir() else name
    model.checkpoint_digest = _digest([folder / _CONFIG, *files], model.text_encoder, folder / config.text_encoder.name)
    model.layer_classes = _read_layer_classes(folder, config.transformer.n_layers)
    return model.eval().requires_grad_(False)


def save_checkpoint(model: SAMAudio, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint folder that `load_model` reads; the text encoder is included.

    Parameters
    ----------
    model
        What to save; its ``layer_classes`` are written too.
    folder
        Made where it is missing. Files are replaced whole, so that a model mapped from them stays valid.
    dtype
        Storage type of floating-point weights, for example ``torch.float16``; None stores what the model has.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().cpu().to(dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith("text_encoder.")
    }
    config: dict[str, Any] = asdict(model.config)
    config["audio_codec"]["kind"] = "mdct" if isinstance(model.config.audio_codec, MDCTConfig) else "dacvae"
    if model.text_encoder is not None:
        config["text_encoder"]["name"] = _TEXT_ENCODER  # the checkpoint then needs nothing from elsewhere
        model.text_encoder.save(folder / _TEXT_ENCODER)
    _write_json(folder / _CONFIG, config)
    new = folder / f"{_WEIGHTS}.new"
    save_file(state, new, metadata={"format": "pt"})
    shutil.copymode(folder / _CONFIG, new)  # safetensors lets nobody else read it
    new.replace(folder / _WEIGHTS)
    if model.layer_classes is not None:
        _write_json(folder / _LAYER_CLASSES, model.layer_classes)


def _find(name: str, revision: str | None) -> Path:
    """The folder that a name stands for; downloads it where it is a hub repository."""
    folder = _EMBEDDED if name == "embedded" else Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"revision = {revision!r} belongs to hub repositories; {name!r} is a folder.")
        return folder
    if name == "embedded":
        raise CheckpointError(
            f"The embedded checkpoint is not at {folder}; it comes with the source, not with the installed package."
        )
    if folder.is_file():
        raise CheckpointError(f"{name!r} is a file; give the checkpoint folder that holds it.")
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"There is no model or folder {name!r}.{_nearest(name)}")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # only needed for hub repositories
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    patterns = [_CONFIG, _META_WEIGHTS, "model*.safetensors", _LAYER_CLASSES, f"{_TEXT_ENCODER}/*"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise CheckpointError(
            f"Access to {name!r} is gated: ask for it on its page, https://huggingface.co/{name}, "
            "and after it is granted log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{name!r} has no revision {revision!r}; give a commit, branch or tag of it.") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"There is no folder and no hub repository {name!r}, or it is private.{_nearest(name)} "
            "A private or gated repository needs `hf auth login` first."
        ) from error
    except Exception as error:  # no network, HF_HUB_OFFLINE, a full disk: of whatever type the hub's HTTP client raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name!r} is not a folder and could not be fetched from the hub ({reason}). "
            f"With a network, ask for access on https://huggingface.co/{name} and log in with `hf auth login`; without "
            f"one, download it elsewhere and give the folder.{_nearest(name)}"
        ) from error


def _nearest(name: str) -> str:
    short = {known.split("/")[-1]: known for known in KNOWN_MODELS} | {known: known for known in KNOWN_MODELS}
    if name in KNOWN_MODELS:
        return ""
    near = difflib.get_close_matches(name, list(short), n=1, cutoff=0.5)
    return f" Did you mean {short[near[0]]!r}?" if near else f" Known names: {', '.join(KNOWN_MODELS)}."


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}; a checkpoint folder needs it.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); restore it from its source.") from error


def _write_json(path: Path, content: Any) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(path)


def _read_config(folder: Path) -> SAMAudioConfig:
    content = _read_json(folder / _CONFIG)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{folder / _CONFIG} must hold one JSON object.")
    return SAMAudioConfig.from_dict(content)


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors file or its shards, else Meta's checkpoint."""
    for found in (
        [folder / _WEIGHTS],
        sorted(folder.glob("model-?????-of-?????.safetensors")),
        [folder / _META_WEIGHTS],
    ):
        if found and all(path.is_file() for path in found):
            return found
    raise CheckpointError(f"{folder} has no weights; it needs {_WEIGHTS} or {_META_WEIGHTS} beside {_CONFIG}.")


def _read_layer_classes(folder: Path, n_layers: int) -> dict[str, list[int]] | None:
    path = folder / _LAYER_CLASSES
    if not path.is_file():
        return None
    classes = _read_json(path)
    names = ("stable", "moderate", "fast")
    if not isinstance(classes, dict) or not set(names) <= set(classes):
        raise CheckpointError(f'{path} must hold one list of layers for each of "stable", "moderate" and "fast".')
    layers = [layer for name in names for layer in classes[name]]
    if sorted(layers) != sorted(set(layers) & set(range(n_layers))):
        raise CheckpointError(
            f"{path}: each layer may occur once and must lie in 0..{n_layers - 1}, but they are {layers}."
        )
    return {name: list(classes[name]) for name in names}


def _digest(files: list[Path], text_encoder: T5TextEncoder, text_folder: Path) -> str:
    """SHA-256 of everything that decides what the model computes; a text encoder from the hub counts by its commit."""
    entries = [(path.name, path) for path in files]
    if text_folder.is_dir():
        entries += [(f"text/{path.name}", path) for path in sorted(text_folder.iterdir()) if path.is_file()]
    total = hashlib.sha256(f"text {text_encoder.commit}\n".encode())
    for label, path in entries:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{label} {content}\n".encode())
    return total.hexdigest()


def _fill_buffers(module: nn.Module, device: torch.device) -> None:
    """Compute the buffers that a checkpoint does not hold and that the meta device left empty."""
    for part in module.modules():
        if any(buffer.is_meta for buffer in part.buffers(recurse=False)):
            with device:
                cast(Any, part).reset_buffers()
