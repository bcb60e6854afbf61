"""The split queue against a hostile driver: the queue breaks, and nothing else happens."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from guests import MIB
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvmm._kvm import lib
from pyvmm.layout import GIB, MMIO_HOLE_END, MMIO_HOLE_START, Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing.virtqueue import AVAIL, DESC, INDIRECT, NEXT, TABLES, USED, WRITE, Driver, buffers_of
from pyvmm.virtio.queue import ERRORS, QueueError, SplitQueue

SIZE = 16 * MIB
BUFFERS = 8 * MIB
SIZES = [1, 2, 4, 8, 64, 256]


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(Ram(SIZE)) as made:
        yield made


RAM_END = SIZE


def broken(queue: SplitQueue, error: int) -> None:
    """The queue says what is wrong, and from then on gives and takes nothing."""
    for _ in range(2):
        with pytest.raises(QueueError) as caught:
            queue.pop()
        assert str(caught.value) == ERRORS[error]
    assert not queue.watch()
    assert not queue.must_interrupt()


@pytest.mark.parametrize("ahead", [5, 6, 0x7FFF, 0x8000, 0xFFFF])
def test_available_index_too_far(memory: GuestMemory, ahead: int) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    driver.set_avail_idx(ahead)
    broken(queue, lib.QUEUE_AVAIL_TOO_FAR)


def test_available_index_that_moves_backwards(memory: GuestMemory) -> None:
    driver = Driver(memory, 4, start=100)
    queue = driver.queue()
    driver.set_avail_idx(99)
    broken(queue, lib.QUEUE_AVAIL_TOO_FAR)


@pytest.mark.parametrize("head", [4, 255, 0xFFFF])
def test_head_outside_the_table(memory: GuestMemory, head: int) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    driver.make_available(head)
    broken(queue, lib.QUEUE_BAD_HEAD)


@pytest.mark.parametrize(
    ("descriptors", "error"),
    [
        ([(BUFFERS, 8, NEXT, 4)], lib.QUEUE_BAD_NEXT),
        ([(BUFFERS, 8, NEXT, 0xFFFF)], lib.QUEUE_BAD_NEXT),
        ([(BUFFERS, 8, NEXT, 0)], lib.QUEUE_CHAIN_TOO_LONG),
        ([(BUFFERS, 8, NEXT, 1), (BUFFERS, 8, NEXT, 0)], lib.QUEUE_CHAIN_TOO_LONG),
        ([(BUFFERS, 0, 0, 0)], lib.QUEUE_EMPTY_BUFFER),
        ([(BUFFERS, 0, WRITE, 0)], lib.QUEUE_EMPTY_BUFFER),
        ([(RAM_END, 1, 0, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(RAM_END - 1, 2, 0, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(0, 0xFFFF_FFFF, WRITE, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(2**64 - 1, 2, 0, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(2**64 - 4, 8, WRITE, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(0xFEB0_0000, 4, 0, 0)], lib.QUEUE_BUFFER_OUTSIDE),
        ([(BUFFERS, 8, WRITE | NEXT, 1), (BUFFERS, 8, 0, 0)], lib.QUEUE_READ_AFTER_WRITE),
        ([(TABLES, 0, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(TABLES, 15, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(TABLES, 17, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(TABLES, 16, INDIRECT | NEXT, 1), (BUFFERS, 8, 0, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(RAM_END - 16, 32, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(2**64 - 16, 32, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
        ([(DESC + 16, 16, INDIRECT, 0), (TABLES, 16, INDIRECT, 0)], lib.QUEUE_BAD_INDIRECT),
    ],
)
def test_chain_that_the_specification_forbids(
    memory: GuestMemory, descriptors: list[tuple[int, int, int, int]], error: int
) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    for index, descriptor in enumerate(descriptors):
        driver.write_desc(DESC, index, *descriptor)
    driver.make_available(0)
    broken(queue, error)


def test_indirect_table_longer_than_the_queue(memory: GuestMemory) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue()
    driver.add([(BUFFERS + i, 1, False) for i in range(5)], indirect=True)
    broken(queue, lib.QUEUE_CHAIN_TOO_LONG)


def test_indirect_table_that_was_not_offered(memory: GuestMemory) -> None:
    driver = Driver(memory, 4)
    queue = driver.queue(indirect=False)
    driver.add([(BUFFERS, 1, False)], indirect=True)
    broken(queue, lib.QUEUE_BAD_INDIRECT)


def test_buffer_across_the_mmio_hole() -> None:
    with GuestMemory(Ram(MMIO_HOLE_START + GIB)) as memory:
        for address, length in [(MMIO_HOLE_START - 4, 8), (MMIO_HOLE_END - 4, 8), (MMIO_HOLE_START - 4, 0x4000_0008)]:
            driver = Driver(memory, 4)
            queue = driver.queue()
            driver.add([(address, length, True)])
            broken(queue, lib.QUEUE_BUFFER_OUTSIDE)


@pytest.mark.parametrize("size", [0, 3, 5, 255, 257, 512, 0xFFFF])
def test_size_that_no_queue_has(memory: GuestMemory, size: int) -> None:
    queue = SplitQueue(memory)
    queue.native.size = size
    with pytest.raises(QueueError, match="its size"):
        queue.enable()


@pytest.mark.parametrize(
    ("desc", "avail", "used"),
    [
        (DESC + 8, AVAIL, USED),
        (DESC, AVAIL + 1, USED),
        (DESC, AVAIL, USED + 2),
        (SIZE, AVAIL, USED),
        (SIZE - 16, AVAIL, USED),
        (DESC, SIZE - 8, USED),
        (DESC, AVAIL, SIZE - 32),
        (2**64 - 16, AVAIL, USED),
    ],
)
def test_rings_that_cannot_be(memory: GuestMemory, desc: int, avail: int, used: int) -> None:
    queue = SplitQueue(memory)
    native = queue.native
    native.size, native.desc, native.avail, native.used = 4, desc, avail, used
    with pytest.raises(QueueError, match="a ring is misaligned or not in RAM"):
        queue.enable()
    assert not native.enabled


def test_rings_may_end_where_ram_does_unless_events_need_room(memory: GuestMemory) -> None:
    for event_idx in (False, True):
        queue = SplitQueue(memory)
        native = queue.native
        native.size, native.desc, native.avail, native.used = 4, DESC, AVAIL, SIZE - (4 + 4 * 8)
        native.event_idx = event_idx
        if event_idx:
            with pytest.raises(QueueError):
                queue.enable()
        else:
            queue.enable()


# ---- anything at all ----------------------------------------------------------------


def drain(memory: GuestMemory, queue: SplitQueue, most: int) -> None:
    """Pops and pushes as a device would; whatever comes is inside RAM and within bounds."""
    for _ in range(most):
        try:
            chain = queue.pop()
        except QueueError:
            return
        if chain is None:
            return
        buffers = buffers_of(memory, chain)
        assert 1 <= len(buffers) <= queue.native.size
        for address, length, _ in buffers:
            assert length > 0
            memory.offset(address, length)
        queue.push(chain, 0)


@settings(max_examples=300)
@given(
    size=st.sampled_from(SIZES),
    event_idx=st.booleans(),
    indirect=st.booleans(),
    seed=st.integers(0, 2**32),
    flips=st.lists(
        st.tuples(st.sampled_from([DESC, AVAIL, TABLES]), st.integers(0, 600), st.integers(0, 255)), max_size=40
    ),
)
def test_any_rings_are_survived(
    size: int, event_idx: bool, indirect: bool, seed: int, flips: list[tuple[int, int, int]]
) -> None:
    """Good rings with bytes changed: never outside RAM, never without end."""
    rng = random.Random(seed)
    with GuestMemory(Ram(SIZE)) as memory:
        driver = Driver(memory, size, event_idx)
        queue = driver.queue(indirect=indirect)
        for _ in range(rng.randrange(4)):
            if driver.free:
                count = 1 if len(driver.free) == 1 else rng.randrange(1, min(len(driver.free), 5))
                driver.add([(BUFFERS + rng.randrange(MIB), rng.randrange(1, 5000), False)] * count, rng.random() < 0.4)
        for area, offset, value in flips:
            memory.write(area + offset, bytes([value]))
        drain(memory, queue, 2 * size)


@settings(max_examples=100)
@given(data=st.binary(min_size=64, max_size=1024), size=st.sampled_from(SIZES), indirect=st.booleans())
def test_random_rings_are_survived(data: bytes, size: int, indirect: bool) -> None:
    with GuestMemory(Ram(SIZE)) as memory:
        driver = Driver(memory, size)
        queue = driver.queue(indirect=indirect)
        for area in (DESC, AVAIL, TABLES):
            memory.write(area, data)
        drain(memory, queue, 2 * size)


def test_rings_that_change_during_the_walk(memory: GuestMemory) -> None:
    """Another core rewrites descriptors between any two reads of the device."""
    stop = Event()

    def scribble() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            index, table = rng.randrange(64), rng.choice([DESC, TABLES])
            address = rng.choice([BUFFERS, SIZE - 8, SIZE, 2**64 - 8, TABLES])
            flags = rng.choice([0, NEXT, WRITE, NEXT | WRITE, INDIRECT])
            memory.write(table + 16 * index, struct.pack("<QIHH", address, rng.choice([0, 8, 16, 2**31]), flags, index))

    thread = Thread(target=scribble)
    thread.start()
    try:
        for _ in range(3000):
            driver = Driver(memory, 64)
            queue = driver.queue()
            for head in range(0, 64, 5):
                driver.make_available(head)
            drain(memory, queue, 64)
    finally:
        stop.set()
        thread.join()
