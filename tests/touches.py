"""Addresses that a guest can touch to get as many memory slots as possible."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.layout import Ram

_STEP = 128 << 20  # ends of slots are multiples of this


class Slots:
    """Memory slots of so many bytes of RAM, without a VM."""

    def __init__(self, size: int) -> None:
        self._ram = ffi.new("struct ram *")
        self._regions = Ram(size).regions
        lib.ram_lay_out(self._ram, size, ffi.NULL)
        self._native = ffi.new("struct slots *")
        lib.slots_init(self._native, -1, self._ram)
        lib.slots_add(self._native, 0, _STEP)
        self._made = [(0, _STEP)]

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._native.count)

    def choose(self, address: int) -> tuple[int, int] | None:
        """The slot that a touch of this address would make."""
        ends = ffi.new("uint64_t[2]")
        if not lib.slots_choose(self._native, address, ends, ends + 1):
            return None
        return ends[0], ends[1]

    def touch(self, address: int) -> None:
        """Makes it."""
        slot = self.choose(address)
        if slot:
            assert slot[0] <= address < slot[1]
            lib.slots_add(self._native, *slot)
            self._made.append(slot)

    def gaps(self) -> list[tuple[int, int]]:
        """The RAM that no slot covers."""
        found = []
        for start, length in self._regions:
            at = start
            for slot_start, slot_end in sorted(self._made):
                if start <= slot_start < start + length:
                    if at < slot_start:
                        found.append((at, slot_start))
                    at = slot_end
            if at < start + length:
                found.append((at, start + length))
        return found


def many_touches(size: int) -> list[int]:
    """Addresses that make as many slots as one knows how to: each splits a gap while that is possible."""
    slots, touches = Slots(size), []
    while gaps := slots.gaps():
        gap = max(gaps, key=lambda gap: gap[1] - gap[0])
        best = gap[0]
        for address in range(gap[0], gap[1], _STEP):
            slot = slots.choose(address)
            assert slot
            if gap[0] < slot[0] and slot[1] < gap[1]:
                best = address
                break
        touches.append(best)
        slots.touch(best)
    return touches
