"""A virtio device for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyvmm.virtio.device import Device
from pyvmm.virtio.queue import SplitQueue

if TYPE_CHECKING:
    from pyvmm.virtio.device import Transport

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
