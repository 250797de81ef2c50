"""The exceptions that sam_lsac raises, each naming what to do instead.

::

    SamLsacError
    ├── InputError (also a ValueError)    a wave, prompt, rate, seed or shape that cannot be used
    ├── ModelError                        a model that does not exist or cannot do what is asked
    │   ├── CheckpointError               a checkpoint that is missing, incomplete or of another layout
    │   └── NotFiniteError                a solve or an output that is NaN or infinite
    ├── EditError                         an intervention that does not fit the model or never fired
    │   └── CacheError                    a cache that would exceed its budget, or that never hit
    ├── StoreError                        a run store that is damaged, locked or of another version
    ├── ClaimError (also a ValueError)    a row of the claims file that is not valid
    └── PlanError (also a ValueError)     a plan of runs that cannot be carried out

``except SamLsacError`` therefore catches everything that the library raises on purpose; an exception outside
the tree is a defect of the library.
"""

__all__ = [
    "CacheError",
    "CheckpointError",
    "ClaimError",
    "EditError",
    "InputError",
    "ModelError",
    "NotFiniteError",
    "PlanError",
    "SamLsacError",
    "StoreError",
    "is_out_of_memory",
]


class SamLsacError(Exception):
    """Base of every error that the library raises on purpose."""


class InputError(SamLsacError, ValueError):
    """A wave, prompt, span, sample rate, seed or shape that cannot be used."""


class ModelError(SamLsacError):
    """A model that does not exist or cannot do what is asked of it."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, incomplete or of another layout."""


class NotFiniteError(ModelError):
    """A solve whose state, or a separation whose output, is NaN or infinite."""


class EditError(SamLsacError):
    """An intervention that does not fit the model, or that never fired."""


class CacheError(EditError):
    """A cache that would exceed its budget, or that never hit."""


class StoreError(SamLsacError):
    """A run store that is damaged, locked or of another version."""


class ClaimError(SamLsacError, ValueError):
    """A row of the claims file that is not valid."""


class PlanError(SamLsacError, ValueError):
    """A plan of runs that cannot be carried out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the machine.

    Parameters
    ----------
    error
        PyTorch has a type of its own for devices, and only words for the machine.
    """
    of_device = type(error).__name__ == "OutOfMemoryError"  # without PyTorch, which takes seconds to import
    return of_device or isinstance(error, MemoryError) or "can't allocate memory" in str(error)
