"""The device's side of a split virtqueue (virtio 1.2, section 2.7), on top of `native/virtio/queue.c`.

To serve a queue: `pop` chains until None, `push` each, raise the interrupt if
`must_interrupt`, and `watch` before waiting for the next notification::

    while True:
        while chain := queue.pop():
            queue.push(chain, fill(chain.writable))
        if queue.must_interrupt():
            transport.interrupt()
        if not queue.watch():
            return
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import Chain as NativeChain
    from pyvmm.memory import GuestMemory

SIZE_MAX = 256

#: What a driver can do wrong, and the section of virtio 1.2 that forbids it.
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
    """The driver broke the queue, and its device needs a reset. The message says how."""


class Chain:
    """A descriptor chain, with buffers to read from and buffers to write to.

    The views show guest memory, which the driver may change at any time: copy before checking.
    They are valid until the machine is closed, but after `push` they are the driver's.

    Attributes:
        head: index of the first descriptor, for `SplitQueue.push`.
        readable: memoryviews of the device-readable buffers, in order.
        writable: memoryviews of the device-writable buffers, in order.
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

    Only its owner may use it (see `Device`). Nothing outside guest memory is touched, whatever
    the driver writes to the rings; the first error breaks the queue until `reset`.

    Args:
        memory: the guest's RAM.
        size_max: the maximum number of entries, a power of 2 up to 256.

    Attributes:
        native: the C side (`struct queue *`). The transport fills in what the driver sets up.
    """

    def __init__(self, memory: GuestMemory, size_max: int = SIZE_MAX) -> None:
        self._memory = memory  # the C side points into it
        self.native = ffi.new("struct queue *")
        lib.queue_init(self.native, memory.native, size_max)
        self._chain = ffi.new("struct chain *")

    def enable(self) -> None:
        """Takes over the rings that the driver has set up.

        Raises:
            QueueError: size or addresses are invalid.
        """
        self._check(lib.queue_enable(self.native))

    def pop(self) -> Chain | None:
        """The next chain that the driver has made available; None if there is none, or the queue is not enabled.

        Raises:
            QueueError: the driver broke the queue, now or earlier.
        """
        return Chain(self._chain) if self._check(lib.queue_pop(self.native, self._chain)) else None

    def _check(self, result: int) -> int:
        if result < 0:
            raise QueueError(ERRORS[self.native.error])
        return result

    def push(self, chain: Chain, written: int) -> None:
        """Returns a chain to the driver.

        Args:
            chain: one that `pop` returned, once.
            written: how many bytes were written, from the start of the writable buffers.
        """
        lib.queue_push(self.native, chain.head, written)

    def must_interrupt(self) -> bool:
        """Whether the driver wants an interrupt for the chains pushed since the last call."""
        return bool(lib.queue_must_interrupt(self.native))

    def watch(self) -> bool:
        """Asks the driver to notify of new chains; returns whether there is one already."""
        return bool(lib.queue_watch(self.native))

    def unwatch(self) -> None:
        """Asks the driver not to notify of new chains; it may do so anyway."""
        lib.queue_unwatch(self.native)

    def reset(self) -> None:
        """Disables the queue and clears its error and indexes."""
        lib.queue_reset(self.native)
