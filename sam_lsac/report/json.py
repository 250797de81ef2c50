"""The report as JSON of a stated schema version: everything but sounds, curves and matrices.

report.schema.json beside this module is the JSON Schema of what is written and read here, for programs in other
languages; `schema_text` makes it from the records themselves.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sam_lsac.claims import Verdict
from sam_lsac.claims.wording import figure
from sam_lsac.errors import InputError, StoreError
from sam_lsac.records import STRICT, json_schema, read
from sam_lsac.report.model import Contents, Report

__all__ = ["from_json", "junit_properties", "schema_text", "to_json"]

SCHEMA = "sam_lsac.report"
VERSION = 5
DIALECT = "https://json-schema.org/draft/2020-12/schema"
AGAIN = "write the report again with this version of sam_lsac (pytest bench --replay computes nothing anew)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Contents):
    """A report.json: what every report holds, and which schema it follows."""

    __pydantic_config__: ClassVar[Any] = STRICT

    schema: Literal["sam_lsac.report"]
    version: Literal[5]


def to_json(report: Report) -> str:
    """Return the report as JSON text, indented, with its schema and version first.

    Infinities are written as "inf" and "-inf"; NaN, a figure that could not be computed, as null.
    """
    contents = {item.name: _plain(getattr(report, item.name)) for item in fields(Contents)}
    data = {"schema": SCHEMA, "version": VERSION, **contents}
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(source: str | Path) -> Report:
    """Read a report that `to_json` wrote; its `extras` are empty.

    Parameters
    ----------
    source
        A file, or JSON text (which begins with "{").

    Raises
    ------
    InputError
        If there is no such file.
    StoreError
        If it is not JSON, not a report, of another version, or any key or value is unknown, missing or wrong.
    """
    text, name = _text(source)
    try:
        data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name} is not JSON ({error}): {AGAIN}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise StoreError(f"{name} is not a report: pass the report.json that --report DIR writes")
    if data.get("version") != VERSION:
        raise StoreError(f"{name} has version {data.get('version')!r} and this code reads {VERSION}: {AGAIN}")
    document = read(Document, data, where=name, error=StoreError, remedy=AGAIN)
    _check(document, name)
    return Report(**{item.name: getattr(document, item.name) for item in fields(Contents)})


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) of a report.json, indented."""
    return json.dumps({"$schema": DIALECT, **_brief(json_schema(Document))}, indent=1, ensure_ascii=False) + "\n"


def _brief(schema: Any) -> Any:
    """Return a schema whose descriptions are the first sentence of a docstring."""
    if isinstance(schema, dict):
        return {
            name: value.split("\n\n")[0] if name == "description" and isinstance(value, str) else _brief(value)
            for name, value in schema.items()
        }
    return [_brief(value) for value in schema] if isinstance(schema, list) else schema


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source, "report"
    try:
        return Path(source).read_text(encoding="utf-8"), Path(source).name
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise StoreError(f"{source} is not JSON ({error}): {AGAIN}") from error
        raise InputError(f"no report at {source}: pass the report.json that --report DIR writes") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    if math.isinf(float(digits)):
        raise ValueError(f"{digits} is beyond what a number holds")
    return float(digits)


def _check(contents: Contents, name: str) -> None:
    """Raise where the parts contradict each other."""
    ids = [row.id for row in contents.claims]
    if len(set(ids)) < len(ids):
        raise StoreError(f"{name}: a claim is there twice: {AGAIN}")
    for row in contents.claims:
        if row.verdict.claim_id != row.id:
            raise StoreError(f"{name}: {row.id} has the verdict of {row.verdict.claim_id}: {AGAIN}")


def junit_properties(verdict: Verdict) -> list[tuple[str, str]]:
    """Return name and value of what a JUnit file says about a claim's test case."""
    properties = [
        ("claim", verdict.claim_id),
        ("verdict", verdict.status),
        ("reason", verdict.reason),
        ("n", str(verdict.n)),
        ("n_dropped", str(verdict.n_dropped)),
        ("n_failed", str(verdict.n_failed)),
        ("scope", verdict.scope),
        ("pairs_needed", "" if verdict.pairs_needed is None else str(verdict.pairs_needed)),
    ]
    properties += [(f"verdict/{tier}", status) for tier, status in verdict.tiers.items()]
    for finding in verdict.findings:
        parts = (finding.quantity, finding.tier, finding.metric, finding.arm, finding.versus, finding.axis)
        properties.append(("/".join(part for part in parts if part), figure(finding)))
    return properties
