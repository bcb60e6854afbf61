"""Invalid images, initrds and command lines, through the command: one line and status 125."""

from __future__ import annotations

from pathlib import Path

import pytest
from guests import Load, elf_image, good_image, note, patch, pyvmm
from test_linux64 import bzimage

from pyvmm.layout import MIB

PVH = elf_image([Load(0x10_0000, b"\xf4")], note(b"Xen\0", 18, bytes([0, 0, 16, 0])))
BIG = elf_image([Load(0x10_0000, b"\xf4", 100 * MIB)], note(b"Xen\0", 18, bytes([0, 0, 16, 0])))


def test_a_source_is_to_be_built_first(tmp_path: Path) -> None:
    (tmp_path / "hello.pas").write_text("program Hello;\nbegin\nend.\n")
    result = pyvmm("boot", "hello.pas", cwd=tmp_path)
    assert result.status == 125
    assert result.stderr == "pyvmm: hello.pas: a source; `pyvmm build hello.pas` makes an image of it\n"


def test_programs_of_the_host_are_not_booted() -> None:
    result = pyvmm("boot", "/bin/ls")
    assert result.status == 125
    assert result.stderr == "pyvmm: /bin/ls: a Linux program or library (e_type is 3), not a kernel\n"


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (b"", [], "neither an ELF executable"),
        (b"#!/bin/sh\n" * 100, [], "neither an ELF executable"),
        (patch(good_image(), "e_type", 3), [], "a Linux program or library (e_type is 3), not a kernel"),
        (patch(good_image(), "p_type", 3, header=0), [], "a Linux program (it has a PT_INTERP), not a kernel"),
        (elf_image([Load(0x10_0000, b"x")], note(b"GNU\0", 1, bytes(16))), [], "a Linux program, not a kernel"),
        (good_image()[:40], [], "truncated"),
        (good_image()[:100], [], "program headers end past the file's 100 bytes"),
        (patch(good_image(), "e_machine", 183), [], "e_machine"),
        (patch(good_image(), "p_offset", 1 << 40, header=0), [], "is past the end"),
        (PVH[:130], [], "program headers end past the file's 130 bytes"),
        (bzimage()[:0x240], [], "truncated in the setup header"),
        (BIG, ["--mem", "64M"], "the image ends at 0x6500000, past the RAM at 0x4000000"),
        (bzimage(init_size=100 * MIB), ["--mem", "64M"], "the kernel needs memory up to 0x7400000, past the RAM"),
        (PVH, ["--initrd", "initrd", "--mem", "64M"], "an initrd of 81920 KiB does not fit"),
        (bzimage(), ["--initrd", "initrd", "--mem", "64M"], "an initrd of 81920 KiB does not fit"),
        (PVH, ["--initrd", "missing"], "missing: No such file or directory"),
        (PVH, ["--append", "x" * 4097], "--append: over 4096 bytes"),
        (bzimage(), ["--append", "x" * 2048], "the command line has 2048 bytes; at most 2047 fit"),
    ],
)
def test_it_is_one_line(tmp_path: Path, image: bytes, options: list[str], message: str) -> None:
    (tmp_path / "image").write_bytes(image)
    with (tmp_path / "initrd").open("wb") as file:
        file.truncate(80 * MIB)
    result = pyvmm("boot", "image", *options, cwd=tmp_path)
    assert (result.status, result.stdout) == (125, b"")
    assert result.stderr.startswith("pyvmm: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
