"""The tensors of a checkpoint on disk: which are there, which are needed, and how they get into a module.

Nothing executable in a file is ever run: ``.safetensors`` holds none, and every other file is read with PyTorch's
weights-only unpickler. Every weight of a module must be there, in its shape, and finite: none is ever left as it was
initialised. Files are memory-mapped, so that a tensor which needs no conversion is never copied; tensors
that do (another dtype, another device, folded weight norm) are converted in groups whose mapping is dropped
afterwards, so that a load needs little more memory than the weights that it keeps.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sam_lsac.errors import CheckpointError

__all__ = ["LoadReport", "WeightFiles", "find_weights", "load_weights"]

#: First name parts of Meta's checkpoint that belong to networks which a separation does not need.
_UNUSED_PARTS = ("text_encoder", "vision_encoder", "visual_ranker", "text_ranker", "span_predictor")

_NONE_TIED: Mapping[str, str] = MappingProxyType({})

#: How a weight-normalised weight is stored: (direction, magnitude), in the old and the new style of PyTorch.
_WEIGHT_NORM = (("weight_v", "weight_g"), ("parametrizations.weight.original1", "parametrizations.weight.original0"))

#: Bytes that a group of conversions maps at most: a share of all that is converted, but not less than a minimum.
_GROUP_SHARE, _GROUP_BYTES = 1 / 32, 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What a load did with the tensors of a checkpoint.

    Parameters
    ----------
    loaded
        Names that went into the model, as stored.
    folded
        Those of them that were weight-norm pairs, by the name of the weight they became.
    skipped
        Names that a separation does not need.
    kept_bytes
        Size of the model's weights after loading.
    """

    loaded: tuple[str, ...] = field(repr=False)
    folded: tuple[str, ...] = field(repr=False)
    skipped: tuple[str, ...]
    kept_bytes: int

    @property
    def skipped_parts(self) -> dict[str, int]:
        """How many tensors were skipped, by the first part of their name."""
        parts = [name.split(".")[0] for name in self.skipped]
        return {part: parts.count(part) for part in dict.fromkeys(parts)}


class WeightFiles:
    """The named tensors of one or several weight files, read on demand.

    Parameters
    ----------
    paths
        Files of one checkpoint, ``.safetensors`` or ``torch.save``.

    Raises
    ------
    CheckpointError
        If a file cannot be read, holds anything but tensors, or two files hold the same name.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        for path in paths:
            for name, tensor in _open(path).items():
                if name in self._files:
                    raise CheckpointError(
                        f"{name!r} is in {self._files[name].name} and in {path.name}; keep one of them."
                    )
                self._files[name], self.shapes[name], self.dtypes[name] = path, tuple(tensor.shape), tensor.dtype

    def n_bytes(self, name: str) -> int:
        """Size of one tensor on disk."""
        return prod(self.shapes[name]) * self.dtypes[name].itemsize

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors, mapped from disk; each call maps the files anew."""
        opened: dict[Path, dict[str, Tensor]] = {}
        tensors = {}
        for name in names:
            path = self._files[name]
            if path not in opened:
                opened[path] = _open(path)
            tensors[name] = opened[path][name]
        return tensors


