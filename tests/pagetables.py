"""Walks 4-level page tables as a CPU does (Intel SDM volume 3, section 4.5.4)."""

from __future__ import annotations

from typing import NamedTuple

from pyvmm.memory import GuestMemory

PRESENT, WRITE, USER, PWT, PCD, LARGE, NX = 1, 2, 4, 8, 16, 128, 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_RIGHTS = PRESENT | WRITE | USER | PWT | PCD | NX


class Mapping(NamedTuple):
    """Where an address leads, and the rights that all levels leave it."""

    physical: int
    flags: int


def walk(memory: GuestMemory, root: int, address: int) -> Mapping | None:
    """What `address` is mapped to; None if nothing."""
    table, allowed, forbidden = root, WRITE | USER, 0
    for shift in (39, 30, 21, 12):
        at = table + 8 * (address >> shift & 511)
        entry = int.from_bytes(memory.read(at, 8), "little")
        if not entry & PRESENT:
            return None
        allowed &= entry
        forbidden |= entry & NX
        if shift == 12 or entry & LARGE:
            assert shift != 39, "the page-size bit is reserved in a PML4 entry"
            inside = (1 << shift) - 1
            assert shift == 12 or not entry & _ADDRESS & inside, "reserved bits in a large page"
            flags = entry & (PRESENT | PWT | PCD) | allowed | forbidden
            return Mapping((entry & _ADDRESS) + (address & inside), flags & _RIGHTS)
        table = entry & _ADDRESS
    raise AssertionError("unreachable")


def all_tables(memory: GuestMemory, root: int) -> set[int]:
    """The addresses of all tables under `root`, and of itself."""
    level = {root}
    found = {root}
    for _ in range(3):
        words = [word for table in level for word in memory.view(table, 4096).cast("Q")]
        level = {word & _ADDRESS for word in words if word & PRESENT and not word & LARGE}
        found |= level
    return found
