"""SmoothCache, of dit-smoothcache: self-attention and feed-forward branches held over steps that calibration chose.

References
----------
Liu et al. 2024, "SmoothCache: a universal inference acceleration technique for diffusion transformers",
arXiv:2411.10510.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from sam_lsac.caching.peers.facade import LayerParts, Parts, layers_of, parts_between
from sam_lsac.caching.peers.peer import Library, Peer, PeerState, quiet
from sam_lsac.errors import EditError
from sam_lsac.interventions.edit import Call, Clock, Edit
from sam_lsac.interventions.sites import Site, layer_sites

__all__ = ["BranchChanges", "SmoothCache", "smooth_schedule"]

_PARTS = ("attention", "feed_forward")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothCache(Peer):
    """Branches whose output calibration found to change little are held, by part, for all layers alike.

    The library counts the calls of each branch and never begins anew by itself: without ``reset``, all solves after the
    first are whole.

    Parameters
    ----------
    attention, feed_forward
        1 for an evaluation in which the branch runs and 0 for one in which it is held, from `smooth_schedule`.
    """

    attention: tuple[int, ...]
    feed_forward: tuple[int, ...]

    distribution: ClassVar[str] = "dit-smoothcache"
    parts: ClassVar[tuple[str, ...]] = _PARTS

    @property
    def looks_across_batch(self) -> bool:
        """Its steps are fixed."""
        return False

    def begin(self, clock: Clock) -> PeerState:
        """Nothing ran yet; refuses a schedule of another solve."""
        for schedule in (self.attention, self.feed_forward):
            if len(schedule) != clock.nfe or not set(schedule) <= {0, 1} or schedule[0] != 1:
                raise EditError(
                    f"A schedule of SmoothCache has a 1 or a 0 for each of the {clock.nfe} evaluations, the first a 1, "
                    f"and this one is {schedule}; make it with smooth_schedule(...)."
                )
        return PeerState()

    @contextmanager
    def enabled(self, model: nn.Module, clock: Clock) -> Iterator[Library]:
        """Enable it on the branches of the layers; disable it again."""
        with quiet():
            from SmoothCache.smooth_cache_helper import SmoothCacheHelper
        parts = Parts(layers_of(model), _PARTS)
        schedule = {"attention": list(self.attention), "feed_forward": list(self.feed_forward)}
        helper = SmoothCacheHelper(parts, LayerParts, list(_PARTS), schedule)
        helper.enable()
        try:
            with parts_between(model, parts):
                yield Library(reset=helper.reset_state, kept=lambda: helper.cache, evaluation=quiet)
        finally:
            helper.disable()


@dataclass(slots=True, kw_only=True)
class _Changes:
    """Outputs of the last evaluations, by site path, and sums of relative changes by part, evaluation and distance."""

    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    sums: dict[str, dict[tuple[int, int], float]] = field(default_factory=lambda: {part: {} for part in _PARTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchChanges(Edit):
    """Measures, in a whole solve, how much each branch changes; what `smooth_schedule` goes by.

    Its outcome is, by part, for (evaluation, distance), the relative L1 change summed over the layers.

    Parameters
    ----------
    longest
        Distance in evaluations up to which changes are measured.
    """

    longest: int = 3

    def sites(self, model: nn.Module) -> tuple[Site, ...]:
        """The branches of all layers."""
        return tuple(site for part in _PARTS for site in layer_sites(model, part))

    def begin(self, clock: Clock) -> _Changes:
        """Nothing seen yet."""
        return _Changes()

    def apply(self, call: Call, state: _Changes) -> Tensor:
        """Run the branch and compare it with the evaluations before."""
        output = call.proceed()
        before = state.outputs.setdefault(call.site.path, [])
        sums = state.sums[call.site.path.rsplit(".", 1)[1]]
        for distance, old in enumerate(reversed(before), start=1):
            change = float((output - old).abs().sum() / old.abs().sum().clamp_min(1e-30))
            place = (call.clock.completed, distance)
            sums[place] = sums.get(place, 0.0) + change
        state.outputs[call.site.path] = [*before, output][-self.longest :]
        return output

    def finish(self, state: _Changes) -> dict[str, dict[tuple[int, int], float]]:
        """The sums."""
        return state.sums


def smooth_schedule(
    measured: Sequence[dict[str, dict[tuple[int, int], float]]], *, n_layers: int, nfe: int, threshold: float
) -> SmoothCache:
    """Choose when branches are held: as long as the mean change since they last ran is below a threshold.

    Parameters
    ----------
    measured
        Outcomes of `BranchChanges`, one a calibration solve.
    n_layers
        Of the network.
    nfe
        Evaluations of the solve.
    threshold
        Relative L1 change, as a mean over layers and solves.

    Returns
    -------
    SmoothCache
        With the schedule; which is all ones where nothing is below.

    Raises
    ------
    EditError
        If nothing was measured.
    """
    if not measured:
        raise EditError("smooth_schedule needs the changes of at least one solve; attach BranchChanges() to some.")
    schedules: dict[str, tuple[int, ...]] = {}
    for part in _PARTS:
        schedule, last = [1], 0
        for evaluation in range(1, nfe):
            place = (evaluation, evaluation - last)
            changes = [one[part].get(place) for one in measured]
            found = [change for change in changes if change is not None]
            held = len(found) == len(changes) and sum(found) / (len(found) * n_layers) < threshold
            schedule.append(0 if held else 1)
            last = last if held else evaluation
        schedules[part] = tuple(schedule)
    return SmoothCache(attention=schedules["attention"], feed_forward=schedules["feed_forward"])
