"""Probes: large frames are found in an image, and made page by page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyvmm.toolchain.elf import Elf
from pyvmm.toolchain.link import _large_frames

ASSEMBLY = """
        .intel_syntax noprefix
        .globl _start, large, small, hidden
_start: ret
large:  push rbp
        mov rbp, rsp
        lea rsp, [rsp - 0x12340]
        ret
small:  lea rsp, [rsp - 0xff0]
        ret
hidden: mov rax, 0xffff123424a48d48     # the bytes of such an instruction, within another
        ret
"""


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    """A program with the routines above."""
    if not all(map(shutil.which, ("as", "ld", "objdump"))):
        pytest.skip("needs binutils")
    subprocess.run(["as", "-o", tmp_path / "x.o"], input=ASSEMBLY.encode(), check=True)
    subprocess.run(["ld", "-o", tmp_path / "x", tmp_path / "x.o"], check=True)
    return tmp_path / "x"


def test_only_instructions_that_make_large_frames_are_found(elf: Path) -> None:
    listed = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
    addresses = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    found = _large_frames(Elf(elf), sorted(addresses.values()))
    assert found == {addresses["large"] + 4: 0x12340}
