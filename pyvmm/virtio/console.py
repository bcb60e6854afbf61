"""virtio-console (virtio 1.2, section 5.3) with one port, connected to a stream of the host.

What the stream does not take at once stays in the guest's buffers, and what the
guest has no buffers for stays on the host. So a slow side stops the other side
and nothing else.
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
        """The host's end of the port (see `pyvmm.host.stream`). No method blocks."""

        def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
            """Calls `changed` from `loop` when more can be read or written than before."""

        def read(self, size: int) -> bytes:
            """Returns up to `size` bytes of what has arrived; empty if nothing has."""

        def write(self, data: memoryview) -> int:
            """Writes or discards bytes; returns how many, 0 if they must wait."""

        def close(self) -> None:
            """Closes the stream."""


_RECEIVE, _TRANSMIT = 0, 1
_READ_MAX = 4096  # bytes from the stream that wait for a buffer
#: Chains to serve before other descriptors get a turn.
_TURN = 64


class VirtioConsole(Device):
    """The device.

    Args:
        stream: what the port is connected to; closed with the device.
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
        """Receives bytes from the host through `loop`."""
        self._stream.attach(loop, self._changed)

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Takes the queues; nothing is sent before a buffer or byte comes."""
        self._transport, self._queues = transport, queues

    def _changed(self) -> None:
        """Serves both queues: more can be read or written than before."""
        for index in (_RECEIVE, _TRANSMIT):
            if not self._transport:  # not active yet, or broken by the first queue
                return
            try:
                self.kicked(index)
            except QueueError as error:
                self._transport.needs_reset(f"queue {index}: {error}")

    def kicked(self, index: int) -> None:
        """Serves a queue. After `_TURN` chains it kicks itself to continue later."""
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
        """Fills one chain; returns False if there is nothing to send, or no chain."""
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
        """Writes one chain, or the rest of it; returns False if there is none, or the stream is full."""
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
        """Drops the chain in progress, as its queue changes."""
        self._chain = None
        self._unsent = []

    def reset(self) -> None:
        """Forgets the driver, but not the bytes that are waiting for the next one."""
        self.pause()
        self._transport = None

    def close(self) -> None:
        """Closes the stream."""
        self.reset()
        self._stream.close()
