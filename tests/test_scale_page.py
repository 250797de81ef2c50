"""docs/scale.md shows what its commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sam_lsac.__main__ import main

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
#: A command and, in the same indented block, what it prints.
BLOCKS = re.findall(r"^    \$ python -m sam_lsac (plan .*)\n((?:    .*\n)*)", PAGE, flags=re.MULTILINE)


def test_the_page_has_commands():
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_command_prints_what_the_page_shows(command, shown, capsys):
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out.splitlines() == [line.removeprefix("    ") for line in shown.splitlines()]
