"""One dialect of docstrings: NumPy's sections, and types only where the signature has none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sam_lsac", "fixtures", "examples")
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields")

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def annotated(node: Documented) -> set[str]:
    """Names with an annotation: arguments of a function, of a class its fields and the arguments of ``__init__``."""
    if isinstance(node, ast.ClassDef):
        parts = [annotated(one) for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        fields = {
            one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
        return fields.union(*parts)
    arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    arguments += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
    return {one.arg for one in arguments if one.annotation is not None}


def entries(docstring: str) -> Iterator[tuple[str, str, str]]:
    """Each entry of a section that lists names or types: the section, the entry's line, and the line below it."""
    lines = [*docstring.split("\n"), ""]
    section = ""
    for number, line in enumerate(lines[:-1]):
        below = lines[number + 1]
        if re.fullmatch("-{3,}", below):
            section = line
        elif section in SECTIONS and line and not line.startswith((" ", "---")):
            yield section, line, below


def faults(source: str) -> list[str]:
    """What departs from the dialect in a module, one sentence each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, Documented):
            continue
        known = annotated(node)
        for section, line, below in entries(ast.get_docstring(node) or ""):
            where = f"line {node.lineno}, {node.name}, {section}: {line!r}"
            names, colon, _ = line.partition(" : ")
            unannotated = [name for name in names.split(", ") if name.lstrip("*") not in known]
            if section in ("Parameters", "Attributes"):
                if colon and not unannotated:
                    found.append(f"{where} repeats a type that is annotated")
                if section == "Parameters" and unannotated and not colon:
                    found.append(f"{where} names what has no annotation here")
            elif colon and not isinstance(node, ast.ClassDef) and node.returns is not None:
                found.append(f"{where} repeats a type that is annotated")
            if not below.startswith("    ") and section in ("Parameters", "Attributes"):
                found.append(f"{where} says nothing")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_leave_types_to_signatures(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [f"{file.relative_to(ROOT)}: {fault}" for file in files for fault in faults(file.read_text("utf-8"))]
    assert found == []


def source(signature: str, entry: str, *, section: str = "Parameters", returns: str = "") -> str:
    """A function with one entry in one section of its docstring."""
    docstring = ["Do.", "", section, "-" * len(section), *entry.split("\n"), ""]
    return f'def f({signature}){returns}:\n    """' + "\n    ".join(docstring) + '"""\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (source("a: int", "a : int\n    Text."), "repeats"),
        (source("a: int, b: int", "a, b : int\n    Text."), "repeats"),
        (source("*, a: int", "a : int, optional\n    Text."), "repeats"),
        (source("*a: int", "*a : int\n    Text."), "repeats"),
        (source("", "n : int\n    Text.", section="Returns", returns=" -> int"), "repeats"),
        (source("a: int", "b\n    Text."), "no annotation"),
        (source("a", "a\n    Text."), "no annotation"),
        (source("a: int", "a"), "says nothing"),
        (
            'class C:\n    """Do.\n\n    Parameters\n    ----------\n    a : int\n        Text.\n    """\n    a: int',
            "repeats",
        ),
        (
            'class C:\n    """Do.\n\n    Attributes\n    ----------\n    a : int\n        Text.\n    """\n    a: int',
            "repeats",
        ),
    ],
)
def test_a_departure_from_the_dialect_is_found(text: str, fault: str) -> None:
    (found,) = faults(text)
    assert fault in found


@pytest.mark.parametrize(
    "text",
    [
        source("a: int, b: int", "a, b\n    Text."),
        source("a", "a : int\n    Text."),
        source("*a: int, **b: int", "*a, **b\n    Text."),
        source("", "int\n    Text.", section="Returns", returns=" -> int"),
        source("", "InputError\n    If a : b.", section="Raises"),
    ],
)
def test_the_dialect_is_accepted(text: str) -> None:
    assert faults(text) == []
