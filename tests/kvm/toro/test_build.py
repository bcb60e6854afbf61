"""`pyvmm build`: images, messages, and what is rebuilt."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from guests import PYVMM, needs_compiler, pyvmm
from programs import Programs

ROOT = Path(__file__).parents[3]
HELLO = ROOT / "examples/HelloWorld/HelloWorld.pas"

pytestmark = needs_compiler


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


def test_a_unit_elsewhere_is_named_with_the_program(project: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/Elsewhere.pas").write_text(
        "unit Elsewhere; interface function Text: String; implementation\n"
        "function Text: String; begin Result := 'from elsewhere' end; end."
    )
    (project / "Main.pas").write_text("program Main; uses Elsewhere; begin WriteLn(Text) end.")
    result = pyvmm("build", str(project / "Main.pas"), str(tmp_path / "lib/Elsewhere.pas"))
    assert (result.status, result.stderr) == (0, "")
    assert pyvmm("boot", str(project / "Main.elf")).stdout == b"from elsewhere\n"


def test_a_unit_of_a_package_whose_name_begins_like_another_s(project: Path) -> None:
    """FPC takes a compiled unit for it that has the first eight letters of its name."""
    for unit in ("fpoauth2", "fpoauth2ini"):
        (project / "Main.pas").write_text(f"program Main; uses {unit}; begin WriteLn('{unit}') end.")
        result = pyvmm("build", str(project / "Main.pas"))
        assert result.status == 0, result.stderr
        assert pyvmm("boot", str(project / "Main.elf")).stdout == f"{unit}\n".encode()


def test_symbols_are_defined(project: Path) -> None:
    (project / "Main.pas").write_text(
        "program Main;\nbegin\n  {$ifdef One} WriteLn('one'); {$endif}\n  {$ifdef Two} WriteLn('two'); {$endif}\nend.\n"
    )
    for options, output in ((["-d", "One", "-d=two"], b"one\ntwo\n"), (["-d", "Two"], b"two\n"), ([], b"")):
        assert pyvmm("build", str(project / "Main.pas"), *options).status == 0
        assert pyvmm("boot", str(project / "Main.elf")).stdout == output


def test_symbols_are_defined_for_c(project: Path) -> None:
    (project / "main.c").write_text(
        '#include <stdio.h>\nint main(void) { puts(TEXT ? "defined" : "not"); return 0; }\n'
    )
    assert pyvmm("build", str(project / "main.c"), "-d", "TEXT").status == 0
    assert pyvmm("boot", str(project / "main.elf")).stdout == b"defined\n"


def test_a_kernel_to_profile_its_start_ends_at_its_first_line(project: Path) -> None:
    assert pyvmm("build", str(project / "Main.pas"), "-d", "ProfileBootTime").status == 0
    result = pyvmm("boot", str(project / "Main.elf"), "--cpus", "2")
    assert (result.status, result.stdout, result.stderr) == (0, b"", "")


@pytest.mark.parametrize("name", ["Main.pas", "main.c"])
def test_debug_information_names_lines_and_the_image_boots(project: Path, name: str) -> None:
    (project / "main.c").write_text('#include <stdio.h>\nint main(void)\n{\n    puts("first");\n    return 0;\n}\n')
    assert pyvmm("build", str(project / name), "-g", "-o", str(project / "debug.elf")).status == 0
    assert pyvmm("boot", str(project / "debug.elf")).stdout == b"first\n"
    shown = subprocess.run(
        ["gdb", "-batch", "-ex", f"info line {name}:4", "-ex", "info line Console.pas:100", str(project / "debug.elf")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(shown) == 2
    for line, place in zip(shown, (f'Line 4 of "[^"]*{name}"', 'Line 100 of "[^"]*Console.pas"'), strict=True):
        assert re.match(rf"{place} (starts|is) at address 0x", line), line


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
        ([str(HELLO), "-o", "/nonexistent/x.elf"], "pyvmm: /nonexistent/x.elf: there is no directory /nonexistent\n"),
        ([], "pyvmm: SOURCE is missing; try `pyvmm build --help`\n"),
        (["a.pas", "b.pas"], "pyvmm: a.pas: no such file\n"),
        (["a.pas", "b.c"], "pyvmm: b.c: a.pas is in Pascal, its others units\n"),
        (["a.c", "b.pas"], "pyvmm: b.pas: a.c is in C, its other parts .c, .o and .a\n"),
        ([str(HELLO), "-d", "A-B"], "pyvmm: -d A-B: not a symbol, such as EnableDebug\n"),
        ([str(HELLO), "-d"], "pyvmm: -d: needs a value\n"),
        ([str(HELLO), "-g=3"], "pyvmm: -g=3: -g takes no value\n"),
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


def test_an_object_that_is_not_there_is_the_linker_s_to_tell(tmp_path: Path) -> None:
    source = tmp_path / "Linking.pas"
    source.write_text("program Linking;\n{$L absent.o}\nprocedure Absent; external;\nbegin\n  Absent;\nend.\n")
    result = pyvmm("build", str(source))
    assert result.status == 125
    assert "absent.o: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr
