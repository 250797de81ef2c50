"""count: every quantity of `targets` is within the relative tolerance of the paper's figure, else refuted.

Zero, NaN or infinity is no count: not run.
"""

import math

from sam_lsac.claims.claim import Claim
from sam_lsac.claims.kind import Evidence, Kind, UndecidedError
from sam_lsac.claims.kinds._shared import Findings, Lines
from sam_lsac.claims.ledger import Ledger
from sam_lsac.claims.verdict import Context, Finding
from sam_lsac.claims.wording import figure

__all__ = ["KIND"]

#: Figures of a `Context`, and what they are beside their number.
QUANTITIES = {"flops_per_evaluation": "", "self_attention_flops_per_evaluation": "self-attention "}


def _find(claim: Claim, _ledger: Ledger, context: Context) -> list[Evidence]:
    found = []
    for quantity, target in claim.targets.items():
        value = getattr(context, quantity)
        if value is None or not math.isfinite(value) or value <= 0.0:
            counted = "was not counted" if value is None else f"was counted as {value!r}, which is no count"
            raise UndecidedError("not run", f"{quantity.replace('_', ' ').capitalize()} {counted}.")
        error = value / target - 1.0
        finding = Finding(
            quantity=quantity,
            estimate=float(value),
            paper=f"{target / 1e9:.1f} GFLOPs",
            status="supported" if abs(error) <= claim.given("tolerance") else "refuted",
            note=f"{error:+.2%}",
        )
        found.append(Evidence(finding=finding))
    return found


def _reason(claim: Claim, findings: Findings) -> str:
    words = [f"{one.quantity.replace('_', ' ')} {figure(one)}, the paper {one.paper} ({one.note})" for one in findings]
    return (
        f"Counted {'; '.join(words)}; the tolerance is {claim.given('tolerance'):.1%}. The figures are those of one "
        "network evaluation: a 16-step Euler solve costs 16 times as much."
    )


def _headline(_claim: Claim, findings: Findings) -> Lines:
    return tuple(f"{QUANTITIES[one.quantity]}{figure(one)} ({one.note})" for one in findings)


KIND = Kind(
    name="count",
    find=_find,
    reason=_reason,
    headline=_headline,
    needs=frozenset({"targets", "tolerance"}),
    choices={"targets": tuple(QUANTITIES)},
)
