"""The JSON files of a checkpoint: read as plain data, with every damage an error that names the file; written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sam_lsac.errors import CheckpointError

__all__ = ["read_json", "write_json"]

#: Bytes of one file; the largest of a real checkpoint, a tokenizer of 32,000 pieces, has two million.
_MOST_BYTES = 64 * 2**20


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    CheckpointError
        If the file is missing, larger than 64 MiB, not UTF-8, or not JSON; NaN and infinities are not JSON.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES} bytes")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}; a checkpoint folder needs it.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(f"{path} is not valid JSON ({reason}); restore it from its source.") from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, which is replaced whole."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new.replace(path)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
