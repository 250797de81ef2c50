"""Plant every fault of ``faults.toml``, one at a time, and see which test notices: ``tox -e faults``.

First the named tests are run without a fault: one that is red anyway catches nothing. Then each fault is planted in a
copy of the repository. What is done is kept in a file, by the content of the package, of the row and of its tests, so
that an interrupted campaign goes on, and a new test has its own faults planted anew and no others. The exit code is 1
where a fault survived or could not be judged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from tests.faults.copies import Copy, Outcome, copied
from tests.faults.rows import ROOT, Fault, read_faults

__all__ = ["Kept", "State", "main"]

RESULTS = ROOT / ".tox" / "faults.jsonl"
_IMPORTS = re.compile(r"^(?:from|import) .*$", re.MULTILINE)
_WORD = re.compile(r"\w+")


#: By the digest of what its outcome depends on: a fault, or none, and tests to run.
Work = Mapping[str, tuple[Fault | None, tuple[str, ...]]]


class Kept:
    """The outcomes so far, a line of JSON each, by what they depend on.

    Parameters
    ----------
    path
        Of the file; made with its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
                self._known[row["of"]] = Outcome(**row["outcome"])
            except (ValueError, TypeError, KeyError):
                continue  # a line that an interrupt cut

    def get(self, of: str) -> Outcome | None:
        """The outcome under a digest, if there is one."""
        return self._known.get(of)

    def put(self, of: str, outcome: Outcome) -> None:
        """Keep an outcome at once; an error may be the machine's, and is tried again the next time."""
        self._known[of] = outcome
        if outcome.status != "error":
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"of": of, "outcome": asdict(outcome)}) + "\n")


class State:
    """Digests of what an outcome depends on: the package, bench, and the named tests with what they import of tests.

    Parameters
    ----------
    root
        Of the repository.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._tests = root / "tests"
        code = [file for part in ("sam_lsac", "bench") for file in sorted((root / part).rglob("*.*"))]
        self._code = _digest(file for file in code if file.suffix in (".py", ".toml", ".html", ".css", ".json"))

    def of(self, tests: Iterable[str], fault: str = "") -> str:
        """Return the digest for some tests, under a fault's own digest."""
        files: dict[Path, None] = {}
        left = [self._tests.parent / test.split("::")[0] for test in tests] + sorted(self._tests.rglob("conftest.py"))
        while left:
            file = left.pop()
            if file not in files and file.is_file():
                files[file] = None
                words = {
                    word for line in _IMPORTS.findall(file.read_text(encoding="utf-8")) for word in _WORD.findall(line)
                }
                left += [place / f"{word}.py" for word in words for place in (self._tests, file.parent)]
        return hashlib.sha256(f"{self._code} {_digest(sorted(files))} {sorted(tests)} {fault}".encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its table."""
    options = _options(arguments)
    faults = [one for one in read_faults() if options.only in f"{one.file} {one.name}"]
    for fault in faults:
        fault.planted_in(ROOT)  # all that moved is told before anything runs
    kept, state = Kept(options.results), State()
    tests = sorted({test for fault in faults for test in fault.tests})
    plain: Work = {state.of([test]): (None, (test,)) for test in tests}
    planted: Work = {state.of(fault.tests, fault.digest): (fault, fault.tests) for fault in faults}
    with ExitStack() as stack:
        is_new = any(kept.get(of) is None for of in (*plain, *planted))
        copies = [stack.enter_context(copied()) for _ in range(options.at_once if is_new else 0)]
        for work in (plain, planted):
            left = {of: one for of, one in work.items() if kept.get(of) is None}
            for of, outcome in _judged(left, copies, options.limit_s) if left else ():
                kept.put(of, outcome)
                fault, named = work[of]
                what = f"{fault.room}: {fault.name}" if fault else f"without a fault: {named[0]}"
                where = f" by {outcome.by}" if outcome.by else ""
                print(f"{outcome.status:8} {outcome.seconds:5.0f} s  {what}{where}", flush=True)
            red = [outcome for of in plain if (outcome := kept.get(of)) and outcome.status != "survived"]
            if red:
                print(f"{red[0].by}: red without a fault, so that it can catch nothing; mend it first")
                return 1
    return _summary([(fault, kept.get(of)) for of, (fault, _) in planted.items() if fault])


def _judged(work: Work, copies: Sequence[Copy], limit_s: float) -> Iterator[tuple[str, Outcome]]:
    """Run the tests of each, as many at once as there are copies, and give every outcome as soon as it is there."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def run(fault: Fault | None, tests: tuple[str, ...]) -> Outcome:
        copy = free.get()
        try:
            with copy.planted(fault) if fault else nullcontext():
                return copy.run(tests, limit_s=limit_s)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        running = {pool.submit(run, *one): of for of, one in work.items()}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _summary(judged: Sequence[tuple[Fault, Outcome | None]]) -> int:
    """Print the table and its totals; 1 where not every fault was caught."""
    print("\n| room | fault | law | caught by | s |\n|---|---|---|---|---|")
    for fault, outcome in judged:
        shown = outcome or Outcome(status="error", by="", seconds=0)
        by = shown.by if shown.status == "caught" else f"**{shown.status}** {shown.by}".rstrip()
        print(f"| {fault.room} | {fault.name} | {fault.law} | {by} | {shown.seconds:.0f} |")
    counts = {}
    for fault, outcome in judged:
        mine = counts.setdefault(fault.room, {"caught": 0, "survived": 0, "error": 0})
        mine[outcome.status if outcome else "error"] += 1
    print("\n| room | faults | caught | survived | errors |\n|---|---|---|---|---|")
    for room, mine in sorted(counts.items()):
        print(f"| {room} | {sum(mine.values())} | {mine['caught']} | {mine['survived']} | {mine['error']} |")
    caught = sum(mine["caught"] for mine in counts.values())
    in_bench = sum(outcome is not None and outcome.by.startswith("bench/") for _, outcome in judged)
    print(f"\n{caught} of {len(judged)} faults caught, {caught - in_bench} by tests/ and {in_bench} by bench/.")
    return int(caught < len(judged))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose file or name holds this text")
    parser.add_argument("--at-once", type=int, default=2, help="copies, each with a fault of its own")
    parser.add_argument("--limit-s", type=float, default=300.0, help="of one fault")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where outcomes are kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
