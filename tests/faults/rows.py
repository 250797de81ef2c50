"""The rows of ``faults.toml``: what is planted where, which law it breaks, and which tests must notice."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar

from sam_lsac.errors import InputError
from sam_lsac.records import STRICT, read

__all__ = ["COPIED", "ROOT", "TABLE", "Fault", "read_faults"]

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("faults.toml")
#: What a campaign copies; the rest of the repository is linked, so that a fault there would be planted in itself.
COPIED = ("sam_lsac", "bench", "tests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row; the head of ``faults.toml`` says what its fields are."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    file: str
    old: str
    new: str
    law: str
    tests: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes with anything in the row."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()

    @property
    def room(self) -> str:
        """Where the fault is, such as "interventions"."""
        return Path(self.file).parts[1].removesuffix(".py")

    def planted_in(self, root: Path) -> str:
        """The text of the file with the fault in it; InputError where it does not apply any more."""
        if Path(self.file).parts[0] not in COPIED:
            raise InputError(f"{self.name!r} is in {self.file}; faults are planted in {', '.join(COPIED)} alone")
        try:
            text = (root / self.file).read_text(encoding="utf-8")
        except OSError:
            raise InputError(f"{self.name!r}: there is no {self.file}. The code moved: write the fault anew") from None
        found = text.count(self.old)
        if found != 1:
            raise InputError(
                f"{self.name!r}: its old text is in {self.file} {found} times, not once: {self.old!r}. The code moved: "
                "write the fault anew"
            )
        planted = text.replace(self.old, self.new)
        try:
            compile(planted, self.file, "exec")
        except SyntaxError as error:
            raise InputError(f"{self.name!r} is no Python ({error}); write the fault anew") from None
        return planted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    __pydantic_config__: ClassVar[Any] = STRICT

    faults: tuple[Fault, ...]


def read_faults(path: Path = TABLE) -> tuple[Fault, ...]:
    """Read the rows, in their order; InputError names the row that cannot be one."""
    with path.open("rb") as file:
        faults = read(_Table, tomllib.load(file), where=path.name, error=InputError, remedy="see its head").faults
    twice = [name for name, count in Counter(fault.name for fault in faults).items() if count > 1]
    if twice:
        raise InputError(f"{path.name}: two rows are called {twice[0]!r}; give each its own name")
    for fault in faults:
        if not fault.tests or fault.old == fault.new or not fault.law.strip():
            raise InputError(f"{path.name}: {fault.name!r} names no test, no law, or no change; complete it")
    return faults
