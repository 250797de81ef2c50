"""The table of faults fits the code, and the campaign tells what is caught from what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sam_lsac.errors import InputError
from tests.faults import campaign, mutants
from tests.faults.copies import Copy, copied
from tests.faults.rows import ROOT, Fault, read_faults

FAULTS = read_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_still_be_planted(fault: Fault) -> None:
    """Where this is red, the code moved: write the fault anew."""
    assert fault.planted_in(ROOT) != (ROOT / fault.file).read_text(encoding="utf-8")
    assert all(is_there(test) for test in fault.tests)


def is_there(test: str) -> bool:
    """Whether a file has a test, or all that a name of pytest names."""
    file, *names = test.split("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    return all(f"def {name}(" in text or f"class {name}:" in text for name in names)


def test_there_are_faults_in_every_room() -> None:
    assert len(FAULTS) >= 80
    rooms = {"caching", "costs", "interventions", "mixtures", "model", "report", "runs", "solver", "suite"}
    assert rooms <= {fault.room for fault in FAULTS}


FAULT = Fault(
    name="seven", file="sam_lsac/one.py", old="return 1", new="return 7", law="one is 1", tests=("tests/test_one.py",)
)
FILES = {
    "sam_lsac/__init__.py": "",
    "sam_lsac/one.py": "def one():\n    return 1\n\n\ndef other():\n    return 2\n",
    "bench/__init__.py": "",
    "tests/test_one.py": "from sam_lsac.one import one\n\n\ndef test_one():\n    assert one() == 1\n",
    "tests/test_slow.py": "import time\n\n\ndef test_slow():\n    time.sleep(60)\n",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a few lines."""
    root = tmp_path_factory.mktemp("small")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def copy(small: Path) -> Iterator[Copy]:
    with copied(small, preloaded=("pytest",)) as made:
        yield made


@pytest.mark.parametrize(
    ("changes", "status", "by"),
    [
        ({}, "caught", "tests/test_one.py::test_one"),
        ({"old": "return 2", "new": "return 3"}, "survived", ""),
        ({"tests": ("tests/test_nothing.py",)}, "error", "pytest ended with 4"),
        ({"old": "def one", "new": "def uno"}, "error", "pytest ended with 2"),
        ({"tests": ("tests/test_slow.py",)}, "error", "nothing was red in time"),
    ],
    ids=["caught", "survived", "no such test", "no import", "slow"],
)
def test_an_outcome_is_told_apart(copy: Copy, small: Path, changes: dict[str, object], status: str, by: str) -> None:
    fault = Fault(**({"name": FAULT.name, "file": FAULT.file, "law": FAULT.law} | {
        "old": FAULT.old, "new": FAULT.new, "tests": FAULT.tests} | changes))  # fmt: skip
    with copy.planted(fault):
        outcome = copy.run(fault.tests, limit_s=2.0 if by == "nothing was red in time" else 60.0)
    assert outcome.status == status
    assert outcome.by.startswith(by)
    assert (copy.root / FAULT.file).read_text() == FILES[FAULT.file]  # and the next fault finds it sound
    assert copy.run(FAULT.tests, limit_s=60.0).status == "survived"
    assert (small / FAULT.file).read_text() == FILES[FAULT.file]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"old": "return 5"}, "'seven'.* 0 times, not once.*write the fault anew"),
        ({"old": "return"}, "'seven'.* 2 times, not once.*write the fault anew"),
        ({"file": "sam_lsac/two.py"}, "'seven': there is no sam_lsac/two.py.*write the fault anew"),
        ({"new": "return ("}, "'seven' is no Python"),
        (
            {"file": "fixtures/one.py"},
            "'seven' is in fixtures/one.py; faults are planted in sam_lsac, bench, tests alone",
        ),
    ],
)
def test_a_fault_that_does_not_apply_is_named(small: Path, changes: dict[str, str], words: str) -> None:
    values = {"name": FAULT.name, "file": FAULT.file, "old": FAULT.old, "new": FAULT.new, "law": FAULT.law}
    with pytest.raises(InputError, match=words):
        Fault(**(values | changes), tests=FAULT.tests).planted_in(small)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "two rows are called 'seven'"),
        ("more = 1", "unknown key 'more'"),
        ("name = 'eight'\ntests = []", "'eight' names no test"),
        ("name = 'eight'\nnew = 'return 1'", "'eight' names no test, no law, or no change"),
    ],
)
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, more: str, words: str) -> None:
    row = {"name": "'seven'", "file": "'one.py'", "old": "'return 1'", "new": "'2'", "law": "'l'", "tests": "['t']"}
    second = row | dict(line.split(" = ", 1) for line in more.splitlines())
    path = tmp_path / "faults.toml"
    path.write_text("".join(
        "[[faults]]\n" + "".join(f"{key} = {value}\n" for key, value in one.items()) for one in (row, second)
    ))  # fmt: skip
    with pytest.raises(InputError, match=words):
        read_faults(path)


@pytest.mark.slow
def test_real_faults_are_caught_once_and_not_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those in fitted solvers, whose tests take a second or two; a second campaign finds what the first one kept."""
    arguments = ["--only", "solver/fit", "--at-once", "1", "--results", str(tmp_path / "faults.jsonl")]
    assert campaign.main(arguments) == 0
    first = capsys.readouterr().out
    assert "by tests/test_fitting.py::" in first
    assert campaign.main(arguments) == 0
    again = capsys.readouterr().out
    assert again.strip() == first[first.index("| room | fault |") :].strip()


def test_rooms_of_mutation_name_what_is_there() -> None:
    for name, room in mutants._read_rooms(()).items():
        assert room.modules, name
        assert all((ROOT / module).is_file() for module in room.modules), name
        assert all(is_there(test) for test in room.tests), name


SOUND = '''
@dataclass(frozen=True, slots=True)
class One:
    """One."""

    n: int | None = 1

    def check(self, most: int | str) -> bool:
        """Check."""
        if self.n > most:
            raise ValueError(f"{self.n + 1} is more than {most}")
        return True
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("int | None", "int & None", True),
        ("int | str", "int + str", True),
        ("-> bool", "-> int", True),
        ("self.n + 1", "self.n - 1", True),
        ("slots=True", "slots=False", True),
        ('"""Check."""', '"""Look."""', True),
        ("frozen=True", "frozen=False", False),
        ("= 1", "= 2", False),
        ("self.n > most", "self.n >= most", False),
        ("ValueError", "TypeError", False),
        ("return True", "return False", False),
    ],
)
def test_what_tests_cannot_see_is_no_mutant(old: str, new: str, same: bool) -> None:
    assert SOUND.count(old) == 1
    assert (mutants.seen(SOUND.replace(old, new)) == mutants.seen(SOUND)) == same
