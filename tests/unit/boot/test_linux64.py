"""Linux's 64-bit protocol: bzImages made here, and the contents of the zero page."""

from __future__ import annotations

from pathlib import Path
from struct import pack_into, unpack_from

import pytest
from guests import Load, elf_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyvmm.boot import elf, firmware
from pyvmm.boot.choose import choose
from pyvmm.boot.file import File
from pyvmm.boot.linux64 import Linux64Boot
from pyvmm.errors import ConfigError, ImageError
from pyvmm.layout import MIB, Ram
from pyvmm.memory import GuestMemory

LOAD_AT = 0x100_0000
KERNEL = b"kernel".ljust(0x400, b"!")


def bzimage(version: int = 0x20F, flags: int = 1, sectors: int = 1, init_size: int = 2 * MIB) -> bytes:
    """A setup header of one sector of set-up code, and a kernel behind it."""
    data = bytearray((sectors + 1) * 512)
    data[0x1F1] = sectors
    data[0x201] = 0x6A  # the jump over the header
    data[0x202:0x206] = b"HdrS"
    pack_into("<H", data, 0x206, version)
    pack_into("<I", data, 0x22C, 0x7FFF_FFFF)
    pack_into("<H", data, 0x236, flags)
    pack_into("<I", data, 0x238, 2047)
    pack_into("<Q", data, 0x258, LOAD_AT)
    pack_into("<I", data, 0x260, init_size)
    return bytes(data) + KERNEL


def boot_of(
    folder: Path, data: bytes, memory: int = 32 * MIB, line: bytes = b"quiet", initrd: bytes = b""
) -> Linux64Boot:
    (folder / "bzImage").write_bytes(data)
    disk = None
    if initrd:
        (folder / "initrd").write_bytes(initrd)
        disk = File(str(folder / "initrd"))
    chosen = choose(File(str(folder / "bzImage")), None, Ram(32 * MIB), 1, line, disk)
    assert isinstance(chosen, Linux64Boot)
    return chosen


@pytest.mark.parametrize("sectors", [1, 4, 30])
def test_the_zero_page(tmp_path: Path, sectors: int) -> None:
    boot = boot_of(tmp_path, bzimage(sectors=sectors), initrd=b"disk" * 2000)
    with GuestMemory(Ram(32 * MIB)) as memory:
        boot.load(File(str(tmp_path / "bzImage")), memory)
        assert memory.read(LOAD_AT, len(KERNEL)) == KERNEL
        page = memory.read(firmware.ZERO_PAGE, 4096)
        assert page[0x202:0x206] == b"HdrS"
        assert page[0x210] == 0xFF
        assert memory.read(unpack_from("<I", page, 0x228)[0], 6) == b"quiet\0"
        at, size = unpack_from("<II", page, 0x218)
        assert memory.read(at, size) == b"disk" * 2000
        found = [unpack_from("<QQI", page, 0x2D0 + 20 * i) for i in range(page[0x1E8])]
        assert found == firmware.memory_map(Ram(32 * MIB))


def test_the_first_page_tables_map_four_gigabytes(tmp_path: Path) -> None:
    boot = boot_of(tmp_path, bzimage())
    with GuestMemory(Ram(32 * MIB)) as memory:
        boot.load(File(str(tmp_path / "bzImage")), memory)
        root = unpack_from("<Q", memory.read(firmware.PAGE_TABLES, 8))[0]
        for index in range(4):
            directory = unpack_from("<Q", memory.read((root & ~0xFFF) + 8 * index, 8))[0]
            first = unpack_from("<Q", memory.read(directory & ~0xFFF, 8))[0]
            assert first == index << 30 | 0x83


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bzimage(version=0x20B), r"without the 64-bit entry point \(boot protocol 0x20b\)"),
        (bzimage(flags=0), "without the 64-bit entry point"),
        (bzimage()[:0x280], "truncated in the setup header"),
        (bzimage(sectors=200)[: 201 * 512], "truncated: nothing follows the"),
        (bzimage(init_size=32 * MIB), "the kernel needs memory up to 0x3000000, past the RAM at 0x2000000"),
    ],
)
def test_kernels_that_cannot_be(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        boot_of(tmp_path, data)


def test_a_command_line_that_is_too_long_for_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the command line has 2048 bytes; at most 2047 fit"):
        boot_of(tmp_path, bzimage(), line=b"x" * 2048)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0x1F1, 0x28F), value=st.integers(0, 255))
def test_a_damaged_header_is_an_error_or_boots(tmp_path: Path, at: int, value: int) -> None:
    data = bytearray(bzimage())
    data[at] = value
    try:
        boot = boot_of(tmp_path, bytes(data))
    except ImageError:
        return
    with GuestMemory(Ram(32 * MIB)) as memory:
        boot.load(File(str(tmp_path / "bzImage")), memory)


def test_a_vmlinux_starts_at_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf_image([Load(LOAD_AT, b"code")], b"", entry=LOAD_AT))
    file = File(str(path))
    boot = choose(file, "linux", Ram(32 * MIB), 1, b"", None)
    assert isinstance(boot, Linux64Boot)
    with GuestMemory(Ram(32 * MIB)) as memory:
        boot.load(file, memory)
        assert memory.read(LOAD_AT, 4) == b"code"
    assert elf.parse(file.read, file.size, "vmlinux").entry == LOAD_AT


def test_what_an_image_does_not_offer(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bzimage())
    with pytest.raises(ConfigError, match=r"^boot pvh: .*bzImage offers linux"):
        choose(File(str(tmp_path / "bzImage")), "pvh", Ram(32 * MIB), 1, b"", None)
