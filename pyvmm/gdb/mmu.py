"""Guest-virtual addresses: a walk through a guest's page tables (Intel SDM volume 3, chapter 4).

The guest made the tables; nothing in them is trusted: an entry outside of its RAM maps nothing.
"""

from __future__ import annotations

from pyvmm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Memory(Protocol):
        """Guest memory (see `pyvmm.memory`)."""

        def read(self, address: int, length: int) -> bytes: ...

    class Control(Protocol):
        """The registers that say how to translate (`struct kvm_sregs`)."""

        cr0: int
        cr3: int
        cr4: int
        efer: int


PAGE = 4096
_PG, _PSE, _PAE, _LA57, _LMA = 1 << 31, 1 << 4, 1 << 5, 1 << 12, 1 << 10
_PRESENT, _LARGE = 1, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000


class Step:
    """One entry of a walk.

    Attributes:
        level: 1 for an entry that maps 4 KiB, up to 5.
        at: the entry's guest-physical address.
        entry: its value.
    """

    def __init__(self, level: int, at: int, entry: int) -> None:
        self.level, self.at, self.entry = level, at, entry


class Walk:
    """The translation of one address.

    Args:
        memory: the guest's.
        control: the vCPU's.
        address: guest-virtual.

    Attributes:
        steps: the entries that were read, from the root on.
        physical: the guest-physical address; None: it is not mapped.
        size: of the page, in bytes.
    """

    def __init__(self, memory: Memory, control: Control, address: int) -> None:
        self.steps: list[Step] = []
        self.physical: int | None = None
        self.size = PAGE
        if not control.cr0 & _PG:
            self.physical = address & 0xFFFF_FFFF
        elif control.cr4 & _PAE:
            self._walk(memory, control, address)
        else:
            self._walk_32_bits(memory, control, address)

    def _read(self, memory: Memory, level: int, at: int, size: int) -> int:
        """An entry, or 0 if it is not present."""
        try:
            entry = int.from_bytes(memory.read(at, size), "little")
        except GuestMemoryError:
            entry = 0
        self.steps.append(Step(level, at, entry))
        return entry if entry & _PRESENT else 0

    def _walk(self, memory: Memory, control: Control, address: int) -> None:
        if control.efer & _LMA:
            levels = 5 if control.cr4 & _LA57 else 4
            if address >> 12 + 9 * levels - 1 not in (0, (1 << 65 - 12 - 9 * levels) - 1):
                return  # not canonical
            table = control.cr3 & _ADDRESS
        else:
            levels, table = 3, control.cr3 & 0xFFFF_FFE0
        for level in range(levels, 0, -1):
            shift = 12 + 9 * (level - 1)
            entry = self._read(memory, level, table + (address >> shift & 0x1FF) * 8, 8)
            if not entry:
                return
            if level == 1 or (level <= 3 and entry & _LARGE and (level == 2 or levels > 3)):
                self._map(entry & _ADDRESS, address, 1 << shift)
                return
            table = entry & _ADDRESS

    def _walk_32_bits(self, memory: Memory, control: Control, address: int) -> None:
        entry = self._read(memory, 2, (control.cr3 & ~0xFFF) + (address >> 22 & 0x3FF) * 4, 4)
        if entry & _LARGE and control.cr4 & _PSE:
            high = (entry >> 13 & 0xFF) << 32  # PSE-36
            self._map(high | entry & 0xFFC0_0000, address, 4 << 20)
        elif entry:
            entry = self._read(memory, 1, (entry & ~0xFFF) + (address >> 12 & 0x3FF) * 4, 4)
            if entry:
                self._map(entry & 0xFFFF_F000, address, PAGE)

    def _map(self, frame: int, address: int, size: int) -> None:
        self.size = size
        self.physical = (frame & ~(size - 1)) | address & size - 1
