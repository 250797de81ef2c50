"""Runs that are computed by the nodes of a Ray cluster: one worker a GPU, or a core where there is none.

Ray is imported where a cluster is joined (`joined`), and nowhere else: who computes on one machine needs none of it.
"""

from sam_lsac.runs.cluster.executor import RayExecutor
from sam_lsac.runs.cluster.join import joined, share_of

__all__ = ["RayExecutor", "joined", "share_of"]
