"""The rows of a run store: their tables, the digest that each carries, and what JSON cannot say of a score."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["APPLICATION_ID", "SCHEMA", "SCHEMA_VERSION", "row_digest"]

SCHEMA_VERSION = 3
APPLICATION_ID = 0x4C534143  # "LSAC"
SCHEMA = (
    """CREATE TABLE runs (
        key TEXT PRIMARY KEY, spec TEXT NOT NULL, noise_digest TEXT, hits TEXT NOT NULL, probes TEXT NOT NULL,
        wall_s REAL NOT NULL, environment TEXT NOT NULL, finished TEXT NOT NULL, digest TEXT NOT NULL)""",
    """CREATE TABLE scores (
        run TEXT NOT NULL REFERENCES runs(key), metric TEXT NOT NULL, value REAL, reason TEXT,
        failed INTEGER NOT NULL, PRIMARY KEY (run, metric), CHECK ((value IS NULL) = (reason IS NOT NULL)))""",
    """CREATE TABLE files (
        run TEXT NOT NULL REFERENCES runs(key), name TEXT NOT NULL, sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL, PRIMARY KEY (run, name))""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
SELECT_RUNS = """SELECT key, spec, noise_digest, hits, probes, wall_s, environment, finished, digest FROM runs
    WHERE key IN (SELECT value FROM json_each(?))"""
SELECT_SCORES = "SELECT run, metric, value, reason, failed FROM scores WHERE run IN (SELECT value FROM json_each(?))"
SELECT_FILES = "SELECT run, name, sha256, bytes FROM files WHERE run IN (SELECT value FROM json_each(?))"
SELECT_STRAYS = """SELECT run FROM (SELECT run FROM scores UNION SELECT run FROM files)
    WHERE run NOT IN (SELECT key FROM runs)"""


def row_digest(row: Sequence[Any], scores: Sequence[Sequence[Any]], files: Sequence[Sequence[Any]]) -> str:
    """SHA-256 in hex of all that a run's rows hold, in whatever order the tables give them."""
    content = [list(row), *(sorted((list(one) for one in table), key=repr) for table in (scores, files))]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()  # damage can make bytes of text


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(value: Any) -> Any:
    """The inverse: every null is NaN."""
    if isinstance(value, dict):
        return {name: with_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_nan(inner) for inner in value]
    return math.nan if value is None else value
