"""`pyvmm build` of something else than a program, or to somewhere else than a place for an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guests import needs_compiler

from pyvmm.errors import BuildError
from pyvmm.toolchain.build import build

PROGRAM = "program Hello;\nbegin\nend.\n"
UNIT = "unit Helper;\ninterface\nimplementation\nend.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.pas").write_text(PROGRAM)
    (tmp_path / "helper.pas").write_text(UNIT)
    return tmp_path


def message(source: Path, output: Path | None = None) -> str:
    with pytest.raises(BuildError) as error:
        build(str(source), output and str(output))
    return str(error.value)


def test_a_directory_is_no_program_but_may_have_one(folder: Path) -> None:
    assert message(folder) == f"{folder}: a directory; name the program in it: {folder}/hello.pas"
    (folder / "hello.pas").unlink()
    assert message(folder) == f"{folder}: a directory; name the program in it"


@needs_compiler
def test_a_unit_is_no_program(folder: Path) -> None:
    assert (
        message(folder / "helper.pas") == f"{folder}/helper.pas: a unit, not a program; name the program that uses it"
    )


def test_the_image_has_a_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "hello.pas"
    assert message(program, folder / "none/x.elf") == f"{folder}/none/x.elf: there is no directory {folder}/none"
    assert message(program, folder) == f"{folder}: a directory; name the image as well: -o {folder}/NAME.elf"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert message(program) == f"{folder}/hello.elf: {folder} may not be written to; choose another place with -o"
