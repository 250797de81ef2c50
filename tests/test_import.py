"""What ``import sam_lsac`` costs: hardly more than PyTorch, because nothing heavy is imported before it is used."""

import subprocess
import sys
from pathlib import Path

#: Each takes from a tenth of a second to as long as PyTorch itself.
HEAVY = (
    "torch._dynamo",
    "triton",
    "sympy",
    "scipy.stats",
    "scipy.signal",
    "transformers",
    "pydantic",
    "matplotlib",
    "rich",
)

_PRINT_NEW = f"""
import sys
import torch
before = set(sys.modules)
import sam_lsac
print(*sorted({{*{HEAVY!r}}} & (set(sys.modules) - before)))
"""


def test_nothing_heavy_is_imported_before_it_is_used():
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", _PRINT_NEW], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
