"""The report as JSON of a stated schema version: everything but sounds, curves and matrices."""

import json
from pathlib import Path
from typing import Any

from sam_lsac.claims import Verdict
from sam_lsac.claims.wording import figure
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report.extras import Extras
from sam_lsac.report.model import Report
from sam_lsac.report.strict import from_data, to_data

__all__ = ["SCHEMA", "VERSION", "from_json", "junit_properties", "to_json"]

SCHEMA = "sam_lsac.report"
VERSION = 1


def to_json(report: Report) -> str:
    """Return the report as JSON text, indented, with its schema and version first."""
    data = {"schema": SCHEMA, "version": VERSION, **to_data(report, leave_out=(Extras,))}
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(source: str | Path) -> Report:
    """Read a report that `to_json` wrote; its `extras` are empty.

    Parameters
    ----------
    source : Path or str
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
        data = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise StoreError(f"{name} is not JSON ({error}): write the report again") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise StoreError(f"{name} is not a report: pass the report.json that --report DIR writes")
    if data.get("version") != VERSION:
        raise StoreError(
            f"{name} has version {data.get('version')!r} and this code reads {VERSION}: "
            "write the report again with this version of sam_lsac"
        )
    body = {key: value for key, value in data.items() if key not in ("schema", "version")}
    report: Report = from_data(Report, body, where=name)
    _check(report, name)
    return report


def _text(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source, "report"
    try:
        return Path(source).read_text(encoding="utf-8"), Path(source).name
    except OSError as error:
        raise InputError(f"no report at {source}: pass the report.json that --report DIR writes") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{source} is not JSON ({error}): write the report again") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check(report: Report, name: str) -> None:
    """Raise where the parts contradict each other."""
    ids = [row.id for row in report.claims]
    if len(set(ids)) < len(ids):
        raise StoreError(f"{name}: a claim is there twice: write the report again")
    for row in report.claims:
        if row.verdict.claim_id != row.id:
            raise StoreError(f"{name}: {row.id} has the verdict of {row.verdict.claim_id}: write the report again")


def junit_properties(verdict: Verdict) -> list[tuple[str, str]]:
    """Return name and value of what a JUnit file says about a claim's test case."""
    properties = [
        ("claim", verdict.claim_id),
        ("verdict", verdict.status),
        ("reason", verdict.reason),
        ("n", str(verdict.n)),
        ("n_dropped", str(verdict.n_dropped)),
    ]
    for finding in verdict.findings:
        parts = (finding.quantity, finding.tier, finding.metric, finding.arm, finding.versus, finding.axis)
        properties.append(("/".join(part for part in parts if part), figure(finding)))
    return properties
