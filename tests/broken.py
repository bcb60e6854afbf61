"""Devices with one mistake each, which an oracle must see."""

from __future__ import annotations

import ctypes
import os

from virtiodev import Echo

from pyvmm.testing.steps import BUFFERS, queue_base
from pyvmm.virtio.queue import Chain


class Wrong(Echo):
    """Serves chains as `serve` does, which says how many bytes it has written."""

    queue_sizes = (8,)
    answers = True

    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        while chain := queue.pop():
            queue.push(chain, self.serve(chain))
        if queue.must_interrupt():
            self._transport.interrupt()

    def serve(self, chain: Chain) -> int:
        return 0


class Silent(Wrong):
    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        while chain := queue.pop():
            queue.push(chain, 0)


class WritesMore(Wrong):
    def serve(self, chain: Chain) -> int:
        return sum(map(len, chain.writable)) + 1


class ReturnsTwice(Wrong):
    def serve(self, chain: Chain) -> int:
        self._queues[0].push(chain, 0)
        return 0


class ReturnsAnother(Wrong):
    def serve(self, chain: Chain) -> int:
        chain.head ^= 1
        return 0


class Raises(Wrong):
    def serve(self, chain: Chain) -> int:
        raise LookupError("no idea")


class Keeps(Wrong):
    def kicked(self, index: int) -> None:
        self._queues[index].pop()


class Scribbles(Wrong):
    """Writes one byte beyond its buffer."""

    def serve(self, chain: Chain) -> int:
        self._transport.memory.write(queue_base(0) + BUFFERS + sum(map(len, chain.writable)), b"\0")
        return 0


class WritesAfterReset(Wrong):
    def reset(self) -> None:
        pass

    def activate(self, *how: object) -> None:
        if hasattr(self, "_transport"):
            self._transport.memory.write(queue_base(0) + BUFFERS, b"late")
        super().activate(*how)  # type: ignore[arg-type]


class Hangs(Wrong):
    def serve(self, chain: Chain) -> int:
        while True:
            pass


class Crashes(Wrong):
    def serve(self, chain: Chain) -> int:
        return ctypes.string_at(0)[0]


class Exits(Wrong):
    def serve(self, chain: Chain) -> int:
        os._exit(7)
