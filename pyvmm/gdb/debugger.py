"""Stops, steps and resumes the vCPUs of one guest.

All calls come from the control thread. A vCPU is stopped either in `vcpu_pause` or behind an exit
that has not been answered (*held*); in both states nothing but this thread uses its registers.
"""

from __future__ import annotations

from enum import Enum, auto

from pyvmm._kvm import ffi, lib
from pyvmm.errors import KvmError
from pyvmm.gdb.mmu import PAGE, Walk
from pyvmm.gdb.points import Kind, Points
from pyvmm.gdb.registers import Registers
from pyvmm.gdb.traps import (
    BREAKPOINT_VECTOR,
    DEBUG_VECTOR,
    TRAP_FLAG,
    Traps,
    handlers,
    interrupted,
    undo,
)
from pyvmm.kvm.hardware import has_hardware
from pyvmm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pyvmm.kvm.thread import VcpuThread
    from pyvmm.memory import GuestMemory

#: Signals by GDB's numbers (include/gdb/signals.def).
SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11

#: DR6 (Intel SDM volume 3, section 17.2).
_DR6_HITS, _DR6_STEP = 0xF, 1 << 14
#: Instructions that a vCPU without handlers is stepped through, before it runs on without.
_EARLY = 20_000


class _Going(Enum):
    RUN = auto()
    STEP = auto()  # one instruction, and stop
    WALK = auto()  # instruction by instruction, until something is found


class Stop:
    """Why the guest has stopped.

    Attributes:
        vcpu: index of the vCPU that did it.
        signal: by GDB's number.
        reason: a reason of GDB's, with its value (`watch:1000;`); may be empty.
    """

    def __init__(self, vcpu: int, signal: int, reason: str = "") -> None:
        self.vcpu, self.signal, self.reason = vcpu, signal, reason


