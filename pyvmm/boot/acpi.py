"""ACPI tables of a hardware-reduced machine (ACPI 6.5): processors, IOAPIC, UART, virtio devices.

    RSDP ─► XSDT ─► FADT ─► DSDT   devices, in AML (chapter 20)
                └─► MADT           processors and the IOAPIC

Linux kernels that are built without MP tables find the hardware here.
"""

from __future__ import annotations

from struct import pack

from pyvmm.layout import (
    ACPI_SLEEP_PORT,
    I8042_COMMAND_PORT,
    IOAPIC_BASE,
    LAPIC_BASE,
    PANIC_PORT,
    PANIC_PORTS,
    SERIAL_GSI,
    SERIAL_PORT,
    SERIAL_PORTS,
    VIRTIO_MMIO_STRIDE,
)

_OEM, _OEM_TABLE, _CREATOR = b"PYVMM ", b"MICROVM ", b"PYVM"
_SYSTEM_IO = 1

# FADT flags and IA-PC boot flags, section 5.2.9.
_RESET_REG_SUPPORTED, _HW_REDUCED = 1 << 10, 1 << 20
_NO_VGA = 1 << 2
_RESET = 0xFE
#: The sleep type that switches the machine off, as \\_S5 names it.
SLEEP_OFF = 5


def build(address: int, cpus: int, virtio: list[tuple[int, int]]) -> bytes:
    """All tables, the RSDP first, for guest-physical `address`.

    Args:
        cpus: number of vCPUs; their APIC IDs are 0, 1, 2 and so on.
        virtio: (base, GSI) of each virtio-mmio device.
    """
    dsdt_at = address + 64
    dsdt = _table(b"DSDT", 2, _dsdt(virtio))
    fadt_at = _align(dsdt_at + len(dsdt))
    fadt = _table(b"FACP", 6, _fadt(dsdt_at))
    madt_at = _align(fadt_at + len(fadt))
    madt = _table(b"APIC", 5, _madt(cpus))
    xsdt_at = _align(madt_at + len(madt))
    xsdt = _table(b"XSDT", 1, pack("<QQ", fadt_at, madt_at))
    image = bytearray(xsdt_at + len(xsdt) - address)
    for at, table in ((address, _rsdp(xsdt_at)), (dsdt_at, dsdt), (fadt_at, fadt), (madt_at, madt), (xsdt_at, xsdt)):
        image[at - address : at - address + len(table)] = table
    return bytes(image)


def _align(address: int) -> int:
    return (address + 15) & -16


def checksum(data: bytes) -> int:
    """The byte that makes the sum of all bytes 0, modulo 256."""
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """Puts the header (section 5.2.6) before a table."""
    header = [signature, 36 + len(body), revision, 0, _OEM, _OEM_TABLE, 1, _CREATOR, 1]
    layout = "<4sIBB6s8sI4sI"
    header[3] = checksum(pack(layout, *header) + body)
    return pack(layout, *header) + body


def _rsdp(xsdt: int) -> bytes:
    """Section 5.2.5.3; the first 20 bytes have their own checksum."""
    first = pack("<8sB6sBI", b"RSD PTR ", 0, _OEM, 2, 0)
    first = first[:8] + bytes([checksum(first)]) + first[9:]
    whole = first + pack("<IQB3x", 36, xsdt, 0)
    return whole[:32] + bytes([checksum(whole)]) + whole[33:]


def _address(port: int) -> bytes:
    """A generic address of one byte (section 5.2.3.2)."""
    return pack("<BBBBQ", _SYSTEM_IO, 8, 0, 1, port)


