"""What an edit is: a frozen description that says where it acts, and how it acts on one call of one module.

An edit holds no tensors. Its state is made by `Edit.begin` when it is attached and dies when it is detached. It
declares all that others need of it: its fields are its words in the claims file and its part of a run's key,
`Edit.work` says what it saves, and `Edit.kept_values` what it keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.sites import Site
from sam_lsac.interventions.work import LayerWork, NetworkSizes
from sam_lsac.records import STRICT

__all__ = ["CacheReport", "Call", "Clock", "Edit"]


@dataclass(slots=True, kw_only=True)
class Clock:
    """Counts the network evaluations of one solve and says to which solver step each belongs, both from 1.

    Parameters
    ----------
    nfe
        Evaluations of the whole solve.
    evaluations_per_step
        Of the solver: 1 for Euler and AB2, 2 for midpoint.
    completed
        Evaluations done.

    Raises
    ------
    EditError
        If the counts do not make whole steps.
    """

    nfe: int
    evaluations_per_step: int = 1
    completed: int = 0

    def __post_init__(self) -> None:
        if self.nfe < 1 or self.evaluations_per_step < 1 or self.nfe % self.evaluations_per_step:
            raise EditError(
                f"nfe = {self.nfe} with {self.evaluations_per_step} evaluations a step makes no whole number of steps; "
                "pass the solver's own .nfe and .evaluations_per_step."
            )

    @property
    def n_steps(self) -> int:
        """Solver steps of the whole solve."""
        return self.nfe // self.evaluations_per_step

    @property
    def step(self) -> int:
        """Solver step of the evaluation under way."""
        return self.completed // self.evaluations_per_step + 1

    @property
    def ends_step(self) -> bool:
        """Whether the evaluation under way is the last of its step; what an edit keeps of a step is taken there."""
        return (self.completed + 1) % self.evaluations_per_step == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an edited module.

    Parameters
    ----------
    site, module
        What is called.
    clock
        When.
    args, kwargs
        With what.
    inner
        The module's own forward, or the edit below this one.
    """

    site: Site
    module: Any
    clock: Clock
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inner: Callable[..., Any]

    def proceed(self) -> Tensor:
        """Do what would have been done without this edit."""
        output: Tensor = self.inner(*self.args, **self.kwargs)
        return output

    @property
    def x(self) -> Tensor:
        """The main input: the first positional argument, or ``x``."""
        value: Tensor = self.args[0] if self.args else self.kwargs["x"]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """What a cache did in one solve.

    Parameters
    ----------
    hits
        Calls that reused a stored tensor, by site path.
    stored_bytes
        Size of all that was stored at once, in bytes.
    """

    hits: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(ABC):
    """An intervention at inference time."""

    __pydantic_config__: ClassVar[Any] = STRICT

    @property
    def first_acting_step(self) -> int:
        """First solver step, from 1, at which the edit must be present; the steps before equal the plain run's."""
        return 1

    def versions(self) -> Mapping[str, str]:
        """What else decides what the edit does, such as a library that it calls: version by name, part of a run's key.

        The fields of the edit and the code of this library are in the key already.
        """
        return {}

    @abstractmethod
    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """Where the edit acts in this model; raises EditError if it does not fit.

        Of the model only the number of layers may be asked for, so that costs can ask on paper; `attach` looks whether
        the modules are there.
        """

    def begin(self, clock: Clock) -> Any:
        """Make the state of one solve; raises EditError if the edit does not fit a solve of ``clock.n_steps`` steps."""
        return None

    def again(self, clock: Clock, state: Any) -> Any:
        """Make the state of another solve within one `around`; what a library keeps between solves goes with it."""
        return self.begin(clock)

    def around(self, model: nn.Module, clock: Clock, state: Any) -> AbstractContextManager[Any]:
        """Bring in a library that replaces ``forward`` for a model's life, and take it out again; nothing by default.

        Entered before the sites are wrapped and left after they are unwrapped, also after an exception. Whatever
        ``forward`` the library sets is inside `apply`, so that an edit whose sites are what the library may skip counts
        there what really ran. All that is changed must be taken back; only a ``forward`` is swept up.

        Parameters
        ----------
        model
            To be changed.
        clock
            Of the solve.
        state
            Of `begin`.
        """
        return nullcontext()

    @property
    def looks_across_batch(self) -> bool:
        """Whether what it does to one example depends on the others of its batch, so that each must run alone."""
        return False

    @abstractmethod
    def apply(self, call: Call, state: Any) -> Tensor:
        """Do the call, edited."""

    def finish(self, state: Any) -> Any:
        """What is left of the state for the caller; raises EditError if the edit had no effect."""
        return None

    def work(self, inner: LayerWork, *, layer: int, n_layers: int, clock: Clock) -> LayerWork:
        """What one layer does in the evaluation under way, where without this edit it would do ``inner``.

        Parameters
        ----------
        inner
            The layer's work under the edits that this one is around.
        layer, n_layers
            Which layer, from 0, of how many.
        clock
            When.

        Raises
        ------
        EditError
            If the edit does not say.
        """
        raise EditError(
            f"What {type(self).__name__} saves or adds is not known: define its work(...), or count it with "
            "counted_flops(...), which runs it."
        )

    def kept_values(self, sizes: NetworkSizes) -> int:
        """How many values the edit keeps of one mixture from one step to the next.

        Raises
        ------
        EditError
            If the edit does not say.
        """
        raise EditError(
            f"{type(self).__name__} keeps nothing that is known; give LSAC or a cache's edit, or define its "
            "kept_values(...)."
        )
