"""A split virtqueue of our own, to which requests of a guest are copied for a backend to serve.

The backend maps its memory like the guest's; buffers stay where they are, in the guest's. We are
the driver of it (virtio 1.2, section 2.7). The backend is not trusted: what it writes to the used
ring is copied, checked, then used.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from struct import Struct
from typing import TYPE_CHECKING

from pyvmm._kvm import ffi
from vhost_user.frontend import Memory
from vhost_user.messages import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: As many entries as backends support, and room for all chains of a guest's queue without
#: indirect tables, unless each is long.
SIZE = 1024
_AVAIL, _USED, _STRIDE = 16 * SIZE, 20 * SIZE, 32 * SIZE
_DESCRIPTOR, _ENTRY, _INDEX = Struct("<QIHH"), Struct("<II"), Struct("<H")
_NEXT, _WRITE = 1, 2
_RING = 4  # offset of the first entry
_USED_EVENT = _RING + 2 * SIZE
#: Where the memory appears to be, to a backend: behind all RAM that a guest may have.
_ADDRESS = 1 << 46


class ShadowMemory:
    """The memory of some queues.

    Args:
        count: of queues.

    Attributes:
        shared: for the backend.

    Raises:
        OSError: the host has no memory or descriptor for it.
    """

    def __init__(self, count: int) -> None:
        size = count * _STRIDE
        self._fd = os.memfd_create("trace", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, size)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self._view = memoryview(self._map)
        self.user_address = int(ffi.cast("uintptr_t", ffi.from_buffer(self._map)))
        self.shared = Memory(Region(_ADDRESS, size, self.user_address, 0), self._fd)

    def part(self, index: int) -> tuple[memoryview, int]:
        """The memory of a queue, zeroed, and its user address."""
        view = self._view[index * _STRIDE : (index + 1) * _STRIDE]
        view[:] = bytes(_STRIDE)
        return view, self.user_address + index * _STRIDE

    def close(self) -> None:
        """Frees the memory, of which no part may be in use any more."""
        self._view.release()
        os.close(self._fd)


class Shadow:
    """One queue.

    Args:
        memory: has it.
        index: its number.

    Attributes:
        addresses: user addresses of descriptors, available ring and used ring.
    """

    def __init__(self, memory: ShadowMemory, index: int) -> None:
        self._view, at = memory.part(index)
        self.addresses = at, at + _AVAIL, at + _USED
        self._free = list(range(SIZE))
        self._chains: dict[int, list[int]] = {}  # descriptors by the first one
        self._available = self._used = 0

    def room(self) -> int:
        """How many descriptors are free."""
        return len(self._free)

    def add(self, buffers: Sequence[tuple[int, int, bool]]) -> int:
        """Makes a chain available; there must be room for it.

        Args:
            buffers: guest-physical address, size, and whether the device writes, of each.

        Returns:
            The chain's number, which `taken` tells.
        """
        numbers = [self._free.pop() for _ in buffers]
        for place, (number, (address, size, writes)) in enumerate(zip(numbers, buffers, strict=True)):
            following = numbers[place + 1] if place + 1 < len(numbers) else 0
            flags = _WRITE * writes | _NEXT * (place + 1 < len(numbers))
            _DESCRIPTOR.pack_into(self._view, number * _DESCRIPTOR.size, address, size, flags, following)
        head = numbers[0]
        self._chains[head] = numbers
        _INDEX.pack_into(self._view, _AVAIL + _RING + self._available % SIZE * 2, head)
        self._available = (self._available + 1) % (1 << 16)
        _INDEX.pack_into(self._view, _AVAIL + 2, self._available)
        return head

    def taken(self) -> Iterator[tuple[int, int]]:
        """Number and written bytes of each chain that the device has returned. It is to interrupt for the next one."""
        for _ in range(SIZE):
            (index,) = _INDEX.unpack_from(self._view, _USED + 2)
            if index == self._used:
                _INDEX.pack_into(self._view, _AVAIL + _USED_EVENT, self._used)
                if _INDEX.unpack_from(self._view, _USED + 2) == (index,):
                    return
                continue
            head, written = _ENTRY.unpack_from(self._view, _USED + _RING + self._used % SIZE * _ENTRY.size)
            self._used = (self._used + 1) % (1 << 16)
            if head in self._chains:
                self._free += self._chains.pop(head)
                yield head, written

    def close(self) -> None:
        """Lets go of the memory."""
        self._view.release()
