"""The boot-info block that describes the machine to a direct-booted kernel.

`docs/boot-protocol.md` defines it. A test compares this table, that document and
the kernel's record (`toro/kernel/BootInfo.pas`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = 0x6F726F54  # "Toro"
VERSION = 3

#: Types of memory map entries. Together the entries cover all RAM.
MEMORY_FREE, MEMORY_IN_USE = 1, 2

#: Name and size in bytes of each field, in order, without gaps.
FIELDS = (
    ("magic", 4),
    ("version", 4),
    ("size", 4),
    ("cpu_count", 4),
    ("tsc_hz", 8),
    ("wall_clock_ns", 8),
    ("wall_clock_tsc", 8),
    ("command_line", 8),
    ("command_line_size", 4),
    ("memory_map_count", 4),
    ("memory_map", 8),
    ("devices", 8),
    ("device_count", 4),
    ("console_vector", 4),
    ("cpu_areas", 8),
    ("cpu_area_size", 8),
    ("supervisor_size", 4),
    ("stack_size", 4),
    ("flags", 8),
    ("shutdown_vector", 4),
    ("generation_vector", 4),
    ("generation", 8),
    ("marks", 128),
    ("random", 32),
)
SIZE = sum(size for _, size in FIELDS)

#: Indexes into `marks`, where the kernel stores its TSC.
MARKS = ("entry", "kernel", "application", "exit")

_MEMORY_ENTRY = (8, 8, 4, 4)  # start, size, type, 0
_DEVICE_ENTRY = (8, 4, 4, 4, 4)  # base, size, vector, device id, 0


def offset_of(name: str) -> int:
    """The offset in bytes of a field."""
    offset = 0
    for field, size in FIELDS:
        if field == name:
            return offset
        offset += size
    raise KeyError(name)


def _pack(sizes: Iterable[int], values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(size, "little") for size, value in zip(sizes, values, strict=True))


def build(
    address: int,
    command_line: bytes,
    memory_map: list[tuple[int, int, int]],
    devices: list[tuple[int, int, int, int]],
    **values: int,
) -> bytes:
    """The block, followed by its tables, for `address`.

    Args:
        address: guest-physical.
        command_line: without a NUL at its end.
        memory_map: (start, bytes, type) of each range, ascending.
        devices: (base, bytes, interrupt vector, virtio device ID) of each
            virtio-mmio device.
        values: the other fields by name; those not named are 0.
    """
    memory_at = address + SIZE
    devices_at = memory_at + len(memory_map) * sum(_MEMORY_ENTRY)
    command_line_at = devices_at + len(devices) * sum(_DEVICE_ENTRY)
    values |= {
        "magic": MAGIC,
        "version": VERSION,
        "size": SIZE,
        "command_line": command_line_at,
        "command_line_size": len(command_line),
        "memory_map": memory_at,
        "memory_map_count": len(memory_map),
        "devices": devices_at,
        "device_count": len(devices),
    }
    return (
        b"".join(values.get(name, 0).to_bytes(size, "little") for name, size in FIELDS)
        + b"".join(_pack(_MEMORY_ENTRY, (*entry, 0)) for entry in memory_map)
        + b"".join(_pack(_DEVICE_ENTRY, (*entry, 0)) for entry in devices)
        + command_line
        + b"\0"
    )
