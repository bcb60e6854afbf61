"""What every virtio device is: queues, features, a configuration space, and three calls."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from pyvmm._kvm import VirtioMmio
    from pyvmm.eventloop import Loop
    from pyvmm.memory import GuestMemory
    from pyvmm.virtio.queue import SplitQueue

    class Transport(Protocol):
        """What a device asks of its transport.

        Attributes:
            native: the C side (`struct virtio_mmio *`).
            queues: the device's.
            kick_fds: eventfd of each queue's notifications.
            irq_fd: eventfd that raises the interrupt, for another process.
            memory: the guest's RAM.
        """

        native: VirtioMmio
        queues: list[SplitQueue]
        kick_fds: list[int]
        irq_fd: int
        memory: GuestMemory

        def interrupt(self) -> None:
            """Tells the driver of used buffers."""

        def needs_reset(self, reason: str) -> None:
            """The device cannot go on before the driver resets it; calls `Device.reset`."""

        def use_elsewhere(self) -> None:
            """Another process serves the queues and writes to `irq_fd`."""


#: Features of the ring and of the transport (virtio 1.2, section 6).
INDIRECT_DESC = 1 << 28
EVENT_IDX = 1 << 29
VERSION_1 = 1 << 32

RING_FEATURES = INDIRECT_DESC | EVENT_IDX | VERSION_1


class Device(ABC):
    """Base of all devices.

    All calls come from the main thread, in this order; any number of cycles, and `needs_reset`
    or the machine's end may cut one short::

        prepare, attach, (activate, (kicked | pause, resume)*, reset)*, close

    The device owns its queues from `activate` to `reset`, but not between `pause` and `resume`,
    when the transport changes them. One with `own_thread` uses them in another thread or process
    and is notified there (`Transport.kick_fds`); `pause` and `reset` return once that has ended.

    What a call raises breaks the device (`Transport.needs_reset`), not the machine: `QueueError`
    is the driver's fault, `PyvmmError` the host's, anything else is logged as a bug.

    Attributes:
        name: for messages.
        device_id: its number (virtio 1.2, section 5).
        features: the bits it offers.
        queue_sizes: the most entries of each of its queues.
        config: its configuration space.
        own_thread: its queues are not served by the main thread.
        ports: (address, port, guest's port) of each port of the guest that it publishes.
    """

    name = "virtio"
    device_id = 0
    features = RING_FEATURES
    queue_sizes: tuple[int, ...] = ()
    config = b""
    own_thread = False
    ports: Sequence[tuple[str, int, int]] = ()

    def prepare(self, cpus: int) -> None:  # noqa: B027 - optional
        """Called once before the attributes are looked at: what the host was asked for must be there by then.

        Args:
            cpus: how many vCPUs the machine has.
        """

    def attach(self, loop: Loop) -> None:  # noqa: B027 - optional
        """The loop that runs the device; a device that has no descriptors needs none."""

    def close(self) -> None:  # noqa: B027 - optional
        """Frees what the device has of the host. A second call does nothing."""

    @abstractmethod
    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """The driver is ready (DRIVER_OK).

        Args:
            queues: those of `queue_sizes`; one that the driver has not enabled
                gives nothing.
            features: what both sides can do.
        """

    @abstractmethod
    def kicked(self, index: int) -> None:
        """The driver has put something into a queue."""

    def pause(self) -> None:  # noqa: B027 - optional
        """Leaves the queues alone, because they change."""

    def resume(self) -> None:  # noqa: B027 - optional
        """Goes on with them."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the driver; the queues must not be used any more."""
