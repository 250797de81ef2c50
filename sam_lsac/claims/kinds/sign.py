"""sign: the pretrained span gate has the sign that `direction` names, else refuted; zero has no sign, and refutes."""

import math

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import number

__all__ = ["KIND"]

DIRECTIONS = {"negative": -1, "positive": 1}


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Evidence]:
    if context.gate is None or math.isnan(context.gate):
        raise UndecidedError("not run", "The checkpoint's span gate was not read, or it has none that is a number.")
    as_claimed = DIRECTIONS[str(claim.direction)] * context.gate > 0
    finding = Finding(
        quantity="gate",
        estimate=context.gate,
        paper=claim.paper,
        status="supported" if as_claimed else "refuted",
        note=f"tanh {math.tanh(context.gate):+.4g}",
    )
    return [Evidence(finding=finding)]


def _reason(claim: Claim, findings: Findings) -> str:
    (gate,) = findings
    return f"The span gate is {number(gate.estimate, signed=True)} ({gate.note}); the paper says {claim.direction}."


def _headline(_claim: Claim, findings: Findings) -> Lines:
    return tuple(f"gate {number(one.estimate, signed=True)}" for one in findings)


KIND = Kind(
    name="sign",
    find=_find,
    reason=_reason,
    headline=_headline,
    needs=frozenset({"direction"}),
    choices={"direction": tuple(DIRECTIONS)},
)
