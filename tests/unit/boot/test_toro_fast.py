"""Existing Toro images: their symbols, their tables, and invalid images."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from guests import GIB, MIB, Load, elf_image
from hypothesis import given
from hypothesis import strategies as st
from test_pvh import xen_note

from pyvmm.boot import firmware
from pyvmm.boot.choose import choose
from pyvmm.boot.elf_symbols import find_symbols
from pyvmm.boot.file import File
from pyvmm.boot.pvh import PvhBoot
from pyvmm.boot.toro_fast import SYMBOLS, ToroFastBoot
from pyvmm.errors import ImageError
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory

BASE = 0x40_0000
GDT = struct.pack("<4Q", 0, 0x9B00_0000_FFFF, 0xCF93_0000_0000_FFFF, 0xAF_9B00_0000_FFFF)
GDTR, IDTR = struct.pack("<HQ", 0x9F, 0x3000), struct.pack("<HQ", 0x13EB, 0x3080)
CODE = b"\x90" * 64 + GDT + GDTR + IDTR + b"trampoline"
GOOD = {
    b"_mainCRTStartup": BASE + 8,
    b"gdt": BASE + 64,
    b"gdtr64": BASE + 96,
    b"idtr64": BASE + 106,
    b"trampoline_init": BASE + 116,
    b"trampoline_end": BASE + 126,
}


def with_symbols(image: bytes, symbols: dict[bytes, int]) -> bytes:
    """The same image with a symbol table behind it."""
    names, table = b"\0", bytes(24)
    for name, value in symbols.items():
        table += struct.pack("<IBBHQQ", len(names), 0, 0, 1, value, 0)
        names += name + b"\0"
    at = len(image)
    sections = bytes(64)
    for kind, offset, size, link in ((2, at, len(table), 2), (3, at + len(table), len(names), 0)):
        sections += struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, offset, size, link, 0, 1, 24)
    header = bytearray(image[:64])
    struct.pack_into("<Q", header, 40, at + len(table) + len(names))
    struct.pack_into("<HHH", header, 58, 64, 3, 0)
    return bytes(header) + image[64:] + table + names + sections


def image(symbols: dict[bytes, int], code: bytes = CODE, base: int = BASE) -> bytes:
    return with_symbols(elf_image([Load(base, code)], xen_note(base)), symbols)


def boot(folder: Path, data: bytes, memory: int = 64 * MIB, cpus: int = 1, devices: int = 0) -> tuple[File, PvhBoot]:
    (folder / "guest.elf").write_bytes(data)
    file = File(str(folder / "guest.elf"))
    command_line = b" ".join([b"words", *(b"virtio_mmio.device=512@0xfeb00000:%d" % i for i in range(devices))])
    chosen = choose(file, None, Ram(memory), cpus, command_line, None)
    assert isinstance(chosen, PvhBoot)
    return file, chosen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For an image."""
    return tmp_path_factory.mktemp("toro")


def test_symbols_are_found() -> None:
    data = image(GOOD | {b"other": 5})
    assert find_symbols(lambda at, size: data[at : at + size], [*SYMBOLS, b"missing", b"other"]) == GOOD | {b"other": 5}


def test_names_that_share_a_tail_are_found() -> None:
    data = image({b"a_gdt": 7}).replace(b"\0a_gdt\0", b"\0a_gdt\0")
    at = data.index(b"\0a_gdt\0") - 24 + 1  # st_name of the only entry
    data = data[: at - 1] + struct.pack("<I", 3) + data[at + 3 :]
    assert find_symbols(lambda at, size: data[at : at + size], [b"gdt"]) == {b"gdt": 7}


@given(st.integers(0, 400), st.binary(min_size=1, max_size=16))
def test_damaged_tables_have_no_symbols_or_others(offset: int, change: bytes) -> None:
    data = image(GOOD)
    at = 40 if offset < 24 else len(data) - offset
    data = data[:at] + change + data[at + len(change) :]
    found = find_symbols(lambda at, size: data[at : at + size], SYMBOLS)
    assert found.keys() <= set(SYMBOLS)


