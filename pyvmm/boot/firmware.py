"""What firmware leaves in memory, for images that expect a PC (PVH and Linux).

No address below 1 MiB is used that a known image overwrites before it has read it:

    500     pointer to the MP table, for kernels that search upward from 0
    5000    GDT
    6000    PVH start info, module list, memory map
    7000    Linux's zero page
    10000   page tables of Linux's 64-bit entry
    20000   command line
    9fc00   pointer to the MP table, where the specification puts it
    e0000   ACPI tables
    f0000   MP table

MP table: Intel MultiProcessor Specification 1.4, chapter 4.
"""

from __future__ import annotations

from struct import pack

from pyvmm._kvm import ffi
from pyvmm.boot import acpi
from pyvmm.errors import ImageError
from pyvmm.layout import IOAPIC_BASE, IOAPIC_PINS, LAPIC_BASE, PAGE_SIZE, page_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmLapicState
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

GDT = 0x5000
START_INFO = 0x6000
ZERO_PAGE = 0x7000
PAGE_TABLES = 0x10000
COMMAND_LINE = 0x20000
_MP_POINTERS = 0x500, 0x9FC00
ACPI_TABLES = 0xE0000
_MP_TABLE = 0xF0000
LOW_MEMORY_END = 0x9FC00
HIGH_MEMORY = 0x100000

#: Types of memory map entries, in Xen's map and in Linux's.
RAM, RESERVED = 1, 2

_BUS_ISA = 0
_LINT_NMI, _LINT_EXTINT = 1, 3
#: Offsets of a local APIC's registers, and what is in them.
_ID, _VERSION, _DFR, _SVR = 0x20, 0x30, 0xE0, 0xF0
_LVTS = _, _, _, _LVT_LINT0, _LVT_LINT1, _ = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
_MASKED, _NMI, _EXTINT = 0x1_0000, 0x400, 0x700
_SIX_LVTS = 0x5_0014


def memory_map(ram: Ram) -> list[tuple[int, int, int]]:
    """(start, bytes, type) of each range of memory."""
    return [
        (0, LOW_MEMORY_END, RAM),
        (LOW_MEMORY_END, HIGH_MEMORY - LOW_MEMORY_END, RESERVED),
        (HIGH_MEMORY, ram.low_end - HIGH_MEMORY, RAM),
        *((start, length, RAM) for start, length in ram.regions[1:]),
    ]


def mp_table(cpus: int) -> bytes:
    """The configuration table: processors, one ISA bus, one IOAPIC, and interrupt routing.

    IRQ n is pin n; local interrupt 0 is ExtINT, 1 is NMI.
    """
    ioapic = cpus
    entries = [pack("<BBBBII8x", 0, cpu, 0x14, 1 | (2 if cpu == 0 else 0), 0x600, 0x201) for cpu in range(cpus)]
    entries.append(pack("<BB6s", 1, _BUS_ISA, b"ISA   "))
    entries.append(pack("<BBBBI", 2, ioapic, 0x11, 1, IOAPIC_BASE))
    entries += [pack("<BBHBBBB", 3, 0, 0, _BUS_ISA, pin, ioapic, pin) for pin in range(IOAPIC_PINS)]
    entries.append(pack("<BBHBBBB", 4, _LINT_EXTINT, 0, _BUS_ISA, 0, 0, 0))
    entries.append(pack("<BBHBBBB", 4, _LINT_NMI, 0, _BUS_ISA, 0, 0xFF, 1))
    body = b"".join(entries)
    header = pack(
        "<4sHBB8s12sIHHIHBx", b"PCMP", 44 + len(body), 4, 0, b"pyvmm   ", b"microvm     ", 0, 0, len(entries),
        LAPIC_BASE, 0, 0,
    )  # fmt: skip
    return _with_checksum(header + body, 7)


def _with_checksum(data: bytes, at: int) -> bytes:
    """Sets the byte at `at` so that the sum of all bytes is 0."""
    return data[:at] + bytes([acpi.checksum(data)]) + data[at + 1 :]


def write_tables(memory: GuestMemory, cpus: int, virtio: list[tuple[int, int]]) -> None:
    """Writes the MP table, the pointers to it and the ACPI tables to memory.

    Args:
        virtio: (base, GSI) of each virtio-mmio device.
    """
    memory.write(_MP_TABLE, mp_table(cpus))
    pointer = _with_checksum(pack("<4sIBBB5x", b"_MP_", _MP_TABLE, 1, 4, 0), 10)
    for at in _MP_POINTERS:
        memory.write(at, pointer)
    memory.write(ACPI_TABLES, acpi.build(ACPI_TABLES, cpus, virtio))


def write_command_line(memory: GuestMemory, text: bytes) -> None:
    """Writes the command line, followed by a NUL, to COMMAND_LINE."""
    memory.write(COMMAND_LINE, text + b"\0")


def initrd_address(size: int, ram: Ram, kernel_end: int, highest: int, name: str) -> int:
    """The guest-physical address for an initrd: as high as allowed, above the kernel.

    Args:
        size: bytes.
        ram: where RAM is.
        kernel_end: guest-physical.
        highest: the last address that the initrd may occupy.
        name: the file's name, for the message.

    Raises:
        ImageError: it does not fit.
    """
    end = min(ram.low_end, highest + 1)
    address = (end - size) & -PAGE_SIZE
    if address < page_up(kernel_end):
        raise ImageError(
            f"{name}: an initrd of {size >> 10} KiB does not fit between the kernel's end at {kernel_end:#x} "
            f"and {end:#x}; it needs more memory"
        )
    return address


def lapic_registers(apic_id: int) -> KvmLapicState:
    """A local APIC's registers after reset (Intel SDM volume 3, table 11-1), with local interrupts as in `mp_table`.

    Args:
        apic_id: in xAPIC mode.
    """
    state = ffi.new("struct kvm_lapic_state *")
    registers = ffi.buffer(state.regs)
    values = dict.fromkeys(_LVTS, _MASKED) | {_LVT_LINT0: _EXTINT, _LVT_LINT1: _NMI}
    values |= {_ID: apic_id << 24, _VERSION: _SIX_LVTS, _DFR: 0xFFFF_FFFF, _SVR: 0xFF}
    for at, value in values.items():
        registers[at : at + 4] = value.to_bytes(4, "little")
    return state
