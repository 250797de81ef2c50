"""Mutate rooms of the package at places drawn by chance, and see whether their tests notice: ``tox -e mutation``.

The changes are those of cosmic-ray, one at a time: another operator or number, a condition turned round, a decorator
left out. Of every place in a room one change is drawn. What no test could notice is left out: annotations, docstrings,
slots and the words of errors. Places are drawn until the time is up; what is done is kept, so that the next call goes
on with others. A mutant that survives is equal to the code in all that can be seen, or a law without a test.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import random
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sam_lsac.errors import InputError
from sam_lsac.records import STRICT, read
from tests.faults.campaign import Kept, State
from tests.faults.copies import Copy, Outcome, copied
from tests.faults.rows import ROOT, Fault

__all__ = ["main", "seen"]

TABLE = Path(__file__).with_name("mutation.toml")
RESULTS = ROOT / ".tox" / "mutation.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is mutated, below the repository, and the tests that must notice."""

    __pydantic_config__: ClassVar[Any] = STRICT

    files: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def modules(self) -> list[Path]:
        """Every file of Python, named from the repository's root."""
        paths = [ROOT / name for name in self.files]
        found = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        return [file.relative_to(ROOT) for file in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change at one place of a module."""

    module: Path
    line: int
    operator: str
    text: str

    def diff(self) -> str:
        """The lines that change."""
        sound = (ROOT / self.module).read_text(encoding="utf-8").splitlines()
        lines = list(difflib.unified_diff(sound, self.text.splitlines(), n=0, lineterm=""))[3:]
        return "\n".join(f"    {line[0]} {line[1:].strip()}" for line in lines)

    @property
    def fault(self) -> Fault:
        """As a row whose old text is the whole module."""
        sound = (ROOT / self.module).read_text(encoding="utf-8")
        what = f"{self.operator} in line {self.line}"
        return Fault(name=what, file=str(self.module), old=sound, new=self.text, law="", tests=())


def seen(text: str) -> str:
    """A module as its tests can see it: without annotations, docstrings, slots and the words of errors."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            node.annotation = ast.Constant(value=None) if isinstance(node, ast.AnnAssign) else None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args = []
        elif isinstance(node, ast.ClassDef):
            for call in (one for one in node.decorator_list if isinstance(one, ast.Call)):
                call.keywords = [word for word in call.keywords if word.arg != "slots"]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def mutants(modules: Sequence[Path], draw: random.Random) -> Iterator[Mutant]:
    """One change of every place of some modules, in an order drawn by chance, made when it is asked for."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    places: dict[tuple[Path, tuple[int, int]], list[tuple[str, int]]] = {}
    kinds = {name: get_operator(name) for name in operator_names()}
    operators = {name: kind() for name, kind in kinds.items() if not kind.arguments()}
    for module in modules:
        nodes = list(ast_nodes(get_ast((ROOT / module).read_text(encoding="utf-8"))))
        for name, operator in operators.items():
            positions = (position for node in nodes for position in operator.mutation_positions(node))
            for occurrence, (start, _) in enumerate(positions):
                places.setdefault((module, start), []).append((name, occurrence))
    order = sorted(places)
    draw.shuffle(order)
    for module, start in order:
        name, occurrence = draw.choice(places[module, start])
        sound = (ROOT / module).read_text(encoding="utf-8")
        text = mutate_code(sound, operators[name], occurrence)
        try:
            if text is None or seen(text) == seen(sound):
                continue
        except SyntaxError:
            continue
        yield Mutant(module=module, line=start[0], operator=name.removeprefix("core/"), text=text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate the rooms in turn and print their scores and survivors; 1 where one survived."""
    options = _options(arguments)
    rooms = _read_rooms(options.rooms)
    kept, state = Kept(options.results), State()
    until = time.monotonic() + 60.0 * options.minutes / len(rooms)
    judged: dict[str, list[tuple[Mutant, Outcome]]] = {name: [] for name in rooms}
    with copied() as copy:
        for name, room in rooms.items():
            for mutant in mutants(room.modules, random.Random(options.seed)):  # noqa: S311  # chooses what to try
                of = state.of(room.tests, hashlib.sha256(mutant.text.encode()).hexdigest())
                outcome = kept.get(of)
                if outcome is None:
                    if time.monotonic() > until:
                        break  # what was kept came first, in the same order
                    outcome = _judge(copy, mutant, room.tests, limit_s=options.limit_s)
                    kept.put(of, outcome)
                    where = f"{mutant.module}:{mutant.line} {mutant.operator}"
                    print(f"{outcome.status:8} {outcome.seconds:4.0f} s  {where} {outcome.by}", flush=True)
                judged[name].append((mutant, outcome))
            until += 60.0 * options.minutes / len(rooms)
    return _summary(judged)


def _judge(copy: Copy, mutant: Mutant, tests: Sequence[str], *, limit_s: float) -> Outcome:
    with copy.planted(mutant.fault):
        return copy.run(tests, limit_s=limit_s)


def _summary(judged: Mapping[str, Sequence[tuple[Mutant, Outcome]]]) -> int:
    """Print scores and survivors; a module that cannot be imported, or does not end, counts as noticed."""
    print("\n| room | mutants | noticed | survived | score |\n|---|---|---|---|---|")
    left = {name: [one for one, outcome in found if outcome.status == "survived"] for name, found in judged.items()}
    for name, found in judged.items():
        noticed = len(found) - len(left[name])
        score = f"{noticed / len(found):.0%}" if found else "not run"
        print(f"| {name} | {len(found)} | {noticed} | {len(left[name])} | {score} |")
    for mutant in (one for survivors in left.values() for one in survivors):
        print(f"\n{mutant.module}:{mutant.line} {mutant.operator}\n{mutant.diff()}")
    return int(any(left.values()))


def _read_rooms(wanted: Sequence[str]) -> dict[str, Room]:
    tables = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    rooms = read(dict[str, Room], tables, where=TABLE.name, error=InputError, remedy="name files and tests")
    unknown = [name for name in wanted if name not in rooms]
    if unknown:
        raise InputError(f"there is no room {unknown[0]!r} in {TABLE.name}; choose from {', '.join(rooms)}")
    return {name: room for name, room in rooms.items() if not wanted or name in wanted}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", help="of mutation.toml; all where none is named")
    parser.add_argument("--minutes", type=float, default=60.0, help="shared out evenly among the rooms")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn; the same places come first again")
    parser.add_argument("--limit-s", type=float, default=300.0, help="of one mutant")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where outcomes are kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
