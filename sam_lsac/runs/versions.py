"""Which version of the code a run is of: what decides beside the plan's own words.

Of the code its syntax trees count, without docstrings: what a module does, and not how it is written or explained. A
changed sentence or comment leaves all stored runs as they are; a changed constant makes them another version's.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from sam_lsac.errors import PlanError
from sam_lsac.interventions import Edit

__all__ = ["NUMERICAL", "code_version", "edit_version", "package_version", "versions_of"]

_CACHES = "sam_lsac.caching"
#: What a wheel puts below the package and a repository beside it.
_NOT_OURS = ("bench/", "embedded/")

#: The source that decides what a run computes, below the package's folder: all that computing and batching import,
#: but for what only checks, names or keeps (a test holds the list and the imports together), and for the caches, of
#: which each decides the runs that use it alone.
NUMERICAL = (
    "finite.py",
    "interventions",
    "metrics",
    "mixtures",
    "model",
    "request.py",
    "runs/arms.py",
    "runs/chunk.py",
    "runs/compared.py",
    "runs/compute.py",
    "separate.py",
    "solver",
)


def code_version() -> str:
    """SHA-256 in hex over the syntax trees of the modules that decide what a run computes."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for part in NUMERICAL:
        path = package / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(f"{file.relative_to(package).as_posix()} {_tree_digest(file.read_bytes())}\n".encode())
    return total.hexdigest()


def edit_version(edit: Edit) -> str:
    """SHA-256 in hex over the syntax trees of an edit's own module, and of the caches' modules that it imports.

    So a new cache, or a changed one, leaves the stored runs of all others as they are.

    Raises
    ------
    PlanError
        If the edit's class has no file, as one that was typed into an interpreter.
    """
    total = hashlib.sha256()
    found: dict[str, bytes] = {}
    waiting = [type(edit).__module__]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        file = getattr(sys.modules[name], "__file__", None)
        if file is None:
            raise PlanError(
                f"{type(edit).__name__} has no source file, and a stored run names the version of its edits: write the "
                "class into a module of its own and import it from there"
            )
        found[name] = Path(file).read_bytes()
        tree = ast.parse(found[name])
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        waiting += [one for one in imported if one.startswith(f"{_CACHES}.") and one in sys.modules]
    for name, source in sorted(found.items()):
        total.update(f"{name} {_tree_digest(source)}\n".encode())
    return total.hexdigest()


def versions_of(edits: Sequence[Edit]) -> tuple[tuple[str, str], ...]:
    """What edits say decides beside the common code: their own source, and the versions of libraries that they use.

    Returns
    -------
    tuple of (str, str)
        Name and version each, by name.

    Raises
    ------
    PlanError
        If an edit's class has no file.
    """
    others = [edit for edit in edits if not type(edit).__module__.startswith("sam_lsac.interventions.")]
    found = {f"source of {type(edit).__name__}": edit_version(edit) for edit in others}
    return tuple(sorted((found | {name: one for edit in edits for name, one in edit.versions().items()}).items()))


def package_version() -> str:
    """SHA-256 in hex over all of the package's source, to the byte: what processes that exchange tasks must share."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        if not name.startswith(_NOT_OURS):
            total.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=1024)  # a plan asks for each module again; the digest depends on its bytes alone
def _tree_digest(source: bytes) -> str:
    return hashlib.sha256(_described(ast.parse(source)).encode()).hexdigest()


def _described(node: object) -> str:
    """A syntax tree as text: as ``ast.dump``, less texts that are statements, and what one Python alone writes.

    Empty fields are left out, since a later Python adds some (the parameters of types, for example).
    """
    if isinstance(node, ast.AST):
        named = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return f"{type(node).__name__}({', '.join(f'{name}={_described(value)}' for name, value in named)})"
    if isinstance(node, list):
        return f"[{', '.join(_described(one) for one in node if not _is_text(one))}]"
    return repr(node)


def _is_text(node: object) -> bool:
    """Whether a statement is nothing but a text: a docstring, of a module, class, function or constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
