"""A virtual CPU."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import KvmError
from pyvmm.kvm.ioctl import EINVAL, ioctl, stats_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyvmm._kvm import CData, KvmCpuid2, KvmFpu, KvmMsrs, KvmRegs, KvmSregs, KvmVcpuEvents
    from pyvmm._kvm import Vcpu as NativeVcpu
    from pyvmm.bus import Bus


class Vcpu:
    """One virtual CPU, made by `Vm.create_vcpu`.

    Attributes:
        index: its number and APIC ID.
        native: a `struct vcpu *` (`native/vcpu.h`), with the exit to serve.
    """

    def __init__(self, native: NativeVcpu, bus: Bus) -> None:
        self.native = native
        self.index: int = native.index
        self.fd: int = native.fd
        self._bus = bus  # the C side points into it

    def __enter__(self) -> Vcpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmaps kvm_run and closes the descriptor. A second call does nothing."""
        if self.fd >= 0:
            lib.vcpu_close(self.native)
            self.fd = -1

    def regs(self) -> KvmRegs:
        """KVM_GET_REGS: a `struct kvm_regs *`."""
        regs = ffi.new("struct kvm_regs *")
        ioctl("KVM_GET_REGS", self.fd, regs)
        return regs

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS: takes a `struct kvm_regs *`."""
        ioctl("KVM_SET_REGS", self.fd, regs)

    def sregs(self) -> KvmSregs:
        """KVM_GET_SREGS: a `struct kvm_sregs *`."""
        sregs = ffi.new("struct kvm_sregs *")
        ioctl("KVM_GET_SREGS", self.fd, sregs)
        return sregs

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS: takes a `struct kvm_sregs *`."""
        ioctl("KVM_SET_SREGS", self.fd, sregs)

    def msrs(self, indexes: Iterable[int]) -> dict[int, int]:
        """KVM_GET_MSRS: values by index, up to the first that KVM does not know."""
        wanted = list(indexes)
        msrs = _msr_list([(index, 0) for index in wanted])
        known = ioctl("KVM_GET_MSRS", self.fd, msrs)
        return {msrs.entries[i].index: msrs.entries[i].data for i in range(known)}

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """KVM_SET_MSRS: sets MSRs, given as values by index, in order.

        Raises:
            KvmError: KVM refused one; the message says which. Those before it are set.
        """
        done = ioctl("KVM_SET_MSRS", self.fd, _msr_list(list(values.items())))
        if done < len(values):
            raise KvmError(f"KVM_SET_MSRS of MSR {list(values)[done]:#x}", EINVAL)

    def set_cpuid(self, entries: KvmCpuid2) -> None:
        """KVM_SET_CPUID2: takes a `struct kvm_cpuid2 *`."""
        ioctl("KVM_SET_CPUID2", self.fd, entries)

    def lapic(self) -> bytes:
        """KVM_GET_LAPIC: the local APIC's register page, 1024 bytes."""
        state = ffi.new("struct kvm_lapic_state *")
        ioctl("KVM_GET_LAPIC", self.fd, state)
        return bytes(ffi.buffer(state.regs))

    def set_lapic(self, registers: bytes) -> None:
        """KVM_SET_LAPIC: takes registers as `lapic` returns them."""
        state = ffi.new("struct kvm_lapic_state *")
        ffi.buffer(state.regs)[:] = registers
        ioctl("KVM_SET_LAPIC", self.fd, state)

    def fpu(self) -> KvmFpu:
        """KVM_GET_FPU: a `struct kvm_fpu *`, with x87 and SSE registers."""
        fpu = ffi.new("struct kvm_fpu *")
        ioctl("KVM_GET_FPU", self.fd, fpu)
        return fpu

    def set_fpu(self, fpu: KvmFpu) -> None:
        """KVM_SET_FPU: takes a `struct kvm_fpu *`."""
        ioctl("KVM_SET_FPU", self.fd, fpu)

    def set_guest_debug(self, control: int, registers: Sequence[int] = ()) -> None:
        """KVM_SET_GUEST_DEBUG: which of the guest's debug exceptions are exits.

        Args:
            control: KVM_GUESTDBG_… bits.
            registers: DR0 to DR7, for KVM_GUESTDBG_USE_HW_BP.
        """
        debug = ffi.new("struct kvm_guest_debug *", {"control": control})
        for number, value in enumerate(registers):
            debug.arch.debugreg[number] = value
        ioctl("KVM_SET_GUEST_DEBUG", self.fd, debug)

    def xcrs(self) -> CData:
        """KVM_GET_XCRS: a `struct kvm_xcrs *`."""
        return self._get("KVM_GET_XCRS", "struct kvm_xcrs *")

    def xsave(self) -> CData:
        """KVM_GET_XSAVE: a `struct kvm_xsave *`, with x87, SSE and AVX registers."""
        return self._get("KVM_GET_XSAVE", "struct kvm_xsave *")

    def debug_registers(self) -> CData:
        """KVM_GET_DEBUGREGS: a `struct kvm_debugregs *`."""
        return self._get("KVM_GET_DEBUGREGS", "struct kvm_debugregs *")

    def cpuid(self) -> KvmCpuid2:
        """KVM_GET_CPUID2: what `set_cpuid` has set, a `struct kvm_cpuid2 *`."""
        known = ffi.new("struct kvm_cpuid2 *", {"nent": 256, "entries": 256})
        ioctl("KVM_GET_CPUID2", self.fd, known)
        table = ffi.new("struct kvm_cpuid2 *", {"nent": known.nent, "entries": known.nent})
        size = len(ffi.buffer(table))
        ffi.buffer(table)[:] = ffi.buffer(known)[:size]
        return table

    def _get(self, name: str, kind: str) -> CData:
        value: CData = ffi.new(kind)
        ioctl(name, self.fd, value)
        return value

    def events(self) -> KvmVcpuEvents:
        """KVM_GET_VCPU_EVENTS: a `struct kvm_vcpu_events *`."""
        events = ffi.new("struct kvm_vcpu_events *")
        ioctl("KVM_GET_VCPU_EVENTS", self.fd, events)
        return events

    def set_events(self, events: KvmVcpuEvents) -> None:
        """KVM_SET_VCPU_EVENTS: takes a `struct kvm_vcpu_events *`."""
        ioctl("KVM_SET_VCPU_EVENTS", self.fd, events)

    def mp_state(self) -> int:
        """KVM_GET_MP_STATE: a KVM_MP_STATE_…"""
        state = ffi.new("struct kvm_mp_state *")
        ioctl("KVM_GET_MP_STATE", self.fd, state)
        return int(state.mp_state)

    def set_mp_state(self, state: int) -> None:
        """KVM_SET_MP_STATE: KVM_MP_STATE_RUNNABLE lets an AP run without a SIPI."""
        ioctl("KVM_SET_MP_STATE", self.fd, ffi.new("struct kvm_mp_state *", {"mp_state": state}))

    def tsc_khz(self) -> int:
        """KVM_GET_TSC_KHZ: the frequency of the guest's TSC in kHz."""
        return ioctl("KVM_GET_TSC_KHZ", self.fd)

    def tsc_offset(self) -> int | None:
        """KVM_VCPU_TSC_OFFSET: guest TSC minus host TSC, modulo 2^64.

        None on kernels without it (before Linux 5.16).
        """
        value = ffi.new("uint64_t *")
        attr = ffi.new("struct kvm_device_attr *", {"group": lib.KVM_VCPU_TSC_CTRL, "attr": lib.KVM_VCPU_TSC_OFFSET})
        attr.addr = int(ffi.cast("uintptr_t", value))
        try:
            ioctl("KVM_GET_DEVICE_ATTR", self.fd, attr)
        except KvmError:
            return None
        return int(value[0])

    def stats(self) -> dict[str, int]:
        """KVM_GET_STATS_FD: the vCPU's scalar statistics by name."""
        return stats_of(self.fd)

    def run(self) -> int:
        """KVM_RUN in the calling thread, with the GIL released.

        Returns:
            The KVM_EXIT_* that C did not serve, with details in `native`, or VCPU_STOPPED.

        Raises:
            KvmError: KVM_RUN failed.
        """
        reason: int = lib.vcpu_run(self.native)
        if reason == lib.VCPU_FAILED:
            raise KvmError("KVM_RUN", self.native.error)
        return reason

    def stop(self) -> None:
        """Makes `run` return VCPU_STOPPED, now and from then on. May be called from any thread."""
        lib.vcpu_stop(self.native)


def _msr_list(values: list[tuple[int, int]]) -> KvmMsrs:
    msrs = ffi.new("struct kvm_msrs *", {"nmsrs": len(values), "entries": len(values)})
    for i, (index, data) in enumerate(values):
        msrs.entries[i].index = index
        msrs.entries[i].data = data
    return msrs
