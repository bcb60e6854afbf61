"""Every guest-physical address and port of a machine.

The map is that of QEMU's microvm machine (hw/i386/microvm.c and
docs/system/i386/microvm.rst there), so that images which hard-code it work:

    0000_0000   RAM, up to 3 GiB of it
    C000_0000   the 32-bit MMIO hole
    FEB0_0000     virtio-mmio, 32 slots of 512 bytes
    FEC0_0000     IOAPIC
    FEE0_0000     local APIC
    1_0000_0000 the rest of RAM
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

PAGE_SIZE = 4096

#: Bytes of RAM.
MEMORY_MIN = 16 * MIB
MEMORY_MAX = 512 * GIB

MMIO_HOLE_START = 0xC000_0000
MMIO_HOLE_END = 0x1_0000_0000

VIRTIO_MMIO_BASE = 0xFEB0_0000
VIRTIO_MMIO_STRIDE = 512
VIRTIO_MMIO_SLOTS = 32
IOAPIC_BASE = 0xFEC0_0000
IOAPIC_PINS = 24
LAPIC_BASE = 0xFEE0_0000

#: Three pages that KVM reserves for itself on Intel hosts (KVM_SET_TSS_ADDR).
KVM_TSS_ADDR = 0xFFFB_D000

SERIAL_PORT = 0x3F8
SERIAL_PORTS = 8
I8042_COMMAND_PORT = 0x64
ACPI_SLEEP_PORT = 0x600
DEBUG_EXIT_PORT = 0xF4
DEBUG_EXIT_PORTS = 4
#: Where a direct-booted guest asks to be frozen.
FREEZE_PORT = 0xF8
FREEZE_PORTS = 4
#: Where a direct-booted guest tells at which vsock ports it listens.
LISTEN_PORT = 0xFC
LISTEN_PORTS = 4
#: Where a guest tells that it has crashed (pvpanic).
PANIC_PORT = 0x505
PANIC_PORTS = 1

#: Interrupt vectors of direct-booted guests start here; GSI n has vector
#: IRQ_BASE + n and goes to CPU 0.
IRQ_BASE = 32
SERIAL_GSI = 4
VIRTIO_GSI = 5
#: Asks a direct-booted guest to end; above the vectors of all GSIs.
SHUTDOWN_VECTOR = 83
#: Tells a direct-booted guest that it has been thawed.
GENERATION_VECTOR = 84


class Ram:
    """Where the RAM of a machine is: below the MMIO hole, and above it what does not fit.

    Args:
        size: bytes.

    Attributes:
        size: as given.
        regions: (guest-physical start, length) of each range, in order.
        low_end: where the first range ends.
        end: where the last one ends.
    """

    __slots__ = ("end", "low_end", "regions", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.low_end = min(size, MMIO_HOLE_START)
        self.regions = [(0, self.low_end)]
        if size > self.low_end:
            self.regions.append((MMIO_HOLE_END, size - self.low_end))
        self.end = sum(self.regions[-1])


def virtio_base(slot: int) -> int:
    """The guest-physical address of a virtio device's registers."""
    return VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_STRIDE


def page_up(address: int) -> int:
    """The first page boundary at or above `address`."""
    return (address + PAGE_SIZE - 1) & -PAGE_SIZE
