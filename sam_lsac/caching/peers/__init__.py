"""Caches of other people, each an edit: what LSAC and the fitted solvers are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sam_lsac.interventions import Edit

__all__ = ["PEERS"]

#: Every peer that an arm may name, by the word after ``kind =``.
PEERS: Mapping[str, type[Edit]] = MappingProxyType({})
