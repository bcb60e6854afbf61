"""What a driver does to a virtio device, as data: a test case is a list of steps.

Five steps are all that a driver can do. The others are short for several of those,
and `operations` writes them out. Because a case is data, it runs on a device in this
process (`pyvmm.testing.worker`) and, in a guest, on any other (`pyvmm.testing.guest`)::

    [Start((8,)), Offer(0, (b"hello",), (100,)), Notify(0), Wait()]

Each queue has its own 128 KiB of guest memory from ARENA on: rings, indirect tables, and
buffers. They are full of FILLER until a step writes to them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyvmm.layout import MIB
from pyvmm.testing import registers as r
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver
from pyvmm.virtio.device import EVENT_IDX, VERSION_1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Guest memory of a case, in bytes.
RAM = 16 * MIB
ARENA, QUEUE_BYTES = 4 * MIB, 128 << 10
FILLER = b"\xa5"
QUEUES_MAX = 16
#: Within a queue's part of the arena.
TABLES, TABLE_BYTES, BUFFERS = 0x8000, 128, 0x1_0000
#: The longest chain in an indirect table.
INDIRECT_MAX = TABLE_BYTES // 16
_GAP = 64  # bytes between buffers, which no device may change


def queue_base(queue: int) -> int:
    """The guest-physical address of a queue's part of the arena."""
    return ARENA + queue * QUEUE_BYTES


@dataclass(frozen=True)
class Write:
    """Writes 32 bits to a register."""

    offset: int
    value: int

    def __str__(self) -> str:
        return f"write {self.value:#x} to {_name(self.offset)}"


@dataclass(frozen=True)
class Read:
    """Reads a register of 32 bits."""

    offset: int

    def __str__(self) -> str:
        return f"read {_name(self.offset)}"


@dataclass(frozen=True)
class Store:
    """Writes bytes to guest memory, at a guest-physical address."""

    address: int
    data: bytes

    def __str__(self) -> str:
        return f"write {len(self.data)} bytes to guest memory at {self.address:#x}: {_hex(self.data)}"


@dataclass(frozen=True)
class Notify:
    """Notifies the device of a queue."""

    queue: int

    def __str__(self) -> str:
        return f"notify queue {self.queue}"


@dataclass(frozen=True)
class Wait:
    """Waits until the device has had its turn, and until it has returned all chains of some queues."""

    queues: tuple[int, ...] = ()

    def __str__(self) -> str:
        until = f" until it has returned the chains of {_plural('queue', self.queues)}" if self.queues else ""
        return f"let the device work{until}"


#: All that a driver can do.
Operation = Write | Read | Store | Notify | Wait


@dataclass(frozen=True)
class Start:
    """Resets the device and starts it anew, as section 3.1.1 of virtio 1.2 says.

    Args:
        sizes: the number of entries of each queue, a power of 2; 0 leaves it out.
        features: the bits to accept.
    """

    sizes: tuple[int, ...]
    features: int = VERSION_1

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        return f"start the device with features {self.features:#x} and queues of {sizes} entries"


@dataclass(frozen=True)
class Offer:
    """Offers a chain of buffers; nothing if a queue has no room left for it.

    Args:
        queue: its number.
        readable: what the buffers hold that the device reads.
        writable: bytes of each buffer that it may write to.
        indirect: the chain is in an indirect table, which has up to INDIRECT_MAX descriptors.
    """

    queue: int
    readable: tuple[bytes, ...] = ()
    writable: tuple[int, ...] = ()
    indirect: bool = False

    def __str__(self) -> str:
        parts = [f"{len(data)} bytes to read ({_hex(data)})" for data in self.readable]
        parts += [f"{size} bytes to write to" for size in self.writable]
        return f"offer queue {self.queue}{' indirectly' if self.indirect else ''}: {', '.join(parts)}"


@dataclass(frozen=True)
class Describe:
    """Writes a descriptor, whatever it says (section 2.7.5).

    Args:
        queue, index: which one.
        address, length, flags, following: its fields.
        table: of the indirect table with this number; None is the queue's own table.
    """

    queue: int
    index: int
    address: int
    length: int
    flags: int = 0
    following: int = 0
    table: int | None = None

    def __str__(self) -> str:
        where = "" if self.table is None else f" of indirect table {self.table}"
        flags = [name for bit, name in ((1, "NEXT"), (2, "WRITE"), (4, "INDIRECT")) if self.flags & bit]
        rest = self.flags & ~7
        flags += [hex(rest)] if rest else []
        return (
            f"let descriptor {self.index}{where} of queue {self.queue} be {self.length} bytes at {self.address:#x}, "
            f"flags {'|'.join(flags) or 0}, next {self.following}"
        )


@dataclass(frozen=True)
class Expose:
    """Makes a descriptor available as the head of a chain, whatever it says."""

    queue: int
    head: int

    def __str__(self) -> str:
        return f"make descriptor {self.head} of queue {self.queue} available"


@dataclass(frozen=True)
class Jump:
    """Moves the index of the available ring, modulo 2^16, without entries."""

    queue: int
    by: int

    def __str__(self) -> str:
        return f"move the available index of queue {self.queue} by {self.by}"


Step = Operation | Start | Offer | Describe | Expose | Jump


