"""How often a verdict changes with the seed of the noise, on real runs: each seed's runs are judged by themselves.

    python -m tests.calibration.stability --judge LS3 LS4 LS5 --n-seeds 10 --mixtures-per-tier 8 --store FILE

computes what the store is missing and prints a Markdown table: per claim and tier the verdicts of all seeds, and the
share that differs from the most frequent one. A claim whose verdicts differ more often than its alpha says so.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from sam_lsac.claims import Ledger, judge_case, load_claims
from sam_lsac.suite.cases import cases_of
from sam_lsac.suite.gather import compute, prepare
from sam_lsac.suite.options import HOUSE_CLAIMS, add_options, read_options


def changes(verdicts: list[str]) -> float:
    """Return the share of verdicts that are not the most frequent one."""
    return 1.0 - Counter(verdicts).most_common(1)[0][1] / len(verdicts)


def table(found: dict[str, list[str]], *, alpha: float) -> str:
    """Return one row a case: how often each verdict was given, and the share that changes."""
    lines = ["| case | verdicts over the seeds | share that changes |", "|---|---|---|"]
    for case, verdicts in found.items():
        share = changes(verdicts)
        counted = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).most_common())
        lines.append(f"| {case} | {counted} | {share:.0%}{' (more often than alpha)' if share > alpha else ''} |")
    return "\n".join(lines)


def main() -> int:
    """Compute, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser.add_argument)
    parser.add_argument("--judge", nargs="+", required=True, metavar="ID", help="claims, such as LS3 LS4")
    parser.add_argument("--n-seeds", type=int, default=10)
    given = parser.parse_args()
    values = {f"--{name.replace('_', '-')}": value for name, value in vars(given).items()}
    seeds = tuple(range(given.n_seeds))
    options = replace(read_options(values.__getitem__, root=Path.cwd()), seeds=seeds)
    book = load_claims(HOUSE_CLAIMS if given.claims is None else Path(given.claims))
    cases = cases_of(book, given.judge)
    prepared = prepare(options, cases, book=book)
    print(*prepared.header(), sep="\n", file=sys.stderr)
    evidence = compute(prepared, step=lambda done: print(done.arm, end="\r", file=sys.stderr))
    found: dict[str, list[str]] = {case.id: [] for case in cases}
    for seed in seeds:
        ledger = Ledger(tuple(row for row in evidence.ledger.rows if row.seed == seed))
        for case in cases:
            claim = evidence.book[case.claim_id]
            found[case.id].append(judge_case(claim, case.tier, ledger, evidence.context).status)
    print(table(found, alpha=book.settings.alpha))
    return 0


if __name__ == "__main__":
    sys.exit(main())
