"""The folder that a table or a manifest may name files of, and no others.

Tables of corpora and manifests travel with the audio. One that names ``../../.ssh/id``, or brings a link to it, would
have the library read, and report on, files that nobody meant to give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam_lsac.errors import InputError

__all__ = ["Boundary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A folder, and whether what lies outside it may be read.

    Parameters
    ----------
    folder
        What the user gave.
    follow_outside
        Read also what a name or a link leads out of it to.
    """

    folder: Path
    follow_outside: bool = False

    def admit(self, path: Path) -> Path:
        """Return a path that leads to a place below the folder, links followed.

        Raises
        ------
        InputError
            If it leads out of the folder, or nowhere at all.
        """
        try:
            if self.follow_outside or path.resolve().is_relative_to(self.folder.resolve()):
                return path
        except (OSError, ValueError, RuntimeError) as error:  # too long, NUL, a link to itself
            raise InputError(f"{str(path)!r} names no file ({error}); correct or remove it") from error
        raise InputError(
            f"{path} leads out of {self.folder}; remove it, or pass follow_outside=True (--follow-outside) where you "
            "trust who named it"
        )
