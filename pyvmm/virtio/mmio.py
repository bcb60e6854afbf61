"""virtio over MMIO (virtio 1.2, section 4.2); `_virtio_mmio.c` serves the registers.

Python comes in when a driver starts or resets the device, and is the one place
where a broken driver is logged.
"""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError
from pyvmm.layout import VIRTIO_MMIO_STRIDE
from pyvmm.virtio.queue import QueueError, SplitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyvmm.bus import Bus
    from pyvmm.memory import GuestMemory
    from pyvmm.virtio.device import Device

QUEUE_NOTIFY = 0x50
_QUEUE_READY, _STATUS = 0x44, 0x70
_DRIVER_OK = 4


class VirtioMmio:
    """One device on the bus.

    Args:
        device: what it is.
        base: guest-physical address of its registers.
        bus: gets the registers.
        memory: the guest's RAM.
        log: called with a line about a driver that misbehaves.

    Attributes:
        irq_fd: eventfd that raises its interrupt, unless it has a line.
        kick_fds: eventfd of each queue's notifications.
        queues: the device's.
        memory: the guest's RAM.
        native: the C side (`struct virtio_mmio *`).
    """

    def __init__(self, device: Device, base: int, bus: Bus, memory: GuestMemory, log: Callable[[str], None]) -> None:
        device.prepare()
        self.device = device
        self.base = base
        self.memory = memory
        self._log = log
        self._active = False
        self._fds: list[int] = []
        self.native: Any = None
        try:
            self.irq_fd = self._eventfd()
            self.kick_fds = [self._eventfd() for _ in device.queue_sizes]
        except HostError:
            self.close()
            raise
        self.queues = [SplitQueue(memory, size) for size in device.queue_sizes]
        self.native = ffi.new("struct virtio_mmio *")
        lib.virtio_mmio_init(self.native, device.device_id, device.features, self.irq_fd)
        for queue, fd in zip(self.queues, self.kick_fds, strict=True):
            lib.virtio_mmio_add_queue(self.native, queue.native, fd)
        lib.virtio_mmio_set_config(self.native, device.config, len(device.config))
        access = ffi.addressof(lib, "virtio_mmio_access")
        bus.add_native(base, VIRTIO_MMIO_STRIDE, access, self.native, mmio=True, cold=self)

    def _eventfd(self) -> int:
        fd: int = lib.eventfd(0, lib.EFD_CLOEXEC | lib.EFD_NONBLOCK)
        if fd < 0:
            raise HostError("eventfd", ffi.errno)
        self._fds.append(fd)
        return fd

    def read(self, offset: int, size: int) -> int:
        """A read that C answered with zeroes because no driver makes it."""
        self._log(f"{self._name}: read of {size} bytes at {offset:#x}, which is no register")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """A write that C left: to Status, to QueueReady of a running device, or to nothing."""
        if size != 4 or offset % 4:
            self._log(f"{self._name}: write of {size} bytes at {offset:#x}, which is no register")
        elif offset == _QUEUE_READY:
            self.device.pause()
            lib.virtio_mmio_set_ready(self.native, value)
            self.device.resume()
        elif offset == _STATUS and not value:
            self._reset()
        elif offset == _STATUS and value & _DRIVER_OK:
            self._activate()

    @property
    def _name(self) -> str:
        return f"{self.device.name} at {self.base:#x}"

    def _activate(self) -> None:
        self._active = True
        self.device.activate(self, self.queues, self.native.driver_features & self.device.features)
        if self.native.used_elsewhere and (error := lib.virtio_mmio_relay(self.native)):
            self.needs_reset(f"no thread for its interrupts: errno {error}")
        if self.device.own_thread:
            return
        # Some drivers fill and notify their queues before they are ready.
        for index in range(len(self.queues)):
            self._kick(index)

    def _reset(self) -> None:
        if self._active:
            self._active = False
            self.device.reset()
        lib.virtio_mmio_reset(self.native)

    def kicked(self, index: int) -> None:
        """Serves a queue whose `kick_fds` became readable."""
        os.read(self.kick_fds[index], 8)
        self._kick(index)

    def _kick(self, index: int) -> None:
        if not self._active:
            return
        try:
            self.device.kicked(index)
        except QueueError as error:
            self.needs_reset(f"queue {index}: {error}")

    def interrupt(self) -> None:
        """Tells the driver of used buffers."""
        lib.virtio_mmio_interrupt(self.native)

    def needs_reset(self, reason: str) -> None:
        """The driver broke the device: it stops until it is reset."""
        self._log(f"{self._name} stopped: {reason}")
        self._active = False
        self.device.reset()
        lib.virtio_mmio_needs_reset(self.native)

    def use_line(self, vm_fd: int, gsi: int) -> None:
        """Interrupts by a pin of the IOAPIC from now on, in place of `irq_fd`."""
        lib.virtio_mmio_use_line(self.native, vm_fd, gsi)

    def close(self) -> None:
        """Closes the eventfds."""
        if self.native:
            lib.virtio_mmio_end_relay(self.native)
        while self._fds:
            os.close(self._fds.pop())
