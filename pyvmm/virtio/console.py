"""virtio-console (virtio 1.2, section 5.3) with one port: bytes from and to a stream of the host.

What the stream does not take at once stays in the guest's buffers, and what the
guest has no buffers for stays on the host, so a slow side stops the other and
nobody else.
"""

from __future__ import annotations

import posix as os

from pyvmm.virtio.device import Device
from pyvmm.virtio.queue import QueueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import Chain, SplitQueue

    class Stream(Protocol):
        """The other end."""

        def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
            """Calls `changed` when more can be read or written than before."""

        def read(self, size: int) -> bytes:
            """What has come, up to `size` bytes; empty when it is nothing."""

        def write(self, data: memoryview) -> int:
            """Returns how many bytes are taken care of, 0 when they must wait."""

        def close(self) -> None:
            """Frees it."""


_RECEIVE, _TRANSMIT = 0, 1
_READ_MAX = 4096  # bytes from the stream that wait for a buffer
#: Chains after which the loop's other descriptors have their turn.
_TURN = 64


class VirtioConsole(Device):
    """The device.

    Args:
        stream: closed with the device.
    """

    name = "console"
    device_id = 3
    queue_sizes = (64, 64)
    config = bytes(12)  # cols, rows, max_nr_ports and emerg_wr, of features that are not offered

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream = stream
        self._transport: Transport | None = None
        self._came = memoryview(b"")
        self._chain: Chain | None = None
        self._unsent: list[memoryview] = []  # of that chain

    def attach(self, loop: Loop) -> None:
        """Bytes from the host come through `loop`."""
        self._stream.attach(loop, self._changed)

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """The driver is ready."""
        self._transport, self._queues = transport, queues

    def _changed(self) -> None:
        """The stream can do more."""
        for index in (_RECEIVE, _TRANSMIT):
            if not self._transport:  # not yet, or broken by the first
                return
            try:
                self.kicked(index)
            except QueueError as error:
                self._transport.needs_reset(f"queue {index}: {error}")

    def kicked(self, index: int) -> None:
        """Serves a queue; what is left after a while when it comes again."""
        assert self._transport
        queue = self._queues[index]
        serve = self._receive if index == _RECEIVE else self._transmit
        try:
            for _ in range(_TURN):
                if not serve(queue):
                    return
            os.write(self._transport.kick_fds[index], (1).to_bytes(8, "little"))
        finally:
            if self._transport and queue.must_interrupt():
                self._transport.interrupt()

    def _receive(self, queue: SplitQueue) -> bool:
        """Fills one chain; False: there is nothing, or no chain."""
        if not self._came:
            self._came = memoryview(self._stream.read(_READ_MAX))
        if not self._came:
            return False
        chain = queue.pop()
        if not chain:
            return queue.watch()
        written = 0
        for view in chain.writable:
            part = self._came[: len(view)]
            view[: len(part)] = part
            written += len(part)
            self._came = self._came[len(part) :]
        queue.push(chain, written)
        return True

    def _transmit(self, queue: SplitQueue) -> bool:
        """Sends one chain, or what is left of it; False: there is none, or the stream is full."""
        if not self._chain:
            self._chain = queue.pop()
            if not self._chain:
                return queue.watch()
            self._unsent = self._chain.readable
        while self._unsent:
            taken = self._stream.write(self._unsent[0])
            if not taken:
                return False
            self._unsent[0] = self._unsent[0][taken:]
            if not self._unsent[0]:
                del self._unsent[0]
        queue.push(self._chain, 0)
        self._chain = None
        return True

    def pause(self) -> None:
        """Forgets the chain that is being sent: its queue changes."""
        self._chain = None
        self._unsent = []

    def reset(self) -> None:
        """Forgets the driver, not what has come for the next one."""
        self.pause()
        self._transport = None

    def close(self) -> None:
        """Closes the stream."""
        self.reset()
        self._stream.close()