@pytest.mark.parametrize("memory", [16 * MIB, 64 * MIB, 5 * GIB])
def test_tables_are_those_of_the_image(tmp_path: Path, memory: int) -> None:
    file, chosen = boot(tmp_path, image(GOOD), memory)
    assert isinstance(chosen, ToroFastBoot)
    with GuestMemory(Ram(memory)) as ram:
        chosen.load(file, ram)
        assert ram.read(0x2000, 10) == b"trampoline"
        assert ram.read(0x3000, 32) == GDT
        (root,) = struct.unpack("<Q", ram.read(0x10_0000, 8))
        pointers = struct.unpack("<512Q", ram.read(0x10_1000, 4096))
        assert (root, pointers[0], pointers[511]) == (0x10_1007, 0x10_2007, 0x30_1007)
        end = max(4 * GIB, memory + GIB if memory > 3 * GIB else 0)
        count = end // (2 * MIB)
        large = struct.unpack(f"<{count + 1}Q", ram.read(0x10_2000, 8 * (count + 1)))
        assert large == (*(i * 2 * MIB | 0x87 for i in range(count)), 0)
    file.close()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (image(GOOD, base=0x30_1000), "toro-fast: page tables end at 0x302000; try pvh"),
        (image(GOOD | {b"gdt": BASE + 200}), "symbol gdt: 0x4000c8 is in no segment"),
        (image(GOOD | {b"trampoline_end": BASE}), "symbol trampoline_end is 0x400000, and trampoline_init 0x400074"),
        (image(GOOD, CODE.replace(GDTR, struct.pack("<HQ", 31, 0x2FFF))), "symbol gdtr64: a table at 0x2fff"),
        (image(GOOD, CODE.replace(IDTR, struct.pack("<HQ", 0xFFFF, 0x3080))), "symbol idtr64: a table at 0x3080"),
    ],
)
def test_images_whose_symbols_lead_nowhere(tmp_path: Path, data: bytes, message: str) -> None:
    def load() -> None:
        file, chosen = boot(tmp_path, data)
        chosen.load(file, memory)

    with GuestMemory(Ram(64 * MIB)) as memory, pytest.raises(ImageError, match=message):
        load()


def test_more_devices_than_the_kernel_has_room_for(tmp_path: Path) -> None:
    boot(tmp_path, image(GOOD), devices=4)
    with pytest.raises(ImageError, match="5 virtio devices; this kernel has room for 4"):
        boot(tmp_path, image(GOOD), devices=5)


@given(st.integers(4096, 1 << 21), st.integers(1, 12), st.booleans())
def test_each_cpu_has_a_share_of_whole_words(folder: Path, pages: int, cpus: int, fast: bool) -> None:
    """Of what is behind 8 MiB, in the first RAM above 1 MiB; and there are two such at most."""
    file, chosen = boot(folder, image(GOOD if fast else {b"_mainCRTStartup": BASE}), pages * 4096, cpus)
    with GuestMemory(Ram(pages * 4096)) as memory:
        chosen.load(file, memory)
        map_at, count = struct.unpack("<QI", memory.read(firmware.START_INFO + 40, 12))
        ranges = list(struct.iter_unpack("<QQII", memory.read(map_at, 24 * count)))
    file.close()
    untrimmed = firmware.memory_map(Ram(pages * 4096))
    assert [(start, kind) for start, _, kind, _ in ranges] == [(start, kind) for start, _, kind in untrimmed]
    usable = [(start, size) for start, size, kind, _ in ranges if kind == 1 and start >= MIB]
    assert len(usable) <= 2
    start, size = usable[0]
    assert (start + size - 8 * MIB) % (8 * cpus) == 0
    assert 0 <= untrimmed[2][1] - size < 8 * cpus
