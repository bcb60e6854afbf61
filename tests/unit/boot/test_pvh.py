"""PVH: the start info, and images that do not fit."""

from __future__ import annotations

from pathlib import Path
from struct import unpack_from

import pytest
from guests import Load, elf_image, note

from pyvmm.boot import elf, firmware
from pyvmm.boot.file import File
from pyvmm.boot.pvh import PvhBoot
from pyvmm.errors import ImageError
from pyvmm.layout import MIB, Ram
from pyvmm.memory import GuestMemory

ENTRY = 0x10_0000


def xen_note(entry: int, size: int = 4) -> bytes:
    return note(b"Xen\0", 18, entry.to_bytes(size, "little"))


def prepare(
    folder: Path, loads: list[Load], notes: bytes, memory: int = 16 * MIB, initrd: bytes | None = None
) -> tuple[File, PvhBoot]:
    path = folder / "guest.elf"
    path.write_bytes(elf_image(loads, notes))
    file, disk = File(str(path)), None
    if initrd is not None:
        (folder / "initrd").write_bytes(initrd)
        disk = File(str(folder / "initrd"))
    image = elf.parse(file.read, file.size, "guest.elf")
    return file, PvhBoot(image, Ram(memory), 2, b"first second", disk)


@pytest.mark.parametrize("size", [4, 8])
def test_the_start_info(tmp_path: Path, size: int) -> None:
    file, boot = prepare(tmp_path, [Load(ENTRY, b"code")], xen_note(ENTRY, size), initrd=b"disk" * 3000)
    with GuestMemory(Ram(16 * MIB)) as memory:
        boot.load(file, memory)
        info = memory.read(firmware.START_INFO, 56)
        magic, version, _, modules = unpack_from("<IIII", info)
        module_at, command_line, rsdp, map_at = unpack_from("<QQQQ", info, 16)
        (count,) = unpack_from("<I", info, 48)
        assert (magic, version, modules, rsdp) == (0x336EC578, 1, 1, firmware.ACPI_TABLES)
        assert memory.read(command_line, 13) == b"first second\0"
        at, length = unpack_from("<QQ", memory.read(module_at, 32))
        assert memory.read(at, length) == b"disk" * 3000
        table = memory.read(map_at, 24 * count)
        found = [unpack_from("<QQI", table, 24 * i) for i in range(count)]
        assert found == firmware.memory_map(Ram(16 * MIB))
        assert memory.read(ENTRY, 4) == b"code"
    file.close()


@pytest.mark.parametrize(
    ("loads", "notes", "message"),
    [
        ([Load(ENTRY, b"x")], note(b"Xen\0", 18, b"xx"), "PVH note: n_descsz is 2, not 4 or 8"),
        ([Load(ENTRY, b"x")], xen_note(ENTRY + 1), "PVH note: entry 0x100001 is in no segment"),
        ([Load(0x8000, b"x" * 9)], xen_note(0x8000), "segment at p_paddr 0x8000: below 1 MiB are the machine's tables"),
        ([Load(ENTRY, b"x", 15 * MIB + 1)], xen_note(ENTRY), "the image ends at 0x1000001, past the RAM at 0x1000000"),
    ],
)
def test_images_that_cannot_be(tmp_path: Path, loads: list[Load], notes: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=f"guest.elf: {message}"):
        prepare(tmp_path, loads, notes)


@pytest.mark.parametrize("memsz", [14 * MIB, 15 * MIB - 4096, 15 * MIB])
def test_an_initrd_needs_room_behind_the_image(tmp_path: Path, memsz: int) -> None:
    loads = [Load(ENTRY, b"x", memsz)]
    room = 15 * MIB - memsz
    if room:
        prepare(tmp_path, loads, xen_note(ENTRY), initrd=bytes(room))
    with pytest.raises(ImageError, match=r"initrd: an initrd of \d+ KiB does not fit"):
        prepare(tmp_path, loads, xen_note(ENTRY), initrd=bytes(room + 1))
