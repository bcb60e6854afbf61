"""`pyvmm build`: images, messages, and what is done again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import Programs
from guests import PYVMM, pyvmm

ROOT = Path(__file__).parents[3]
HELLO = ROOT / "examples/HelloWorld/HelloWorld.pas"


@pytest.fixture
def project(tmp_path: Path, programs: Programs) -> Path:
    """A folder with a program that uses a unit of its own."""
    (tmp_path / "Greeting.pas").write_text(
        "unit Greeting; interface function Text: String; implementation\nfunction Text: String;\nbegin\n"
        "  Text := 'first';\nend;\nend.\n"
    )
    (tmp_path / "Main.pas").write_text("program Main;\nuses Greeting;\nbegin\n  WriteLn(Text);\nend.\n")
    return tmp_path


def test_the_image_is_beside_the_source_and_boots(project: Path) -> None:
    assert pyvmm("build", str(project / "Main.pas")).status == 0
    assert pyvmm("boot", str(project / "Main.elf")).stdout == b"first\n"


def test_a_changed_unit_is_compiled_again(project: Path) -> None:
    pyvmm("build", str(project / "Main.pas"))
    unit = project / "Greeting.pas"
    unit.write_text(unit.read_text().replace("first", "second time"))
    pyvmm("build", str(project / "Main.pas"))
    assert pyvmm("boot", str(project / "Main.elf")).stdout == b"second time\n"


def test_it_works_from_the_programs_folder_whatever_lies_there(project: Path) -> None:
    (project / "system.ppu").write_bytes(b"not a unit")
    assert pyvmm("build", "Main.pas", "-o", "here.elf", cwd=project).status == 0
    assert pyvmm("boot", "here.elf", cwd=project).stdout == b"first\n"


def test_errors_are_the_compilers_with_file_and_line(project: Path) -> None:
    (project / "Main.pas").write_text("program Main;\nbegin\n  Wrong(1);\nend.\n")
    result = pyvmm("build", str(project / "Main.pas"))
    assert result.status == 125
    assert 'Main.pas(3,3) Error: Identifier not found "Wrong"' in result.stderr
    assert result.stderr.splitlines()[-1].startswith("pyvmm: ")
    assert not (project / "Main.elf").exists()


def test_a_failed_build_leaves_the_image_that_was_there(project: Path) -> None:
    pyvmm("build", str(project / "Main.pas"))
    before = (project / "Main.elf").read_bytes()
    (project / "Main.pas").write_text("program Main; begin Wrong; end.")
    pyvmm("build", str(project / "Main.pas"))
    assert (project / "Main.elf").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pas"], "pyvmm: missing.pas: no such file\n"),
        ([str(HELLO), "-o", "/nonexistent/x.elf"], "pyvmm: /nonexistent/x.elf: No such file or directory\n"),
        ([], "pyvmm: SOURCE is missing; try `pyvmm --help`\n"),
        (["a.pas", "b.pas"], "pyvmm: b.pas: one SOURCE at a time\n"),
    ],
)
def test_mistakes_are_one_line(programs: Programs, arguments: list[str], message: str) -> None:
    result = pyvmm("build", *arguments)
    assert (result.status, result.stderr) == (125, message)


def test_builds_at_once_do_not_disturb_each_other(project: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(project / "cache")}
    command = [PYVMM, "build", str(project / "Main.pas")]
    builds = [subprocess.Popen([*command, "-o", str(project / f"{i}.elf")], env=environment) for i in range(3)]
    assert [build.wait() for build in builds] == [0, 0, 0]
    images = {(project / f"{i}.elf").read_bytes() for i in range(3)}
    assert len(images) == 1


def test_the_kernel_compiles_without_a_hint(programs: Programs, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    result = pyvmm("build", str(HELLO), "-o", str(tmp_path / "hello.elf"), env=environment)
    assert (result.status, result.stderr) == (0, "")


def test_hello_world_is_small(programs: Programs, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.elf"
    subprocess.run(["strip", "-o", stripped, programs.image(HELLO)], check=True)
    assert stripped.stat().st_size < 200 << 10