def _fadt(dsdt: int) -> bytes:
    """Section 5.2.9; fields for hardware that a hardware-reduced machine lacks are 0."""
    fadt = bytearray(276)

    def put(at: int, data: bytes) -> None:
        fadt[at : at + len(data)] = data

    put(109, pack("<H", _NO_VGA))
    put(112, pack("<I", _RESET_REG_SUPPORTED | _HW_REDUCED))
    put(116, _address(I8042_COMMAND_PORT) + bytes([_RESET]))
    put(131, bytes([5]))  # minor version
    put(140, pack("<Q", dsdt))
    put(244, _address(ACPI_SLEEP_PORT) + _address(ACPI_SLEEP_PORT + 1))
    return bytes(fadt[36:])


def _madt(cpus: int) -> bytes:
    """Section 5.2.12: local APICs, the IOAPIC, and NMI on local interrupt 1."""
    entries = [pack("<BBBBI", 0, 8, cpu, cpu, 1) for cpu in range(cpus)]
    entries.append(pack("<BBBBII", 1, 12, 0, 0, IOAPIC_BASE, 0))
    entries.append(pack("<BBBHB", 4, 6, 0xFF, 0, 1))
    return pack("<II", LAPIC_BASE, 0) + b"".join(entries)


# ---- AML --------------------------------------------------------------------------

_NAME, _SCOPE, _BUFFER, _PACKAGE, _STRING, _DEVICE = 0x08, 0x10, 0x11, 0x12, 0x0D, b"\x5b\x82"
_PNP0501 = pack("<B4B", 0x0C, 0x41, 0xD0, 0x05, 0x01)  # a 16550A, as a compressed EISA ID
_RESOURCES_END = b"\x79\0"
_EDGE = 0x03  # consumer, edge-triggered, active high, not shared


def _sized(body: bytes) -> bytes:
    """Puts the PkgLength, which includes itself, before a body (section 20.2.4)."""
    if len(body) + 1 < 64:
        return bytes([len(body) + 1]) + body
    size = len(body) + 2
    if size >= 1 << 12:
        size += 1
        return bytes([0x80 | size & 0xF, size >> 4 & 0xFF, size >> 12]) + body
    return bytes([0x40 | size & 0xF, size >> 4]) + body


def _name(name: bytes, value: bytes) -> bytes:
    return bytes([_NAME]) + name + value


def _byte(value: int) -> bytes:
    return bytes([0x0A, value])


def _device(name: bytes, hid: bytes, uid: int, resources: bytes) -> bytes:
    resources += _RESOURCES_END
    template = bytes([_BUFFER]) + _sized(_byte(len(resources)) + resources)
    body = name + _name(b"_HID", hid) + _name(b"_UID", _byte(uid)) + _name(b"_CRS", template)
    return _DEVICE + _sized(body)


def _interrupt(gsi: int) -> bytes:
    return pack("<BHBBI", 0x89, 6, _EDGE, 1, gsi)


def _dsdt(virtio: list[tuple[int, int]]) -> bytes:
    ports = pack("<BBHHBB", 0x47, 1, SERIAL_PORT, SERIAL_PORT, 1, SERIAL_PORTS)
    devices = [_device(b"COM1", _PNP0501, 0, ports + _interrupt(SERIAL_GSI))]
    # pvpanic, by which a kernel tells that it has panicked
    told = pack("<BBHHBB", 0x47, 1, PANIC_PORT, PANIC_PORT, 1, PANIC_PORTS)
    devices.append(_device(b"PEVT", bytes([_STRING]) + b"QEMU0001\0", 0, told))
    hid = bytes([_STRING]) + b"LNRO0005\0"
    for index, (base, gsi) in enumerate(virtio):
        registers = pack("<BHBII", 0x86, 9, 1, base, VIRTIO_MMIO_STRIDE)
        devices.append(_device(b"VR%02X" % index, hid, index, registers + _interrupt(gsi)))
    scope = bytes([_SCOPE]) + _sized(b"\\_SB_" + b"".join(devices))
    off = bytes([_PACKAGE]) + _sized(bytes([4]) + _byte(SLEEP_OFF) + bytes(3))
    return scope + _name(b"\\_S5_", off)
