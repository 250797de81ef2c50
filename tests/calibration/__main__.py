"""How often each kind of claim is judged wrongly in simulated worlds: `tox -e calibration`.

    python -m tests.calibration [--simulations N] [--claims ID ...] [--worlds NAME ...] [--sequential]

prints a Markdown table and ends with 1 where an error is more frequent than its level, beyond chance.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.calibration.measure import HEADER, WORLDS, cells, chosen, line, measure


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200, help="ledgers for each row of the table")
    parser.add_argument("--claims", nargs="*", help="by id; one of every kind where not given")
    parser.add_argument("--worlds", nargs="*", choices=list(WORLDS), default=list(WORLDS), metavar="NAME")
    parser.add_argument("--scenarios", nargs="*", help="by name; all where not given")
    parser.add_argument("--sequential", action="store_true", help="judge at looks, as the suite's --sequential does")
    parser.add_argument("--processes", type=int, help="as many as there are processors where not given")
    options = parser.parse_args()
    asked = cells(
        chosen(options.claims),
        worlds=options.worlds,
        scenarios=options.scenarios,
        simulations=options.simulations,
        sequential=options.sequential,
    )
    print(HEADER)
    rates = []
    with ProcessPoolExecutor(options.processes) as pool:
        for rate in pool.map(measure, asked):
            rates.append(rate)
            print(line(rate), flush=True)
    wrong = [rate for rate in rates if rate.faults]
    for rate in wrong:
        print(f"{rate.claim} ({rate.kind}), {rate.scenario}, {rate.world}: {'; '.join(rate.faults)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
