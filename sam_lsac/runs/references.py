"""Which arms an arm's output is compared with: full solves of the same mixture and noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sam_lsac.errors import PlanError
from sam_lsac.records import unknown
from sam_lsac.runs.arms import Arm

__all__ = ["check_references", "in_order", "references_of"]


def references_of(name: str, arms: Mapping[str, Arm], *, baseline: str) -> tuple[str, ...]:
    """The arms that an arm is compared with.

    These are the ones that it names; where it says nothing the baseline, if there is one that edits nothing. With spans
    the model is asked another question, so such an arm is compared with what it names alone.

    Parameters
    ----------
    name
        Of an arm.
    arms
        All there are.
    baseline
        Name of the arm that others are compared with.
    """
    arm = arms[name]
    if arm.references is not None:
        return arm.references
    usable = baseline in arms and name != baseline and not arms[baseline].edits and not arm.spans
    return (baseline,) if usable else ()


def check_references(arms: Mapping[str, Arm], *, baseline: str) -> None:
    """Check what every arm is compared with.

    Parameters
    ----------
    arms
        All there are.
    baseline
        Name of the arm that others are compared with.

    Raises
    ------
    PlanError
        If a reference is no arm, edits something or is the arm itself, or references go round in a circle.
    """
    for name in arms:
        where = f"[arms.{name}]: references"
        for reference in references_of(name, arms, baseline=baseline):
            if reference not in arms:
                raise PlanError(f"{where}: {unknown('arm', reference, arms)}")
            if reference == name:
                raise PlanError(f"{where}: {name!r} is no reference of its own; leave it out.")
            if arms[reference].edits:
                raise PlanError(f"{where}: {reference!r} has edits, so it is no full solve; name an arm without any.")
    in_order(arms, arms, baseline=baseline)


def in_order(names: Iterable[str], arms: Mapping[str, Arm], *, baseline: str) -> tuple[str, ...]:
    """Some arms and all that they are compared with, each after its references.

    Parameters
    ----------
    names
        Of the arms.
    arms
        All there are.
    baseline
        Name of the arm that others are compared with.

    Raises
    ------
    PlanError
        If references go round in a circle.
    """
    done: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise PlanError(f"References go round: {circle}; leave one of them out (references = []).")
        for reference in references_of(name, arms, baseline=baseline):
            visit(reference, (*above, name))
        done[name] = None

    for name in names:
        visit(name, ())
    return tuple(done)
