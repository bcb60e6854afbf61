"""pyvmm.memory: every access is within one range of RAM, or an error."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable, Iterator

import pytest
from guests import GIB, MIB, PAGE, descriptors_left, open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.errors import HostError
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory, GuestMemoryError

SMALL, FULL, CROSSING, BIG = 16 * MIB, 3 * GIB, 3 * GIB + 2 * MIB, 5 * GIB
SIZES = (SMALL, FULL, CROSSING, BIG)

HOLE, HOLE_END = 3 * GIB, 4 * GIB


@pytest.fixture(scope="module")
def memories() -> Iterator[dict[int, GuestMemory]]:
    """One memory of each size; hypothesis uses them over and over."""
    made = {size: GuestMemory(Ram(size), shared=True) for size in SIZES}
    yield made
    for memory in made.values():
        memory.close()


@pytest.fixture
def shared() -> Iterator[Callable[[int], GuestMemory]]:
    """Makes memory that other processes can map."""
    made: list[GuestMemory] = []

    def make(size: int) -> GuestMemory:
        made.append(GuestMemory(Ram(size), shared=True))
        return made[-1]

    yield make
    for memory in made:
        memory.close()


def ram(size: int) -> list[range]:
    """Every address of RAM, by the layout's definition."""
    return [range(min(size, HOLE)), range(HOLE_END, HOLE_END + max(size - HOLE, 0))]


_EDGES = st.sampled_from([0, SMALL, HOLE, HOLE_END, HOLE_END + 2 * MIB, HOLE_END + 2 * GIB, 1 << 63, 1 << 64])
_ADDRESSES = st.one_of(
    st.builds(lambda edge, delta: edge + delta, _EDGES, st.integers(-2 * PAGE, 2 * PAGE)),
    st.integers(-(1 << 65), 1 << 65),
)
_LENGTHS = st.one_of(
    st.integers(-16, 2 * PAGE), st.sampled_from([MIB, GIB, 2 * GIB, 1 << 32, 1 << 63, (1 << 64) - 1, -(1 << 64)])
)


@given(st.sampled_from(SIZES), _ADDRESSES, _LENGTHS)
def test_view_exists_exactly_where_all_of_it_is_ram(
    memories: dict[int, GuestMemory], size: int, address: int, length: int
) -> None:
    memory = memories[size]
    if length > 0 and any(address in r and address + length - 1 in r for r in ram(size)):
        view = memory.view(address, length)
        assert len(view) == length
        assert not view.readonly
    elif length:
        with pytest.raises(GuestMemoryError):
            memory.view(address, length)


@given(st.sampled_from(SIZES), _ADDRESSES, st.binary(min_size=1, max_size=3 * PAGE))
def test_write_reaches_its_place_in_the_memfd_alone_or_nothing(
    memories: dict[int, GuestMemory], size: int, address: int, data: bytes
) -> None:
    memory = memories[size]
    try:
        memory.write(address, data)
    except GuestMemoryError:
        assert not any(address in r and address + len(data) - 1 in r for r in ram(size))
        return
    at = address if address < HOLE else address - GIB
    assert os.pread(memory.fd, len(data), at) == data
    assert memory.read(address, len(data)) == data
    memory.write(address, bytes(len(data)))
    around = os.pread(memory.fd, len(data) + 2 * PAGE, max(at - PAGE, 0))
    assert not any(around)


@pytest.mark.parametrize("size", SIZES)
def test_zero_length_is_empty_inside_ram_and_an_error_far_from_it(size: int, memories: dict[int, GuestMemory]) -> None:
    memory = memories[size]
    assert memory.read(0, 0) == memory.read(min(size, HOLE), 0) == b""
    for address in (-1, HOLE + 1, HOLE_END + BIG, 1 << 64):
        with pytest.raises(GuestMemoryError):
            memory.read(address, 0)


@pytest.mark.parametrize("call", ["view", "read", "offset"])
@pytest.mark.parametrize("length", [-1, -PAGE, -(1 << 64)])
def test_negative_length_is_an_error(call: str, length: int, memories: dict[int, GuestMemory]) -> None:
    for address in (0, PAGE, HOLE_END + PAGE):
        with pytest.raises(GuestMemoryError):
            getattr(memories[BIG], call)(address, length)


def test_error_names_the_range(memories: dict[int, GuestMemory]) -> None:
    with pytest.raises(GuestMemoryError, match=r"no RAM at \[0xbfffffff, 0xc0000001\)"):
        memories[BIG].read(HOLE - 1, 2)


def test_refused_write_writes_nothing(memories: dict[int, GuestMemory]) -> None:
    with pytest.raises(GuestMemoryError):
        memories[SMALL].write(SMALL - 4, b"12345")
    assert memories[SMALL].read(SMALL - 4, 4) == bytes(4)


def test_regions_lie_behind_one_another_in_the_memfd(memories: dict[int, GuestMemory]) -> None:
    assert memories[SMALL].regions == [(0, SMALL, 0)]
    assert memories[FULL].regions == [(0, FULL, 0)]
    assert memories[BIG].regions == [(0, HOLE, 0), (HOLE_END, 2 * GIB, HOLE)]
    for size, memory in memories.items():
        assert os.fstat(memory.fd).st_size == size


def test_memory_is_not_inherited_by_children(memories: dict[int, GuestMemory]) -> None:
    assert not os.get_inheritable(memories[SMALL].fd)


def test_views_show_each_other_s_writes(make_memory: Callable[[int], GuestMemory]) -> None:
    memory = make_memory(SMALL)
    first, second = memory.view(PAGE, 8), memory.view(PAGE + 4, 8)
    first[:] = b"abcdefgh"
    assert bytes(second[:4]) == b"efgh"


def test_a_memory_takes_nothing_until_it_is_touched(shared: Callable[[int], GuestMemory]) -> None:
    memory = shared(64 * GIB)
    memory.write(60 * GIB, b"x")
    assert os.fstat(memory.fd).st_blocks * 512 <= 2 * MIB


@pytest.mark.parametrize("size", [0, PAGE, 2 * SMALL])
def test_who_else_gets_it_cannot_change_its_size(shared: Callable[[int], GuestMemory], size: int) -> None:
    memory = shared(SMALL)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def mappings() -> int:
    """How many mappings of guest memory this process has."""
    with open("/proc/self/maps") as maps:
        return sum("guest-ram" in line for line in maps)


def test_close_leaves_no_descriptor_and_no_mapping() -> None:
    before, mapped = open_fds(), mappings()
    with GuestMemory(Ram(SMALL), shared=True) as memory:
        assert "guest-ram" in open_fds()[memory.fd]
        assert mappings() == mapped + 1
    assert open_fds() == before
    assert mappings() == mapped


def test_no_address_space_is_a_host_error_that_says_what_to_do() -> None:
    before = open_fds()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (used + GIB, limits[1]))
    try:
        with pytest.raises(HostError, match=r"mapping 65536 MiB of guest memory: .*; try less memory"):
            GuestMemory(Ram(64 * GIB), shared=True)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert open_fds() == before


def test_no_descriptor_is_a_host_error() -> None:
    with descriptors_left(0), pytest.raises(HostError, match="memfd_create: Too many open files"):
        GuestMemory(Ram(SMALL), shared=True)
