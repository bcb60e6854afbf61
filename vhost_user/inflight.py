"""Requests in progress, recorded until they are returned, in memory that outlives the backend.

The frontend provides the memory. So a backend that replaces one that has died finds what to do
again (the specification's section "Inflight I/O tracking").
"""

from __future__ import annotations

import fcntl
import os
from struct import Struct

from vhost_user import messages as m
from vhost_user.memory import Mapping
from vhost_user.messages import VhostUserError
from vhost_user.vring import SIZE_MAX

_U16 = Struct("<H")


class InflightLog:
    """The requests of one queue that are in progress.

    A header (features, version, size, head of the last batch, used index), and for
    each descriptor whether it is in progress, its predecessor in the batch, and a count.

    Args:
        memory: `size_of(size)` bytes.
        size: number of entries of the queue.
    """

    _HEADER = Struct("<Q4H")
    _ENTRY = Struct("<B5xHQ")
    _ALIGN = 64

    def __init__(self, memory: memoryview, size: int) -> None:
        self._memory, self._size = memory, size
        if self._HEADER.unpack_from(memory)[1] == 0:
            self._HEADER.pack_into(memory, 0, 0, 1, size, 0, 0)
        self._counter = 0

    @classmethod
    def size_of(cls, size: int) -> int:
        """Bytes of a log for a queue of `size` entries."""
        used = cls._HEADER.size + size * cls._ENTRY.size
        return (used + cls._ALIGN - 1) // cls._ALIGN * cls._ALIGN

    def _entry(self, head: int) -> int:
        return self._HEADER.size + head * self._ENTRY.size

    def _set_taken(self, head: int, taken: bool) -> None:
        self._memory[self._entry(head)] = taken

    def take(self, head: int) -> None:
        """Records a request as in progress."""
        self._counter = (self._counter + 1) % (1 << 64)  # the frontend may have set it to anything
        self._ENTRY.pack_into(self._memory, self._entry(head), 0, 0, self._counter)
        self._set_taken(head, True)

    def finish(self, head: int) -> None:
        """Records that a request is about to be returned; the used index moves next."""
        _U16.pack_into(self._memory, 12, head)

    def finished(self, head: int, used_index: int) -> None:
        """Records that the request has been returned."""
        self._set_taken(head, False)
        _U16.pack_into(self._memory, 14, used_index)

    def recover(self, used_index: int) -> list[int]:
        """Heads of requests that are still in progress, oldest first."""
        _, _, _, last, noted = self._HEADER.unpack_from(self._memory)
        if noted != used_index:  # the last backend died between two steps
            if last < self._size:
                self._set_taken(last, False)
            _U16.pack_into(self._memory, 14, used_index)
        taken = []
        for head in range(self._size):
            flag, _, counter = self._ENTRY.unpack_from(self._memory, self._entry(head))
            if flag:
                taken.append((counter, head))
                self._counter = max(self._counter, counter)
        return [head for _, head in sorted(taken)]


class Inflight:
    """The logs of all queues.

    Args:
        queues: how many.

    Attributes:
        fd: of the memory that `make` has made, or -1.
    """

    def __init__(self, queues: int) -> None:
        self._queues = queues
        self._mapping: Mapping | None = None
        self._log_size = 0
        self.fd = -1

    def close(self) -> None:
        """Unmaps the memory. A second call does nothing."""
        if self._mapping:
            self._mapping.close()
            self._mapping = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def make(self, asked: m.Inflight) -> m.Inflight:
        """Makes memory for logs; returns what it is.

        Raises:
            VhostUserError: it cannot be as it was asked for.
        """
        if not 0 < asked.queue_size <= SIZE_MAX or asked.queues < self._queues:
            raise VhostUserError(f"GET_INFLIGHT_FD: {asked}")
        self.close()
        size = asked.queues * InflightLog.size_of(asked.queue_size)
        try:
            self.fd = os.memfd_create("inflight", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.fd, size)
            # The frontend gets the descriptor as well.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        except OSError as error:
            raise VhostUserError(f"GET_INFLIGHT_FD: {error.strerror}") from None
        made = m.Inflight(size, 0, asked.queues, asked.queue_size)
        self._map(self.fd, made)
        return made

    def use(self, fd: int, inflight: m.Inflight) -> None:
        """Takes the memory that another backend has left.

        Args:
            fd: may be closed afterwards.

        Raises:
            VhostUserError: it has no room for all logs.
        """
        self.close()
        self._map(fd, inflight)

    def _map(self, fd: int, inflight: m.Inflight) -> None:
        if inflight.size < inflight.queues * InflightLog.size_of(inflight.queue_size):
            raise VhostUserError(f"{inflight} is too small")
        if inflight.queues < self._queues:
            raise VhostUserError(f"{inflight} is for too few queues")
        self._mapping = Mapping(fd, inflight.offset, inflight.size)
        self._log_size = inflight.queue_size

    def log(self, index: int, size: int) -> InflightLog | None:
        """The log of queue `index`, which has `size` entries; None without memory.

        Raises:
            VhostUserError: it has no room for so many.
        """
        if not self._mapping:
            return None
        if size > self._log_size:
            raise VhostUserError(f"queue {index} has {size} entries, its log {self._log_size}")
        step = InflightLog.size_of(self._log_size)
        return InflightLog(self._mapping.bytes[index * step : (index + 1) * step], size)
