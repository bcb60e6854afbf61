"""Freezing: takes the State of a guest that runs.

All vCPUs are paused, wherever they are, and the devices stop using their queues; then nothing
of the guest is anywhere but in its memory, its registers and what devices remember. What is
outside (sockets, the backend of a share) is not part of a State: the guest is told that it is
new when it is thawed.
"""

from __future__ import annotations

from time import monotonic

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError, KvmError
from pyvmm.state.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from pyvmm._kvm import CData
    from pyvmm._kvm import Machine as NativeMachine
    from pyvmm.kvm.vcpu import Vcpu
    from pyvmm.kvm.vm import Vm
    from pyvmm.memory import GuestMemory

    class Device(Protocol):
        """Its device."""

        device_id: int

    class Transport(Protocol):
        """What a device of the machine does for it (see `virtio.mmio`)."""

        @property
        def device(self) -> Device: ...
        def state(self) -> bytes: ...
        def pause(self) -> None: ...
        def resume(self) -> None: ...
        def is_drained(self) -> bool: ...


_EBUSY = 16
PATIENCE = 5.0
_POLL_MS = 10
#: What is saved by KVM_GET_MSRS, as far as the host knows it (Intel SDM volume 4): TSC_ADJUST,
#: SPEC_CTRL, SYSENTER, MISC_ENABLE, MTRRs, PAT, XSS, the SYSCALL registers, FS, GS and TSC_AUX, kvmclock,
#: and in the end the timer's deadline.
_TSC_DEADLINE = 0x6E0
_MSRS = (
    0x3B, 0x48, 0x174, 0x175, 0x176, 0x1A0, *range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x277,
    0x2FF, 0xDA0, *range(0xC000_0080, 0xC000_0085), *range(0xC000_0100, 0xC000_0104), 0x11, 0x12,
    *range(0x4B56_4D00, 0x4B56_4D05), _TSC_DEADLINE,
)  # fmt: skip
#: A local APIC's registers, and its states (Intel SDM volume 3, chapter 11).
_IRR, _LVT_TIMER, _TMCCT, _TDCR = 0x200, 0x320, 0x390, 0x3E0
_MASKED, _DEADLINE_MODE = 1 << 16, 1 << 18
#: A timer that is due so soon keeps a guest from being idle.
_SOON_NS = 100_000_000


