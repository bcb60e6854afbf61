"""The device's side of a split virtqueue; `native/virtio/queue.c` does the work."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import Chain as NativeChain
    from pyvmm.memory import GuestMemory

SIZE_MAX = 256

#: What a driver can do wrong, with the section of virtio 1.2 that forbids it.
ERRORS = {
    lib.QUEUE_BAD_SIZE: "its size is no power of 2 within the maximum (2.7)",
    lib.QUEUE_BAD_RINGS: "a ring is misaligned or not in RAM (2.7)",
    lib.QUEUE_AVAIL_TOO_FAR: "the available index moved by more than the size (2.7.13.3)",
    lib.QUEUE_BAD_HEAD: "a chain begins outside the descriptor table (2.7.6)",
    lib.QUEUE_BAD_NEXT: "a chain goes on outside the descriptor table (2.7.5)",
    lib.QUEUE_CHAIN_TOO_LONG: "a chain is longer than the queue, or a loop (2.7.5.2)",
    lib.QUEUE_EMPTY_BUFFER: "a descriptor has length 0 (2.7.5)",
    lib.QUEUE_BUFFER_OUTSIDE: "a buffer is not in RAM (2.7.5)",
    lib.QUEUE_READ_AFTER_WRITE: "a readable buffer follows a writable one (2.7.4.2)",
    lib.QUEUE_BAD_INDIRECT: "an indirect table is nested, chained, damaged or was not offered (2.7.5.3.1)",
}


class QueueError(Exception):
    """The driver broke the queue: its device needs a reset."""


class Chain:
    """A descriptor chain: buffers to read from, then buffers to write to.

    Attributes:
        head: what `SplitQueue.push` gives back.
        readable: views of the device-readable buffers.
        writable: views of the device-writable ones.
    """

    __slots__ = ("head", "readable", "writable")

    def __init__(self, native: NativeChain) -> None:
        self.head: int = native.head
        views = [
            memoryview(ffi.buffer(native.iov[i].iov_base, native.iov[i].iov_len)).cast("B") for i in range(native.count)
        ]
        self.readable = views[: native.readable]
        self.writable = views[native.readable :]


class SplitQueue:
    """One virtqueue.

    Args:
        memory: the guest's RAM.
        size_max: the most entries that the device can do, a power of 2 up to 256.

    Attributes:
        native: the C side (`struct queue *`); the transport fills in what the
            driver sets up.
    """

    def __init__(self, memory: GuestMemory, size_max: int = SIZE_MAX) -> None:
        self._memory = memory  # the C side points into it
        self.native = ffi.new("struct queue *")
        lib.queue_init(self.native, memory.native, size_max)
        self._chain = ffi.new("struct chain *")

    def enable(self) -> None:
        """Takes the rings that the driver has set up.

        Raises:
            QueueError: they cannot be.
        """
        self._check(lib.queue_enable(self.native))

    def pop(self) -> Chain | None:
        """The next chain that the driver has made available.

        Raises:
            QueueError: the driver broke the queue, now or before.
        """
        return Chain(self._chain) if self._check(lib.queue_pop(self.native, self._chain)) else None

    def _check(self, result: int) -> int:
        if result < 0:
            raise QueueError(ERRORS[self.native.error])
        return result

    def push(self, chain: Chain, written: int) -> None:
        """Gives a chain back, of whose writable bytes the first `written` were."""
        lib.queue_push(self.native, chain.head, written)

    def must_interrupt(self) -> bool:
        """Whether the driver wants an interrupt for what was pushed since the last call."""
        return bool(lib.queue_must_interrupt(self.native))

    def watch(self) -> bool:
        """Asks to be notified of new chains; returns whether there is one already."""
        return bool(lib.queue_watch(self.native))

    def unwatch(self) -> None:
        """Tells the driver not to notify."""
        lib.queue_unwatch(self.native)

    def reset(self) -> None:
        """As the driver found it first."""
        lib.queue_reset(self.native)