def find_weights(folder: Path, *, pickles: Sequence[str]) -> list[Path]:
    """Return the weight files of a folder: ``model.safetensors``, else its shards, else the first pickle that is there.

    Parameters
    ----------
    folder
        Of a checkpoint, or of its text encoder.
    pickles
        Names, or patterns of the names of shards, of files that ``torch.save`` wrote.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    for pattern in ("model.safetensors", "model-?????-of-?????.safetensors", *pickles):
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found
    raise CheckpointError(f"{folder} has no weights; it needs model.safetensors or {pickles[0]} beside config.json.")


def load_weights(
    module: nn.Module,
    files: WeightFiles,
    *,
    device: torch.device,
    dtypes: Mapping[str, torch.dtype],
    unused: Collection[str] = _UNUSED_PARTS,
    tied: Mapping[str, str] = _NONE_TIED,
) -> LoadReport:
    """Give a module that was built on the meta device the weights of a checkpoint.

    Parameters
    ----------
    module
        Its parameters and persistent buffers say which names and shapes are needed.
    files
        The checkpoint.
    device
        Where the weights go.
    dtypes
        Type of floating-point weights by the first part of their name; ``""`` holds for all other parts.
    unused
        First parts of stored names that belong to networks which the module leaves out, and are skipped.
    tied
        Names of weights that are others of the module, by those others' names: they may be stored too, but then equal.

    Raises
    ------
    CheckpointError
        If names are missing or unknown, a shape or the kind of a type differs, a weight is not finite, or a tied one
        is not the one that it is tied to; the names are in the message.
    """
    expected = {name: tensor for name, tensor in module.state_dict().items() if name not in tied}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    sources = {name: _sources(name, files.shapes) for name in wanted}
    used = {stored for stored_names in sources.values() for stored in stored_names}
    skipped = tuple(name for name in files.shapes if name not in used and name.split(".")[0] in unused)
    _check_names(sources, set(files.shapes) - used - set(skipped) - set(tied), files.shapes)
    _check_shapes(wanted, sources, files.shapes)
    _check_kinds(expected, sources, files.dtypes)
    _check_tied({alias: name for alias, name in tied.items() if alias in files.shapes}, files)
    state: dict[str, Tensor] = {}
    kinds = {name: dtypes.get(name.split(".")[0], dtypes[""]) for name in wanted}
    direct = {name for name in wanted if _is_direct(sources[name], files, device=device, dtype=kinds[name])}
    for group in _groups([name for name in wanted if name not in direct], sources, files):
        tensors = files.read(stored for name in group for stored in sources[name])
        for name in group:
            state[name] = _convert([tensors[stored] for stored in sources[name]], device=device, dtype=kinds[name])
        del tensors  # drops the mapping and with it the pages that the conversion touched
    mapped = files.read(sources[name][0] for name in direct)
    state.update({name: mapped[sources[name][0]] for name in direct})
    _check_finite(state)
    module.load_state_dict(state | {alias: state[name] for alias, name in tied.items()}, strict=True, assign=True)
    return LoadReport(
        loaded=tuple(stored for name in wanted for stored in sources[name]),
        folded=tuple(name for name in wanted if len(sources[name]) == 2),
        skipped=skipped,
        kept_bytes=sum(tensor.nbytes for tensor in state.values()),
    )


def _open(path: Path) -> dict[str, Tensor]:
    """Map every tensor of a file; pages are read from disk when they are touched."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything in its reader
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} could not be read as weights ({first_line}). It must be a .safetensors file or a plain dictionary "
            "of tensors written by torch.save; anything executable in it is refused. If the download was cut, fetch it "
            "again."
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()
    ):
        raise CheckpointError(
            f"{path} must hold a dictionary of named tensors and nothing else; save the state_dict alone."
        )
    odd = [name for name, tensor in state.items() if not _is_plain(tensor)]
    if odd:
        raise CheckpointError(
            f"{path}: these tensors are sparse, quantised or without content ({len(odd)}): {_listed(odd)}. Save dense "
            "weights of a floating-point type."
        )
    return dict(state)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta or tensor.is_nested)


def _sources(name: str, stored: Mapping[str, object]) -> tuple[str, ...]:
    """The stored names that make up one weight: itself, or a weight-norm pair, or nothing."""
    if name in stored:
        return (name,)
    if name.split(".")[-1] == "weight":
        for suffixes in _WEIGHT_NORM:
            pair = tuple(name.removesuffix("weight") + suffix for suffix in suffixes)
            if all(part in stored for part in pair):
                return pair
    return ()


