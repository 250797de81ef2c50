"""Proof, per release, of what attention caching does to SAM Audio.

``load_model`` gives a model, ``separate`` runs it with edits attached, ``attach`` puts the same edits around Meta's own
class, ``LSAC`` makes caching schedules, ``tune`` fits a solve with fewer evaluations, ``count_flops`` says what they
save. The claims of the paper are judged by the suite in ``bench/``.
A name is imported when it is first used, so that the command line says its help without PyTorch.

References
----------
"Inside the Latent Flow: Causal Deciphering of Attention Dynamics in Audio Separation Foundation Models" (the paper).
"""

import sys
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_lsac.caching import (
        LSAC,
        CacheAttention,
        CacheBranch,
        DeepCache,
        FittedBranch,
        LayerClasses,
        WrappedSolve,
    )
    from sam_lsac.costs import count_flops
    from sam_lsac.errors import SamLsacError
    from sam_lsac.interventions import (
        FreezeSelfAttention,
        HijackGate,
        Record,
        ShuffleSpans,
        UniformCrossAttention,
        ZeroAdditive,
        ZeroCrossAttention,
        attach,
    )
    from sam_lsac.mixtures import Mixture, load_mixtures
    from sam_lsac.model import load_model
    from sam_lsac.schedule import Found, load_schedule
    from sam_lsac.separate import Separation, separate
    from sam_lsac.solver import AB2, AB3, EPSS, Euler, Fitted, Heun, Midpoint, Points, Sway
    from sam_lsac.tune import tune

__all__ = [
    "AB2",
    "AB3",
    "EPSS",
    "LSAC",
    "CacheAttention",
    "CacheBranch",
    "DeepCache",
    "Euler",
    "Fitted",
    "FittedBranch",
    "Found",
    "FreezeSelfAttention",
    "Heun",
    "HijackGate",
    "LayerClasses",
    "Midpoint",
    "Mixture",
    "Points",
    "Record",
    "SamLsacError",
    "Separation",
    "ShuffleSpans",
    "Sway",
    "UniformCrossAttention",
    "WrappedSolve",
    "ZeroAdditive",
    "ZeroCrossAttention",
    "attach",
    "count_flops",
    "load_mixtures",
    "load_model",
    "load_schedule",
    "separate",
    "tune",
]

#: Where each public name is from; a test holds this, `__all__` and the imports for type checkers together.
_SOURCES = MappingProxyType(
    {
        "sam_lsac.caching": "LSAC CacheAttention CacheBranch DeepCache FittedBranch LayerClasses WrappedSolve",
        "sam_lsac.costs": "count_flops",
        "sam_lsac.errors": "SamLsacError",
        "sam_lsac.interventions": (
            "FreezeSelfAttention HijackGate Record ShuffleSpans UniformCrossAttention ZeroAdditive ZeroCrossAttention "
            "attach"
        ),
        "sam_lsac.mixtures": "Mixture load_mixtures",
        "sam_lsac.model": "load_model",
        "sam_lsac.schedule": "Found load_schedule",
        "sam_lsac.separate": "Separation separate",
        "sam_lsac.solver": "AB2 AB3 EPSS Euler Fitted Heun Midpoint Points Sway",
        "sam_lsac.tune": "tune",
    }
)
_SOURCE_OF = MappingProxyType({name: source for source, names in _SOURCES.items() for name in names.split()})


class _Package(ModuleType):
    """The package; `separate` and `tune` are functions also after the modules of these names were imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _SOURCE_OF.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


if not TYPE_CHECKING:  # a checker of types knows the names above, and no others

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in _SOURCE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_SOURCE_OF[name]), name)
        setattr(sys.modules[__name__], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
