"""Load a model from a checkpoint folder or a hub repository, and save one.

A checkpoint folder holds ``config.json``, the weights (``model.safetensors``, its shards, or Meta's ``checkpoint.pt``),
and optionally the folder of the text encoder and ``layer_classes.json``.

References
----------
Meta, ``sam_audio/model/base.py``: the same two files and names.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file

from sam_lsac.bundled import bundled
from sam_lsac.errors import CheckpointError
from sam_lsac.model.blank import blank, fill_buffers
from sam_lsac.model.config import MDCTConfig, SAMAudioConfig
from sam_lsac.model.devices import check_device, check_dtype
from sam_lsac.model.digest import Sources
from sam_lsac.model.json_files import read_json, write_json
from sam_lsac.model.sam_audio import SAMAudio
from sam_lsac.model.text import load_text_encoder
from sam_lsac.model.weights import WeightFiles, find_weights, load_weights
from sam_lsac.records import STRICT, read

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
    encodes_prompts: bool = True,
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
    encodes_prompts
        False leaves the text encoder's network, whose library is slow to import, where it is: prompts can then be
        counted in tokens, and nothing can be separated. The digest is the same.

    Returns
    -------
    SAMAudio
        In evaluation mode and without gradients; ``.name``, ``.checkpoint_digest``, ``.layer_classes`` and
        ``.load_report`` say what was loaded.

    Raises
    ------
    ModelError
        If this machine does not have the device, or the model cannot compute in the type.
    CheckpointError
        If the checkpoint cannot be found or read, its names, shapes, types or options do not fit, or a weight is not
        finite.
    """
    name = os.fspath(name)
    device, dtypes = check_device(device), {"audio_codec": torch.float32, "": check_dtype(dtype)}
    folder, sources = _find(name, revision), Sources()
    config = _read_config(sources.note(_CONFIG, folder / _CONFIG))
    with blank():
        model = SAMAudio(config)
    files = [sources.note(path.name, path) for path in find_weights(folder, pickles=[_META_WEIGHTS])]
    model.load_report = load_weights(model, WeightFiles(files), device=device, dtypes=dtypes)
    fill_buffers(model, device)
    text_encoder = load_text_encoder(config.text_encoder, folder, sources=sources, encodes=encodes_prompts)
    model.text_encoder = text_encoder.to(device)
    model.name = name if name == "embedded" or not Path(name).expanduser().is_dir() else folder.resolve().name
    model.checkpoint_digest, model.folder = sources.digest(), folder
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
    write_json(folder / _CONFIG, config)
    new = folder / f"{_WEIGHTS}.new"
    save_file(state, new, metadata={"format": "pt"})
    shutil.copymode(folder / _CONFIG, new)  # safetensors lets nobody else read it
    new.replace(folder / _WEIGHTS)
    if model.layer_classes is not None:
        write_json(folder / _LAYER_CLASSES, model.layer_classes)


def _find(name: str, revision: str | None) -> Path:
    """The folder that a name stands for; downloads it where it is a hub repository."""
    try:
        folder = _EMBEDDED if name == "embedded" else Path(name).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, of no user, behind a folder that is closed
        raise CheckpointError(f"{name[:80]!r} cannot be a folder ({error!s:.200}); give the checkpoint's.") from error
    if is_folder:
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


def _read_config(path: Path) -> SAMAudioConfig:
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} must hold one JSON object; restore it from the checkpoint's source.")
    return SAMAudioConfig.from_dict(content, where=str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerClassesFile:
    """``layer_classes.json``: layers by class, and what `calibrate` measured beside them."""

    __pydantic_config__: ClassVar[Any] = STRICT

    stable: tuple[int, ...]
    moderate: tuple[int, ...]
    fast: tuple[int, ...]
    rates: tuple[float, ...] = ()
    entropy: tuple[tuple[float, ...], ...] = ()
    n_mixtures: int = 0


def _read_layer_classes(folder: Path, n_layers: int) -> dict[str, list[int]] | None:
    path = folder / _LAYER_CLASSES
    if not path.is_file():
        return None
    remedy = f"write it with `python -m sam_lsac calibrate --model {folder} --out {path}`"
    found = read(_LayerClassesFile, read_json(path), where=str(path), error=CheckpointError, remedy=remedy)
    classes = {"stable": found.stable, "moderate": found.moderate, "fast": found.fast}
    layers = sorted(layer for named in classes.values() for layer in named)
    if layers != list(range(n_layers)):
        raise CheckpointError(
            f"{path}: must name each of the layers 0 to {n_layers - 1} once, but names {reprlib.repr(layers)}: {remedy}"
        )
    return {name: list(named) for name, named in classes.items()}
