"""What a checkpoint is: the digest of the files that a load really read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sam_lsac.errors import CheckpointError

if TYPE_CHECKING:
    from sam_lsac.model.sam_audio import SAMAudio

__all__ = ["Sources", "checkpoint_digest"]

#: Begins every digest. It once named the commit of an encoder from the hub; it stays, so that digests stay too.
_FIRST_LINE = b"text None\n"


class Sources:
    """The files of one load: noted before they are read, hashed afterwards.

    Only what was noted counts: another file in the folder changes no digest, and nothing is read that does not count.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[str, Path, tuple[int, ...]]] = []

    def note(self, label: str, path: Path) -> Path:
        """Remember a file that is about to be read, and how it is called in the digest; return it.

        Raises
        ------
        CheckpointError
            If there is no such file.
        """
        self._noted.append((label, path, _stamp(path)))
        return path

    def digest(self) -> str:
        """Return the SHA-256 of the names and contents of all noted files.

        Raises
        ------
        CheckpointError
            If a file changed since it was noted, so that its content may not be what was read.
        """
        total = hashlib.sha256(_FIRST_LINE)
        for label, path, stamp in self._noted:
            try:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise _changed(path) from error
            if _stamp(path) != stamp:
                raise _changed(path)
            total.update(f"{label} {content}\n".encode())
        return total.hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}; a checkpoint folder needs it.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); make it readable.") from error
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} changed while it was loaded; load it again when nothing writes to it.")


def checkpoint_digest(model: SAMAudio) -> str:
    """The digest that ``load_model`` set, else SHA-256 over the configuration and all weights."""
    if model.checkpoint_digest is not None:
        return model.checkpoint_digest
    total = hashlib.sha256(repr(model.config).encode())
    for name, tensor in model.state_dict().items():
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        total.update(f"\n{name} {list(tensor.shape)} ".encode() + raw)
    return total.hexdigest()
