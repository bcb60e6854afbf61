"""pyvmm.crash.names: functions and lines of images, damaged ones among them."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from guests import Assembler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyvmm.boot.elf_symbols import functions, section
from pyvmm.boot.file import File
from pyvmm.crash import names
from pyvmm.crash.names import Names

SOURCE = """
    call first
    exit 0
    .type first, @function
first:
    nop
    nop
    .size first, . - first
    .skip 32
second:
    nop
"""


def test_functions_are_found_by_address(assemble: Assembler) -> None:
    image = assemble(SOURCE)
    listed = subprocess.run(["nm", image], capture_output=True, text=True, check=True).stdout
    at = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    found = Names(File(image))
    assert found
    assert found.function(at["entry"]) == "entry+0"
    assert found.function(at["first"] + 1) == "first+1"
    assert found.function(at["first"] + 2) == ""  # behind its end
    assert found.function(at["second"]) == "second+0"
    assert found.function(0) == ""
    assert found.lines([at["first"]]) == [""]


def test_without_a_file_there_are_no_names() -> None:
    found = Names(None)
    assert not found
    assert (found.function(0x100000), found.lines([1, 2])) == ("", ["", ""])


def test_lines_are_those_of_the_source(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    source, image = tmp_path / "program.c", tmp_path / "program.elf"
    source.write_text("int one(void)\n{\n    return 1;\n}\nint _start(void)\n{\n    return one();\n}\n")
    flags = ["-g", "-O0", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fcf-protection=none"]
    subprocess.run(["gcc", *flags, "-o", image, source], check=True)
    listed = subprocess.run(["nm", image], capture_output=True, text=True, check=True).stdout
    at = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    found = Names(File(str(image)))
    assert found.lines([at["one"], 5, at["_start"]]) == [f"{source}:2", "", f"{source}:6"]
    assert found.lines([]) == []


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"frozen", b"\x7fELF" + bytes(60)])
def test_what_is_no_image_has_no_names(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(content)
    found = Names(File(str(tmp_path / "image")))
    assert not found
    assert found.function(0x100000) == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_breaks_nothing(assemble: Assembler, tmp_path: Path, data: st.DataObject) -> None:
    image = bytearray(Path(assemble(SOURCE)).read_bytes())
    headers = int.from_bytes(image[40:48], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 63) | st.integers(headers, len(image) - 1) | st.integers(0, len(image) - 1))
        image[at] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(image)
    with closing(File(str(tmp_path / "damaged"))) as file:
        Names(file).function(0x100000)
    content = bytes(image)

    def read(at: int, size: int) -> bytes:
        return content[at : at + size]

    functions(read)
    section(read, b".text")


@given(st.binary(max_size=300), st.integers(0, 1 << 33))
def test_an_own_table_of_any_content(table: bytes, address: int) -> None:
    found = names._table_of(table, 0x1000, 0x2000)
    assert all(0x1000 <= start < 0x2000 and len(name) <= 200 for start, _, name in found)
