"""The commands that make the fixtures, as the documents and the messages name them, are there."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMING = [ROOT / "tox.ini", *ROOT.glob("*.md"), *(ROOT / "fixtures" / "embedded").glob("*.md")]
NAMING += [*(ROOT / "fixtures").rglob("*.py"), *(ROOT / "sam_lsac").rglob("*.py")]
NAMED = sorted({name for path in NAMING for name in re.findall(r"-m (fixtures(?:\.\w+)+)", path.read_text("utf-8"))})


def test_documents_name_the_commands() -> None:
    rooms = {name.split(".")[1] for name in NAMED}

    assert rooms == {"corpus", "mixing", "training"}


@pytest.mark.parametrize("name", NAMED)
def test_a_command_that_is_named_says_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(name).main(["--help"])

    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_options_of_fixture_commands_in_tox_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    lines = (ROOT / "tox.ini").read_text("utf-8").splitlines()
    commands = [line.split(" -m ", 1)[1] for line in lines if " -m fixtures." in line]
    assert len(commands) == 3
    for command in commands:
        name, *arguments = shlex.split(re.sub(r"\{posargs:(.*?)\}|\{\w+\}", r"\1", command))

        with pytest.raises(SystemExit) as ended:
            import_module(name).main([*arguments, "--help"])

        assert ended.value.code == 0
        known = capsys.readouterr().out
        assert [option for option in arguments if option.startswith("--") and option not in known] == []


@pytest.mark.parametrize("path", [path for path in NAMING if path.suffix == ".md"], ids=lambda path: path.name)
def test_files_that_documents_name_are_there(path: Path) -> None:
    named = re.findall(r"\bfixtures/[\w./-]+\w", path.read_text("utf-8"))

    assert [name for name in named if not (ROOT / name).exists()] == []
