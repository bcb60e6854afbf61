"""pyvmm.bus: regions do not overlap, and an exit reaches its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from guests import MIB
from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.bus import Bus
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory


class Recorder:
    """A device that remembers its accesses and reads as `value`."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        self.reads.append((offset, size))
        return self.value

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes.append((offset, size, value))


@pytest.fixture
def bus(make_memory: Callable[[int], GuestMemory]) -> Bus:
    """An empty bus."""
    return Bus(make_memory(16 * MIB))


def octets(data: bytes) -> Any:
    """`data` as C sees it, without the NUL that cffi would add."""
    return ffi.new("uint8_t[]", list(data))


def access(address: int, data: Any, size: int, write: bool) -> Any:
    """The exit that a guest's access leaves behind."""
    exit_ = {"address": address, "size": size, "count": len(data) // size, "write": write, "data": data}
    return ffi.new("struct vcpu *", exit_)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_write_reaches_the_device_with_offset_size_and_value(bus: Bus, size: int) -> None:
    device, other = Recorder(), Recorder()
    bus.add(0x100, 8, other)
    bus.add(0x200, 8, device)
    data = octets(bytes([0x11, 0x22, 0x33, 0x44][:size]))
    bus.serve(access(0x203, data, size, write=True), mmio=False)
    assert device.writes == [(3, size, 0x4433_2211 & ((1 << 8 * size) - 1))]
    assert not other.writes


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("value", [-1, 0x1122_3344_5566_7788, 1 << 80])
def test_read_is_cut_to_the_size_of_the_access(bus: Bus, size: int, value: int) -> None:
    device = Recorder(value)
    bus.add(0xF000_0000, 64, device, mmio=True)
    data = octets(b"\xaa" * size)
    bus.serve(access(0xF000_0010, data, size, write=False), mmio=True)
    assert device.reads == [(16, size)]
    assert bytes(ffi.buffer(data)) == (value % (1 << 8 * size)).to_bytes(size, "little")


def test_string_write_is_one_write_for_each_value(bus: Bus) -> None:
    device = Recorder()
    bus.add(0x200, 2, device)
    data = octets(b"\x01\0\x02\0\x03\0")
    bus.serve(access(0x200, data, 2, write=True), mmio=False)
    assert device.writes == [(0, 2, 1), (0, 2, 2), (0, 2, 3)]


def test_ports_and_addresses_are_different_spaces(bus: Bus) -> None:
    port, memory = Recorder(), Recorder()
    bus.add(0x3F8, 8, port)
    bus.add(0x3F8, 8, memory, mmio=True)
    data = octets(b"x")
    bus.serve(access(0x3F8, data, 1, write=True), mmio=True)
    assert (port.writes, memory.writes) == ([], [(0, 1, ord("x"))])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_a_region_is_refused_exactly_when_another_has_one_of_its_ports(regions: list[tuple[int, int]]) -> None:
    with GuestMemory(Ram(16 * MIB)) as memory:
        bus = Bus(memory)
        taken: set[int] = set()
        for base, size in regions:
            wanted = set(range(base, base + size))
            if taken & wanted:
                with pytest.raises(ValueError, match=f"{base:#x}"):
                    bus.add(base, size, Recorder())
            else:
                bus.add(base, size, Recorder())
                taken |= wanted


def test_native_and_python_regions_share_one_space(bus: Bus) -> None:
    serial = ffi.new("struct serial *")
    bus.add_native(0x3F8, 8, ffi.addressof(lib, "serial_access"), serial)
    with pytest.raises(ValueError, match="0x3ff"):
        bus.add(0x3FF, 1, Recorder())


def test_there_is_room_for_64_regions(bus: Bus) -> None:
    for port in range(64):
        bus.add(port, 1, Recorder())
    with pytest.raises(ValueError, match="cannot add region 0x40"):
        bus.add(64, 1, Recorder())
    bus.add(64, 1, Recorder(), mmio=True)


def test_refused_device_is_never_served(bus: Bus) -> None:
    first, second = Recorder(), Recorder()
    bus.add(0x10, 4, first)
    with pytest.raises(ValueError, match="0x12"):
        bus.add(0x12, 4, second)
    bus.serve(access(0x12, octets(b"x"), 1, write=True), mmio=False)
    assert (len(first.writes), len(second.writes)) == (1, 0)
