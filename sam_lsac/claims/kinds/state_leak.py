"""state-leak: a cache carries nothing from one solve into the next.

Required, of every arm, bit by bit: the same mixture solved twice gives the same output, and a mixture after another one
gives what it gives alone. Any other bit refutes. No test is made, and no tier is asked: a leak is a property of the
arm's edits on this checkpoint, seen on two of the selection's mixtures.
"""

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import number

__all__ = ["KIND"]

REPEATED = "same mixture again"
CARRIED = "mixture after another"


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Evidence]:
    missing = [arm for arm in claim.arms if arm not in context.leaks]
    if missing:
        raise UndecidedError(
            "not run",
            f"Whether {', '.join(missing)} carries state over was not looked at: it takes two mixtures of one length "
            "and is computed each time, so not on a replay.",
        )
    return [
        Evidence(
            finding=Finding(
                quantity=quantity,
                arm=arm,
                estimate=difference,
                status="supported" if difference == 0.0 else "refuted",
                note="bit-equal" if difference == 0.0 else f"off by {number(difference)} of the output's RMS",
            )
        )
        for arm in claim.arms
        for quantity, difference in (
            (REPEATED, context.leaks[arm].repeated),
            (CARRIED, context.leaks[arm].carried),
        )
    ]


def _words(one: Finding) -> str:
    return f"{one.arm}, {one.quantity}: {one.note}"


KIND = Kind(
    name="state-leak",
    find=_find,
    reason=lambda _claim, findings: f"{'; '.join(map(_words, findings))}.",
    headline=lambda _claim, findings: tuple(map(_words, findings)),
    needs=frozenset({"arms"}),
)
