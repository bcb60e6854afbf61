"""The device's side of a split virtqueue (virtio 1.2, section 2.7), as a backend serves it."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from vhost_user.messages import VhostUserError

if TYPE_CHECKING:
    from vhost_user.inflight import InflightLog
    from vhost_user.memory import GuestMemory

SIZE_MAX = 32768

_DESCRIPTOR = Struct("<QIHH")
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_U16 = Struct("<H")
_USED = Struct("<2I")
_NO_INTERRUPT = 1


class Chain:
    """A request, with buffers to read from and buffers to write to.

    Attributes:
        head: index of the first descriptor, for `Vring.push`.
        readable, writable: views of the buffers, which the guest may change at any time.
    """

    def __init__(self, head: int) -> None:
        self.head = head
        self.readable: list[memoryview] = []
        self.writable: list[memoryview] = []

    def read(self) -> bytes:
        """Copies all readable bytes."""
        return b"".join(self.readable)

    def write(self, data: bytes) -> int:
        """Writes `data` as far as there is room; returns how many bytes."""
        written = 0
        for view in self.writable:
            part = data[written : written + len(view)]
            view[: len(part)] = part
            written += len(part)
        return written


class Vring:
    """A started queue.

    Args:
        memory: guest memory.
        size: number of entries.
        descriptors, available, used: user addresses.
        base: the entry of the available ring to begin with; a log overrides it.
        request_max: the most bytes of a chain, readable and writable together.
        log: records requests in progress, if not None.

    Raises:
        VhostUserError: the rings are not in guest memory.
    """

    def __init__(
        self,
        memory: GuestMemory,
        size: int,
        descriptors: int,
        available: int,
        used: int,
        base: int,
        request_max: int,
        log: InflightLog | None = None,
    ) -> None:
        if not 0 < size <= SIZE_MAX or size & (size - 1):
            raise VhostUserError(f"a queue of {size} entries (2.7)")
        self._memory, self._size, self._request_max, self._log = memory, size, request_max, log
        self._table = memory.user_view(descriptors, _DESCRIPTOR.size * size)
        self._available = memory.user_view(available, 4 + 2 * size)
        self._used = memory.user_view(used, 4 + _USED.size * size)
        self._used_index = self._u16(self._used, 2)
        self._again: list[int] = log.recover(self._used_index) if log else []
        self.next = (self._used_index + len(self._again)) & 0xFFFF if log else base

    @staticmethod
    def _u16(view: memoryview, at: int) -> int:
        return int(_U16.unpack_from(view, at)[0])

    def pop(self) -> Chain | None:
        """The next request, or None.

        Raises:
            VhostUserError: the driver broke the queue.
        """
        if self._again:
            return self._chain(self._again.pop(0))
        ahead = (self._u16(self._available, 2) - self.next) & 0xFFFF
        if not ahead:
            return None
        if ahead > self._size:
            raise VhostUserError("the available index moved by more than the size (2.7.13.3)")
        head = self._u16(self._available, 4 + 2 * (self.next % self._size))
        if head >= self._size:
            raise VhostUserError("a chain begins outside the descriptor table (2.7.6)")
        chain = self._chain(head)
        if self._log:
            self._log.take(head)
        self.next = (self.next + 1) & 0xFFFF
        return chain

    def _chain(self, head: int) -> Chain:
        chain = Chain(head)
        table, index, left, room = self._table, head, self._size, self._request_max
        while True:
            if index * _DESCRIPTOR.size >= len(table):
                raise VhostUserError("a chain goes on outside the descriptor table (2.7.5)")
            address, length, flags, following = _DESCRIPTOR.unpack_from(table, index * _DESCRIPTOR.size)
            if flags & _INDIRECT:
                if table is not self._table or flags & _NEXT or not length or length % _DESCRIPTOR.size:
                    raise VhostUserError("an indirect table is nested, chained or damaged (2.7.5.3.1)")
                table, index = self._memory.view(address, length), 0
                continue
            left -= 1
            if left < 0:
                raise VhostUserError("a chain is longer than the queue, or a loop (2.7.5.2)")
            room -= length
            if room < 0:
                raise VhostUserError(f"a chain has more than {self._request_max} bytes")
            if flags & _WRITE:
                chain.writable.append(self._memory.view(address, length))
            elif chain.writable:
                raise VhostUserError("a readable buffer follows a writable one (2.7.4.2)")
            else:
                chain.readable.append(self._memory.view(address, length))
            if not flags & _NEXT:
                return chain
            index = following

    def push(self, chain: Chain, written: int) -> None:
        """Returns a request; the first `written` of its writable bytes were written."""
        _USED.pack_into(self._used, 4 + _USED.size * (self._used_index % self._size), chain.head, written)
        self._used_index = (self._used_index + 1) & 0xFFFF
        if self._log:
            self._log.finish(chain.head)
        _U16.pack_into(self._used, 2, self._used_index)
        if self._log:
            self._log.finished(chain.head, self._used_index)

    def must_interrupt(self) -> bool:
        """Whether the driver wants interrupts."""
        return not self._u16(self._available, 0) & _NO_INTERRUPT

    def close(self) -> None:
        """Releases guest memory."""
        for view in (self._table, self._available, self._used):
            view.release()
