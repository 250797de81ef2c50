"""What the edits of other people's libraries share: what really ran, what is kept, and what happens between solves."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sam_lsac.errors import CacheError, EditError
from sam_lsac.interventions.edit import CacheReport, Call, Clock, Edit
from sam_lsac.interventions.sites import Site, layer_sites

__all__ = ["MODULES", "PINNED", "Library", "Peer", "PeerState"]

#: Versions that the extra ``peers`` installs, by distribution.
PINNED: Mapping[str, str] = {"cache-dit": "1.5.3", "diffusers": "0.42.1", "dit-smoothcache": "0.1.1"}

#: What each of them is imported as.
MODULES: Mapping[str, str] = {"cache-dit": "cache_dit", "diffusers": "diffusers", "dit-smoothcache": "SmoothCache"}
_TRANSFORMER = Site(path="transformer")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """A library that has taken a network over.

    Parameters
    ----------
    reset
        What its documentation says to call between two uses of one network.
    kept
        Finds whatever holds its tensors.
    evaluation
        Made anew around each evaluation.
    """

    reset: Callable[[], object]
    kept: Callable[[], object]
    evaluation: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(slots=True, kw_only=True)
class PeerState:
    """Calls that really ran, by site path, out of how many, and the most that was kept at once."""

    ran: dict[str, int] = field(default_factory=dict)
    evaluations: int = 0
    stored_bytes: int = 0
    library: Library | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer(Edit):
    """A cache of another library, attached through the library's own interface.

    Parameters
    ----------
    reset
        Whether the library is reset between two solves with one network, as its documentation has it for that; without,
        it is turned on once and used, as its documentation begins. Within one solve there is no difference.
    """

    reset: bool = True

    #: Distribution, a name of `PINNED`.
    distribution: ClassVar[str]
    #: Parts of each layer that it may pass by; empty for whole layers.
    parts: ClassVar[tuple[str, ...]] = ()

    def versions(self) -> Mapping[str, str]:
        """Of the library; where it is not there, the pinned one, so that stored runs can be judged without it."""
        try:
            return {self.distribution: importlib.metadata.version(self.distribution)}
        except importlib.metadata.PackageNotFoundError:
            return {self.distribution: PINNED[self.distribution]}

    @property
    def looks_across_batch(self) -> bool:
        """As far as is known."""
        return True

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The transformer, and below it all that the library may pass by."""
        below = [layer_sites(model, part) for part in self.parts or (None,)]
        return (_TRANSFORMER, *(site for sites in below for site in sites))

    def begin(self, clock: Clock) -> PeerState:
        """Nothing ran yet."""
        return PeerState()

    def again(self, clock: Clock, state: PeerState) -> PeerState:
        """Reset the library, or go on with what it kept of the solve before."""
        if self.reset and state.library is not None:
            state.library.reset()
        return PeerState(ran=dict.fromkeys(state.ran, 0), library=state.library)

    @contextmanager
    def around(self, model: nn.Module, clock: Clock, state: PeerState) -> Iterator[None]:
        """Turn the library on."""
        state.ran = {site.path: 0 for site in self.sites(model) if site.layer is not None}
        _import(self.distribution)
        with self.enabled(model, clock) as library:
            state.library = library
            yield

    @abstractmethod
    def enabled(self, model: nn.Module, clock: Clock) -> AbstractContextManager[Library]:
        """Turn the library on, and off again."""

    def apply(self, call: Call, state: PeerState) -> Tensor:
        """Evaluate the network under the library, or count what it lets run."""
        if call.site.layer is not None:
            state.ran[call.site.path] += 1
            return call.proceed()
        if state.library is None:
            raise EditError(f"{self} was called outside attach(...), which turns its library on; attach it.")
        with state.library.evaluation():
            output = call.proceed()
        state.evaluations += 1
        state.stored_bytes = max(state.stored_bytes, tensor_bytes(state.library.kept()))
        return output

    def finish(self, state: PeerState) -> CacheReport:
        """Hits: evaluations in which a site did not run."""
        hits = {path: state.evaluations - ran for path, ran in state.ran.items() if ran < state.evaluations}
        if not hits:
            raise CacheError(
                f"{self} reused nothing in {state.evaluations} evaluations: give it another threshold or a shorter "
                "warm-up."
            )
        return CacheReport(hits=hits, stored_bytes=state.stored_bytes)


def _import(distribution: str) -> None:
    """Import the library, so that it is known to be there before anything is touched."""
    try:
        with quiet():
            importlib.import_module(MODULES[distribution])
    except ImportError as error:
        raise EditError(f"{distribution} is not there ({error}); `pip install sam_lsac[peers]`.") from error


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep a library from printing, and its loggers from anything below an error."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def tensor_bytes(root: object) -> int:
    """Bytes of all tensors that are reached from an object through its attributes, tables and lists, each once."""
    waiting, seen, total = [root], set[int](), 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, nn.Module) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            total += one.numel() * one.element_size()
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif hasattr(one, "__dict__"):
            waiting += vars(one).values()
    return total
