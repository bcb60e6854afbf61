"""pvpanic: a guest tells that it has crashed, before it reports that itself (QEMU's docs/specs/pvpanic.rst).

Our kernel writes CRASH_LOADED, as one that goes on for a while, with RDI pointing to a record of the
exception, or 0 (docs/boot-protocol.md).
"""

from __future__ import annotations

from struct import Struct

from pyvmm.crash.backtrace import read_virtual
from pyvmm.crash.report import Crash, of_exception
from pyvmm.layout import PANIC_PORT, PANIC_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.machine import Machine

PANICKED, CRASH_LOADED = 1, 2
_RECORD = Struct("<23Q")
_FIELDS = (
    *("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("vector", "error", "rip", "cs", "rflags", "rsp", "ss", "cr2"),
)


class Panic:
    """The device.

    Args:
        told: called with the written value.
    """

    base, ports = PANIC_PORT, PANIC_PORTS

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told

    def read(self, offset: int, size: int) -> int:
        """What the guest may write."""
        return PANICKED | CRASH_LOADED

    def write(self, offset: int, size: int, value: int) -> None:
        """The guest has crashed."""
        if value & (PANICKED | CRASH_LOADED):
            self._told(value)


def crash_of(machine: Machine, vcpu: int) -> Crash:
    """What a vCPU of a guest that is paused has told of.

    Raises:
        KvmError: KVM does not tell its registers.
    """
    native = machine.threads[vcpu].vcpu
    regs, sregs = native.regs(), native.sregs()
    if machine.is_toro and regs.rdi:
        record = read_virtual(machine.memory, sregs, regs.rdi, _RECORD.size)
        if len(record) == _RECORD.size:
            return of_exception(vcpu, dict(zip(_FIELDS, _RECORD.unpack(record), strict=True)))
    return Crash("panic", f"vCPU {vcpu} at {regs.rip:#x}: the guest's kernel has panicked", vcpu)
