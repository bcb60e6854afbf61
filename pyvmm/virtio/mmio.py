"""virtio over MMIO (virtio 1.2, section 4.2); `native/virtio/mmio.c` serves the registers.

The code here runs in the control thread, which starts, stops and resets devices as
their drivers ask by writing registers, and logs what breaks one. An exception from a
device's code breaks that device, never the machine.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.bus import eventfd
from pyvmm.errors import HostError, PyvmmError
from pyvmm.layout import VIRTIO_MMIO_STRIDE
from pyvmm.virtio.queue import ERRORS, QueueError, SplitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm._kvm import VirtioMmio as NativeMmio
    from pyvmm.bus import Bus
    from pyvmm.eventloop import Loop
    from pyvmm.memory import GuestMemory
    from pyvmm.virtio.device import Device

QUEUE_NOTIFY = 0x50
_EINVAL = 22


class VirtioMmio:
    """The transport of one device.

    Args:
        device: the device; its life cycle is driven from here.
        base: guest-physical address of the registers.
        bus: where the registers are added.
        memory: the guest's RAM.
        log: called with a line about a driver or device that misbehaves.
        cpus: number of vCPUs.

    Attributes:
        irq_fd: eventfd that raises the interrupt, unless there is a line.
        kick_fds: for each queue, the eventfd of its notifications.
        queues: the device's queues.
        memory: the guest's RAM.
        native: the C side (`struct virtio_mmio *`).
    """

    def __init__(
        self, device: Device, base: int, bus: Bus, memory: GuestMemory, log: Callable[[str], None], cpus: int = 1
    ) -> None:
        device.prepare(cpus)
        self.device = device
        self.base = base
        self._slots = bus.native.slots
        self.memory = memory
        self._log = log
        self._fds: list[int] = []
        self._is_made = self._is_thawed = False
        try:
            self.irq_fd = self._eventfd()
            self.kick_fds = [self._eventfd() for _ in device.queue_sizes]
        except HostError:
            self.close()
            raise
        self.queues = [SplitQueue(memory, size) for size in device.queue_sizes]
        self.native: NativeMmio = ffi.new("struct virtio_mmio *")
        self._is_made = True
        lib.virtio_mmio_init(self.native, device.device_id, device.features, self.irq_fd)
        for queue, fd in zip(self.queues, self.kick_fds, strict=True):
            lib.virtio_mmio_add_queue(self.native, queue.native, fd)
        lib.virtio_mmio_set_config(self.native, device.config, len(device.config))
        access = ffi.addressof(lib, "virtio_mmio_access")
        bus.add_native(base, VIRTIO_MMIO_STRIDE, access, self.native, mmio=True, cold=self)

    def _eventfd(self) -> int:
        self._fds.append(eventfd())
        return self._fds[-1]

    def state(self) -> bytes:
        """What transport and device remember. The vCPUs and the device must be paused."""
        state = ffi.new("struct virtio_mmio_saved *")
        lib.virtio_mmio_save(self.native, state)
        return bytes(ffi.buffer(state)) + self.device.state()

    def restore(self, data: bytes) -> None:
        """Makes a new transport what another one was, before `attach`.

        Raises:
            HostError: that was one of another device.
        """
        state, size = ffi.new("struct virtio_mmio_saved *"), ffi.sizeof("struct virtio_mmio_saved")
        if len(data) >= size:
            ffi.buffer(state)[:] = data[:size]
            if lib.virtio_mmio_restore(self.native, state, self.device.forgets):
                self.device.restore(data[size:])
                self._is_thawed = True
                return
        raise HostError(f"{self._name}: what was frozen", _EINVAL, "thaw it with the same devices")

    def is_drained(self) -> bool:
        """Whether the device has answered all that its driver has asked for, where that is the device's way."""
        if not self.device.answers or not lib.virtio_mmio_runs(self.native):
            return True
        return all(lib.queue_is_drained(queue.native) for queue in self.queues)

    def pause(self) -> None:
        """Stops the device's use of its queues."""
        if lib.virtio_mmio_runs(self.native):
            self.device.pause()

    def resume(self) -> None:
        """Lets the device go on."""
        if lib.virtio_mmio_runs(self.native):
            self.device.resume()

    def attach(self, loop: Loop) -> None:
        """Serves the device from `loop`."""
        from pyvmm.eventloop import GuardedLoop  # imported when the guest runs

        self.device.attach(GuardedLoop(loop, self._failed))
        if not self.device.own_thread:
            for index in range(len(self.kick_fds)):
                self._watch_queue(loop, index)
        if self._is_thawed:
            self.settle()

    def _watch_queue(self, loop: Loop, index: int) -> None:
        loop.add(self.kick_fds[index], lambda: self.kicked(index))

    def read(self, offset: int, size: int) -> int:
        """Logs a read of no register, which C answered with zeroes."""
        self._log(f"{self._name}: read of {size} bytes at {offset:#x}, which is no register")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Serves a write that C left: it starts, resets or changes the device, or is to no register."""
        if size != 4 or offset % 4:
            self._log(f"{self._name}: write of {size} bytes at {offset:#x}, which is no register")
        elif offset == QUEUE_NOTIFY:
            if self._slots:
                lib.virtio_mmio_deliver(self.native, self._slots, self.base + offset, value)
        else:
            self.settle()

    @property
    def _name(self) -> str:
        return f"{self.device.name} at {self.base:#x}"

    def settle(self) -> None:
        """Takes all steps that the driver has asked for.

        What the registers say counts, not the exit being served: another vCPU may have
        reset the device in between.
        """
        while step := lib.virtio_mmio_next(self.native):
            try:
                if step == lib.VIRTIO_MMIO_START:
                    self._start()
                elif step == lib.VIRTIO_MMIO_CHANGE:
                    self._change_queues()
                else:
                    self.device.reset()
                    lib.virtio_mmio_reset(self.native)
            except Exception as error:
                self._failed(error)

    def _start(self) -> None:
        self.device.activate(self, self.queues, self.native.driver_features & self.device.features)
        if self.device.own_thread:
            return
        # Some drivers fill and notify their queues before DRIVER_OK.
        for index in range(len(self.queues)):
            self._kick(index)

    def _change_queues(self) -> None:
        self.device.pause()
        bad = lib.virtio_mmio_change_queues(self.native)
        if bad < 0:
            self.device.resume()
        else:
            self.needs_reset(f"queue {bad}: {ERRORS[self.queues[bad].native.error]}")

    def kicked(self, index: int) -> None:
        """Serves a queue whose `kick_fds` eventfd has become readable."""
        os.read(self.kick_fds[index], 8)
        self._kick(index)

    def _kick(self, index: int) -> None:
        if not lib.virtio_mmio_runs(self.native):
            return
        try:
            self.device.kicked(index)
        except QueueError as error:
            self.needs_reset(f"queue {index}: {error}")
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Breaks the device, whose code has raised `error`."""
        self.needs_reset(str(error) if isinstance(error, PyvmmError) else self.bug(error))

    def bug(self, error: Exception) -> str:
        """One line about an unexpected exception, with the place that raised it."""
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        return f"a bug in pyvmm, please report it: {type(error).__name__}: {error} ({place})"

    def interrupt(self) -> None:
        """Interrupts the driver because of used buffers."""
        lib.virtio_mmio_interrupt(self.native)

    def needs_reset(self, reason: str) -> None:
        """Breaks the device until the driver resets it, and logs `reason`."""
        self._log(f"{self._name} stopped: {reason}")
        try:
            self.device.reset()
        except Exception as error:
            self._log(f"{self._name}: {self.bug(error)}")
        lib.virtio_mmio_needs_reset(self.native)

    def use_elsewhere(self) -> None:
        """From now until reset, another process serves the queues and interrupts by `irq_fd`.

        Raises:
            HostError: there is no thread for its interrupts.
        """
        lib.virtio_mmio_use_elsewhere(self.native)
        self._relay()

    def _relay(self) -> None:
        if error := lib.virtio_mmio_relay(self.native):
            raise HostError("thread for interrupts", error)

    def confine(self) -> None:
        """Makes the threads of device and transport, confined; afterwards none can be.

        Raises:
            HostError: the host cannot provide them.
        """
        self.device.confine()
        if self.device.shares_memory:
            self._relay()

    def use_line(self, vm_fd: int, gsi: int) -> None:
        """Interrupts by an IOAPIC pin from now on, in place of `irq_fd`."""
        lib.virtio_mmio_use_line(self.native, vm_fd, gsi)

    def close(self) -> None:
        """Ends the relay thread, if there is one, and closes the eventfds."""
        if self._is_made:
            lib.virtio_mmio_end_relay(self.native)
        while self._fds:
            os.close(self._fds.pop())
