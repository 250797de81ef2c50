"""The digest of a checkpoint: of every noted file its name and its content, in the order of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam_lsac.errors import CheckpointError
from sam_lsac.model.digest import Sources


def digest(*files: tuple[str, Path]) -> str:
    sources = Sources()
    for label, path in files:
        assert sources.note(label, path) == path
    return sources.digest()


def test_names_contents_and_their_pairing_count(tmp_path: Path) -> None:
    one, two, again = (tmp_path / name for name in ("one", "two", "again"))
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    again.write_bytes(b"1")
    known = digest(("config", one), ("weights", two))
    assert digest(("config", again), ("weights", two)) == known  # where a file lies does not count
    others = [
        digest(("config", one)),
        digest(("config", one), ("weights", one)),
        digest(("config", one), ("text", two)),
        digest(("weights", one), ("config", two)),
        digest(("config", two), ("weights", one)),
        digest(),
    ]
    assert len({known, *others}) == 1 + len(others)


def test_a_file_that_changed_since_it_was_noted_or_is_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one"
    with pytest.raises(CheckpointError, match="has no one"):
        Sources().note("config", file)
    file.write_bytes(b"1")
    sources = Sources()
    sources.note("config", file)
    file.write_bytes(b"12")
    with pytest.raises(CheckpointError, match="changed while it was loaded"):
        sources.digest()
    file.unlink()
    with pytest.raises(CheckpointError, match="changed while it was loaded"):
        sources.digest()
