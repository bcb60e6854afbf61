"""The base class of virtio devices: queues, features, a configuration space and a life cycle."""

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
        """What a transport offers to its device.

        Attributes:
            native: the C side (`struct virtio_mmio *`).
            queues: the device's queues.
            kick_fds: for each queue, the eventfd of its notifications.
            irq_fd: eventfd that raises the interrupt, for use by another process.
            memory: the guest's RAM.
        """

        native: VirtioMmio
        queues: list[SplitQueue]
        kick_fds: list[int]
        irq_fd: int
        memory: GuestMemory

        def interrupt(self) -> None:
            """Interrupts the driver because of used buffers."""

        def needs_reset(self, reason: str) -> None:
            """Breaks the device until the driver resets it. Calls `Device.reset` and logs `reason`."""

        def use_elsewhere(self) -> None:
            """From now until reset, another process serves the queues and writes to `irq_fd`.

            Raises:
                HostError: there is no thread for its interrupts.
            """


#: Features of the ring and of the transport (virtio 1.2, section 6).
INDIRECT_DESC = 1 << 28
EVENT_IDX = 1 << 29
VERSION_1 = 1 << 32

RING_FEATURES = INDIRECT_DESC | EVENT_IDX | VERSION_1


class Device(ABC):
    """Base of all devices.

    All calls come from the control thread (the one in `Machine.run`), in this order. There may be
    any number of cycles, and `needs_reset` or the machine's end may cut one short::

        prepare, [restore,] [confine,] attach, (activate, (kicked | pause, resume)*, reset)*, finish, close

    The device owns its queues from `activate` to `reset`, except between `pause` and `resume`,
    when the transport changes them. One with `own_thread` uses them in another thread or process
    and is notified there (`Transport.kick_fds`); `pause` and `reset` return once that has ended.

    An exception breaks the device (`Transport.needs_reset`), not the machine: `QueueError` is the
    driver's fault, `PyvmmError` the host's, and anything else is logged as a bug.

    Attributes:
        name: used in messages.
        device_id: virtio's number for this type of device (virtio 1.2, section 5).
        features: bits that the device offers.
        queue_sizes: the maximum number of entries of each queue, a power of 2 up to 256.
        config: the configuration space, up to 256 bytes.
        own_thread: the queues are not served by the control thread.
        shares_memory: another process maps the guest's memory.
        answers: each buffer is a request, which comes back soon.
        forgets: what the driver knows of the device is void in a guest that was thawed: the
            device needs a reset then.
        serves: the guest serves others by it, so output that nobody reads must not stop the guest.
        ports: (address, port, guest's port) of each published port.
        told_of_ports: is to be told at which ports the guest listens, by `listens`.
    """

    name = "virtio"
    device_id = 0
    features = RING_FEATURES
    queue_sizes: tuple[int, ...] = ()
    config = b""
    own_thread = False
    shares_memory = False
    forgets = False
    answers = False
    serves = False
    ports: Sequence[tuple[str, int, int]] = ()
    told_of_ports = False

    def prepare(self, cpus: int) -> None:  # noqa: B027 - optional
        """Called once, before the attributes are read: waits for what the host was asked for.

        Args:
            cpus: number of vCPUs.

        Raises:
            PyvmmError: the device cannot be made; so cannot the machine.
        """

    def confine(self) -> None:  # noqa: B027 - optional
        """Called once, in a process that is being confined: makes the device's thread, which then cannot be made.

        Raises:
            HostError: the host cannot provide it.
        """

    def attach(self, loop: Loop) -> None:  # noqa: B027 - optional
        """Called once, when the guest runs. A device with descriptors of its own adds them to `loop`."""

    def counts(self) -> dict[str, int]:
        """What has been counted of it, by name; for metrics."""
        return {}

    def finish(self, loop: Loop) -> None:  # noqa: B027 - optional
        """Called when the guest has ended: passes on what it has sent.

        Waits by `loop.wait`, which raises `LoopStopped` when a signal or `Machine.stop` asks for a quick end.
        """

    def close(self) -> None:  # noqa: B027 - optional
        """Frees the device's resources on the host. A second call does nothing."""

    def listens(self, port: int) -> None:  # noqa: B027 - optional
        """Called when the guest tells that it listens at a port, any number of times."""

    @abstractmethod
    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Starts the device: the driver has written DRIVER_OK.

        Args:
            transport: valid until `reset`.
            queues: as many as `queue_sizes`; one that the driver has not enabled stays empty.
            features: bits that both sides support.
        """

    @abstractmethod
    def kicked(self, index: int) -> None:
        """Serves queue number `index`, to which the driver has added buffers. May be spurious."""

    def pause(self) -> None:  # noqa: B027 - optional
        """Stops using the queues, which are about to change."""

    def resume(self) -> None:  # noqa: B027 - optional
        """Uses the queues again."""

    def state(self) -> bytes:
        """What it remembers that its driver relies on, while paused; for `restore`."""
        return b""

    def restore(self, state: bytes) -> None:  # noqa: B027 - optional
        """Called before `attach` in a guest that was thawed: all else outside the guest is new.

        Args:
            state: from anybody.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forgets the driver. The queues must not be used from then on."""
