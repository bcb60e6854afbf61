"""pyvmm.testing.steps: what each step consists of, and how it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from virtiodev import Echo

from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory
from pyvmm.testing import (
    Describe,
    Expose,
    Jump,
    Notify,
    Offer,
    Read,
    Start,
    Store,
    Wait,
    Write,
    hostile_cases,
    operations,
    profile_of,
)
from pyvmm.testing.steps import BUFFERS, QUEUE_BYTES, RAM, Operation, queue_base
from pyvmm.testing.virtqueue import AVAIL, DESC, USED, Driver, buffers_of


def stores(made: list[list[Operation]]) -> list[Store]:
    return [each for group in made for each in group if isinstance(each, Store)]


def test_a_start_is_that_of_the_specification() -> None:
    (made,) = operations([Start((8, 0, 4))])
    written = [(each.offset, each.value) for each in made if isinstance(each, Write)]
    assert [value for offset, value in written if offset == 0x70] == [0, 1, 3, 11, 15]
    assert [value for offset, value in written if offset == 0x30] == [0, 2]
    assert (0x80, queue_base(2) + DESC) in written


@given(
    readable=st.lists(st.binary(min_size=1, max_size=50), max_size=4),
    writable=st.lists(st.integers(1, 5000), max_size=4),
    indirect=st.booleans(),
)
def test_a_device_gets_the_chain_that_was_offered(readable: list[bytes], writable: list[int], indirect: bool) -> None:
    with GuestMemory(Ram(RAM)) as memory:
        driver = Driver(memory, 8, base=queue_base(0))
        queue = driver.queue()
        for store in stores(operations([Start((8,)), Offer(0, tuple(readable), tuple(writable), indirect)])):
            memory.write(store.address, store.data)
        chain = queue.pop()
        if not readable and not writable:
            assert chain is None
            return
        assert chain
        assert list(map(bytes, chain.readable)) == readable
        assert list(map(len, chain.writable)) == writable
        ends = [address + length for address, length, _ in buffers_of(memory, chain)]
        assert max(ends) <= queue_base(1)
        del chain


def test_a_full_queue_takes_no_more_until_its_chains_are_back() -> None:
    offers = [Offer(0, (b"a", b"b"))] * 3
    made = operations([Start((4,)), *offers, Wait((0,)), offers[0]])
    assert [bool(group) for group in made] == [True, True, True, False, True, True]
    assert not operations([Offer(0, (), (QUEUE_BYTES - BUFFERS,))])[0][2:]  # no room for it
    assert operations([Start((2,)), Offer(0, (b"a",) * 3, (), True)])[1] == []  # longer than the queue


def test_what_is_wrong_is_written_as_it_is() -> None:
    base = queue_base(1)
    made = operations([Start((8, 8)), Describe(1, 3, 2**64 - 1, 7, 0xFFFF, 9), Expose(1, 300), Jump(1, 0x8000)])
    assert made[1] == [Store(base + DESC + 48, b"\xff" * 8 + b"\7\0\0\0\xff\xff\t\0")]
    assert made[2] == [Store(base + AVAIL + 4, (300).to_bytes(2, "little")), Store(base + AVAIL + 2, b"\1\0")]
    assert made[3] == [Store(base + AVAIL + 2, b"\1\x80")]


def test_steps_are_told_in_words() -> None:
    told = {
        Start((8, 8)): "start the device with features 0x100000000 and queues of 8, 8 entries",
        Offer(1, (b"abc",), (4,), True): "offer queue 1 indirectly: 3 bytes to read (61 62 63), 4 bytes to write to",
        Describe(0, 1, 0x1000, 8, 3, 2): "let descriptor 1 of queue 0 be 8 bytes at 0x1000, flags NEXT|WRITE, next 2",
        Expose(0, 9): "make descriptor 9 of queue 0 available",
        Jump(0, 9): "move the available index of queue 0 by 9",
        Write(0x70, 0): "write 0x0 to Status",
        Read(0x104): "read the configuration at 0x4",
        Store(USED, b"\1"): "write 1 bytes to guest memory at 0x4000: 01",
        Notify(2): "notify queue 2",
        Wait(): "let the device work",
        Wait((0, 1)): "let the device work until it has returned the chains of queues 0, 1",
    }
    assert [str(step) for step in told] == list(told.values())


@given(steps=hostile_cases(profile_of(Echo())))
def test_any_case_is_written_out_within_ram(steps: list[object]) -> None:
    for store in stores(operations(steps)):  # type: ignore[arg-type]
        assert 0 <= store.address < store.address + len(store.data) <= RAM
