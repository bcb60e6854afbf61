"""What a guest's page tables map, as ranges (Intel SDM volume 3, section 4.5).

The guest made the tables: tables may refer to themselves, and map the same page at every
address. So the number of entries that are looked at, and of ranges that are found, is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pyvmm.gdb.mmu import PAGE
from pyvmm.memory import GuestMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyvmm.gdb.mmu import Control, Memory

_ADDRESS = 0x000F_FFFF_FFFF_F000
_PRESENT, _WRITABLE, _LARGE, _NO_EXECUTE = 1, 2, 1 << 7, 1 << 63
_PAGING, _PAE, _LA57, _LONG_MODE = 1 << 31, 1 << 5, 1 << 12, 1 << 10
_TABLES_MAX = 1 << 13
RANGES_MAX = 1 << 14


class Mapping(NamedTuple):
    """A range of guest-virtual addresses that leads to consecutive guest-physical ones."""

    virtual: int
    physical: int
    size: int
    writable: bool
    executable: bool

    def followed_by(self, other: Mapping) -> bool:
        """Whether the two are one."""
        return (
            self.virtual + self.size == other.virtual
            and self.physical + self.size == other.physical
            and (self.writable, self.executable) == (other.writable, other.executable)
        )


def mappings(memory: Memory, control: Control) -> list[Mapping]:
    """All ranges, by guest-virtual address, up to RANGES_MAX of them; none without paging in 64-bit mode."""
    if not (control.cr0 & _PAGING and control.cr4 & _PAE and control.efer & _LONG_MODE):
        return []
    levels = 5 if control.cr4 & _LA57 else 4
    tables = [_TABLES_MAX]
    found: list[Mapping] = []
    for each in _walk(memory, control.cr3 & _ADDRESS, levels, 0, (True, True), tables):
        if found and found[-1].followed_by(each):
            last = found[-1]
            found[-1] = last._replace(size=last.size + each.size)
        elif len(found) < RANGES_MAX:
            found.append(each)
        else:
            break
    top = 1 << 12 + 9 * levels - 1  # the upper half of addresses is sign-extended
    return [
        each._replace(virtual=each.virtual + (1 << 64) - 2 * top) if each.virtual >= top else each for each in found
    ]


def _walk(
    memory: Memory, table: int, level: int, base: int, rights: tuple[bool, bool], tables: list[int]
) -> Iterator[Mapping]:
    if not tables[0]:
        return
    tables[0] -= 1
    try:
        entries = memoryview(memory.read(table, PAGE)).cast("Q")
    except GuestMemoryError:
        return
    size = PAGE << 9 * (level - 1)
    for index, entry in enumerate(entries):
        if not entry & _PRESENT:
            continue
        virtual = base + index * size
        may = rights[0] and bool(entry & _WRITABLE), rights[1] and not entry & _NO_EXECUTE
        if level == 1 or (level <= 3 and entry & _LARGE):
            yield Mapping(virtual, entry & _ADDRESS & -size, size, *may)
        else:
            yield from _walk(memory, entry & _ADDRESS, level - 1, virtual, may, tables)
