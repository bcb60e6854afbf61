"""A virtio device for the tests, and a transport to try it on without a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyvmm._kvm import ffi, lib
from pyvmm.bus import Bus
from pyvmm.memory import GuestMemory
from pyvmm.virtio.device import Device
from pyvmm.virtio.mmio import VirtioMmio
from pyvmm.virtio.queue import SplitQueue

if TYPE_CHECKING:
    from pyvmm.virtio.device import Transport

BASE = 0xFEB0_0000
ECHO_ID = 42


class Echo(Device):
    """Copies what a chain's readable buffers hold, in upper case, to its writable ones."""

    name = "echo"
    device_id = ECHO_ID
    queue_sizes = (8, 256)
    config = b"configuration"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.served = 0

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self.calls.append("activate")
        self._transport, self._queues, self.negotiated = transport, queues, features

    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        more = True
        while more:
            while chain := queue.pop():
                text = b"".join(map(bytes, chain.readable)).upper()
                written = 0
                for view in chain.writable:
                    part = text[written : written + len(view)]
                    view[: len(part)] = part
                    written += len(part)
                queue.push(chain, written)
                self.served += 1
            if queue.must_interrupt():
                self._transport.interrupt()
            more = queue.watch()

    def reset(self) -> None:
        self.calls.append("reset")


class Registers:
    """A driver's view of a device: 32-bit registers, and what the bus does with the rest."""

    def __init__(self, memory: GuestMemory, device: Device, cpus: int = 1) -> None:
        self.logged: list[str] = []
        self.transport = VirtioMmio(device, BASE, Bus(memory), memory, self.logged.append, cpus)

    def access(self, write: bool, offset: int, data: bytes) -> bytes:
        """One access, as a vCPU's exit would make it."""
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
