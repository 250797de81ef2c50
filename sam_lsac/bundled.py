"""Where the data are that come with the library: the embedded checkpoint, the cached mixtures and the claims.

In the repository they lie beside the package, each in a folder of its own; a wheel can hold only what is below the
package, so they are put there when it is built (fixtures/wheel.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["bundled"]

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = {"checkpoint": "embedded/checkpoint", "mixtures": "embedded/mixtures", "bench": "bench"}
_IN_REPOSITORY = {"checkpoint": "fixtures/embedded/checkpoint", "mixtures": "fixtures/mixtures", "bench": "bench"}


def bundled(what: Literal["checkpoint", "mixtures", "bench"]) -> Path:
    """Return the folder of data that come with the library.

    Parameters
    ----------
    what
        The embedded checkpoint, the cached mixtures, or the claims with the tests that judge them.
    """
    in_wheel = _PACKAGE / _IN_WHEEL[what]
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / _IN_REPOSITORY[what]
