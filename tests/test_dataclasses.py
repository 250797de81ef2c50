"""Values stay what they are: every dataclass is frozen, slotted and made by keyword, but for a few with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import sam_lsac

PACKAGE = Path(sam_lsac.__file__).parent
HOUSE = frozenset({"frozen", "slots", "kw_only"})
STATE = "counts or collects during one solve"
NAMED_BY_OTHERS = "bound to the arguments of somebody else's forward"
SHORT = "written by position, as people say it: Euler(16), Points((0, 1, 2)), Score(12.5)"
#: What a dataclass leaves out of the house's three words, and why.
LEFT_OUT = {
    "_Changes": ({"frozen"}, STATE),
    "_Desk": ({"frozen"}, STATE),
    "_State": ({"frozen"}, STATE),
    "_DeepCacheState": ({"frozen", "kw_only"}, STATE),
    "_GateState": ({"frozen", "kw_only"}, STATE),
    "_RecordState": ({"frozen"}, STATE),
    "Clock": ({"frozen"}, STATE),
    "PeerState": ({"frozen"}, STATE),
    "AnchorInputs": ({"kw_only"}, NAMED_BY_OTHERS),
    "AttentionInputs": ({"kw_only"}, NAMED_BY_OTHERS),
    "Branch": ({"kw_only"}, SHORT),
    "EPSS": ({"kw_only"}, SHORT),
    "Grid": ({"kw_only"}, SHORT),
    "GridSolver": ({"kw_only"}, SHORT),
    "Ledger": ({"kw_only"}, SHORT),
    "Points": ({"kw_only"}, SHORT),
    "RunSpec": ({"slots"}, "remembers its key, for which a plan asks dozens of times"),
    "Score": ({"kw_only"}, SHORT),
    "Sway": ({"kw_only"}, SHORT),
    "Uniform": ({"kw_only"}, SHORT),
}


def dataclasses() -> Iterator[tuple[str, set[str]]]:
    """Name of every dataclass of the package, with the words that its decorator sets."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for one in node.decorator_list if isinstance(node, ast.ClassDef) else ():
                call = one if isinstance(one, ast.Call) else ast.Call(func=one, args=[], keywords=[])
                if isinstance(call.func, ast.Name) and call.func.id == "dataclass":
                    yield node.name, {word.arg for word in call.keywords if getattr(word.value, "value", None) is True}


def test_every_dataclass_is_frozen_slotted_and_made_by_keyword() -> None:
    found = list(dataclasses())
    assert len(found) > 80
    for name, words in found:
        left_out, _ = LEFT_OUT.get(name, (set(), ""))
        assert HOUSE - words == left_out, name


def test_what_is_left_out_is_left_out_somewhere() -> None:
    assert set(LEFT_OUT) <= {name for name, _ in dataclasses()}
