"""The T5 text encoder of SAM Audio, by hub name or from a folder.

Its network is that of ``transformers``; its weights are read by our own loader, because ``transformers`` fills what is
missing or misnamed with random numbers and goes on. Nothing outside the checkpoint folder is read but a repository of
the hub.

References
----------
Meta, ``sam_audio/model/text_encoder.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Interval
from torch import Tensor, nn

from sam_lsac.errors import CheckpointError, InputError
from sam_lsac.model.blank import blank
from sam_lsac.model.config import Count, Epsilon, Share, TextEncoderConfig, Width
from sam_lsac.model.digest import Sources
from sam_lsac.model.json_files import read_json
from sam_lsac.model.weights import WeightFiles, find_weights, load_weights
from sam_lsac.records import STRICT, read

__all__ = ["T5TextEncoder", "load_text_encoder"]

#: Text encoders of the hub that a checkpoint may name; any other comes in the checkpoint's folder, and with its digest.
#: SAM Audio's have the second one (Meta, ``T5EncoderConfig``).
KNOWN_ENCODERS = tuple(f"{owner}t5-{size}" for owner in ("", "google-t5/") for size in ("small", "base", "large"))
_HUB_FILES = ("*.json", "*.model", "*.txt")
_PICKLES = ("pytorch_model.bin", "pytorch_model-?????-of-?????.bin")

#: Files that decide what the encoder computes, beside its weights: options, and whatever a tokenizer may read.
_TEXT_FILES = (".json", ".model", ".txt", ".tiktoken", ".jinja")

#: Parts of a whole T5, as the hub has it, that its encoder does not use.
_DECODER_PARTS = ("decoder", "lm_head")

#: T5 looks pieces up in one table, which whole models store under both names.
_TIED = {"encoder.embed_tokens.weight": "shared.weight"}

_PROBE = "man speaking"
_RESTORE = "restore the text encoder's folder from its source"
_PLACE = f"put its folder into the checkpoint folder, or name one of the hub: {', '.join(KNOWN_ENCODERS)}"


class T5TextEncoder(nn.Module):
    """Prompts to the last hidden state of a T5 encoder.

    Parameters
    ----------
    model
        A ``transformers.T5EncoderModel``; None where prompts are only counted in tokens.
    tokenizer
        Its tokenizer.
    config
        Padding and truncation.
    """

    def __init__(self, model: nn.Module | None, tokenizer: Any, config: TextEncoderConfig) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode B prompts: features [B, L, dim] and a mask [B, L], True where a token is kept.

        Raises
        ------
        InputError
            If the network was not loaded.
        """
        network, encoded = self._network(), self._tokens(texts)
        device = next(network.parameters()).device
        mask = encoded["attention_mask"].to(device)
        features = network(input_ids=encoded["input_ids"].to(device), attention_mask=mask).last_hidden_state
        return features, mask.bool()

    def n_tokens(self, texts: Sequence[str]) -> Tensor:
        """Count the tokens that are kept of B prompts, [B]; the network is not used."""
        kept: Tensor = self._tokens(list(texts))["attention_mask"].sum(dim=1)
        return kept

    def _network(self) -> nn.Module:
        if self.model is None:
            raise InputError(
                "This model was loaded to count prompts and not to encode them; load it without encodes_prompts=False."
            )
        return self.model

    def _tokens(self, texts: list[str]) -> Mapping[str, Tensor]:
        options: dict[str, Any] = {"max_length": self.config.max_length, "padding": self.config.pad_mode}
        return cast(Mapping[str, Tensor], self.tokenizer(texts, truncation=True, return_tensors="pt", **options))

    def save(self, folder: Path) -> None:
        """Write encoder and tokenizer into a folder; files are replaced whole, so that mapped weights stay valid.

        Raises
        ------
        InputError
            If the network was not loaded.
        """
        network = cast(Any, self._network())
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as new, _without_progress_bars():
            network.save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            for path in Path(new).iterdir():
                shutil.copymode(Path(new) / "config.json", path)  # safetensors lets nobody else read it
                path.replace(folder / path.name)


def load_text_encoder(
    config: TextEncoderConfig,
    folder: Path | None = None,
    *,
    local_files_only: bool = False,
    sources: Sources | None = None,
    encodes: bool = True,
) -> T5TextEncoder:
    """Load the encoder that a checkpoint names, every weight of it from the file.

    Parameters
    ----------
    config
        ``name`` is a folder inside ``folder`` where that exists, else a hub id.
    folder
        The checkpoint folder.
    local_files_only
        Never use the network.
    sources
        Notes what is read.
    encodes
        Whether the network is loaded, and not the tokenizer alone. What is noted is the same.

    Raises
    ------
    CheckpointError
        If the encoder cannot be found or read, lies outside the checkpoint folder, has another width than the
        configuration says, or its weights or its tokenizer do not fit.
    """
    place = _folder_of(config.name, folder, local_files_only=local_files_only)
    weights = find_weights(place, pickles=_PICKLES)
    for path in sorted([*weights, *(path for path in place.iterdir() if path.suffix in _TEXT_FILES)]):
        (sources or Sources()).note(f"text/{path.name}", path)
    options = _read_options(place / "config.json")
    if options.d_model != config.dim:
        raise CheckpointError(
            f"Text encoder {config.name!r} has width {options.d_model}, config.json says {config.dim}; take both from "
            "one checkpoint."
        )
    model = _load_network(weights, options) if encodes else None
    return T5TextEncoder(model, _load_tokenizer(place, options), config).eval().requires_grad_(False)


