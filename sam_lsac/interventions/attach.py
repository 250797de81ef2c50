"""Until when an edit acts: `attach` puts edits around modules of one model, for one solve, and undoes itself.

Every edited module gets an instance attribute ``forward``, which is deleted on leaving; nothing else of the model is
touched. Wrapping ``forward``, and not hooking it, lets an edit skip the module's work. A ``forward`` that a library set
in an edit's `around` lies inside that wrapper, and is there again when the library is taken out.

References
----------
diffusers, ``hooks/hooks.py``, for wrapping the forward of an instance.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NoReturn

import torch
from torch import nn

from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, resolve
from sam_lsac.interventions.undo import brings_library, surrounded

__all__ = ["Attachment", "attach", "first_acting_step"]

_TRANSFORMER = Site(path="transformer")


class Attachment:
    """Edits at work on one model, for one solve; made by `attach`.

    Attributes
    ----------
    evaluations
        Network evaluations done.
    fired
        For each edit, in the order given, how often it acted.
    outcomes
        After leaving, what each edit leaves: a `CacheReport`, a `Recording`, or None.
    hits
        After leaving, calls that reused a stored tensor, by site path, over all caches.
    states
        For each edit, what its `begin` made, until leaving.
    """

    def __init__(self, edits: Sequence[Edit], clock: Clock) -> None:
        self.edits = tuple(edits)
        self.clock = clock
        self.fired = [0] * len(self.edits)
        self.outcomes: tuple[Any, ...] = ()
        self._before = clock.completed
        self.states = [edit.begin(clock) for edit in self.edits]
        self._owner = threading.get_ident()
        self._wrappers: list[_Wrapper] = []

    @property
    def evaluations(self) -> int:
        """Network evaluations done inside this block."""
        return self.clock.completed - self._before

    @property
    def hits(self) -> dict[str, int]:
        """Calls that reused a stored tensor, by site path."""
        total: dict[str, int] = {}
        for outcome in self.outcomes:
            for path, count in outcome.hits.items() if isinstance(outcome, CacheReport) else ():
                total[path] = total.get(path, 0) + count
        return total

    def again(self) -> None:
        """Begin another solve in this block, of as many evaluations: how libraries are used that stay on a model.

        The counts begin anew; each edit makes its state of the one before, with `Edit.again`.

        Raises
        ------
        EditError
            If the solve under way is not done.
        """
        if self.clock.completed != self.clock.nfe:
            raise EditError(
                f"{self.evaluations} evaluations are done of a solve of nfe = {self.clock.nfe}; finish it, then go on."
            )
        self.clock.completed = self._before
        self.fired = [0] * len(self.edits)
        self.states = [edit.again(self.clock, state) for edit, state in zip(self.edits, self.states, strict=True)]

    def install(self, modules: dict[Site, tuple[nn.Module, list[int]]]) -> None:
        """Wrap each module; all or none."""
        libraries = any(brings_library(edit) for edit in self.edits)
        try:
            for site, (module, chain) in modules.items():
                wrapper = _wrapper_class()(self, site, module, chain)
                present = module.__dict__.setdefault("forward", wrapper)  # atomic, so that one thread wins
                if present is not wrapper:
                    if not libraries or isinstance(present, _Wrapper):
                        _refuse(site, present)
                    wrapper.beneath = module.__dict__["forward"]
                    module.__dict__["forward"] = wrapper
                self._wrappers.append(wrapper)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> list[Any]:
        """Delete every ``forward`` that was set and hand over the states; raise if another library replaced one."""
        states, self.states = self.states, []
        foreign = []
        while self._wrappers:
            wrapper = self._wrappers.pop()
            if wrapper.module.__dict__.get("forward") is not wrapper:
                foreign.append(wrapper.site.path)
            elif wrapper.beneath is not None:
                wrapper.module.__dict__["forward"] = wrapper.beneath
            else:
                del wrapper.module.forward
        if foreign:
            raise EditError(
                f"The forward of {foreign[-1]} was replaced while edits were attached; undo that inside the block."
            )
        return states

    def conclude(self, states: list[Any]) -> None:
        """Keep what each edit leaves, after a solve that did not fail."""
        for edit, count in zip(self.edits, self.fired, strict=True):
            if not count:
                raise EditError(
                    f"{edit} never fired in {self.evaluations} evaluations: the model did not call the modules it acts "
                    "on. Run the solve inside the block, with the inputs that the edit needs (text, spans), or drop it."
                )
        self.outcomes = tuple(edit.finish(state) for edit, state in zip(self.edits, states, strict=True))

    def check(self) -> None:
        """Refuse a call after leaving, from another thread, or beyond the evaluations of this solve."""
        if not self._wrappers:
            raise EditError(
                "A copy made inside `with attach(...)` was called after it; copy the model outside the block."
            )
        if threading.get_ident() != self._owner:
            raise EditError(
                "Edits were attached in another thread; attach in the thread that runs the solve, one model a thread."
            )
        if self.clock.completed >= self.clock.nfe:
            raise EditError(
                f"Evaluation {self.clock.completed + 1} of a solve of nfe = {self.clock.nfe}. One `with attach(...)` "
                "serves one solve: open a new one for the next solve; or pass the nfe and evaluations_per_step of the "
                "solver in use (midpoint takes two evaluations a step)."
            )

    def call(self, wrapper: _Wrapper, depth: int, *args: Any, **kwargs: Any) -> Any:
        """Call a module through the innermost ``depth`` of its edits."""
        if not depth:
            return wrapper.original(*args, **kwargs)
        index = wrapper.chain[depth - 1]
        inner = partial(self.call, wrapper, depth - 1)
        call = Call(site=wrapper.site, module=wrapper.module, clock=self.clock, args=args, kwargs=kwargs, inner=inner)
        self.fired[index] += 1
        return self.edits[index].apply(call, self.states[index])


class _Wrapper:
    """The ``forward`` of one module while edits are attached."""

    def __init__(self, run: Attachment, site: Site, module: nn.Module, chain: list[int]) -> None:
        self.run = run
        self.site = site
        self.module = module
        self.chain = chain
        self.original = module.forward
        self.beneath: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.run.check()
        output = self.run.call(self, len(self.chain), *args, **kwargs)
        if self.site == _TRANSFORMER:
            self.run.clock.completed += 1
        return output

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # A copy would run this module's weights and this solve's state under another module's name.
        raise EditError(
            "A model cannot be copied or pickled while edits are attached; copy it outside the `with attach(...)`."
        )


def _wrapper_class() -> type[_Wrapper]:
    """The wrapper, and where PyTorch's compiler is in use the one that it does not compile.

    To ask for the compiler imports it, which takes longer than the rest of the library together; until something is
    compiled, it is not there to be kept out.
    """
    return _outside_graphs() if "torch._dynamo" in sys.modules else _Wrapper


@cache
def _outside_graphs() -> type[_Wrapper]:
    """A wrapper whose call breaks a compiled graph; the model around it stays compiled."""
    call = torch.compiler.disable(_Wrapper.__call__)  # type: ignore[no-untyped-call]
    return type("_WrapperOutsideGraphs", (_Wrapper,), {"__call__": call})


@contextmanager
def attach(
    model: nn.Module,
    edits: Sequence[Edit],
    *,
    nfe: int,
    evaluations_per_step: int = 1,
    first_step: int = 1,
) -> Iterator[Attachment]:
    """Edit a model for one solve: ``with attach(model, edits, nfe=solver.nfe) as run: ...``.

    Edits compose in the order given: the first acts on the model, the next on the model so edited, and so on; where two
    act on one module, the later one is around the earlier one. A call of ``model.transformer`` is one evaluation. One
    ``with`` serves one solve, in the thread that entered it, and the model is neither copied nor pickled inside.

    Parameters
    ----------
    model
        SAM Audio, ours or Meta's ``sam_audio.SAMAudio``.
    edits
        What to change; may be empty, then evaluations are only counted.
    nfe
        Evaluations of the whole solve.
    evaluations_per_step
        Of the solver: 1 for Euler and AB2, 2 for midpoint. Edits speak of solver steps.
    first_step
        First step that is computed here; more than 1 where the solve goes on from a stored state.

    Yields
    ------
    Attachment
        Counts while it runs; ``hits`` and ``outcomes`` after it.

    Raises
    ------
    EditError
        If an edit does not fit the model or the solve (then nothing was touched); if the model is already attached; on
        evaluation ``nfe + 1``; on use from another thread; on copying; on leaving, if an edit never fired, or a library
        left the model changed.
    CacheError
        On leaving, if a cache never hit.
    """
    clock = Clock(nfe=nfe, evaluations_per_step=evaluations_per_step)
    if not 1 <= first_step <= min(first_acting_step(edits), clock.n_steps):
        raise EditError(
            f"first_step = {first_step}, but the edits must be present from step {first_acting_step(edits)} of "
            f"{clock.n_steps} on; start from the stored state before that step."
        )
    clock.completed = (first_step - 1) * evaluations_per_step
    modules = {_TRANSFORMER: (resolve(model, _TRANSFORMER), list[int]())}
    for index, edit in enumerate(edits):
        for site in edit.sites(model):
            modules.setdefault(site, (resolve(model, site), []))[1].append(index)
    for site, (module, _) in modules.items():
        if "forward" in module.__dict__:
            _refuse(site, module.__dict__["forward"])
    run = Attachment(edits, clock)
    with surrounded(model, run.edits, clock, run.states):
        run.install(modules)
        try:
            yield run
        finally:
            states = run.leave()
    run.conclude(states)


def first_acting_step(edits: Sequence[Edit]) -> int:
    """First step, from 1, at which any of the edits must be present; 1 without edits.

    A run with these edits may start from the plain run's state after the step before it.

    Raises
    ------
    EditError
        If something in the list is not an edit.
    """
    for edit in edits:
        if not isinstance(edit, Edit):
            hint = "call its .edit()" if hasattr(edit, "edit") else "give a list of edits such as [ZeroAdditive()]"
            raise EditError(f"{edit!r} is not an edit; {hint}.")
    return min((edit.first_acting_step for edit in edits), default=1)


def _refuse(site: Site, present: object) -> NoReturn:
    if isinstance(present, _Wrapper):
        raise EditError(
            "This model has edits attached already. Leave the first `with attach(...)` before opening another, or give "
            "all edits to one attach."
        )
    raise EditError(
        f"The forward of {site.path} was replaced by another library (torch.compile, accelerate, a cache); attach to "
        "the plain model, or remove the other one first."
    )
