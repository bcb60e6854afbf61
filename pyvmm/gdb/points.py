"""Breakpoints and watchpoints: what a guest stops at."""

from __future__ import annotations

from enum import Enum

from pyvmm.gdb.traps import Traps
from pyvmm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.memory import GuestMemory

#: DR7 (Intel SDM volume 3, section 17.2).
_DR7_GLOBAL_EXACT = 0x200
_LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}


class Kind(Enum):
    """What a point stops at; the values are those of GDB's Z packets."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


_RW = {Kind.HARDWARE: 0, Kind.WRITE: 1, Kind.READ: 3, Kind.ACCESS: 3}  # DR7 has no reads alone


class RefusedError(Exception):
    """What GDB asked for cannot be; the text is for its user."""


class Points:
    """All of one guest.

    Args:
        memory: its RAM.
        has_hardware: KVM has debug registers.

    Attributes:
        breakpoints: the kinds of those that are instructions, by guest-physical address.
        watches: those that debug registers serve, or steps: kind, guest-virtual address, length.
    """

    def __init__(self, memory: GuestMemory, has_hardware: bool) -> None:
        self._traps = Traps(memory)
        self._has_hardware = has_hardware
        self.breakpoints: dict[int, set[Kind]] = {}
        self.watches: list[tuple[Kind, int, int]] = []

    def clear(self) -> None:
        """Removes all."""
        self._traps.clear()
        self.breakpoints.clear()
        self.watches.clear()

    def insert(self, kind: Kind, address: int, length: int, physical: int | None) -> None:
        """Sets a point.

        Args:
            kind: what it stops at.
            address, length: guest-virtual.
            physical: what that is for the vCPU; None: nothing.

        Raises:
            RefusedError: it cannot be.
        """
        if kind is Kind.SOFTWARE or (kind is Kind.HARDWARE and not self._has_hardware):
            try:
                if physical is None:
                    raise GuestMemoryError(address, 1)
                self._traps.plant(physical)
            except GuestMemoryError:
                raise RefusedError(f"no memory at {address:#x}") from None
            self.breakpoints.setdefault(physical, set()).add(kind)
            return
        if kind is not Kind.HARDWARE and (length not in _LENGTHS or address % length):
            raise RefusedError(f"{length} bytes at {address:#x} cannot be watched: 1, 2, 4 or 8, aligned, can")
        if kind in (Kind.READ, Kind.ACCESS) and not self._has_hardware:
            raise RefusedError("this host's KVM has no debug registers: reads cannot be watched, writes can")
        if len(self.watches) == 4:
            raise RefusedError("there are four debug registers")
        self.watches.append((kind, address, length))

    def remove(self, kind: Kind, address: int, length: int, physical: int | None) -> None:
        """Removes a point, if it is there."""
        if (kind, address, length) in self.watches:
            self.watches.remove((kind, address, length))
            return
        kinds = self.breakpoints.get(physical or 0, set())
        kinds.discard(kind)
        if not kinds and physical is not None and self.breakpoints.pop(physical, None) is not None:
            self._traps.take(physical)

    def debug_registers(self) -> list[int]:
        """DR0 to DR7 of the points that they serve (Intel SDM volume 3, section 17.2)."""
        values, control = [0] * 8, _DR7_GLOBAL_EXACT
        for n, (kind, address, length) in enumerate(self.watches):
            values[n] = address
            bits = _RW[kind] | (0 if kind is Kind.HARDWARE else _LENGTHS[length]) << 2
            control |= 2 << 2 * n | bits << 16 + 4 * n
        values[7] = control
        return values
