"""CONTRIBUTING's table of modules and its figure of the nouns are true to the code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS = next(one["layers"] for one in CONTRACTS if one["type"] == "layers")
SECTION = TEXT.split("## From mixture to page\n")[1].split("\n## ")[0]
FIGURE = SECTION.split("```text\n")[1].split("```")[0]
NOUNS = dict(reversed(one.rsplit(".", 1)) for one in re.findall(r"^\* `([\w.]+)`:", SECTION, flags=re.MULTILINE))
NAMED = {
    "Mixture", "Arm", "Edit", "Solver", "RunSpec", "Store", "RunResult", "Score", "Row", "Ledger", "Pairs",
    "Contrast", "Evidence", "Finding", "Case", "Verdict", "Claim", "ClaimRow", "Report", "Views",
}  # fmt: skip


def test_the_table_has_every_module_in_the_order_of_the_layers() -> None:
    rank = {
        name.strip().removeprefix("sam_lsac."): place
        for place, layer in enumerate(reversed(LAYERS))
        for name in layer.split("|")
    }
    table = TEXT.split("| module | what it knows |\n")[1].split("\n\n")[0]
    modules = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted([*modules, "__main__"]) == sorted(rank)
    assert [rank[name] for name in modules] == sorted(rank[name] for name in modules)
    for name in rank:
        assert (ROOT / "sam_lsac" / name).is_dir() or (ROOT / "sam_lsac" / f"{name}.py").is_file()
    on_disk = {path.stem for path in (ROOT / "sam_lsac").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert on_disk - {"__init__", "__pycache__"} == set(rank)


def test_the_figure_and_its_list_have_the_same_nouns() -> None:
    assert set(re.findall(r"\b[A-Z]\w+", FIGURE)) == set(NOUNS) == NAMED
    assert FIGURE.isascii()
    assert max(map(len, FIGURE.splitlines())) <= 100


@pytest.mark.parametrize("noun", sorted(NAMED))
def test_a_noun_is_a_class_of_the_package(noun: str) -> None:
    found = getattr(importlib.import_module(f"sam_lsac.{NOUNS[noun]}"), noun)
    assert inspect.isclass(found)
    assert found.__name__ == noun
    assert found.__module__.startswith("sam_lsac.")


def test_the_arrows_are_what_the_signatures_say() -> None:
    """Each step of the figure is a function whose annotations name its two ends."""
    steps = {
        "runs:plan": ("Mixture", "Arm"),
        "runs:scored_runs": ("Store",),
        "claims.collect:ledger": ("Store", "Ledger"),
        "claims.ledger:Ledger.losses": ("Pairs",),
        "claims.cells:loss": ("Claim", "Ledger", "Contrast"),
        "claims.contrast:Contrast": ("Pairs",),
        "claims.contrast:Contrast.evidence": ("Evidence",),
        "claims.kind:Evidence": ("Finding",),
        "claims:Verdict": ("Finding",),
        "claims:judge": ("Claim", "Ledger", "Verdict"),
        "suite.cases:cases_of": ("Case",),
        "report:build_report": ("Verdict", "Ledger", "Report"),
    }
    for path, ends in steps.items():
        said = str(inspect.signature(pkgutil.resolve_name(f"sam_lsac.{path}")))
        assert [end for end in ends if not re.search(rf"\b{end}\b", said)] == [], path
