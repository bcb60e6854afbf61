"""Sees the requests of a share: passes them on between the driver's queues and those of the backend.

Without a trace the backend serves the driver's queues itself. Here it serves queues of ours
(`shadow.py`), and each request is copied from one to the other, without its buffers: so the time of
every request and of its answer is known.
"""

from __future__ import annotations

import posix as os
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from pyvmm._kvm import ffi, lib
from pyvmm.bus import eventfd
from pyvmm.errors import HostError, PyvmmError
from pyvmm.trace import fuse
from pyvmm.trace.shadow import SIZE, Shadow, ShadowMemory
from pyvmm.virtio.queue import ERRORS
from vhost_user.frontend import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm._kvm import Chain
    from pyvmm.eventloop import Loop
    from pyvmm.memory import GuestMemory
    from pyvmm.virtio.fs import VirtioFs
    from pyvmm.virtio.queue import SplitQueue
    from vhost_user.frontend import Memory

_ONE = (1).to_bytes(8, "little")


class Request(NamedTuple):
    """One that was answered, or never will be.

    Attributes:
        share: the share's tag.
        queue: its queue's number.
        start, end: CLOCK_MONOTONIC in ns.
        sent, received: bytes.
        error: of the reply (`ENOENT`), `unanswered`, or empty.
        about: see `fuse.request`.
    """

    share: str
    queue: int
    start: int
    end: int
    sent: int
    received: int
    error: str
    about: dict[str, int | str]


class Requests:
    """The observer of one share.

    Args:
        device: the share's.
        memory: the guest's.
        told: called with each request that was answered.

    Raises:
        HostError: the host has no memory for the queues.
    """

    def __init__(self, device: VirtioFs, memory: GuestMemory, told: Callable[[Request], None]) -> None:
        self._share, self._guest, self._told = device.tag.decode(errors="backslashreplace"), memory, told
        self._queues: dict[int, _Queue] = {}
        self._fds: list[int] = []  # of each queue, what tells the backend of requests, and us of answers
        count = len(device.queue_sizes)
        try:
            self._memory: ShadowMemory | None = ShadowMemory(count)
        except OSError as error:
            raise HostError("memory of --trace", error.errno or 0) from None
        try:
            while len(self._fds) < 2 * count:
                self._fds.append(eventfd())
        except BaseException:
            self.close()
            raise
        self.regions: list[Memory] = [self._memory.shared]
        device.observer = self

    def start(self, loop: Loop, index: int, queue: SplitQueue, base: int, kick: int, call: int) -> Ring | None:
        """As `virtio.fs.Observer`'s."""
        if not self._memory:
            return None
        if not base and index in self._queues:  # the driver has set it up anew
            self._queues.pop(index).close()
        if index not in self._queues:
            shadow, fds = Shadow(self._memory, index), self._fds[2 * index : 2 * index + 2]
            self._queues[index] = _Queue(self._share, index, queue, shadow, fds, self._guest, self._told)
        return self._queues[index].start(loop, kick, call)

    def pause(self) -> None:
        """As `virtio.fs.Observer`'s."""
        for queue in self._queues.values():
            queue.stop()

    def stop(self) -> None:
        """As `virtio.fs.Observer`'s."""
        while self._queues:
            self._queues.popitem()[1].close()

    def close(self) -> None:
        """The share is observed no more. A second call does nothing."""
        self.stop()
        while self._fds:
            os.close(self._fds.pop())
        if self._memory:
            self._memory.close()
            self._memory = None