class Debugger:
    """The debugger's hold on one guest.

    Args:
        threads: of its vCPUs.
        memory: its RAM.
        stopped: called when all vCPUs have stopped.
    """

    def __init__(self, threads: Sequence[VcpuThread], memory: GuestMemory, stopped: Callable[[Stop], None]) -> None:
        self._threads, self._memory, self._stopped = threads, memory, stopped
        self.has_hardware = has_hardware()
        self._points = Points(memory, self.has_hardware)
        self._values: dict[tuple[int, int], bytes] = {}  # what is watched, where that is done step by step
        self._handlers = Traps(memory)  # in the guest's handlers, while it runs
        self._vectors: dict[int, int] = {}  # by guest-physical address of the handler
        self._held: set[int] = set()
        self._going: dict[int, _Going] = {}
        self._early: dict[int, int] = {}  # instructions left, of those that have no handlers yet
        #: Without hardware, once it has stepped: an interrupt may have saved the trap flag that was set for that,
        #: and the exception comes when its handler returns, which may be much later.
        self.has_strays = False
        self._known: dict[int, Registers] = {}
        self._stop: Stop | None = None
        self.is_stopped = False

    def open(self) -> None:
        """A debugger is there."""
        for thread in self._threads:
            thread.vcpu.native.debugged = True

    def close(self) -> None:
        """Takes all points out of a guest that is stopped; `go` then lets it go on by itself."""
        self._points.clear()

    def leave(self) -> None:
        """Is not needed any more."""
        self._handlers.clear()
        self._vectors.clear()
        for thread in self._threads:
            thread.vcpu.native.debugged = False

    @property
    def count(self) -> int:
        """The number of vCPUs."""
        return len(self._threads)

    def registers(self, index: int) -> Registers:
        """A vCPU's registers, while the guest is stopped."""
        if index not in self._known:
            self._known[index] = Registers(self._threads[index].vcpu)
        return self._known[index]

    def state(self, index: int) -> str:
        """What a vCPU does, in a word."""
        states = {lib.KVM_MP_STATE_RUNNABLE: "running", lib.KVM_MP_STATE_HALTED: "halted"}
        return states.get(self._threads[index].vcpu.mp_state(), "not started")

    # ---- memory

    def translate(self, index: int, address: int) -> Walk:
        """How a vCPU translates an address."""
        return Walk(self._memory, self.registers(index).sregs, address)

    def read(self, index: int, address: int, length: int) -> bytes:
        """Guest-virtual memory as a vCPU sees it; shorter than asked for where it ends."""
        data = b""
        while len(data) < length:
            at = address + len(data)
            part = min(length - len(data), PAGE - at % PAGE)
            physical = self.translate(index, at).physical
            try:
                if physical is None:
                    break
                data += self._memory.read(physical, part)
            except GuestMemoryError:
                break
        return data

    def write(self, index: int, address: int, data: bytes) -> bool:
        """Changes it, or nothing: False."""
        parts = []
        at = 0
        while at < len(data):
            part = data[at : at + PAGE - (address + at) % PAGE]
            physical = self.translate(index, address + at).physical
            try:
                if physical is None:
                    return False
                self._memory.offset(physical, len(part))
            except GuestMemoryError:
                return False
            parts.append((physical, part))
            at += len(part)
        for physical, part in parts:
            self._memory.write(physical, part)
        return True

    # ---- points

    def insert(self, index: int, kind: Kind, address: int, length: int) -> None:
        """Sets a point, as a vCPU sees the address.

        Raises:
            RefusedError: it cannot be.
        """
        self._points.insert(kind, address, length, self.translate(index, address).physical)

    def remove(self, index: int, kind: Kind, address: int, length: int) -> None:
        """Removes a point, if it is there."""
        self._points.remove(kind, address, length, self.translate(index, address).physical)

    # ---- stop and go

    def stop(self, stop: Stop) -> None:
        """Stops all vCPUs, if they run; `stopped` is called when they have. A reason that is there stays."""
        if self.is_stopped:
            return
        self._stop = self._stop or stop
        for thread in self._threads:
            lib.vcpu_pause(thread.vcpu.native)
        self.check()

    def check(self) -> None:
        """To be called when a vCPU may have stopped."""
        if self._stop and not self.is_stopped and all(map(self._has_stopped, range(self.count))):
            self.is_stopped = True
            for index in set(range(self.count)) - self._held:
                self._take_back(index)
            self._handlers.clear()
            self._vectors.clear()
            stop, self._stop = self._stop, None
            self._stopped(stop)

    def _take_back(self, index: int) -> None:
        """Takes back an exception of ours to whose handler a vCPU has come just before it paused."""
        if not self._vectors:
            return
        registers = self.registers(index)
        self._take_back_pending(index, registers)
        vector = self._vectors.get(self._physical(registers, registers.regs.rip) or 0)
        try:
            if vector == DEBUG_VECTOR:
                undo(self._memory, registers)
            elif vector == BREAKPOINT_VECTOR:
                rip = interrupted(self._memory, registers)[0] - 1
                if self._is_breakpoint(registers, rip):
                    self._rewind(registers, rip)
        except GuestMemoryError:  # there is no frame: it was a jump
            pass

    def _take_back_pending(self, index: int, registers: Registers) -> None:
        """The same for one that KVM has not delivered yet (`struct kvm_vcpu_events`)."""
        vcpu = self._threads[index].vcpu
        events = vcpu.events()
        data = ffi.buffer(events)
        injected, vector, _, pending = bytes(data)[:4]
        if not (injected or pending):
            return
        if vector == BREAKPOINT_VECTOR and self._is_breakpoint(registers, registers.regs.rip - 1):
            registers.regs.rip -= 1
            registers.change("regs")
            registers.store()
        elif vector != DEBUG_VECTOR:
            return
        data[0] = data[3] = bytes(1)
        vcpu.set_events(events)

    def _rewind(self, registers: Registers, rip: int) -> None:
        """Takes back the exception of a breakpoint at `rip`."""
        undo(self._memory, registers)
        registers.regs.rip = rip
        registers.change("regs")
        registers.store()

    def _has_stopped(self, index: int) -> bool:
        return index in self._held or lib.vcpu_is_paused(self._threads[index].vcpu.native)

    def go(self, running: Collection[int], stepping: Collection[int] = ()) -> None:
        """Lets vCPUs go on; the others stay where they are.

        Args:
            running: those that run until something stops all.
            stepping: those that execute one instruction; the first that has stops all.
        """
        by_steps = bool(self._points.watches) and not self.has_hardware
        places = [(address, length) for _, address, length in self._points.watches] if by_steps else []
        self._values = {place: self.read(0, *place) for place in places}
        for index in running:
            self._prepare(index, _Going.WALK if by_steps else _Going.RUN)
        for index in stepping:
            self._prepare(index, _Going.STEP)
        self.is_stopped = False
        for index in (*running, *stepping):
            self._release(index)

    def _prepare(self, index: int, how: _Going, inject: int = 0) -> None:
        """Sets a vCPU up to go on so, beginning with an exception (KVM_GUESTDBG_INJECT_…) if there is one."""
        vcpu, registers = self._threads[index].vcpu, self.registers(index)
        control = inject
        if self.has_hardware:
            if self._points.breakpoints:
                control |= lib.KVM_GUESTDBG_USE_SW_BP
            if self._points.watches:
                control |= lib.KVM_GUESTDBG_USE_HW_BP
            if how is _Going.STEP:
                control |= lib.KVM_GUESTDBG_SINGLESTEP
            control |= lib.KVM_GUESTDBG_ENABLE if control else 0
            vcpu.set_guest_debug(control, self._points.debug_registers() if self._points.watches else ())
        else:
            how = self._prepare_without_hardware(index, how)
        self._going[index] = how
        registers.store()

    def _prepare_without_hardware(self, index: int, how: _Going) -> _Going:
        vcpu, registers = self._threads[index].vcpu, self.registers(index)
        in_ring_3 = bool(registers.sregs.cs.selector & 3) and bool(registers.sregs.cr0 & 1)
        self.has_strays |= how is not _Going.RUN
        if self._points.breakpoints or self.has_strays or how is not _Going.RUN:
            found = handlers(self._memory, registers)
            left = self._early.setdefault(index, _EARLY)
            if found is None and how is _Going.RUN and left:
                self._early[index] = left - 1
                how = _Going.WALK
            for vector, physical in (found or {}).items():
                if self._physical(registers, registers.regs.rip) == physical:
                    how = _Going.WALK if how is _Going.RUN else how  # beyond it first
                else:
                    self._handlers.plant(physical)
                    self._vectors[physical] = vector
        steps = how is not _Going.RUN
        vcpu.set_guest_debug(lib.KVM_GUESTDBG_ENABLE | lib.KVM_GUESTDBG_SINGLESTEP if steps and not in_ring_3 else 0)
        flags = registers.regs.rflags & ~TRAP_FLAG | (TRAP_FLAG if steps and in_ring_3 else 0)
        if in_ring_3 and flags != registers.regs.rflags:
            registers.regs.rflags = flags
            registers.change("regs")
        return how

    def _physical(self, registers: Registers, address: int) -> int | None:
        return Walk(self._memory, registers.sregs, address).physical

    def _is_breakpoint(self, registers: Registers, address: int) -> bool:
        return self._physical(registers, address) in self._points.breakpoints

    def _release(self, index: int) -> None:
        native = self._threads[index].vcpu.native
        self._known.pop(index, None)
        lib.vcpu_unpause(native)
        if index in self._held:
            self._held.discard(index)
            self._threads[index].resume()

    # ---- exits

    def serves(self, thread: VcpuThread, reason: int) -> bool:
        """Serves an exit, if it is the debugger's."""
        index = thread.vcpu.index
        if index in self._held:
            return True
        self._known.pop(index, None)
        try:
            if reason == lib.KVM_EXIT_DEBUG:
                self._held.add(index)
                self._debug_exit(index)
                return True
            if reason == lib.KVM_EXIT_INTERNAL_ERROR and _is_int3(thread):
                self._held.add(index)
                self._int3(index)
                return True
        except (GuestMemoryError, KvmError):
            self._held.discard(index)
        return False

    def crashed(self, thread: VcpuThread) -> None:
        """Stops the guest, one of whose vCPUs cannot go on."""
        self._held.add(thread.vcpu.index)
        self.stop(Stop(thread.vcpu.index, SIGSEGV))

    def _debug_exit(self, index: int) -> None:
        """KVM_EXIT_DEBUG, with the exception's vector and DR6."""
        native = self._threads[index].vcpu.native
        vector, dr6 = int(native.detail[0]), int(native.detail[1])
        going = self._going.get(index, _Going.RUN)
        if vector == BREAKPOINT_VECTOR:
            registers = self.registers(index)
            if self._is_breakpoint(registers, registers.regs.rip):
                self.stop(Stop(index, SIGTRAP, "swbreak:;"))
            else:
                self._inject(index, lib.KVM_GUESTDBG_INJECT_BP)
        elif dr6 & _DR6_HITS and self._points.watches:
            hit = min((dr6 & _DR6_HITS & -dr6).bit_length() - 1, len(self._points.watches) - 1)
            self._hit(index, self._points.watches[hit])
        elif dr6 & _DR6_STEP and going is not _Going.RUN:
            self._has_stepped(index)
        else:
            self._inject(index, lib.KVM_GUESTDBG_INJECT_DB)

    def _inject(self, index: int, how: int) -> None:
        """Lets the guest have an exception that is its own."""
        self._prepare(index, self._going.get(index, _Going.RUN), how)
        self._release(index)

    def _hit(self, index: int, watch: tuple[Kind, int, int]) -> None:
        kind, address, _ = watch
        names = {Kind.WRITE: "watch", Kind.READ: "rwatch", Kind.ACCESS: "awatch"}
        reason = f"{names[kind]}:{address:x};" if kind in names else "hwbreak:;"
        self.stop(Stop(index, SIGTRAP, reason))

    def _int3(self, index: int) -> None:
        """An INT3 that KVM could not execute: a breakpoint's, in a handler, or the guest's own."""
        registers = self.registers(index)
        physical = self._physical(registers, registers.regs.rip)
        vector = self._vectors.get(physical or 0)
        if physical in self._points.breakpoints:
            self.stop(Stop(index, SIGTRAP, "swbreak:;"))
        elif vector == DEBUG_VECTOR:
            undo(self._memory, registers)
            self._has_stepped(index)
        elif vector == BREAKPOINT_VECTOR:
            self._int3_in_ring_3(index, registers, physical or 0)
        else:
            if not lib.vcpu_emulate(self._threads[index].vcpu.native):
                raise GuestMemoryError(registers.regs.rip, 1)
            self._known.pop(index, None)
            self._go_on(index, self._going.get(index, _Going.RUN))

    def _int3_in_ring_3(self, index: int, registers: Registers, handler: int) -> None:
        rip = interrupted(self._memory, registers)[0] - 1
        if self._is_breakpoint(registers, rip):
            self._rewind(registers, rip)
            self.stop(Stop(index, SIGTRAP, "swbreak:;"))
        else:  # the guest's own: its handler goes on
            self._handlers.take(handler)
            self._go_on(index, self._going.get(index, _Going.RUN))

    def _has_stepped(self, index: int) -> None:
        """A vCPU has executed one instruction."""
        if self._going.get(index) is _Going.STEP:
            self.stop(Stop(index, SIGTRAP))
            return
        for place, value in self._values.items():
            now = self.read(index, *place)
            if now != value:
                self._values[place] = now
                self._hit(index, (Kind.WRITE, *place))
                return
        self._go_on(index, _Going.WALK if self._values else _Going.RUN)

    def _go_on(self, index: int, how: _Going) -> None:
        """Lets a vCPU go on behind an exit, unless the guest is to stop."""
        if self._stop:
            self.check()
        else:
            self._prepare(index, how)
            self._release(index)


def _is_int3(thread: VcpuThread) -> bool:
    """Whether KVM could not execute an INT3 (`kvm_run.internal`: flags, then a length and the bytes)."""
    native = thread.vcpu.native
    if native.suberror != lib.KVM_INTERNAL_ERROR_EMULATION or native.details < 2:
        return False
    code = bytes(ffi.buffer(native.detail))[8:]
    return code[0] > 0 and code[1:2] == b"\xcc"
