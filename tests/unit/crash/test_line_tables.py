"""pyvmm.crash.lines: what line tables say, as addr2line reads them, and damaged ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.boot.elf_symbols import section
from pyvmm.crash.lines import Lines

SOURCE = """\
#include "square.h"
int one(int n)
{
    while (n > 100)
        n -= square(n);
    return n;
}
__attribute__((section(".text.cold"))) int two(void)
{


    return one(7);
}
int _start(void)
{
    return two() + one(3);
}
"""
HEADER = "static int square(int n)\n{\n    return n * n;\n}\n"
KINDS = [f"{version}{how}" for version, how in product("2345", ("", " -gz=zlib"))]


def compiled(folder: Path, *flags: str) -> Path:
    if not (shutil.which("gcc") and shutil.which("addr2line")):
        pytest.skip("needs gcc and binutils")
    (folder / "program.c").write_text(SOURCE)
    (folder / "square.h").write_text(HEADER)
    command = ["gcc", "-O1", "-nostdlib", "-static", "-fno-pie", "-no-pie", *flags, "-o", "program", "program.c"]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "program"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("lines"), "-g")


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda at, size: content[at : at + size]


def code_of(image: Path) -> range:
    """The addresses of its code."""
    listed = subprocess.run(["readelf", "-SW", image], capture_output=True, text=True, check=True).stdout
    words = next(line.partition("]")[2].split() for line in listed.splitlines() if " .text " in line)
    start, size = int(words[2], 16), int(words[4], 16)
    return range(start, start + size)


@pytest.mark.parametrize("kind", KINDS)
def test_all_versions_are_read_as_addr2line_does(kind: str, tmp_path: Path) -> None:
    image = compiled(tmp_path, *f"-gdwarf-{kind}".split())
    addresses = [0, *code_of(image), 1 << 63]
    command = ["addr2line", "-e", image, *map(hex, addresses)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = ["" if line.startswith("??") else line.split(" (")[0].rpartition("/")[2] for line in said]
    found = Lines(reader(image.read_bytes())).of(addresses)
    assert [line.rpartition("/")[2] for line in found] == expected
    assert {line.rpartition(":")[0].rpartition("/")[2] for line in found} == {"", "program.c", "square.h"}


def test_order_and_repetition_do_not_matter(tmp_path: Path) -> None:
    image = compiled(tmp_path, "-g")
    code = code_of(image)
    lines = Lines(reader(image.read_bytes()))
    first, last = lines.of([code[0]])[0], lines.of([code[-1]])[0]
    assert lines.of([code[-1], 5, code[0], code[-1]]) == [last, "", first, last]
    assert lines.of([]) == []


@pytest.mark.parametrize("kind", ["=zstd", "=none"])
def test_what_is_compressed_otherwise_has_no_lines(kind: str, program: Path) -> None:
    changed = bytearray(program.read_bytes())
    at = changed.find(section(reader(bytes(changed)), b".debug_line")[0])
    headers = int.from_bytes(changed[40:48], "little")
    for each in range(headers, len(changed), 64):
        if changed[each + 24 : each + 32] == at.to_bytes(8, "little"):
            changed[each + 8 : each + 16] = (0x800).to_bytes(8, "little")
    changed[at : at + 4] = (2 if kind == "=zstd" else 1).to_bytes(4, "little")
    assert Lines(reader(bytes(changed))).of([0x401000]) == [""]


@given(data=st.data())
def test_damaged_tables_break_nothing(program: Path, data: st.DataObject) -> None:
    image = bytearray(program.read_bytes())
    table, _ = section(reader(bytes(image)), b".debug_line")
    start = image.find(table)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(start, start + len(table) - 1))
        image[at] = data.draw(st.integers(0, 255))
    found = Lines(reader(bytes(image))).of(range(0x400FF0, 0x401100, 3))
    assert all(not line or line.rpartition(":")[2].lstrip("-").isdigit() for line in found)
