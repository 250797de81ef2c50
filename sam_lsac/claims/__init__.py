"""Claims of the paper as data, and their judgement.

``load_claims(path)`` reads the rows of bench/claims.toml, ``Ledger(rows)`` holds the scores of all runs, and
``judge(claim, ledger, context)`` returns a `Verdict`: supported, refuted, inconclusive or not run, with the figures
that decided. A claim has a case for each of its tiers (``claim.cases``), and ``judge_case`` judges one of them. How
each kind of claim is judged is stated in `sam_lsac.claims.kinds`.
"""

from sam_lsac.claims.book import Book, load_claims, parse_claims
from sam_lsac.claims.claim import Arm, Claim, KnownRefutation, Settings
from sam_lsac.claims.judge import headline, judge, judge_case
from sam_lsac.claims.kinds import KINDS
from sam_lsac.claims.ledger import Ledger, Pairs, Row
from sam_lsac.claims.verdict import ArmCost, Context, Finding, Status, Verdict
from sam_lsac.claims.views import CaveatRow, Views

__all__ = [
    "KINDS",
    "Arm",
    "ArmCost",
    "Book",
    "CaveatRow",
    "Claim",
    "Context",
    "Finding",
    "KnownRefutation",
    "Ledger",
    "Pairs",
    "Row",
    "Settings",
    "Status",
    "Verdict",
    "Views",
    "headline",
    "judge",
    "judge_case",
    "load_claims",
    "parse_claims",
]
