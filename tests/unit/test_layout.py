"""pyvmm.layout: the table is consistent."""

from __future__ import annotations

import pytest
from guests import GIB, MIB, PAGE
from hypothesis import given
from hypothesis import strategies as st

from pyvmm import layout


@given(st.integers(1, 512 * GIB // PAGE).map(lambda pages: pages * PAGE))
def test_ram_has_its_size_and_never_covers_the_mmio_hole(size: int) -> None:
    regions = layout.Ram(size).regions
    assert sum(length for _, length in regions) == size
    assert all(length > 0 for _, length in regions)
    for start, length in regions:
        assert start + length <= layout.MMIO_HOLE_START or start >= layout.MMIO_HOLE_END


@pytest.mark.parametrize(
    ("size", "regions"),
    [
        (16 * MIB, [(0, 16 * MIB)]),
        (3 * GIB, [(0, 3 * GIB)]),
        (3 * GIB + PAGE, [(0, 3 * GIB), (4 * GIB, PAGE)]),
        (512 * GIB, [(0, 3 * GIB), (4 * GIB, 509 * GIB)]),
    ],
)
def test_ram_beyond_3_gib_continues_at_4_gib(size: int, regions: list[tuple[int, int]]) -> None:
    assert layout.Ram(size).regions == regions


def test_devices_lie_in_the_mmio_hole_and_apart() -> None:
    slots = layout.VIRTIO_MMIO_BASE + layout.VIRTIO_MMIO_SLOTS * layout.VIRTIO_MMIO_STRIDE
    places = [
        (layout.MMIO_HOLE_START, layout.MMIO_HOLE_START),
        (layout.VIRTIO_MMIO_BASE, slots),
        (layout.IOAPIC_BASE, layout.IOAPIC_BASE + PAGE),
        (layout.LAPIC_BASE, layout.LAPIC_BASE + PAGE),
        (layout.KVM_TSS_ADDR, layout.KVM_TSS_ADDR + 3 * PAGE),
        (layout.MMIO_HOLE_END, layout.MMIO_HOLE_END),
    ]
    for (_, end), (start, _) in zip(places, places[1:], strict=False):
        assert end <= start


def test_ports_lie_apart() -> None:
    ports = [
        range(layout.I8042_COMMAND_PORT, layout.I8042_COMMAND_PORT + 1),
        range(layout.DEBUG_EXIT_PORT, layout.DEBUG_EXIT_PORT + layout.DEBUG_EXIT_PORTS),
        range(layout.SERIAL_PORT, layout.SERIAL_PORT + layout.SERIAL_PORTS),
    ]
    numbers = [port for region in ports for port in region]
    assert len(numbers) == len(set(numbers))


@given(st.integers(0, 1 << 64))
def test_page_up_gives_the_next_page_boundary(address: int) -> None:
    page = layout.page_up(address)
    assert page % PAGE == 0
    assert address <= page < address + PAGE
