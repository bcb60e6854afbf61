"""Walks of page tables: the addresses that `paging_map` maps, and tables of any content."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.gdb.mmu import Walk
from pyvmm.memory import GuestMemoryError

MIB = 1 << 20
RAM = 4 * MIB
LONG = {"cr0": 1 << 31 | 1, "cr3": 0, "cr4": 1 << 5, "efer": 1 << 10 | 1 << 8}


class Memory:
    """Some RAM from address 0 on."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def read(self, address: int, length: int) -> bytes:
        if address + length > len(self.data):
            raise GuestMemoryError(address, length)
        return bytes(self.data[address : address + length])


def control(**registers: int) -> SimpleNamespace:
    return SimpleNamespace(**LONG | registers)


@given(st.integers(0, 1023), st.integers(1, 1024), st.integers(0, (1 << 40) - 1))
def test_what_was_mapped_is_found(first: int, count: int, address: int) -> None:
    data = bytearray(RAM)
    paging = ffi.new("struct paging *")
    lib.paging_init(paging, ffi.from_buffer("uint8_t[]", data), 0x1000, RAM, True)
    start, end = first * 4096 + (4 << 30), (first + count) * 4096 + (4 << 30)
    assert lib.paging_map(paging, start, end, 3) == 0
    registers = control(cr3=paging.root)
    for at in (start, end - 1, start - 1, end, (start + end) // 2, address):
        walk = Walk(Memory(data), registers, at)
        assert walk.physical == (at if start <= at < end else None)
        if walk.physical is not None:
            assert walk.size in (4096, 2 * MIB, 1 << 30)


@given(
    st.binary(min_size=8, max_size=64),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 1 << 31]),
    st.sampled_from([0, 1 << 4, 1 << 5, 1 << 5 | 1 << 12]),
    st.sampled_from([0, 1 << 10]),
    st.integers(0, (1 << 64) - 1),
)
def test_tables_of_any_content(pattern: bytes, address: int, cr0: int, cr4: int, efer: int, cr3: int) -> None:
    memory = Memory((pattern * 4096)[:16384])
    walk = Walk(memory, control(cr0=cr0, cr3=cr3, cr4=cr4, efer=efer), address)
    assert len(walk.steps) <= 5
    assert walk.physical is None or 0 <= walk.physical < 1 << 52


@pytest.mark.parametrize(
    ("entry", "expected"),
    [(0x0040_0083, 0x0040_0000 | 0x12345), (0x0000_1003, 0x5345), (0x0000_1002, None)],
)
def test_32_bits(entry: int, expected: int | None) -> None:
    data = bytearray(16384)
    data[4:8] = entry.to_bytes(4, "little")  # of 0x400000 to 0x7fffff
    data[0x1000 + 0x12 * 4 :][:4] = b""
    data[0x1000 + 0x12 * 4 : 0x1000 + 0x12 * 4 + 4] = (0x5003).to_bytes(4, "little")
    walk = Walk(Memory(data), control(cr4=1 << 4, efer=0), 0x0041_2345)
    assert walk.physical == expected


def test_without_paging_addresses_are_physical() -> None:
    assert Walk(Memory(b""), control(cr0=1), 0x1234).physical == 0x1234


def test_an_address_that_is_not_canonical_is_not_mapped() -> None:
    assert Walk(Memory(bytes(16384)), control(), 1 << 47).physical is None
