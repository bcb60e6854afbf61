"""The tables that firmware would leave, parsed as the specifications define them."""

from __future__ import annotations

from struct import unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi
from pyvmm.boot import firmware
from pyvmm.errors import ImageError
from pyvmm.layout import GIB, IOAPIC_BASE, LAPIC_BASE, MIB, PAGE_SIZE, Ram
from pyvmm.memory import GuestMemory


def entries(table: bytes) -> list[bytes]:
    """The MP table's entries, by the lengths of their types."""
    at, found = 44, []
    while at < len(table):
        size = 20 if table[at] == 0 else 8
        found.append(table[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("cpus", [1, 2, 16, 255])
def test_the_mp_table(cpus: int) -> None:
    table = firmware.mp_table(cpus)
    assert (table[:4], sum(table) % 256) == (b"PCMP", 0)
    length, revision = unpack_from("<HB", table, 4)
    assert (length, revision) == (len(table), 4)
    count, lapic = unpack_from("<HI", table, 34)
    assert (count, lapic) == (len(entries(table)), LAPIC_BASE)
    processors = [entry for entry in entries(table) if entry[0] == 0]
    assert [entry[1] for entry in processors] == list(range(cpus))
    assert [entry[3] for entry in processors] == [3] + [1] * (cpus - 1)
    (ioapic,) = [entry for entry in entries(table) if entry[0] == 2]
    assert unpack_from("<I", ioapic, 4)[0] == IOAPIC_BASE
    interrupts = [entry for entry in entries(table) if entry[0] == 3]
    assert [(entry[5], entry[6], entry[7]) for entry in interrupts] == [(pin, ioapic[1], pin) for pin in range(24)]


def test_the_table_is_found_where_it_is_looked_for() -> None:
    with GuestMemory(Ram(16 * MIB)) as memory:
        firmware.write_tables(memory, 2, [])
        for at in (0x500, 0x9FC00):
            pointer = memory.read(at, 16)
            assert (pointer[:4], pointer[8], sum(pointer) % 256) == (b"_MP_", 1, 0)
            assert memory.read(unpack_from("<I", pointer, 4)[0], 4) == b"PCMP"


@pytest.mark.parametrize("size", [16 * MIB, 3 * GIB, 3 * GIB + 4096, 512 * GIB])
def test_the_memory_map_is_all_ram_but_the_bios(size: int) -> None:
    ranges = firmware.memory_map(Ram(size))
    assert sum(length for _, length, kind in ranges if kind == firmware.RAM) == size - (0x100000 - 0x9FC00)
    assert all(length > 0 for _, length, _ in ranges)
    assert all(low[0] + low[1] <= high[0] for low, high in zip(ranges, ranges[1:], strict=False))


@given(size=st.integers(1, 64 * MIB), kernel_end=st.integers(MIB, 64 * MIB), highest=st.integers(MIB, 1 << 32))
def test_an_initrd_never_touches_the_kernel(size: int, kernel_end: int, highest: int) -> None:
    try:
        at = firmware.initrd_address(size, Ram(64 * MIB), kernel_end, highest, "initrd")
    except ImageError:
        assert size > min(64 * MIB, highest + 1) - kernel_end - 2 * PAGE_SIZE
    else:
        assert at % PAGE_SIZE == 0
        assert kernel_end <= at
        assert at + size <= min(64 * MIB, highest + 1)


def test_local_interrupts() -> None:
    registers = bytes(ffi.buffer(firmware.lapic_registers(3).regs))
    assert unpack_from("<I", registers, 0x350)[0] == 0x700  # ExtINT
    assert unpack_from("<I", registers, 0x360)[0] == 0x400  # NMI
    assert unpack_from("<I", registers, 0x20)[0] == 3 << 24
