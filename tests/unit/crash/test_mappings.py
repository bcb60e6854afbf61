"""pyvmm.crash.mappings: what page tables map, and tables of any content."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.crash.mappings import RANGES_MAX, Mapping, mappings
from pyvmm.memory import GuestMemoryError

MIB = 1 << 20
RAM = 4 * MIB


class Memory:
    """RAM from address 0 on."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def read(self, address: int, length: int) -> bytes:
        if address + length > len(self.data):
            raise GuestMemoryError(address, length)
        return bytes(self.data[address : address + length])


def control(cr3: int = 0, cr4: int = 1 << 5) -> SimpleNamespace:
    return SimpleNamespace(cr0=1 << 31 | 1, cr3=cr3, cr4=cr4, efer=1 << 10 | 1 << 8)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 700)), min_size=1, max_size=4))
def test_what_was_mapped_is_found(spans: list[tuple[int, int]]) -> None:
    data = bytearray(RAM)
    paging = ffi.new("struct paging *")
    lib.paging_init(paging, ffi.from_buffer("uint8_t[]", data), 0x1000, RAM, True)
    at, wanted = 0, set()
    for gap, count in spans:
        start, end = at + gap, at + gap + count
        assert lib.paging_map(paging, start << 12, end << 12, 3) == 0
        wanted |= set(range(start, end))
        at = end
    found: set[int] = set()
    for each in mappings(Memory(data), control(paging.root)):
        assert each.virtual == each.physical
        pages = set(range(each.virtual >> 12, each.virtual + each.size >> 12))
        assert not found & pages
        found |= pages
    assert found == wanted


def test_neighbours_are_one_range_if_their_rights_are() -> None:
    data = bytearray(5 * 4096)
    for table, entry in ((0, 0x1003), (0x1000, 0x2003), (0x2000, 0x3003)):
        data[table : table + 8] = entry.to_bytes(8, "little")
    for index, entry in enumerate((0x4003, 0x5003, 0x6001, 0x9001, 1 << 63 | 0xA001)):
        data[0x3000 + 8 * index : 0x3008 + 8 * index] = entry.to_bytes(8, "little")
    data[8 * 511 : 8 * 512] = (0x1003).to_bytes(8, "little")
    low = [
        Mapping(0, 0x4000, 0x2000, True, True),
        Mapping(0x2000, 0x6000, 0x1000, False, True),
        Mapping(0x3000, 0x9000, 0x1000, False, True),
        Mapping(0x4000, 0xA000, 0x1000, False, False),
    ]
    top = 0xFFFF_FF80_0000_0000
    high = [each._replace(virtual=top + each.virtual) for each in low]
    assert mappings(Memory(data), control()) == low + high


@pytest.mark.parametrize("registers", [{"cr0": 1}, {"cr4": 0}, {"efer": 0}])
def test_other_modes_have_none(registers: dict[str, int]) -> None:
    registers = {"cr0": 1 << 31, "cr3": 0, "cr4": 1 << 5, "efer": 1 << 10} | registers
    assert mappings(Memory(b"\xff" * 4096), SimpleNamespace(**registers)) == []


def test_tables_that_refer_to_themselves_end() -> None:
    table = b"".join((1 | index << 12 & 0xF000).to_bytes(8, "little") for index in range(512))
    assert len(mappings(Memory(table * 16), control())) <= RANGES_MAX


@settings(max_examples=20)
@given(st.binary(min_size=8, max_size=64), st.integers(0, (1 << 64) - 1), st.sampled_from([1 << 5, 1 << 5 | 1 << 12]))
def test_tables_of_any_content(pattern: bytes, cr3: int, cr4: int) -> None:
    memory = Memory((pattern * 4096)[:16384])
    for root in (cr3, cr3 & 0x3000):
        found = mappings(memory, control(root, cr4))
        assert len(found) <= RANGES_MAX
        assert all(0 <= each.virtual <= each.virtual + each.size <= 1 << 64 for each in found)
