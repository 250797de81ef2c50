"""What a layer does where whole branches of it are passed by: more words than `LayerWork` has."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sam_lsac.interventions.work import LayerWork

__all__ = ["BranchWork"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchWork(LayerWork):
    """What one layer does in one evaluation, where whole branches of it may be passed by.

    Parameters
    ----------
    self_attention
        False where nothing of self-attention runs, neither the matrix nor what is mixed by it.
    feed_forward
        False where the feed-forward network does not run.
    """

    self_attention: bool = True
    feed_forward: bool = True

    @classmethod
    def of(cls, work: LayerWork) -> BranchWork:
        """The same work, of this class."""
        return cls(**{item.name: getattr(work, item.name) for item in fields(work)})