def _folder_of(name: str, folder: Path | None, *, local_files_only: bool) -> Path:
    """The folder that an encoder's name stands for, in the checkpoint or, for a hub id, in the hub's cache."""
    inside = None if folder is None or "\0" in name else folder / name
    try:
        if inside is not None and folder is not None and inside.is_dir():
            if folder.resolve() in inside.resolve().parents:
                return inside
        elif name in KNOWN_ENCODERS:
            return _download(name, local_files_only=local_files_only)
    except OSError as error:  # too long, or closed to this user
        raise CheckpointError(
            f"text_encoder.name = {name!r:.80} cannot be read ({error.strerror}); {_PLACE}."
        ) from error
    raise CheckpointError(
        f"text_encoder.name = {name!r:.80} is no folder inside the checkpoint and no known hub id; {_PLACE}."
    )


def _download(name: str, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download  # only needed for hub repositories

    try:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):  # the second only where the first is missing
            found = Path(
                snapshot_download(name, allow_patterns=[*_HUB_FILES, weights], local_files_only=local_files_only)
            )
            if any(found.glob(weights)):
                break
    except Exception as error:  # no network, no such repository, a full disk: of whatever type the hub's client raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"The text encoder {name!r} could not be loaded ({reason}). Put its folder into the checkpoint folder, or "
            "allow the download once and keep the cache."
        ) from error
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _T5Options:
    """What of a T5's ``config.json`` its encoder depends on, with T5's defaults, within bounds as in `config`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    vocab_size: Annotated[int, Interval(ge=1, le=2**21)] = 32128
    d_model: Width = 512
    d_kv: Annotated[int, Interval(ge=1, le=4096)] = 64
    d_ff: Annotated[int, Interval(ge=1, le=2**20)] = 2048
    num_layers: Count = 6
    num_heads: Count = 8
    relative_attention_num_buckets: Annotated[int, Interval(ge=4, le=65_536)] = 32
    relative_attention_max_distance: Annotated[int, Interval(ge=2, le=2**20)] = 128
    dropout_rate: Share = 0.1
    layer_norm_epsilon: Epsilon = 1e-6
    feed_forward_proj: Literal["relu", "gelu", "silu", "gated-relu", "gated-gelu", "gated-silu"] = "relu"

    def __post_init__(self) -> None:
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 4:
            raise CheckpointError(
                f"relative_attention_max_distance = {self.relative_attention_max_distance} must exceed a quarter of "
                f"relative_attention_num_buckets = {self.relative_attention_num_buckets}; {_RESTORE}."
            )


def _read_options(path: Path) -> _T5Options:
    content = read_json(path)
    if not isinstance(content, Mapping) or content.get("model_type") != "t5":
        raise CheckpointError(f'{path} is not of a T5 encoder: it must hold an object whose model_type is "t5".')
    known = {key: value for key, value in content.items() if key in _T5Options.__dataclass_fields__}
    return read(_T5Options, known, where=str(path), error=CheckpointError, remedy=_RESTORE)


def _load_network(weights: Sequence[Path], options: _T5Options) -> nn.Module:
    from transformers import T5Config, T5EncoderModel  # slow to import, and only needed with a prompt

    with blank():
        model = T5EncoderModel(T5Config(**asdict(options)))
    load_weights(
        model,
        WeightFiles(weights),
        device=torch.device("cpu"),
        dtypes={"": torch.float32},
        unused=_DECODER_PARTS,
        tied=_TIED,
    )
    model.tie_weights()  # two names of one tensor are one parameter again, which is saved once
    return cast(nn.Module, model)


def _load_tokenizer(folder: Path, options: _T5Options) -> Any:
    """The tokenizer of a folder, checked on a prompt: where its files are missing, transformers makes an empty one."""
    from transformers import AutoTokenizer

    for path in folder.glob("*.json"):
        read_json(path)  # its parser says more, and never ends the process
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        ids, n_pieces, unknown = tokenizer(_PROBE)["input_ids"], len(tokenizer), tokenizer.unk_token_id
        files = [value for key, value in tokenizer.init_kwargs.items() if key.endswith("_file") and value]
        outside = [
            file for file in files if Path(file).exists() and folder.absolute() not in Path(file).absolute().parents
        ]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # of any type; a panic of the tokenizers' Rust code is not even an Exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"The tokenizer in {folder} could not be loaded ({reason:.200}); {_RESTORE}.") from error
    if outside:
        raise CheckpointError(f"The tokenizer in {folder} reads {outside[0]}, outside of its folder; copy it there.")
    if n_pieces > options.vocab_size or not all(0 <= one < options.vocab_size for one in ids):
        raise CheckpointError(
            f"The tokenizer in {folder} has {n_pieces} pieces, the encoder an embedding for {options.vocab_size}; take "
            "both from one checkpoint."
        )
    if unknown in ids:
        raise CheckpointError(
            f"The tokenizer in {folder} does not know the letters of {_PROBE!r}; its files (tokenizer.json, "
            "spiece.model or tokenizer_config.json) are missing or empty. Restore them."
        )
    return tokenizer


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
