"""Judges a device by what a driver may rely on (virtio 1.2), without knowing which device it is.

It follows the driver's registers and rings, and says so when the device returns a chain
that it does not have, claims to have written more than there is room for, or changes
memory that is not its own to change.

A driver may be wrong, too. Then the device may do anything with what it was given, and no
more: a chain that is damaged may be returned or not, and its writable buffers may be
written to. Where the driver itself writes to a used ring, or offers a ring as a buffer, what the
rings say means nothing, and only the rest of memory is watched, or nothing.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass, field

from pyvmm.memory import GuestMemory, GuestMemoryError
from pyvmm.testing import registers as r
from pyvmm.testing.steps import ARENA, FILLER, QUEUE_BYTES, RAM
from pyvmm.virtio.device import EVENT_IDX

_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_TABLE_MAX = 1024  # descriptors of an indirect table that are looked at
_WINDOW = 64 << 10  # bytes at both ends of RAM that are watched, too
_OURS = r.ACKNOWLEDGE | r.DRIVER | r.DRIVER_OK  # of Status: what a device keeps as it was written

_Range = tuple[int, int]


class DeviceError(Exception):
    """What the device did wrong, in a sentence.

    Args:
        text: the sentence.
        kind: the same for every case that shows this problem; by default the text without its numbers.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind or re.sub(r"0x[0-9a-f]+|\d+", "N", text)


@dataclass
class _Chain:
    """A chain as it was, at any time since it was offered."""

    room: int = 0
    damaged: bool = False


@dataclass
class _Queue:
    """A queue as its registers and rings say."""

    size_max: int
    size: int = 0
    desc: int = 0
    avail: int = 0
    used: int = 0
    ready: bool = False
    bad: bool = False  # the driver has broken its rings
    wild: bool = False  # what the rings say means nothing
    seen: int = 0
    returned: int = 0
    heard: int = 0  # of those, how many the driver has been interrupted for
    had: set[int] = field(default_factory=set)
    chains: dict[int, list[_Chain]] = field(default_factory=dict)

    @property
    def rings(self) -> list[_Range]:
        """Where they are in memory."""
        return [
            (self.desc, self.desc + 16 * self.size),
            (self.avail, self.avail + 6 + 2 * self.size),
            (self.used, self.used + 6 + 8 * self.size),
        ]

    @property
    def outstanding(self) -> int:
        """Number of chains that the device has."""
        return sum(map(len, self.chains.values()))

    @property
    def state(self) -> str:
        """For the coverage of states."""
        if not self.ready:
            return "off"
        if self.wild or self.bad:
            return "broken"
        if any(chain.damaged for chains in self.chains.values() for chain in chains):
            return "damaged"
        return "offered" if self.chains else "returned" if self.returned else "empty"


