"""A split virtqueue of a backend, and drivers that break it."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator

import pytest
from guests import open_fds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vhost_user.inflight import InflightLog
from vhost_user.memory import GuestMemory
from vhost_user.messages import Region, VhostUserError
from vhost_user.vring import Vring

SIZE, RAM, USER = 8, 1 << 16, 1 << 40
REQUEST_MAX = 100
TABLE, AVAILABLE, USED, BUFFER = 0x1000, 0x2000, 0x3000, 0x4000
NEXT, WRITE, INDIRECT = 1, 2, 4


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    before = open_fds()
    fd = os.memfd_create("ram", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, RAM)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    made = GuestMemory()
    made.add(Region(0, RAM, USER, 0), fd)
    os.close(fd)
    yield made
    made.close()
    assert open_fds() == before


@pytest.fixture
def ring(memory: GuestMemory) -> Iterator[Callable[..., Vring]]:
    made: list[Vring] = []

    def make(base: int = 0, log: InflightLog | None = None) -> Vring:
        made.append(Vring(memory, SIZE, USER + TABLE, USER + AVAILABLE, USER + USED, base, REQUEST_MAX, log))
        return made[-1]

    yield make
    for each in made:
        each.close()


def put(memory: GuestMemory, address: int, layout: str, *values: int) -> None:
    memory.view(address, struct.calcsize(layout))[:] = struct.pack(layout, *values)


def describe(memory: GuestMemory, index: int, *values: int, table: int = TABLE) -> None:
    put(memory, table + 16 * index, "<QIHH", *values)


@pytest.mark.parametrize(
    ("descriptors", "index", "head", "complaint"),
    [
        ([], SIZE + 1, 0, "2.7.13.3"),
        ([], 1, SIZE, "2.7.6"),
        ([(BUFFER, 1, NEXT, SIZE)], 1, 0, "2.7.5"),
        ([(BUFFER, 1, NEXT, 0)], 1, 0, "2.7.5.2"),
        ([(RAM - 1, 2, 0, 0)], 1, 0, "no memory at"),
        ([((1 << 64) - 1, 1, 0, 0)], 1, 0, "no memory at"),
        ([(BUFFER, 1, WRITE | NEXT, 1), (BUFFER, 1, 0, 0)], 1, 0, "2.7.4.2"),
        ([(BUFFER, REQUEST_MAX, NEXT, 1), (BUFFER, 1, WRITE, 0)], 1, 0, "a chain has more than 100 bytes"),
        ([(0, RAM, NEXT, 0)], 1, 0, "a chain has more than 100 bytes"),
        ([(BUFFER, 17, INDIRECT, 0)], 1, 0, "2.7.5.3.1"),
        ([(BUFFER, 0, INDIRECT, 0)], 1, 0, "2.7.5.3.1"),
        ([(BUFFER, 16, INDIRECT | NEXT, 0)], 1, 0, "2.7.5.3.1"),
        ([(TABLE, 16, INDIRECT, 0)], 1, 0, "2.7.5.3.1"),
        ([(RAM, 16, INDIRECT, 0)], 1, 0, "no memory at"),
    ],
)
def test_what_a_driver_does_wrong_is_an_error(
    memory: GuestMemory,
    ring: Callable[..., Vring],
    descriptors: list[tuple[int, int, int, int]],
    index: int,
    head: int,
    complaint: str,
) -> None:
    for number, values in enumerate(descriptors):
        describe(memory, number, *values)
    put(memory, AVAILABLE, "<3H", 0, index, head)
    with pytest.raises(VhostUserError, match=complaint):
        ring().pop()


@pytest.mark.parametrize("size", [0, 3, 1 << 16])
def test_a_size_that_cannot_be(memory: GuestMemory, size: int) -> None:
    with pytest.raises(VhostUserError, match=r"2\.7"):
        Vring(memory, size, USER, USER, USER, 0, REQUEST_MAX)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.binary(min_size=16 * SIZE, max_size=16 * SIZE),
    flags=st.lists(st.integers(0, 7), max_size=SIZE),
    data=st.data(),
)
def test_any_rings_give_chains_or_an_error(
    memory: GuestMemory, table: bytes, flags: list[int], data: st.DataObject
) -> None:
    memory.view(TABLE, len(table))[:] = table
    for index, flag in enumerate(flags):  # some that are nearly right
        describe(memory, index, data.draw(st.integers(0, RAM)), data.draw(st.integers(0, 64)), flag, index + 1)
    heads = data.draw(st.lists(st.integers(0, SIZE), min_size=SIZE, max_size=SIZE))
    base = data.draw(st.integers(0, 0xFFFF))
    put(memory, AVAILABLE, f"<2H{SIZE}H", 0, (base + data.draw(st.integers(0, SIZE + 1))) & 0xFFFF, *heads)
    ring = Vring(memory, SIZE, USER + TABLE, USER + AVAILABLE, USER + USED, base, REQUEST_MAX)
    try:
        for _ in range(SIZE + 2):
            chain = ring.pop()
            if not chain:
                break
            assert len(chain.readable) + len(chain.writable) <= SIZE
            assert sum(map(len, chain.readable + chain.writable)) <= REQUEST_MAX
            ring.push(chain, chain.write(bytes(10)))
        else:
            raise AssertionError("more chains than there can be")
    except VhostUserError:
        pass
    ring.close()


@pytest.mark.parametrize("steps", range(4))
def test_a_death_at_any_step_of_giving_back(memory: GuestMemory, ring: Callable[..., Vring], steps: int) -> None:
    """What is in the used ring is not done again; what is not, is."""
    notes = memory.view(0x8000, InflightLog.size_of(SIZE))
    for head in range(2):
        describe(memory, head, BUFFER, 1, WRITE, 0)
    put(memory, AVAILABLE, "<4H", 0, 2, 0, 1)
    log = InflightLog(notes, SIZE)
    first = ring(log=log)
    chain = first.pop()
    assert chain
    assert first.pop()
    # `push`, step by step
    put(memory, USED + 4, "<2I", chain.head, 1)
    if steps > 0:
        log.finish(chain.head)
    if steps > 1:
        put(memory, USED + 2, "<H", 1)
    if steps > 2:
        log.finished(chain.head, 1)
    second = ring(log=InflightLog(notes, SIZE))
    again = [each.head for each in iter(second.pop, None)]
    assert again == ([0, 1] if steps < 2 else [1])
    assert second.next == 2
    notes.release()


def test_a_count_of_the_log_that_cannot_go_on(memory: GuestMemory, ring: Callable[..., Vring]) -> None:
    """The frontend can write there as well."""
    notes = memory.view(0x8000, InflightLog.size_of(SIZE))
    log = InflightLog(notes, SIZE)
    log._ENTRY.pack_into(notes, log._entry(0), 1, 0, (1 << 64) - 1)
    for head in range(2):
        describe(memory, head, BUFFER, 1, WRITE, 0)
    put(memory, AVAILABLE, "<4H", 0, 2, 0, 1)
    made = ring(log=log)
    assert [chain.head for chain in iter(made.pop, None)] == [0, 1]
    notes.release()