class _Queue:
    """One queue of the driver, and its shadow."""

    def __init__(
        self, share: str, index: int, queue: SplitQueue, shadow: Shadow, fds: list[int], memory: GuestMemory,
        told: Callable[[Request], None],
    ) -> None:  # fmt: skip
        self._share, self._index, self._told = share, index, told
        self._backend_kick, self._backend_call = fds
        self._queue, self._shadow, self._memory = queue, shadow, memory
        self._chain: Chain = ffi.new("struct chain *")
        self._asked: dict[int, tuple[int, int, int, int, dict[str, int | str], list[memoryview]]] = {}
        self._loop: Loop | None = None
        self._has_waiting = False  # a chain was popped for which there is no room yet

    def start(self, loop: Loop, kick: int, call: int) -> Ring:
        """Serves the driver from `loop`; returns the backend's ring."""
        self._kick, self._call = kick, call
        self._loop = loop
        loop.add(kick, self._kicked)
        loop.add(self._backend_call, self._called)
        self._pass_on()  # what came before
        return Ring(SIZE, *self._shadow.addresses, self._backend_kick, self._backend_call)

    def stop(self) -> None:
        """Gives the driver what the backend has answered by now. A second call does nothing."""
        if self._loop:
            self._loop.remove(self._kick)
            self._loop.remove(self._backend_call)
            self._loop = None
            self._give_back()
            _take(self._backend_kick)
            _take(self._backend_call)

    def close(self) -> None:
        """Does so for good; what has not been answered never will be."""
        self.stop()
        while self._asked:
            _, (_, start, sent, _, about, _) = self._asked.popitem()
            self._told(Request(self._share, self._index, start, monotonic_ns(), sent, 0, "unanswered", about))
        self._shadow.close()

    def _kicked(self) -> None:
        _take(self._kick)
        self._pass_on()

    def _called(self) -> None:
        _take(self._backend_call)
        self._give_back()
        self._pass_on()

    def _pass_on(self) -> None:
        """To the backend.

        Raises:
            PyvmmError: the driver has broken its queue.
        """
        native, is_new = self._queue.native, False
        while self._has_waiting or lib.queue_pop(native, self._chain) > 0:
            self._has_waiting = self._chain.count > self._shadow.room()
            if self._has_waiting:
                break
            self._add()
            is_new = True
        if not self._has_waiting and lib.queue_watch(native):
            os.write(self._kick, _ONE)
        if is_new:
            os.write(self._backend_kick, _ONE)
        if native.error:
            raise PyvmmError(f"queue {self._index}: {ERRORS[native.error]}")

    def _add(self) -> None:
        chain = self._chain
        iov = [(chain.iov[i].iov_base, int(chain.iov[i].iov_len)) for i in range(chain.count)]
        views = [memoryview(ffi.buffer(base, length)).cast("B") for base, length in iov]
        buffers = [(self._physical(base), length, place >= chain.readable) for place, (base, length) in enumerate(iov)]
        about = fuse.request(_first_bytes(views[: chain.readable], fuse.HEAD_MAX))
        number = self._shadow.add(buffers)
        self._asked[number] = (
            chain.head, monotonic_ns(), chain.readable_bytes, chain.writable_bytes, about, views[chain.readable :],
        )  # fmt: skip

    def _physical(self, pointer: object) -> int:
        at = int(ffi.cast("uintptr_t", pointer)) - int(ffi.cast("uintptr_t", self._memory.host))
        return next(start + at - offset for start, size, offset in self._memory.regions if offset <= at < offset + size)

    def _give_back(self) -> None:
        """To the driver."""
        for number, written in self._shadow.taken():
            head, start, sent, room, about, reply = self._asked.pop(number)
            received = min(written, room)
            error = fuse.error(_first_bytes(reply, min(received, fuse.OUT_HEADER_SIZE)))
            lib.queue_push(self._queue.native, head, received)
            self._told(Request(self._share, self._index, start, monotonic_ns(), sent, received, error, about))
        if lib.queue_must_interrupt(self._queue.native):
            os.write(self._call, _ONE)


def _first_bytes(views: list[memoryview], most: int) -> bytes:
    data = b""
    for view in views:
        if len(data) == most:
            break
        data += view[: most - len(data)]
    return data


def _take(fd: int) -> None:
    try:
        os.read(fd, 8)
    except BlockingIOError:  # taken already
        pass
