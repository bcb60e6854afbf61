"""pyvmm.testing.guest: the machine code is that of its source, in both modes, and the table that of the steps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyvmm.boot.elf import parse
from pyvmm.boot.tiny import ENTRY
from pyvmm.testing import Notify, Read, Store, Wait, Write, guest_image
from pyvmm.testing.guest import CODE

VALUES = {"TABLE": 0x1122_3344, "BASE": 0x5566_7788, "ID": 0x0102_0304}


@pytest.mark.skipif(not shutil.which("as"), reason="needs binutils")
@pytest.mark.parametrize("bits", [32, 64])
def test_the_code_is_its_source(bits: int, tmp_path: Path) -> None:
    source = "\n".join([".intel_syntax noprefix", *(f".set {name}, {value}" for name, value in VALUES.items())])
    source += "\n" + "\n".join(text for _, text in CODE) + "\n"
    if bits == 32:
        source = source.replace("[r", "[e").replace("+rdi", "+edi")
    (tmp_path / "code.s").write_text(source)
    subprocess.run(["as", f"--{bits}", "-o", "code.o", "code.s"], cwd=tmp_path, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "code.o", "code"], cwd=tmp_path, check=True)
    code = " ".join(code for code, _ in CODE)
    for name, value in VALUES.items():
        code = code.replace(name, value.to_bytes(4, "little").hex())
    assert (tmp_path / "code").read_bytes() == bytes.fromhex(code)


def test_the_table_is_that_of_the_steps() -> None:
    file = guest_image([Write(0x70, 0), Read(8), Store(0x40_0000, b"hello"), Notify(3), Wait()], 4, 2, 0xD000_0000)
    image = parse(lambda offset, size: file[offset : offset + size], len(file), "case")
    assert image.entry == ENTRY
    (segment,) = image.segments
    code = file[ENTRY - segment.paddr :]
    at = int.from_bytes(code[2:6], "little") - ENTRY
    words = [int.from_bytes(code[i : i + 4], "little") for i in range(at, len(code), 4)]
    text = [int.from_bytes(b"hell", "little"), ord("o")]
    assert words == [
        *(5, 0x40_0000, 0x4_0000),
        *(1, 0x70, 0),
        *(2, 8, 0),
        *(3, 0x40_0000, 5, *text),
        *(1, 0x50, 3),
        *(4, 0, 3000),
        *(4, 0, 30_000),
        *(0, 0, 0),
    ]
