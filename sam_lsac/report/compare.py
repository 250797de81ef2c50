"""Two reports side by side: what a change of code, checkpoint or mixtures did to the verdicts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam_lsac.claims import Finding, Verdict
from sam_lsac.claims.wording import MARKS, figure, metric_name
from sam_lsac.report.json import from_json
from sam_lsac.report.model import Report

__all__ = ["Change", "Comparison", "compare"]

SAME = 1e-6  # relative; figures without an interval differ by rounding between machines
Kind = Literal["flipped", "vanished", "added", "moved"]
HEADINGS: dict[Kind, str] = {
    "flipped": "Flipped verdicts",
    "vanished": "Vanished claims (gone, or no longer judged)",
    "added": "Added claims (new, or judged for the first time)",
    "moved": "Moved effects (the intervals do not overlap)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    Parameters
    ----------
    kind : {"flipped", "vanished", "added", "moved"}
    claim_id : str
    what : str
        Where: empty for a verdict, the finding for an effect.
    before, after : str
        What the reports say.
    """

    kind: Kind
    claim_id: str
    before: str
    after: str
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences, in the order of the claims; `notes` say where the reports are of different things."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where a verdict flipped or a claim vanished, else 0; a moved effect alone is news, not a failure."""
        return int(any(change.kind in ("flipped", "vanished") for change in self.changes))

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    def __str__(self) -> str:
        """Return the comparison as text, a line per change."""
        lines = list(self.notes)
        for kind, heading in HEADINGS.items():
            if changes := self.of(kind):
                lines += [f"{heading}:", *(f"  {_words(change)}" for change in changes)]
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in HEADINGS)
        return "\n".join([*lines, f"{counts}." if self.changes else "No verdict flipped, no effect moved."])


def compare(old: Report | Path | str, new: Report | Path | str) -> Comparison:
    """Compare two reports.

    Parameters
    ----------
    old, new : Report, Path or str
        Reports, or the JSON that `to_json` wrote.

    Returns
    -------
    Comparison
        A verdict that was judged (not "not run") in both and differs is flipped; one that was judged and is not any
        more is vanished. An effect is moved where both have an interval and these do not overlap.

    Raises
    ------
    InputError, StoreError
        As `sam_lsac.report.json.from_json`.
    """
    before, after = (one if isinstance(one, Report) else from_json(one) for one in (old, new))
    seen = {row.id: row.verdict for row in before.claims}
    now = {row.id: row.verdict for row in after.claims}
    changes = [
        change
        for claim_id in dict.fromkeys((*seen, *now))
        for change in _claim_changes(claim_id, seen.get(claim_id), now.get(claim_id))
    ]
    return Comparison(changes=tuple(changes), notes=tuple(_notes(before, after)))


def _claim_changes(claim_id: str, old: Verdict | None, new: Verdict | None) -> Iterator[Change]:
    before, after = (verdict.status if verdict else "absent" for verdict in (old, new))
    was, judged = (status not in ("absent", "not run") for status in (before, after))
    if (was and not judged) or (old and not new):
        yield Change(kind="vanished", claim_id=claim_id, before=before, after=after)
    elif (judged and not was) or (new and not old):
        yield Change(kind="added", claim_id=claim_id, before=before, after=after)
    elif before != after:
        yield Change(kind="flipped", claim_id=claim_id, before=before, after=after)
    if old and new:
        yield from _moved(claim_id, old, new)


def _moved(claim_id: str, old: Verdict, new: Verdict) -> Iterator[Change]:
    known = {_key(finding): finding for finding in old.findings}
    for finding in new.findings:
        earlier = known.get(_key(finding))
        if earlier is not None and _apart(earlier, finding):
            yield Change(
                kind="moved", claim_id=claim_id, what=_place(finding), before=figure(earlier), after=figure(finding)
            )


def _key(finding: Finding) -> tuple[str, ...]:
    return (finding.quantity, finding.tier, finding.metric, finding.arm, finding.versus, finding.axis)


def _apart(one: Finding, other: Finding) -> bool:
    """Return whether intervals do not overlap; a figure without one (a count) is its own interval."""
    ends = [
        (finding.estimate, finding.estimate) if finding.ci_low is None else (finding.ci_low, finding.ci_high)
        for finding in (one, other)
    ]
    (low, high), (other_low, other_high) = ends
    if low is None or high is None or other_low is None or other_high is None:
        return False
    if math.isclose(high, other_low, rel_tol=SAME) or math.isclose(low, other_high, rel_tol=SAME):
        return False
    return high < other_low or other_high < low


def _place(finding: Finding) -> str:
    versus = f"against {finding.versus}" if finding.versus else ""
    parts = (finding.quantity, metric_name(finding.metric), finding.arm, versus, finding.tier, finding.axis)
    return " ".join(part for part in parts if part)


def _notes(before: Report, after: Report) -> Iterator[str]:
    old, new = before.environment, after.environment
    if old.digest != new.digest:
        yield f"The checkpoints differ: {old.checkpoint} ({old.digest[:12]}) and {new.checkpoint} ({new.digest[:12]})."
    if old.mixtures != new.mixtures:
        yield f"The mixtures differ: {dict(old.mixtures)} and {dict(new.mixtures)}."
    if (before.alpha, before.margin_db) != (after.alpha, after.margin_db):
        yield "The level or the margin differs: a verdict may have flipped for that reason alone."


def _words(change: Change) -> str:
    if change.kind == "moved":
        return f"{change.claim_id} {change.what}: {change.before} -> {change.after}"
    signs = [MARKS.get(status, "") for status in (change.before, change.after)]
    return f"{change.claim_id} {signs[0]} {change.before} -> {signs[1]} {change.after}".replace("  ", " ")
