"""pyvmm.command.help and manual: that both, and README.md, tell all that the table of options has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pyvmm
from pyvmm.command.help import STATUSES, help_of, overview
from pyvmm.command.manual import manual
from pyvmm.command.options import COMMANDS

README = Path(pyvmm.__file__).parents[1] / "README.md"
KINDS = {"flag", "value", "optional", "repeatable"}


def options_in(text: str) -> list[str]:
    """The options that lines of a help text begin with."""
    return re.findall(r"^    (--?[a-zI-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_table_is_well_formed(command: str) -> None:
    operand, _, summary, description, options = COMMANDS[command]
    assert re.fullmatch(r"(?:[a-z]+ )?[A-Z]+|\[[A-Z]+\]|", operand)
    assert summary[0].islower()
    assert description.endswith(".")
    for name, takes, placeholder, _, text in options:
        assert re.fullmatch(r"--[a-z][a-z-]+|-[a-zI]", name)
        assert takes in KINDS
        assert bool(placeholder) == (takes != "flag")
        assert not text.endswith(".")
        assert not text[0].isupper() or text.startswith("TCP")
    names = [option[0] for option in options]
    assert len({*names}) == len(names)


def test_overview_has_every_command_and_status_but_no_option() -> None:
    text = overview()
    assert re.findall(r"^    pyvmm (\w+)", text, re.MULTILINE) == [*COMMANDS]
    assert re.findall(r"^    (\d+)", text, re.MULTILINE) == [status for status, _ in STATUSES if status.isdigit()]
    assert options_in(text) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_its_options_alone(command: str) -> None:
    assert options_in(help_of(command)) == [option[0] for option in COMMANDS[command][4]]


def test_help_fits_a_terminal() -> None:
    for text in (overview(), *map(help_of, COMMANDS)):
        assert max(map(len, text.splitlines())) <= 92
        assert not text.startswith("\n")
        assert text.endswith(("\n", "\n\n"))


@pytest.mark.parametrize("command", ["boot", "build"])
def test_readme_has_the_same_options(command: str) -> None:
    if not README.exists():
        pytest.skip("installed without its source tree")
    table = re.search(rf"^\| option of `{command}` \| \|\n(.*?)\n\n", README.read_text(), re.DOTALL | re.MULTILINE)
    assert table
    rows = re.findall(r"^\| `(--?[a-zI-]+)", table[1], re.MULTILINE)
    assert [*dict.fromkeys(rows)] == [option[0] for option in COMMANDS[command][4]]


def test_manual_has_every_option() -> None:
    heads = re.findall(r"^\.TP\n\\fB(\S+?)\\fR", manual(), re.MULTILINE)
    names = [option[0].replace("-", r"\-") for command in COMMANDS.values() for option in command[4]]
    assert heads == [*names, *(status for status, _ in STATUSES)]


@pytest.mark.parametrize(
    "command", [["man", "--warnings", "-l"], ["groff", "-ww", "-z", "-man", "-Tutf8"]], ids=["man", "groff"]
)
def test_manual_is_formatted_without_a_warning(command: list[str], tmp_path: Path) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "pyvmm.1").write_text(manual())
    environment = os.environ | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*command, tmp_path / "pyvmm.1"], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    if command[0] == "man":
        text = re.sub(r"\x1b\[\d+m|.\x08", "", done.stdout)
        assert "--mem SIZE" in text
        assert "PYVMM(1)" in text
