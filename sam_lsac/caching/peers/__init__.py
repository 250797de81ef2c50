"""Caches of other people, each an edit: what LSAC and the fitted solvers are compared with.

Each is attached through its library's own interface and counted by what really ran; TeaCache and EasyCache, which have
no package, are written on this library's interface. `NOT_ATTACHED` says which others were tried, and why they are not
here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType

from sam_lsac.caching.peers.cache_dit import DBCache
from sam_lsac.caching.peers.diffusers import FirstBlockCache, MagCache, TaylorSeer
from sam_lsac.caching.peers.peer import MODULES, Peer
from sam_lsac.caching.peers.smooth import SmoothCache
from sam_lsac.caching.peers.thresholds import EasyCache, TeaCache
from sam_lsac.interventions import Edit

__all__ = ["NOT_ATTACHED", "PEERS", "missing_library"]

#: Every peer that an arm may name, by the word after ``kind =``.
PEERS: Mapping[str, type[Edit]] = MappingProxyType(
    {
        "DBCache": DBCache,
        "EasyCache": EasyCache,
        "FirstBlockCache": FirstBlockCache,
        "MagCache": MagCache,
        "SmoothCache": SmoothCache,
        "TaylorSeer": TaylorSeer,
        "TeaCache": TeaCache,
    }
)

#: Caches that do not fit this network, with the reason.
NOT_ATTACHED: Mapping[str, str] = MappingProxyType(
    {
        "diffusers PyramidAttentionBroadcast": "hooks attention classes of diffusers alone: no error and no effect",
        "diffusers FasterCache": "hooks attention classes of diffusers alone, and saves on guidance, which is not used",
        "diffusers SeaCache": "filters over the rows and columns of an image, which a sequence of frames does not have",
        "diffusers TextKVCache": "keeps keys and values of text in blocks of its own transformer alone",
        "DeepCache (library)": "skips levels of a U-Net; the edit DeepCache carries it over to layers",
        "hicache-pp": "forecasts from snapshots at equal distances, without a hook; calls and steps are its user's",
        "LeMiCa, HarmoniCa": "have no package",
    }
)


def missing_library(word: str) -> str | None:
    """Why the edit of this name cannot run here, or None.

    Parameters
    ----------
    word
        Of `PEERS`, or the name of any other edit, which misses nothing.
    """
    kind = PEERS.get(word)
    if kind is None or not issubclass(kind, Peer) or importlib.util.find_spec(MODULES[kind.distribution]):
        return None
    return f"{kind.distribution} is not installed; `pip install sam_lsac[peers]`."