class Oracle:
    """Follows one device.

    Args:
        memory: the guest's, as `fill` has left it.
        device_id: what the register is to say.
        sizes: the maximum size of each queue.
    """

    def __init__(self, memory: GuestMemory, device_id: int, sizes: tuple[int, ...]) -> None:
        self._memory = memory
        self._device_id = device_id
        self.queues = [_Queue(size) for size in sizes]
        self._sel = self._status = self._features_sel = 0
        self._wild = self._event_idx = False
        self._allowed: list[_Range] = []
        arena = (ARENA, ARENA + len(sizes) * QUEUE_BYTES)
        windows = [(0, _WINDOW), arena, (RAM - _WINDOW, RAM)]
        self._shadow = [(start, bytearray(memory.view(start, end - start))) for start, end in windows]

    # ---- what the driver does --------------------------------------------------------

    def wrote(self, offset: int, value: int) -> None:
        """The driver has written a register."""
        if offset == r.STATUS:
            self._status |= value & _OURS
            if not value:
                self._reset()
        elif offset == r.QUEUE_SEL:
            self._sel = value
        elif offset == r.DRIVER_FEATURES_SEL:
            self._features_sel = value
        elif offset == r.DRIVER_FEATURES and not self._features_sel:
            self._event_idx = bool(value & EVENT_IDX)
        elif self._sel < len(self.queues):
            self._set_up(self.queues[self._sel], offset, value)
        self.look()

    def _reset(self) -> None:
        """From now on the device may change nothing; what it has changed stays."""
        for start, shadow in self._shadow:
            for low, high in self._allowed:
                low, high = max(low, start), min(high, start + len(shadow))
                if low < high:
                    shadow[low - start : high - start] = self._memory.view(low, high - low)
        self._allowed = []
        self._sel = self._status = self._features_sel = 0
        self._event_idx = False
        self.queues = [_Queue(queue.size_max) for queue in self.queues]

    def _set_up(self, queue: _Queue, offset: int, value: int) -> None:
        if offset == r.QUEUE_READY:
            self._enable(queue, bool(value))
        if queue.ready:
            return
        if offset == r.QUEUE_NUM:
            queue.size = value
        for name, low in (("desc", r.QUEUE_DESC), ("avail", r.QUEUE_DRIVER), ("used", r.QUEUE_DEVICE)):
            if offset == low:
                setattr(queue, name, getattr(queue, name) >> 32 << 32 | value)
            elif offset == low + 4:
                setattr(queue, name, getattr(queue, name) & 0xFFFF_FFFF | value << 32)

    def _enable(self, queue: _Queue, ready: bool) -> None:
        if not ready:
            self.queues[self._sel] = _Queue(queue.size_max)
        elif not queue.ready and self._is_valid(queue):
            queue.ready = True
            queue.seen = queue.returned = queue.heard = 0  # section 2.7: indexes start from 0
            self._allowed.append(queue.rings[2])
            others = [each for other in self.queues if other.ready and other is not queue for each in other.rings]
            if any(_overlap(mine, other) for mine in queue.rings for other in others) or _overlap(*queue.rings[1:]):
                self._wild = True

    def _is_valid(self, queue: _Queue) -> bool:
        size = queue.size
        if (
            not size
            or size & (size - 1)
            or size > queue.size_max
            or queue.desc % 16
            or queue.avail % 2
            or queue.used % 4
        ):
            return False
        return all(0 <= start < end <= RAM for start, end in queue.rings)

    def read(self, offset: int, value: int) -> None:
        """The driver has read a register.

        Raises:
            DeviceError: that is not what the specification says.
        """
        if offset == r.STATUS:
            if value & _OURS != self._status:
                raise DeviceError(f"Status reads {value:#x}, of which the driver has written {self._status:#x}")
            return
        wanted = {r.MAGIC: 0x7472_6976, r.VERSION: 2, r.DEVICE_ID: self._device_id}.get(offset, value)
        if self._sel >= len(self.queues) and offset in (r.QUEUE_NUM_MAX, r.QUEUE_READY):
            wanted = 0
        elif offset == r.QUEUE_NUM_MAX:
            wanted = self.queues[self._sel].size_max
        elif offset == r.QUEUE_READY:
            wanted = self.queues[self._sel].ready
        if value != wanted:
            raise DeviceError(f"{r.NAMES[offset]} reads {value:#x}, not {wanted:#x}")
        if offset == r.INTERRUPT_STATUS and value & ~3:
            raise DeviceError(f"InterruptStatus has reserved bits: {value:#x}")

    def stored(self, address: int, data: bytes) -> None:
        """The driver has written to guest memory."""
        end = address + len(data)
        for start, shadow in self._shadow:
            low, high = max(address, start), min(end, start + len(shadow))
            if low < high:
                shadow[low - start : high - start] = data[low - address : high - address]
        for queue in self.queues:
            if queue.ready and _overlap((address, end), queue.rings[2]):
                queue.wild = True
        self.look()

    # ---- what the device does ---------------------------------------------------------

    def look(self) -> None:
        """Takes note of chains that are offered, and then of those that have come back.

        Raises:
            DeviceError: the device does not have such a chain.
        """
        if self._wild:
            return
        live = [(index, queue) for index, queue in enumerate(self.queues) if queue.ready]
        for _, queue in live:
            self._look_at_offers(queue)
        for index, queue in live:
            if not queue.wild and not self._wild:
                self._look_at_returns(index, queue)

    def _look_at_offers(self, queue: _Queue) -> None:
        for head, chains in queue.chains.items():  # the driver may have changed them
            for chain in chains:
                self._walk(queue, head, chain)
        (idx,) = struct.unpack("<H", self._memory.read(queue.avail + 2, 2))
        ahead = (idx - queue.seen) & 0xFFFF
        if ahead > queue.size:
            queue.bad = queue.wild = True
            for index in range(queue.size):
                self._walk(queue, index, _Chain())
            return
        for _ in range(ahead):
            at = queue.avail + 4 + 2 * (queue.seen % queue.size)
            (head,) = struct.unpack("<H", self._memory.read(at, 2))
            queue.seen = (queue.seen + 1) & 0xFFFF
            if head >= queue.size:
                queue.bad = True
                continue
            queue.chains.setdefault(head, []).append(chain := _Chain())
            queue.had.add(head)
            self._walk(queue, head, chain)

    def _walk(self, queue: _Queue, head: int, chain: _Chain) -> None:
        """Adds to a chain's room what its descriptors allow as they are now."""
        table, count, index, room = queue.desc, queue.size, head, 0
        for _ in range(queue.size + _TABLE_MAX):
            try:
                descriptor = self._memory.read(table + 16 * index, 16)
            except GuestMemoryError:
                chain.damaged = True
                break
            address, length, flags, following = struct.unpack("<QIHH", descriptor)
            if flags & _INDIRECT:
                chain.damaged |= table != queue.desc or bool(length % 16) or not length or bool(flags & _NEXT)
                if table != queue.desc:
                    break
                table, count, index = address, min(length // 16, _TABLE_MAX), 0
                if not count:
                    break
                continue
            chain.damaged |= not length or address + length > RAM
            if flags & _WRITE and length:
                room += length
                self._allow(address, min(address + length, RAM))
            if not flags & _NEXT:
                break
            if following >= count:
                chain.damaged = True
                break
            index = following
        else:
            chain.damaged = True
        chain.room = max(chain.room, room)

    def _allow(self, start: int, end: int) -> None:
        if start >= end or (start, end) in self._allowed:
            return
        self._allowed.append((start, end))
        if any(_overlap((start, end), ring) for queue in self.queues if queue.ready for ring in queue.rings):
            self._wild = True

    def _look_at_returns(self, index: int, queue: _Queue) -> None:
        (idx,) = struct.unpack("<H", self._memory.read(queue.used + 2, 2))
        new = (idx - queue.returned) & 0xFFFF
        if new > queue.outstanding:
            raise DeviceError(f"queue {index}: the device has returned {new} chains, but had {queue.outstanding}")
        for _ in range(new):
            at = queue.used + 4 + 8 * (queue.returned % queue.size)
            head, written = struct.unpack("<II", self._memory.read(at, 8))
            queue.returned = (queue.returned + 1) & 0xFFFF
            chains = queue.chains.get(head)
            if not chains:
                why = "again" if head in queue.had else "that it was never given"
                raise DeviceError(f"queue {index}: the device has returned chain {head} {why}")
            chain = chains.pop(0)
            if not chains:
                del queue.chains[head]
            if written > chain.room and not chain.damaged:
                raise DeviceError(
                    f"queue {index}: the device says that it has written {written} bytes to chain {head}, "
                    f"which has room for {chain.room}"
                )

    def owes_interrupt(self) -> bool:
        """Whether the driver has asked to be interrupted for what has come back (sections 2.7.7 and 2.7.10)."""
        return any(self._owes(queue) for queue in self.queues if queue.ready and not queue.wild)

    def _owes(self, queue: _Queue) -> bool:
        new = (queue.returned - queue.heard) & 0xFFFF
        if not self._event_idx:
            (flags,) = struct.unpack("<H", self._memory.read(queue.avail, 2))
            return new > 0 and not flags & 1
        (event,) = struct.unpack("<H", self._memory.read(queue.avail + 4 + 2 * queue.size, 2))
        return bool((queue.returned - event - 1) & 0xFFFF < new)

    def interrupted(self) -> None:
        """The device has interrupted the driver."""
        for queue in self.queues:
            queue.heard = queue.returned

    def is_waiting(self, queues: tuple[int, ...]) -> bool:
        """Whether the device has chains of these queues."""
        return any(self.queues[index].outstanding for index in queues if index < len(self.queues))

    def look_at_memory(self) -> None:
        """Compares guest memory with what it was.

        Raises:
            DeviceError: the device has changed what is not its own.
        """
        if self._wild:
            return
        for start, shadow in self._shadow:
            now = bytearray(self._memory.view(start, len(shadow)))
            for low, high in self._allowed:
                low, high = max(low - start, 0), min(high - start, len(shadow))
                if low < high:
                    now[low:high] = shadow[low:high]
            if now != shadow:
                at = next(i for i, (a, b) in enumerate(zip(now, shadow, strict=True)) if a != b)
                raise DeviceError(f"the device has changed guest memory at {start + at:#x}, in no writable buffer")

    def states(self, status: int) -> str:
        """Device status and the states of its queues, for the coverage: how often each occurs, in no order."""
        counts = Counter(queue.state for queue in self.queues)
        return f"{status:#04x} " + " ".join(f"{state}:{min(count, 2)}" for state, count in sorted(counts.items()))


def fill(memory: GuestMemory, queues: int) -> None:
    """Makes the arena of this number of queues what it is before the first step."""
    memory.write(ARENA, FILLER * (queues * QUEUE_BYTES))


def _overlap(one: _Range, other: _Range) -> bool:
    return one[0] < other[1] and other[0] < one[1]
