"""INT3 instructions that are planted in a guest's memory.

Where KVM has the CPU's help, an INT3 is an exit (KVM_GUESTDBG_USE_SW_BP) in every mode. Without
it (PVM) KVM cannot execute an INT3 in ring 0, which is an exit as well, but one in ring 3 is the
guest's own exception, and so is a single step there. Then the first instructions of the guest's
handlers of #DB and #BP, in ring 0, are replaced by an INT3 too: the exit comes with the frame
that the CPU has pushed, and `undo` takes the exception back.
"""

from __future__ import annotations

import struct

from pyvmm.gdb.mmu import Walk
from pyvmm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.gdb.registers import Registers
    from pyvmm.memory import GuestMemory

INT3 = b"\xcc"
DEBUG_VECTOR, BREAKPOINT_VECTOR = 1, 3
TRAP_FLAG, RESUME_FLAG = 1 << 8, 1 << 16
_GATE = 16  # bytes, in 64-bit mode (Intel SDM volume 3, section 6.14.1)
_GATE_PRESENT = 0x80
_FRAME = struct.Struct("<5Q")  # RIP, CS, RFLAGS, RSP, SS (section 6.14.2)
_CODE, _DATA = 11, 3  # segment types (section 3.4.5.1)


class Traps:
    """The INT3s in one guest's memory, by guest-physical address."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._original: dict[int, bytes] = {}

    def __contains__(self, physical: int) -> bool:
        return physical in self._original

    def plant(self, physical: int) -> None:
        """Puts one there. (A trap that is there stays.)

        Raises:
            GuestMemoryError: that is not RAM.
        """
        if physical not in self._original:
            self._original[physical] = self._memory.read(physical, 1)
            self._memory.write(physical, INT3)

    def take(self, physical: int) -> None:
        """Removes one, if it is there."""
        original = self._original.pop(physical, b"")
        if original and self._memory.read(physical, 1) == INT3:  # or the guest has replaced it
            self._memory.write(physical, original)

    def clear(self) -> None:
        """Removes all."""
        for physical in [*self._original]:
            self.take(physical)


def handlers(memory: GuestMemory, registers: Registers) -> dict[int, int] | None:
    """Guest-physical address of the guest's handlers of #DB and #BP, by vector; None: it has none yet."""
    sregs = registers.sregs
    found = {}
    for vector in (DEBUG_VECTOR, BREAKPOINT_VECTOR):
        if sregs.idt.limit < vector * _GATE + _GATE - 1:
            return None
        try:
            gate = memory.read(_physical(memory, registers, sregs.idt.base + vector * _GATE), _GATE)
            if not gate[5] & _GATE_PRESENT:
                return None
            address = int.from_bytes(gate[:2] + gate[6:12], "little")
            found[vector] = _physical(memory, registers, address)
        except GuestMemoryError:
            return None
    return found


def _physical(memory: GuestMemory, registers: Registers, address: int) -> int:
    physical = Walk(memory, registers.sregs, address).physical
    if physical is None:
        raise GuestMemoryError(address, 1)
    return physical


def interrupted(memory: GuestMemory, registers: Registers) -> tuple[int, int, int, int, int]:
    """RIP, CS, RFLAGS, RSP and SS of the code whose exception the vCPU is about to handle.

    Raises:
        GuestMemoryError: there is no frame.
    """
    rip, cs, flags, rsp, ss = _FRAME.unpack(memory.read(_physical(memory, registers, registers.regs.rsp), _FRAME.size))
    return rip, cs, flags, rsp, ss


def undo(memory: GuestMemory, registers: Registers) -> None:
    """Takes back an exception whose handler is about to run.

    Raises:
        GuestMemoryError: there is no frame.
    """
    regs, sregs = registers.regs, registers.sregs
    regs.rip, cs, flags, regs.rsp, ss = interrupted(memory, registers)
    regs.rflags = flags & ~(TRAP_FLAG | RESUME_FLAG)
    registers.change("regs")
    if cs & 3:
        sregs.cs.selector, sregs.cs.dpl, sregs.cs.type, sregs.cs.l, sregs.cs.db = cs & 0xFFFF, 3, _CODE, 1, 0
        sregs.ss.selector, sregs.ss.dpl, sregs.ss.type, sregs.ss.unusable = ss & 0xFFFF, 3, _DATA, 0
        sregs.cs.s = sregs.cs.present = sregs.ss.s = sregs.ss.present = 1
        registers.change("sregs")
    registers.store()