class Freezer:
    """Pauses one machine and takes its State. All calls come from the control thread.

    Args:
        machine: the C side.
        vm, vcpus, memory, transports: its parts.
        serve: serves exits that wait for it.
        stays_paused: whether the guest is paused afterwards as well.
        patience: seconds for vCPUs to pause, and for queues to be drained.
    """

    def __init__(
        self, machine: NativeMachine, vm: Vm, vcpus: Sequence[Vcpu], memory: GuestMemory,
        transports: Sequence[Transport], serve: Callable[[], None], stays_paused: Callable[[], bool] = lambda: False,
        patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._stays_paused, self._patience = stays_paused, patience
        self._machine, self._vm, self._vcpus, self._memory = machine, vm, vcpus, memory
        self._transports, self._serve = transports, serve
        self._paused: list[Transport] = []
        self._is_kept = False

    def __enter__(self) -> Freezer:
        """Pauses the guest.

        Raises:
            HostError: a vCPU cannot be paused now, as it writes to a console that nobody reads.
        """
        for vcpu in self._vcpus:
            lib.vcpu_pause(vcpu.native)
        try:
            self._wait(
                lambda: all(lib.vcpu_is_paused(vcpu.native) for vcpu in self._vcpus),
                "freezing", "nobody reads the guest's console",
            )  # fmt: skip
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Lets it go on."""
        if self._is_kept:
            return
        while self._paused:
            self._paused.pop().resume()
        if not self._stays_paused():
            for vcpu in self._vcpus:
                lib.vcpu_unpause(vcpu.native)

    def keep_paused(self) -> None:
        """The guest is not to go on: it ends."""
        self._is_kept = True

    def _wait(self, done: Callable[[], bool], what: str, hint: str) -> None:
        end = monotonic() + self._patience
        self._serve()
        while not done():
            if monotonic() > end:
                raise HostError(what, _EBUSY, hint)
            lib.wait_readable(self._machine.event_fd, _POLL_MS)
            self._serve()

    def is_idle(self) -> bool:
        """Whether a guest that is paused has nothing to do: vCPUs are halted, and no timer is due soon."""
        halted = (lib.KVM_MP_STATE_HALTED, lib.KVM_MP_STATE_UNINITIALIZED)
        states = [vcpu.mp_state() for vcpu in self._vcpus]
        return (
            all(state in halted for state in states)
            and lib.KVM_MP_STATE_HALTED in states
            and all(transport.is_drained() for transport in self._transports)
            and all(self._has_time(vcpu) for vcpu in self._vcpus)
        )

    def _has_time(self, vcpu: Vcpu) -> bool:
        registers = vcpu.lapic()

        def register(at: int) -> int:
            return int.from_bytes(registers[at : at + 4], "little")

        if any(register(_IRR + 0x10 * word) for word in range(8)):
            return False
        timer = register(_LVT_TIMER)
        if timer & _MASKED:
            return True
        if timer & _DEADLINE_MODE:
            deadline = vcpu.msrs([_TSC_DEADLINE]).get(_TSC_DEADLINE, 0)
            left = (deadline - self._tsc(vcpu)) * 1_000_000 // vcpu.tsc_khz()
            return not deadline or left > _SOON_NS
        shift = register(_TDCR) & 3 | register(_TDCR) >> 1 & 4
        count = register(_TMCCT) << (shift + 1 & 7)  # of KVM's bus clock of 1 GHz
        return not count or count > _SOON_NS

    def _tsc(self, vcpu: Vcpu, host: int | None = None) -> int:
        """The vCPU's TSC when the host's is `host`, by default now."""
        offset = vcpu.tsc_offset()
        if offset is None:  # before Linux 5.16
            return vcpu.msrs([0x10])[0x10]
        return ((lib.rdtsc() if host is None else host) + offset) % (1 << 64)

    def drain(self) -> None:
        """Waits until devices have served what the guest has asked them for, and pauses them.

        Raises:
            HostError: they do not.
        """
        self._wait(
            lambda: all(transport.is_drained() for transport in self._transports),
            "freezing", "a request to a share is not answered",
        )  # fmt: skip
        for transport in self._transports:
            transport.pause()
            self._paused.append(transport)

    def state(self) -> State:
        """The State of a guest that is paused and drained.

        Raises:
            KvmError: KVM does not tell.
        """
        machine = self._machine
        state = State(
            self._memory, len(self._vcpus), [transport.device.device_id for transport in self._transports],
            flags=machine.flags | lib.STATE_HAS_RUN, boot_info=machine.boot_info, end=machine.end,
            shutdown_message=machine.shutdown_message, reset_limits=machine.reset_limits,
        )  # fmt: skip
        serial = ffi.new("struct serial_state *")
        lib.serial_save(ffi.addressof(machine, "serial"), serial)
        state.add(lib.STATE_SERIAL, 0, serial)
        for slot, transport in enumerate(self._transports):
            state.add(lib.STATE_DEVICE, slot, transport.state())
        if machine.flags & lib.STATE_PC:
            for number in range(3):
                kind, index = (lib.STATE_PIC, number) if number < 2 else (lib.STATE_IOAPIC, 0)
                state.add(kind, index, self._vm.irqchip(number))
            state.add(lib.STATE_PIT, 0, self._pit())
            state.add(lib.STATE_CLOCK, 0, self._vm.clock())
        now = lib.rdtsc()
        for index, vcpu in enumerate(self._vcpus):
            self._add_registers(state, index, vcpu, now)
        return state

    def _pit(self) -> CData:
        if not self._machine.flags & lib.STATE_OWN_PIT:
            return self._vm.pit()
        pit = ffi.new("struct kvm_pit_state2 *")
        lib.pit_save(ffi.addressof(self._machine, "pit"), pit)
        return pit

    def _add_registers(self, state: State, index: int, vcpu: Vcpu, now: int) -> None:
        state.add(lib.STATE_CPUID, index, vcpu.cpuid())
        state.add(lib.STATE_REGS, index, vcpu.regs())
        state.add(lib.STATE_SREGS, index, vcpu.sregs())
        state.add(lib.STATE_XSAVE, index, vcpu.xsave())
        state.add(lib.STATE_LAPIC, index, vcpu.lapic())
        state.add(lib.STATE_DEBUG, index, vcpu.debug_registers())
        state.add(lib.STATE_EVENTS, index, vcpu.events())
        state.add(lib.STATE_MP, index, vcpu.mp_state().to_bytes(4, "little"))
        state.add(lib.STATE_TSC, index, self._tsc(vcpu, now).to_bytes(8, "little"))
        try:
            state.add(lib.STATE_XCRS, index, vcpu.xcrs())
        except KvmError:  # a CPU without XSAVE
            pass
        state.add(lib.STATE_MSR, index, b"".join(_msr_entries(vcpu)))


def _msr_entries(vcpu: Vcpu) -> Iterator[bytes]:
    """A `struct kvm_msr_entry` of each MSR that this CPU has."""
    for index in _MSRS:
        values = vcpu.msrs([index])
        try:
            vcpu.set_msrs(values)
        except KvmError:  # KVM shows some as 0 that the guest does not have
            continue
        for value in values.values():
            yield index.to_bytes(4, "little") + bytes(4) + value.to_bytes(8, "little")
