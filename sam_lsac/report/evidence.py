"""What stands behind a verdict besides its estimates, in words: groups, rare failures, counts, and what it covers."""

from collections.abc import Mapping
from typing import Protocol

from sam_lsac.claims import Finding, Verdict
from sam_lsac.claims.verdict import Groups
from sam_lsac.claims.wording import number, unit_of
from sam_lsac.report.looks import looks_text

__all__ = ["counts", "details", "groups", "harm", "reach"]


class Counted(Protocol):
    """Anything that counts what its figures lack: a finding, a verdict or a cell of a table."""

    @property
    def n_dropped(self) -> int:
        """Mixtures without a figure that they should have."""

    @property
    def n_failed(self) -> int:
        """Mixtures, or runs, whose output is silent or not finite."""


def counts(one: Counted, *, runs: bool = False) -> str:
    """Return "2 failed, 1 dropped, 3 left out", each where there is any.

    Parameters
    ----------
    one
        A finding, a verdict or a cell.
    runs
        Whether what failed is counted by runs, not by mixtures.
    """
    excluded = getattr(one, "n_excluded", 0)
    failed = f"{'run' if one.n_failed == 1 else 'runs'} failed" if runs else "failed"
    said = ((one.n_failed, failed), (one.n_dropped, "dropped"), (excluded, "left out"))
    return ", ".join(f"{n} {what}" for n, what in said if n)


def groups(found: Groups) -> str:
    """Return "4 target groups p 0.03, 4 residual groups p 0.2", or that there is no test."""
    sides = (
        ("target", found.n_targets, found.p_targets),
        ("residual", found.n_residuals, found.p_residuals),
    )
    return ", ".join(
        f"{n} {side} {'group' if n == 1 else 'groups'} {'without a test' if p is None else _p(p)}"
        for side, n, p in sides
        if n
    )


def harm(finding: Finding, smallest_effects: Mapping[str, float]) -> str:
    """Return how a finding's losses are spread; empty where it was not looked at.

    Parameters
    ----------
    finding
        With its `harm`: "worst mixture clean-007 +0.21 dB; 2 of 24 lose more than 0.1 dB [1 %, 27 %]".
    smallest_effects
        Smallest effect of interest, by metric.
    """
    found = finding.harm
    if found is None:
        return ""
    unit = unit_of(finding.metric)
    least = smallest_effects.get(finding.metric.split("/")[0])
    bound = "the smallest effect" if least is None else f"{least:g} {unit}".rstrip()
    worst = f"{number(found.worst, signed=True)} {unit}".rstrip()
    share = f"{round(found.share * finding.n)} of {finding.n} lose more than {bound}"
    interval = f"[{100.0 * found.share_low:.0f} %, {100.0 * found.share_high:.0f} %]"
    return f"worst mixture {found.mixture} {worst}; {share} {interval}; sign test {_p(found.p_sign)}"


def reach(verdict: Verdict) -> str:
    """Return in a few words what a verdict covers and what its figures lack; empty where there is nothing to say."""
    scope = f"speaks of {verdict.scope}" if verdict.scope else ""
    return "; ".join(part for part in (scope, counts(verdict)) if part)


def details(verdict: Verdict, smallest_effects: Mapping[str, float]) -> tuple[str, ...]:
    """Return what a claim's sentence leaves out: its reach, its looks, its weakest test over groups, the worst.

    Parameters
    ----------
    verdict
        Of the claim.
    smallest_effects
        Smallest effect of interest, by metric; the worst losses of several metrics are compared in these.
    """
    tested = [one for one in verdict.findings if one.groups is not None]
    harmed = [one for one in verdict.findings if one.harm is not None]
    lines = [reach(verdict), looks_text(verdict)]
    if tested:
        weakest = max(tested, key=_p_of_groups)
        lines.append(f"{_where(weakest)}: {groups(weakest.groups)}" if weakest.groups else "")
    if harmed:
        worst = max(harmed, key=lambda one: _in_smallest(one, smallest_effects))
        lines.append(f"{_where(worst)}: {harm(worst, smallest_effects)}")
    return tuple(line for line in lines if line)


def _p_of_groups(finding: Finding) -> float:
    found = finding.groups
    return max((p for p in (found.p_targets, found.p_residuals) if p is not None), default=-1.0) if found else -1.0


def _in_smallest(finding: Finding, smallest_effects: Mapping[str, float]) -> float:
    worst = finding.harm.worst if finding.harm else 0.0
    return worst / smallest_effects.get(finding.metric.split("/")[0], 1.0)


def _where(finding: Finding) -> str:
    return " ".join(part for part in (finding.tier, finding.arm) if part) or finding.quantity


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p {value:.2g}"
