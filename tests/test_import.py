"""What importing costs: nothing heavy is imported before it is used, and the public names are complete all the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sam_lsac
from sam_lsac.caching import LEVELS
from sam_lsac.claims import load_claims
from sam_lsac.commands import separate as separating
from sam_lsac.files import CHANNELS
from sam_lsac.suite.cases import cases_of
from sam_lsac.suite.collected import collected_cases
from sam_lsac.suite.options import HOUSE_CLAIMS

ROOT = Path(__file__).parents[1]
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
LIGHT = ("torch", "numpy", "pydantic", "scipy", "matplotlib", "rich", "jinja2", "transformers", "soundfile", "tqdm")


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of some modules a program imports, from whose end they are printed."""
    program = f"import sys\n{code}\nprint('imported:', *sorted({{*{names!r}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rsplit("imported:", 1)[1].split()


def test_no_more_than_torch_is_imported_for_all_public_names():
    uses = "import sam_lsac\n[getattr(sam_lsac, name) for name in sam_lsac.__all__]"
    assert (
        imported(f"import torch\nbefore = {{*sys.modules}} - {{'sys'}}\n{uses}\n[*map(sys.modules.pop, before)]", HEAVY)
        == []
    )


@pytest.mark.parametrize(
    "code",
    [
        "import sam_lsac",
        "from sam_lsac.__main__ import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from sam_lsac.__main__ import main\ntry:\n    main(['plan', '--help'])\nexcept SystemExit:\n    pass",
    ],
    ids=["the package", "help", "help of a command"],
)
def test_torch_is_not_imported_for(code):
    assert imported(code, LIGHT) == []


def test_a_command_that_is_stopped_while_torch_is_imported_ends_in_one_line():
    """Half of PyTorch cannot be imported once more, so that what is said at the end must not need it."""
    code = """
import os, signal, sys
from sam_lsac.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
class Half:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch._meta_registrations":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Half)
sys.exit(main(["plan"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "sam_lsac plan: stopped; nothing was written.\n")


def test_ray_is_not_imported_before_a_cluster_is_joined():
    code = "import sam_lsac.suite.gather, sam_lsac.suite.usable, sam_lsac.runs.cluster"
    assert imported(code, ("ray",)) == []


def test_collecting_claims_imports_none_of_what_judges_them():
    # beside xdist the benchmark's plugin warns, which is an error here
    without = "'-p', 'no:hypothesispytest', '-p', 'no:benchmark'"
    code = f"import pytest\nassert pytest.main(['--collect-only', '-q', {without}, 'bench']) == 0"
    assert (
        imported(code, ("torch", "pydantic", "scipy", "matplotlib", "ray", "sam_lsac.claims", "sam_lsac.report")) == []
    )


def test_the_cases_that_are_collected_are_those_of_the_checked_file():
    book = load_claims(HOUSE_CLAIMS)
    ids = [claim.id for claim in book.claims]
    assert len(ids) > 1
    assert collected_cases(HOUSE_CLAIMS, ids) == cases_of(book, ids)


def test_the_public_names_are_those_that_type_checkers_see():
    tree = ast.parse((ROOT / "sam_lsac" / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = (one for one in tree.body if isinstance(one, ast.If) and isinstance(one.test, ast.Name))
    seen = {alias.name: one.module for one in guarded.body if isinstance(one, ast.ImportFrom) for alias in one.names}
    assert seen == dict(sam_lsac._SOURCE_OF)
    assert set(sam_lsac.__all__) == set(seen)
    assert set(sam_lsac.__all__) <= set(dir(sam_lsac))


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'seperate'"):
        sam_lsac.seperate  # noqa: B018


@pytest.mark.parametrize(
    "first", ["import sam_lsac.separate, sam_lsac.tune", "from sam_lsac import separate, tune", "pass"]
)
def test_functions_stay_functions_where_modules_have_their_names(first):
    code = (
        f"{first}\nimport sam_lsac\nimport sam_lsac.files\nprint(callable(sam_lsac.separate), callable(sam_lsac.tune))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_words_of_options_are_those_of_the_library():
    assert (CHANNELS, tuple(LEVELS)) == (separating.CHANNELS, separating.LEVELS)
