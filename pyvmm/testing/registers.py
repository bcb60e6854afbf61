"""A driver's view of a virtio-mmio device (virtio 1.2, section 4.2): its registers, without a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyvmm._kvm import ffi, lib
from pyvmm.bus import Bus
from pyvmm.virtio.mmio import VirtioMmio

if TYPE_CHECKING:
    from pyvmm.memory import GuestMemory
    from pyvmm.virtio.device import Device

BASE = 0xFEB0_0000

# Offsets of registers (section 4.2.2).
MAGIC, VERSION, DEVICE_ID, VENDOR_ID = 0x00, 0x04, 0x08, 0x0C
DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL = 0x10, 0x14, 0x20, 0x24
QUEUE_SEL, QUEUE_NUM_MAX, QUEUE_NUM, QUEUE_READY, QUEUE_NOTIFY = 0x30, 0x34, 0x38, 0x44, 0x50
INTERRUPT_STATUS, INTERRUPT_ACK, STATUS = 0x60, 0x64, 0x70
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x80, 0x90, 0xA0
CONFIG_GENERATION, CONFIG = 0xFC, 0x100

NAMES = {
    MAGIC: "MagicValue",
    VERSION: "Version",
    DEVICE_ID: "DeviceID",
    VENDOR_ID: "VendorID",
    DEVICE_FEATURES: "DeviceFeatures",
    DEVICE_FEATURES_SEL: "DeviceFeaturesSel",
    DRIVER_FEATURES: "DriverFeatures",
    DRIVER_FEATURES_SEL: "DriverFeaturesSel",
    QUEUE_SEL: "QueueSel",
    QUEUE_NUM_MAX: "QueueNumMax",
    QUEUE_NUM: "QueueNum",
    QUEUE_READY: "QueueReady",
    QUEUE_NOTIFY: "QueueNotify",
    INTERRUPT_STATUS: "InterruptStatus",
    INTERRUPT_ACK: "InterruptACK",
    STATUS: "Status",
    QUEUE_DESC: "QueueDescLow",
    QUEUE_DESC + 4: "QueueDescHigh",
    QUEUE_DRIVER: "QueueDriverLow",
    QUEUE_DRIVER + 4: "QueueDriverHigh",
    QUEUE_DEVICE: "QueueDeviceLow",
    QUEUE_DEVICE + 4: "QueueDeviceHigh",
    CONFIG_GENERATION: "ConfigGeneration",
}

# Bits of Status (section 2.1).
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128


class Registers:
    """A device on the transport that machines have, and accesses to it as a vCPU would make them.

    Args:
        memory: the guest's RAM.
        device: the device.
        cpus: number of vCPUs that the device is told of.
        transport: the class of the transport.

    Attributes:
        logged: the transport's messages.
        transport: the transport, to be closed with `transport.close()`.

    Example::

        with GuestMemory(Ram(16 << 20)) as memory:
            registers = Registers(memory, Entropy())
            assert registers.read(DEVICE_ID) == 4
    """

    def __init__(
        self, memory: GuestMemory, device: Device, cpus: int = 1, transport: type[VirtioMmio] = VirtioMmio
    ) -> None:
        self.logged: list[str] = []
        self.transport = transport(device, BASE, Bus(memory), memory, self.logged.append, cpus)

    def access(self, write: bool, offset: int, data: bytes) -> bytes:
        """One access, as a vCPU's exit makes it.

        Args:
            write: or else it is a read.
            offset: from the start of the registers.
            data: what is written, or as many bytes as are read.

        Returns:
            What was read.
        """
        buffer = bytearray(data)
        native = self.transport.native
        if not lib.virtio_mmio_access(native, ffi.NULL, write, offset, ffi.from_buffer(buffer), len(data), 1):
            if write:
                self.transport.write(offset, len(data), int.from_bytes(data, "little"))
            else:
                self.transport.read(offset, len(data))
        return bytes(buffer)

    def read(self, offset: int, size: int = 4) -> int:
        """The value of a register."""
        return int.from_bytes(self.access(False, offset, bytes(size)), "little")

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """Sets a register."""
        self.access(True, offset, value.to_bytes(size, "little"))
