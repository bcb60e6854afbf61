"""The driver's side of a split virtqueue in plain Python (virtio 1.2, section 2.7)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyvmm._kvm import ffi
from pyvmm.memory import GuestMemory
from pyvmm.virtio.queue import Chain, SplitQueue

if TYPE_CHECKING:
    from typing import Protocol

    class Memory(Protocol):
        """Where rings are: guest memory, or what records the accesses to it."""

        def read(self, address: int, length: int) -> bytes: ...
        def write(self, address: int, data: bytes) -> None: ...


NEXT, WRITE, INDIRECT = 1, 2, 4
DESC, AVAIL, USED, TABLES = 0x1000, 0x3000, 0x4000, 0x10_0000

#: (guest-physical address, length, device-writable)
Buffer = tuple[int, int, bool]


@dataclass
class Driver:
    """Puts chains into the rings and takes them back.

    Rings are at fixed addresses in `memory`: DESC, AVAIL and USED, moved by `base`.

    Args:
        memory: the guest's.
        size: number of entries.
        event_idx: EVENT_IDX was negotiated.
        start: where free-running indexes begin, so that tests can be near their wrap.
        base: guest-physical; room for a queue begins there.
        tables: from there to the first indirect table.
        table_stride: bytes from one indirect table to the next.

    Attributes:
        free: descriptors that are not in use.
        chains: by head, the descriptors of each chain that the device has.

    Example::

        driver = Driver(memory, 8)
        queue = driver.queue()
        driver.add([(0x9000, 100, True)])
        chain = queue.pop()
        queue.push(chain, 0)
        assert driver.take() == [(chain.head, 0)]
    """

    memory: Memory
    size: int
    event_idx: bool = False
    start: int = 0
    base: int = 0
    tables: int = TABLES
    table_stride: int = 4096
    free: list[int] = field(default_factory=list)
    chains: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = list(range(self.size))
        self.avail_idx = self.used_seen = self.start
        self._put(AVAIL, "<HH", 0, self.start)
        self._put(USED, "<HH", 0, self.start)

    def _put(self, address: int, layout: str, *values: int) -> None:
        self.memory.write(self.base + address, struct.pack(layout, *values))

    def _get(self, address: int, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.memory.read(self.base + address, struct.calcsize(layout)))

    def queue(self, size_max: int = 256, indirect: bool = True) -> SplitQueue:
        """The device's side of the same rings, which must be in guest memory."""
        assert isinstance(self.memory, GuestMemory)
        queue = SplitQueue(self.memory, size_max)
        native = queue.native
        native.size = self.size
        native.desc, native.avail, native.used = (self.base + at for at in (DESC, AVAIL, USED))
        native.event_idx, native.indirect = self.event_idx, indirect
        queue.enable()
        native.next_avail = native.next_used = native.signalled_used = self.start
        return queue

    def write_desc(self, table: int, index: int, address: int, length: int, flags: int, following: int) -> None:
        """One descriptor, whatever it says."""
        self._put(table + 16 * index, "<QIHH", address, length, flags, following)

    def add(self, buffers: list[Buffer], indirect: bool = False) -> int:
        """Makes a chain available and returns its head."""
        count = 1 if indirect else len(buffers)
        slots = [self.free.pop() for _ in range(count)]
        if indirect:
            table = self.tables + slots[0] * self.table_stride
            self.write_desc(DESC, slots[0], self.base + table, 16 * len(buffers), INDIRECT, 0)
            where = list(range(len(buffers)))
        else:
            table, where = DESC, slots
        for i, (address, length, writable) in enumerate(buffers):
            last = i == len(buffers) - 1
            flags = (WRITE if writable else 0) | (0 if last else NEXT)
            self.write_desc(table, where[i], address, length, flags, 0 if last else where[i + 1])
        self.chains[slots[0]] = slots
        self.make_available(slots[0])
        return slots[0]

    def make_available(self, head: int) -> None:
        """Puts a head into the available ring."""
        self._put(AVAIL + 4 + 2 * (self.avail_idx % self.size), "<H", head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        self._put(AVAIL + 2, "<H", self.avail_idx)

    def set_avail_idx(self, value: int) -> None:
        """What a driver that lies would write."""
        self._put(AVAIL + 2, "<H", value & 0xFFFF)

    def take(self) -> list[tuple[int, int]]:
        """(head, written) of every chain that has come back since the last call."""
        (idx,) = self._get(USED + 2, "<H")
        taken = []
        while self.used_seen != idx:
            head, written = self._get(USED + 4 + 8 * (self.used_seen % self.size), "<II")
            self.free += self.chains.pop(head)
            taken.append((head, written))
            self.used_seen = (self.used_seen + 1) & 0xFFFF
        return taken

    def set_interrupts(self, wanted: bool) -> None:
        """VIRTQ_AVAIL_F_NO_INTERRUPT; with EVENT_IDX, used_event at the next entry or far behind."""
        if self.event_idx:
            event = self.used_seen if wanted else (self.used_seen - 1) & 0xFFFF
            self._put(AVAIL + 4 + 2 * self.size, "<H", event)
        else:
            self._put(AVAIL, "<H", 0 if wanted else 1)

    def must_notify(self, before: int) -> bool:
        """Whether the device wants to hear of the chains made available since index `before`."""
        if self.event_idx:
            (event,) = self._get(USED + 4 + 8 * self.size, "<H")
            return (self.avail_idx - event - 1) & 0xFFFF < (self.avail_idx - before) & 0xFFFF
        return not self._get(USED, "<H")[0] & 1


def buffer_address(memory: GuestMemory, view: memoryview) -> int:
    """Where in guest memory a view begins."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(view))) - int(ffi.cast("uintptr_t", memory.host))


def buffers_of(memory: GuestMemory, chain: Chain) -> list[Buffer]:
    """The chain as the driver would name it."""
    return [(buffer_address(memory, v), len(v), False) for v in chain.readable] + [
        (buffer_address(memory, v), len(v), True) for v in chain.writable
    ]
