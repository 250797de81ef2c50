"""What a run leaves, and the interface of every store of runs: what is there, what is missing, what may be written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from sam_lsac.errors import PlanError, StoreError
from sam_lsac.metrics import Score
from sam_lsac.runs.plan import Plan, RunSpec

__all__ = ["ReadOnlyStore", "RunResult", "Store"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunResult:
    """What one run left.

    Parameters
    ----------
    spec
        What was run.
    scores
        By column of the run; NaN with its reason, and whether the run has failed.
    noise_digest
        SHA-256 of the noise it started from; None where nothing was computed, and all scores say why.
    hits
        Calls that reused a stored tensor, by site path.
    probes
        What was recorded: "layers", "steps", and values [layers][steps] by quantity.
    wall_s
        Seconds, as `sam_lsac.runs.compute` counts them; timings that claims rest on are taken elsewhere.
    environment
        Versions and machine; "at_once" where memory had room for fewer examples at once than asked for.
    arrays
        Waves and latents to keep, by name. Empty on what a store gives back: see `Store.array`.
    array_bytes
        How large the kept ones are, by name; only on what a store gives back.
    """

    spec: RunSpec
    scores: Mapping[str, Score]
    noise_digest: str | None
    hits: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    array_bytes: Mapping[str, int] = field(default_factory=dict)


class Store(ABC):
    """Where results are kept; `missing` is also the resume.

    Attributes
    ----------
    location
        What errors call it.
    """

    location: str

    @abstractmethod
    def keys(self) -> set[str]:
        """Keys of all runs that are there."""

    @abstractmethod
    def get(self, keys: Collection[str]) -> dict[str, RunResult]:
        """The results of those of the keys that are there."""

    @abstractmethod
    def put(self, results: Sequence[RunResult]) -> None:
        """Keep results, all or none; a key that is there keeps its first result."""

    @abstractmethod
    def array(self, key: str, name: str) -> NDArray[Any] | None:
        """A kept wave or latent, or None where the run kept none of that name."""

    @contextmanager
    def lease(self, keys: Collection[str]) -> Iterator[bool]:
        """Announce that runs are computed in the block; gives False where one is another's work or there already.

        A store that no other process writes to needs nothing more than this.
        """
        yield not self.keys().intersection(keys)

    def await_others(self, keys: Collection[str]) -> None:  # noqa: B027  # in most stores there are none
        """Wait until another process has stored or left at least one of these runs."""

    def close(self) -> None:  # noqa: B027  # most stores hold nothing open
        """Let go of files."""

    def missing(self, plan: Plan) -> tuple[RunSpec, ...]:
        """The runs of a plan that are not there, each once, those without edits first."""
        present = self.keys()
        return tuple(spec for spec in plan.runs if spec.key not in present)

    def require(self, plan: Plan) -> None:
        """Raise PlanError unless every run of the plan is there."""
        if missing := self.missing(plan):
            raise PlanError(
                f"{len(missing)} of {len(plan.runs)} runs are not in {self.location}; compute them by running the same "
                "command without --replay, such as `pytest bench/`."
            )

    def require_writable(self, plan: Plan) -> None:  # noqa: B027  # writable unless a store says otherwise
        """Raise PlanError if runs are missing and this store takes none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReadOnlyStore(Store):
    """Another store without the right to compute: replay. A run keeps its first result, so that it is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, RunResult] = {}
        self.location = store.location

    def keys(self) -> set[str]:
        """Of the store inside."""
        return self._store.keys()

    def get(self, keys: Collection[str]) -> dict[str, RunResult]:
        """From the store inside, or as it was read before."""
        self._read |= self._store.get([key for key in keys if key not in self._read])
        return {key: self._read[key] for key in sorted(keys) if key in self._read}  # in the order of the store inside

    def put(self, results: Sequence[RunResult]) -> None:
        """Refuse."""
        raise StoreError(f"{self.location} was opened to replay and takes no results; open it without --replay.")

    def array(self, key: str, name: str) -> NDArray[Any] | None:
        """From the store inside."""
        return self._store.array(key, name)

    def require_writable(self, plan: Plan) -> None:
        """Replay computes nothing: every run must be there."""
        self.require(plan)

    def close(self) -> None:
        """Close the store inside."""
        self._store.close()