def _check_names(sources: Mapping[str, tuple[str, ...]], unknown: set[str], stored: Mapping[str, object]) -> None:
    missing = [name for name, stored_names in sources.items() if not stored_names]
    if not missing and not unknown:
        return
    near = difflib.get_close_matches(missing[0], list(unknown), n=1) if missing else []
    raise CheckpointError(
        "The weights do not fit config.json."
        + (f" Missing ({len(missing)}): {_listed(missing)}." if missing else "")
        + (f" Unknown ({len(unknown)}): {_listed(sorted(unknown))}." if unknown else "")
        + (f" {missing[0]!r} looks like {near[0]!r}." if near else "")
        + f" The file holds {len(stored)} tensors. Check that config.json and the weights come from one checkpoint."
    )


def _check_shapes(
    wanted: Mapping[str, tuple[int, ...]], sources: Mapping[str, tuple[str, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = []
    for name, shape in wanted.items():
        expected = (shape, (shape[0], *[1] * (len(shape) - 1)))[: len(sources[name])]
        wrong += [
            f"{stored} is {list(shapes[stored])}, not {list(size)}"
            for stored, size in zip(sources[name], expected, strict=True)
            if shapes[stored] != size
        ]
    if wrong:
        raise CheckpointError(f"Shapes that do not fit config.json ({len(wrong)}): {_listed(wrong)}.")


def _check_kinds(
    expected: Mapping[str, Tensor], sources: Mapping[str, tuple[str, ...]], dtypes: Mapping[str, torch.dtype]
) -> None:
    """Raise where a stored type is of another kind than the weight's: whole numbers or complex ones, not floats."""
    wrong = [
        f"{stored} is {dtypes[stored]}"
        for name, tensor in expected.items()
        for stored in sources[name]
        if dtypes[stored].is_floating_point != tensor.is_floating_point() or dtypes[stored].is_complex
    ]
    if wrong:
        raise CheckpointError(
            f"Weights of a type that does not fit ({len(wrong)}): {_listed(wrong)}. Floating-point weights are needed; "
            "restore the file from the checkpoint's source."
        )


def _check_tied(stored: Mapping[str, str], files: WeightFiles) -> None:
    """Raise where a tied weight that is stored too differs from the one that it is tied to."""
    for alias, name in stored.items():
        pair = files.read([alias, name])
        if not torch.equal(pair[alias], pair[name]):
            raise CheckpointError(
                f"{alias} and {name} are one weight of this network, but the file holds two that differ; restore it "
                "from the checkpoint's source."
            )


def _check_finite(state: Mapping[str, Tensor]) -> None:
    """Raise where a weight is NaN or infinite, as stored or in the type that it was converted to."""
    broken = [
        f"{name} ({tensor.dtype})"
        for name, tensor in state.items()
        # a sum takes no memory and is not finite where a value is not; where it only overflowed, one looks again
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all()
    ]
    if broken:
        raise CheckpointError(
            f"Weights that are not finite ({len(broken)}): {_listed(broken)}. Restore the file from the checkpoint's "
            "source; if a smaller type was asked for, ask for float32 or bfloat16."
        )


def _is_direct(stored: tuple[str, ...], files: WeightFiles, *, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the mapped tensor can be used as it is."""
    kept = files.dtypes[stored[0]]
    return device.type == "cpu" and len(stored) == 1 and (kept == dtype or not kept.is_floating_point)


def _groups(names: list[str], sources: Mapping[str, tuple[str, ...]], files: WeightFiles) -> Iterator[list[str]]:
    """Split the names so that each group maps few bytes."""
    sizes = {name: files.n_bytes(sources[name][0]) for name in names}
    most = max(_GROUP_BYTES, _GROUP_SHARE * sum(sizes.values()))
    group: list[str] = []
    for name in names:
        if group and sum(sizes[member] for member in group) + sizes[name] > most:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _convert(stored: list[Tensor], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Fold a weight-norm pair, then move to the dtype and the device, in memory of its own."""
    tensor = stored[0]
    if len(stored) == 2:
        direction, magnitude = (part.float() for part in stored)
        norm = direction.flatten(1).norm(dim=1).view_as(magnitude)
        tensor = direction * (magnitude / norm)
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else tensor.dtype, copy=True)


def _listed(names: list[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
