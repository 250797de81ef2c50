"""Two reports side by side: what a change of code, checkpoint or mixtures did to the verdicts."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sam_lsac.claims import Finding, Status, Verdict
from sam_lsac.claims.wording import MARKS, figure
from sam_lsac.legible import legible
from sam_lsac.report.flips import BEYOND, SAME, key_of, noise_of, place_of
from sam_lsac.report.json import from_json
from sam_lsac.report.model import ClaimRow, Report

__all__ = ["Change", "Comparison", "compare"]

Kind = Literal["flipped", "vanished", "added", "moved"]
HEADINGS: dict[Kind, str] = {
    "flipped": "Flipped verdicts",
    "vanished": "Vanished claims (gone, or no longer judged)",
    "added": "Added claims (new, or judged for the first time)",
    "moved": "Moved effects (the intervals do not overlap)",
}
UNJUDGED = ("absent", "not run", "shown")  # from nothing to figures; a step back is vanished, a step ahead is added
UNDECIDED = "inconclusive"
NO_CHANGE = "No verdict flipped, no effect moved."


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    Parameters
    ----------
    kind
        A verdict, of a claim or of one of its tiers, that flipped, vanished or was added; or an effect that moved.
    claim_id
        Whose.
    before, after
        What the reports say.
    what
        Which: empty for the claim's own verdict, the tier for that of a tier, the finding for an effect.
    noise
        Of a flip: whether the figures that turned differ by more than their intervals allow, and which figure decides;
        empty for the other kinds.
    """

    kind: Kind
    claim_id: str
    before: str
    after: str
    what: str = ""
    noise: str = ""

    @property
    def is_beyond_noise(self) -> bool:
        """Whether a flip is more than two draws of the same truth would give."""
        return self.noise.startswith(BEYOND)

    def __str__(self) -> str:
        """Return the change as one line of text."""
        if self.kind == "moved":
            return legible(f"{self.claim_id} {self.what}: {self.before} -> {self.after}")
        before, after = (f"{MARKS.get(one, '')} {one}".strip() for one in (self.before, self.after))
        noise = f", {self.noise}" if self.noise else ""
        return legible(f"{self.claim_id}{f' on {self.what}' if self.what else ''} {before} -> {after}{noise}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences, in the order of the claims; `notes` say where the reports are of different things."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def flips(self) -> tuple[Change, ...]:
        """The verdicts, of claims and of tiers, that were judged in both reports and differ."""
        return self.of("flipped")

    def fails(self, on: Literal["flip", "never"] = "flip") -> bool:
        """Whether a release should stop: a verdict flipped, or is not there any more; a moved effect alone is news."""
        return on == "flip" and any(change.kind in ("flipped", "vanished") for change in self.changes)

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    def __str__(self) -> str:
        """Return the comparison as text, a line per change."""
        lines = [legible(note) for note in self.notes]
        for kind, heading in HEADINGS.items():
            if changes := self.of(kind):
                lines += [f"{heading}:", *(f"  {change}" for change in changes)]
        beyond = f" ({sum(change.is_beyond_noise for change in self.flips)} {BEYOND})" if self.flips else ""
        counts = ", ".join(f"{len(self.of(kind))} {kind}{beyond if kind == 'flipped' else ''}" for kind in HEADINGS)
        return "\n".join([*lines, f"{counts}." if self.changes else NO_CHANGE])


def compare(old: Report | Path | str, new: Report | Path | str) -> Comparison:
    """Compare two reports.

    Parameters
    ----------
    old, new
        Reports, or the JSON that `to_json` wrote.

    Returns
    -------
    Comparison
        A verdict that was judged (not "not run") in both and differs is flipped, that of a claim as well as that of a
        tier; one that was judged and is not any more is vanished. What either run was not asked for is not compared:
        a note names it. Where they stop by different rules, as a sequential run and one that judges once, a verdict
        that one decides and the other does not is no flip, for their levels differ: a note names it. What is shown
        without a judgement is not judged. An effect is moved where both have an interval and these do not overlap. A
        flip says whether it is beyond noise: see `sam_lsac.report.flips`.

    Raises
    ------
    InputError, StoreError
        As `sam_lsac.report.json.from_json`.
    """
    before, after = (one if isinstance(one, Report) else from_json(one) for one in (old, new))
    seen = {row.id: row for row in before.claims}
    now = {row.id: row for row in after.claims}
    found = [
        change
        for claim_id in dict.fromkeys((*seen, *now))
        for change in _claim_changes(claim_id, seen.get(claim_id), now.get(claim_id), alpha=after.alpha)
    ]
    by_stopping = [one for one in found if before.sequential != after.sequential and _is_of_stopping(one)]
    changes = tuple(one for one in found if one not in by_stopping)
    notes = (*_notes(before, after), *_not_compared(seen, now), *_of_stopping(by_stopping))
    return Comparison(changes=changes, notes=notes)


def _claim_changes(claim_id: str, old: ClaimRow | None, new: ClaimRow | None, *, alpha: float) -> Iterator[Change]:
    if any(row is not None and not row.selected for row in (old, new)):
        return
    if not any(row is not None and _is_partial(row.verdict) for row in (old, new)):
        before, after = (row.verdict.status if row else None for row in (old, new))
        yield from (_told(one, old, new, alpha=alpha) for one in _status_changes(claim_id, before, after))
    if old and new:
        tiers = old.verdict.tiers
        for tier in (one for one in tiers if one in new.verdict.tiers):
            changes = _status_changes(claim_id, tiers[tier], new.verdict.tiers[tier], what=tier)
            yield from (_told(one, old, new, alpha=alpha) for one in changes)
        yield from _moved(claim_id, old.verdict, new.verdict)


def _told(change: Change, old: ClaimRow | None, new: ClaimRow | None, *, alpha: float) -> Change:
    """Return a change that says, where it is a flip, whether it is beyond noise."""
    if change.kind != "flipped" or not old or not new:
        return change
    return replace(change, noise=noise_of(old.verdict, new.verdict, tier=change.what, alpha=alpha))


def _is_partial(verdict: Verdict) -> bool:
    """Whether a verdict is open only because the run was asked for some of its claim's tiers."""
    return verdict.status == "not run" and any(status != "not run" for status in verdict.tiers.values())


def _status_changes(claim_id: str, old: Status | None, new: Status | None, *, what: str = "") -> Iterator[Change]:
    """Compare two verdicts on one thing; None where a report does not have it."""
    before, after = old or "absent", new or "absent"
    was, now = (UNJUDGED.index(status) if status in UNJUDGED else len(UNJUDGED) for status in (before, after))
    if before != after:
        kind: Kind = "vanished" if now < was else "added" if now > was else "flipped"
        yield Change(kind=kind, claim_id=claim_id, what=what, before=before, after=after)


def _moved(claim_id: str, old: Verdict, new: Verdict) -> Iterator[Change]:
    known = {key_of(finding): finding for finding in old.findings}
    for finding in new.findings:
        earlier = known.get(key_of(finding))
        if earlier is not None and _apart(earlier, finding):
            yield Change(
                kind="moved", claim_id=claim_id, what=place_of(finding), before=figure(earlier), after=figure(finding)
            )


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


def _notes(before: Report, after: Report) -> Iterator[str]:
    old, new = before.environment, after.environment
    if old.digest != new.digest:
        yield f"The checkpoints differ: {old.checkpoint} ({old.digest[:12]}) and {new.checkpoint} ({new.digest[:12]})."
    if old.mixtures != new.mixtures:
        yield f"The mixtures differ: {dict(old.mixtures)} and {dict(new.mixtures)}."
    if (before.alpha, before.theta) != (after.alpha, after.theta):
        yield "The level or the share of no loss differs: a verdict may have flipped for that reason alone."


def _is_of_stopping(change: Change) -> bool:
    """Whether looks at the same figures, with other levels, may be all of a change."""
    return change.kind == "flipped" and UNDECIDED in (change.before, change.after)


def _of_stopping(changes: Iterable[Change]) -> Iterator[str]:
    if said := [str(replace(one, noise="")) for one in changes]:
        yield f"The reports stop by different rules, which may be all that these differ by: {'; '.join(said)}."


def _not_compared(seen: dict[str, ClaimRow], now: dict[str, ClaimRow]) -> Iterator[str]:
    """Say what only one of the two runs was asked for."""
    for rows, others, which in ((seen, now, "older"), (now, seen, "newer")):
        alone = [one for one in rows if rows[one].selected and one in others and not others[one].selected]
        if alone:
            yield f"Judged in the {which} report alone, so not compared: {', '.join(alone)}."
        tiers = [
            f"{one} on {tier}"
            for one, row in rows.items()
            for tier in row.verdict.tiers
            if one in others and others[one].selected and others[one].verdict.tiers
            and tier not in others[one].verdict.tiers
        ]  # fmt: skip
        if tiers:
            yield f"Judged in the {which} report alone, so not compared: {', '.join(tiers)}."