def operations(steps: Iterable[Step]) -> list[list[Operation]]:
    """What each step consists of.

    Example::

        >>> operations([Notify(0)])
        [[Notify(queue=0)]]
    """
    writer = _Writer()
    return [writer.write_out(step) for step in steps]


class _Recorder:
    """Guest memory as far as the driver has written it, with a record of what it writes."""

    def __init__(self) -> None:
        self.done: list[Operation] = []

    def read(self, address: int, length: int) -> bytes:
        """Not to be called: nothing is known of what the device has written."""
        raise AssertionError(f"a step reads {length} bytes at {address:#x}")

    def write(self, address: int, data: bytes) -> None:
        self.done.append(Store(address, data))


class _Writer:
    """Knows where the driver's chains are."""

    def __init__(self) -> None:
        self._recorder = _Recorder()
        self._drivers: dict[int, Driver] = {}
        self._room: dict[int, int] = {}

    def write_out(self, step: Step) -> list[Operation]:
        """The operations of one step, after those of all before it."""
        done = self._recorder.done = []
        match step:
            case Start():
                self._start(step)
            case Offer():
                self._offer(step)
            case Describe():
                base = queue_base(step.queue)
                table = DESC if step.table is None else TABLES + TABLE_BYTES * step.table
                fields = struct.pack("<QIHH", step.address, step.length, step.flags, step.following)
                done.append(Store(base + table + 16 * step.index, fields))
            case Expose():
                self._driver(step.queue).make_available(step.head)
            case Jump():
                driver = self._driver(step.queue)
                driver.avail_idx = (driver.avail_idx + step.by) & 0xFFFF
                driver.set_avail_idx(driver.avail_idx)
            case Wait():
                done.append(step)
                for queue in step.queues:
                    self._forget(queue)
            case _:
                done.append(step)
        return done

    def _driver(self, queue: int) -> Driver:
        """A queue's driver; one that was not started takes up to 8 entries."""
        if queue not in self._drivers:
            self._drivers[queue] = self._make(queue, 8, False)
        return self._drivers[queue]

    def _make(self, queue: int, size: int, event_idx: bool) -> Driver:
        self._room[queue] = queue_base(queue) + BUFFERS
        return Driver(self._recorder, size, event_idx, base=queue_base(queue), tables=TABLES, table_stride=TABLE_BYTES)

    def _forget(self, queue: int) -> None:
        """The device has returned all chains of a queue."""
        driver = self._driver(queue)
        driver.free = list(range(driver.size))
        driver.chains.clear()
        self._room[queue] = queue_base(queue) + BUFFERS

    def _start(self, step: Start) -> None:
        done = self._recorder.done
        done += [Write(r.STATUS, 0), Read(r.STATUS)]
        done += [Write(r.STATUS, r.ACKNOWLEDGE), Write(r.STATUS, r.ACKNOWLEDGE | r.DRIVER)]
        for half in (0, 1):
            done += [Write(r.DEVICE_FEATURES_SEL, half), Read(r.DEVICE_FEATURES)]
            accepted = step.features >> 32 * half & 0xFFFF_FFFF
            done += [Write(r.DRIVER_FEATURES_SEL, half), Write(r.DRIVER_FEATURES, accepted)]
        status = r.ACKNOWLEDGE | r.DRIVER | r.FEATURES_OK
        done += [Write(r.STATUS, status), Read(r.STATUS)]
        for queue, size in enumerate(step.sizes):
            if not size:
                continue
            event_idx = bool(step.features & EVENT_IDX)
            driver = self._drivers[queue] = self._make(queue, size, event_idx)
            driver.set_interrupts(True)
            done += [Write(r.QUEUE_SEL, queue), Read(r.QUEUE_NUM_MAX), Write(r.QUEUE_NUM, size)]
            for register, at in ((r.QUEUE_DESC, DESC), (r.QUEUE_DRIVER, AVAIL), (r.QUEUE_DEVICE, USED)):
                done += [Write(register, driver.base + at), Write(register + 4, 0)]
            done += [Write(r.QUEUE_READY, 1), Read(r.QUEUE_READY)]
        done += [Write(r.STATUS, status | r.DRIVER_OK), Read(r.STATUS)]

    def _offer(self, step: Offer) -> None:
        driver = self._driver(step.queue)
        count = len(step.readable) + len(step.writable)
        if not 0 < count <= driver.size or count > (INDIRECT_MAX if step.indirect else len(driver.free)):
            return
        if not driver.free:
            return
        end = queue_base(step.queue) + QUEUE_BYTES
        lengths = [*map(len, step.readable), *step.writable]
        if self._room[step.queue] + sum(lengths) + _GAP * count > end:
            return
        buffers = []
        for index, length in enumerate(lengths):
            at = self._room[step.queue]
            self._room[step.queue] += length + _GAP
            if index < len(step.readable):
                self._recorder.write(at, step.readable[index])
            buffers.append((at, length, index >= len(step.readable)))
        driver.add(buffers, step.indirect)


def _name(offset: int) -> str:
    if offset >= r.CONFIG:
        return f"the configuration at {offset - r.CONFIG:#x}"
    return r.NAMES.get(offset, f"no register ({offset:#x})")


def _hex(data: bytes) -> str:
    return data[:16].hex(" ") + (" …" if len(data) > 16 else "")


def _plural(noun: str, numbers: tuple[int, ...]) -> str:
    return f"{noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
