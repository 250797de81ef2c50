"""Archives of recordings: neither the number of members nor the size of one is believed."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fixtures.corpus import archives
from fixtures.corpus.archives import ArchiveError, read_member
from tests.test_corpus import write_bank, write_group, write_resource, write_zip

MOST = 5000
MAKERS = {"wz": (write_zip, "a"), "ocg": (write_group, "a"), "rcc": (write_resource, "sounds/a.z")}


@pytest.mark.parametrize("suffix", MAKERS)
def test_a_bomb_is_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch, suffix: str) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 20 * MOST)
    make, member = MAKERS[suffix]
    name = member.rsplit("/", 1)[-1]
    archive = make(tmp_path / f"bomb.{suffix}", {name: bytes(10**7)})
    assert archive.stat().st_size < 20 * MOST
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="unpacks to more than 100000 bytes"):
        read_member(archive, member)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10**6


@pytest.mark.parametrize("suffix", MAKERS)
def test_a_member_within_the_bound_comes_back(tmp_path: Path, monkeypatch, suffix: str) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 2 * MOST)
    make, member = MAKERS[suffix]
    archive = make(tmp_path / f"whole.{suffix}", {member.rsplit("/", 1)[-1]: b"x" * MOST})
    assert read_member(archive, member) == b"x" * MOST


def test_an_archive_that_is_itself_too_large_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    archive = write_group(tmp_path / "large.ocg", {"a": b""})
    with pytest.raises(ArchiveError, match="more than 10 bytes"):
        read_member(archive, "a")


@pytest.mark.parametrize("suffix", ["wz", "ocg", "rcc", "cat"])
def test_more_members_than_any_archive_has_are_refused(tmp_path: Path, monkeypatch, suffix: str) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    path = tmp_path / f"many.{suffix}"
    if suffix == "cat":
        write_bank(path, [b"RIFF"] * 3)
    else:
        MAKERS[suffix][0](path, dict.fromkeys(("a", "b", "c"), b""))
    with pytest.raises(ArchiveError, match=r"claims [34] members, more than 2"):
        read_member(path, {"cat": "0", "rcc": "sounds/a"}.get(suffix, "a"))


def test_a_member_that_is_encrypted_or_cut_is_damage(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a": b"x" * 100})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the table
    archive.write_bytes(content)
    with zipfile.ZipFile(archive) as opened, pytest.raises(RuntimeError):
        opened.read("a")
    with pytest.raises(ArchiveError, match="is damaged"):
        read_member(archive, "a")
