"""pyvmm/native/memory/paging.c: what a CPU finds when it walks the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import ENOSPC
from typing import Any

import pytest
from guests import GIB, MIB, PAGE
from hypothesis import given, settings
from hypothesis import strategies as st
from pagetables import NX, PRESENT, USER, WRITE, Mapping, walk

from pyvmm._kvm import ffi, lib
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory

ARENA, ARENA_END = 1 * MIB, 60 * MIB
LARGE = 2 * MIB
CANARY = b"\xa5" * PAGE


@pytest.fixture(scope="module")
def memory() -> Iterator[GuestMemory]:
    """Room for tables."""
    with GuestMemory(Ram(64 * MIB)) as made:
        yield made


class Tables:
    """Page tables in `memory`."""

    def __init__(
        self, memory: GuestMemory, gigabyte_pages: bool, arena: int = ARENA, arena_end: int = ARENA_END
    ) -> None:
        self.memory = memory
        self.arena = arena
        self.native: Any = ffi.new("struct paging *")
        self.initialised = lib.paging_init(self.native, memory.host, arena, arena_end, gigabyte_pages)

    def map(self, start: int, end: int, flags: int) -> bool:
        return bool(lib.paging_map(self.native, start, end, flags) == 0)

    def count(self) -> int:
        """How many tables there are."""
        return (int(self.native.next) - self.arena) // PAGE

    def __getitem__(self, address: int) -> Mapping | None:
        return walk(self.memory, self.native.root, address)


_RIGHTS = st.sampled_from(
    [
        0,
        WRITE | USER | NX,  # not present, so unmapped
        PRESENT,
        PRESENT | WRITE,
        PRESENT | USER | NX,
        PRESENT | WRITE | USER | NX,
        PRESENT | WRITE | NX | 0x18,  # uncached: PCD, PWT
    ]
)
# Page numbers near the boundaries of 4 KiB, 2 MiB, 1 GiB and 512 GiB pages.
_PAGES = st.builds(
    lambda unit, number, delta: max(unit * number + delta, 0),
    st.sampled_from([1, 512, 512 * 512, 512 * 512 * 512]),
    st.integers(0, 4),
    st.integers(-2, 2),
)
_RANGES = st.one_of(
    st.tuples(_PAGES, st.integers(1, 600)).map(lambda r: (r[0] * PAGE, (r[0] + r[1]) * PAGE)),
    st.tuples(st.integers(0, 6), st.integers(1, 3)).map(lambda r: (r[0] * GIB, (r[0] + r[1]) * GIB)),
    st.tuples(st.integers(0, 2000), st.integers(1, 700)).map(lambda r: (r[0] * LARGE, (r[0] + r[1]) * LARGE)),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(_RANGES, _RIGHTS), min_size=1, max_size=8), st.booleans(), st.data())
def test_last_mapping_of_each_page_counts(
    memory: GuestMemory, maps: list[tuple[tuple[int, int], int]], gigabyte_pages: bool, data: st.DataObject
) -> None:
    tables = Tables(memory, gigabyte_pages)
    for (start, end), flags in maps:
        assert tables.map(start, end, flags)

    probes = {edge + delta for range_, _ in maps for edge in range_ for delta in (-PAGE, -1, 0, PAGE - 1, PAGE)}
    probes |= set(data.draw(st.lists(st.integers(0, 8 * GIB), max_size=5)))
    for address in sorted(probe for probe in probes if probe >= 0):
        flags = next((flags for (start, end), flags in reversed(maps) if start <= address < end), 0)
        expected = Mapping(address, flags) if flags & PRESENT else None
        assert tables[address] == expected, hex(address)


@pytest.mark.parametrize(
    ("start", "end", "gigabyte_pages", "count"),
    [
        (0, 512 * GIB, True, 2),  # PML4, PDPT
        (0, 512 * GIB, False, 2 + 512),
        (0, 513 * GIB, True, 3),
        (0, GIB, True, 2),
        (0, GIB, False, 3),
        (0, LARGE, True, 3),
        (0, PAGE, True, 4),
        (GIB - PAGE, 2 * GIB + PAGE, True, 6),
        (LARGE - PAGE, LARGE + PAGE, True, 5),
    ],
)
def test_number_of_tables_is_the_least_possible(
    memory: GuestMemory, start: int, end: int, gigabyte_pages: bool, count: int
) -> None:
    tables = Tables(memory, gigabyte_pages)
    assert tables.map(start, end, PRESENT | WRITE)
    assert tables.count() == count
    for address in (start, (start + end) // 2, end - 1):
        assert tables[address] == Mapping(address, PRESENT | WRITE)
    assert tables[end] is None


def test_new_rights_for_whole_large_pages_take_no_table(memory: GuestMemory) -> None:
    tables = Tables(memory, gigabyte_pages=True)
    tables.map(0, 4 * GIB, PRESENT | WRITE)
    count = tables.count()
    assert tables.map(GIB, 2 * GIB, PRESENT | NX)
    assert tables.map(3 * GIB, 4 * GIB, 0)
    assert tables.count() == count


def test_highest_mappable_page_is_below_2_to_the_47(memory: GuestMemory) -> None:
    tables = Tables(memory, gigabyte_pages=True)
    assert tables.map((1 << 47) - PAGE, 1 << 47, PRESENT | USER)
    assert tables[(1 << 47) - 1] == Mapping((1 << 47) - 1, PRESENT | USER)
    assert tables[(1 << 47) - PAGE - 1] is None


def test_arena_without_room_for_the_root_is_enospc(memory: GuestMemory) -> None:
    for arena_end in (ARENA, ARENA + PAGE - 1):
        tables = Tables(memory, True, ARENA, arena_end)
        assert (tables.initialised, ffi.errno) == (-1, ENOSPC)


@pytest.mark.parametrize("pages", range(1, 6))
def test_full_arena_is_enospc_and_nothing_behind_it_is_written(
    make_memory: Callable[[int], GuestMemory], pages: int
) -> None:
    memory = make_memory(16 * MIB)
    end = ARENA + pages * PAGE
    memory.write(ARENA - PAGE, CANARY)
    memory.write(end, CANARY)
    tables = Tables(memory, False, ARENA, end)
    # PML4, PDPT, and for each of the four pages a PD and a PT.
    results = [tables.map(n * GIB, n * GIB + PAGE, PRESENT) for n in range(4)]
    assert results == [pages >= needed for needed in (4, 6, 8, 10)]
    assert ffi.errno == ENOSPC
    assert tables.native.next <= end
    assert memory.read(ARENA - PAGE, PAGE) == memory.read(end, PAGE) == CANARY


def test_tables_are_cleared_before_use(make_memory: Callable[[int], GuestMemory]) -> None:
    memory = make_memory(16 * MIB)
    memory.write(ARENA, b"\xff" * (16 * PAGE))
    tables = Tables(memory, False)
    assert tables.map(0, PAGE, PRESENT)
    assert [tables[address] for address in (PAGE, LARGE, GIB, 512 * GIB)] == [None] * 4
