"""/dev/kvm: `Kvm`, `Vm` and `Vcpu`, one method an ioctl.

The three classes mirror the three kinds of file descriptor of the KVM API
(Documentation/virt/kvm/api.rst in the Linux sources, whose section names are
the ioctls' names). Every failure is a `KvmError` that names the ioctl and, where
the user can do something about it, says what. The creator of an object closes it.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import KvmError
from pyvmm.layout import LAPIC_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from pyvmm._kvm import CData, Early, KvmCpuid2, KvmMsrs, KvmRegs, KvmSregs, KvmVcpuEvents, Slots
    from pyvmm._kvm import Ram as NativeRam
    from pyvmm._kvm import Vcpu as NativeVcpu
    from pyvmm.bus import Bus

API_VERSION = 12
_ENXIO, _EINVAL, _EMFILE = 6, 22, 24  # without the module `errno`, which makes 130 names


def _ioctl(name: str, fd: int, argument: CData | int = 0) -> int:
    request = getattr(lib, name)
    result = lib.ioctl_int(fd, request, argument) if isinstance(argument, int) else lib.ioctl_ptr(fd, request, argument)
    if result < 0:
        raise _failure(name, ffi.errno)
    return result


def _failure(name: str, errno: int, opening: bool = False) -> KvmError:
    """A `KvmError` with a hint. After EMFILE there is none, as the module with the hints could not be loaded."""
    if errno == _EMFILE:
        return KvmError(name, errno)
    from pyvmm.kvm.hints import of_ioctl, of_open

    return KvmError(name, errno, (of_open if opening else of_ioctl)(name, errno))


#: A `struct early *` for the next `take_early`, if one was made in advance (`ready.prepare_any`).
prepared: Early | None = None


def take_early(wanted: bool) -> Early | None:
    """Returns the VM that was made while the interpreter started, a `struct early *`, or None.

    It has a slot for its first EARLY_SLOT bytes of RAM, the split irqchip and vCPU 0.
    `Kvm`, `Kvm.create_vm`, `Vm.create_vcpu` and `GuestMemory` each take their part of
    it; the caller discards the rest (`lib.early_discard`).

    Args:
        wanted: whether it suits the machine. If not, it is discarded.
    """
    global prepared
    early, prepared = prepared, None
    if not early:
        early = ffi.new("struct early *")
        if not lib.early_take(early):
            return None
    if not wanted:
        lib.early_discard(early)
        return None
    return early


def _taken(early: Early, name: str) -> int:
    """Takes a descriptor out of `early`; the caller owns it from now on."""
    fd: int = getattr(early, name)
    setattr(early, name, -1)
    return fd


class _Descriptor:
    """An owned file descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptor. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Kvm(_Descriptor):
    """The system-wide level of the API.

    Args:
        path: the device.
        early: if not None, provides the descriptor (see `take_early`), and `path` is not opened.

    Raises:
        KvmError: the device cannot be opened, or has another API version than 12.

    Example::

        with Kvm() as kvm, kvm.create_vm() as vm:
            print(kvm.check_extension(lib.KVM_CAP_MAX_VCPUS), vm.stats())
    """

    def __init__(self, path: str = "/dev/kvm", early: Early | None = None) -> None:
        try:
            super().__init__(_taken(early, "kvm_fd") if early else os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise _failure(path, error.errno or 0, opening=True) from None
        try:
            version = _ioctl("KVM_GET_API_VERSION", self.fd)
        except KvmError as error:
            self.close()
            raise KvmError(path, error.errno, "it is not the KVM device") from None
        if version != API_VERSION:
            self.close()
            raise KvmError(path, _EINVAL, f"it speaks KVM API {version}, pyvmm needs {API_VERSION}")

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION: 0 if the capability (KVM_CAP_…) is absent, else a value that depends on it."""
        return _ioctl("KVM_CHECK_EXTENSION", self.fd, capability)

    def require(self, *names: str) -> None:
        """Checks capabilities.

        Args:
            names: of constants, such as KVM_CAP_SYNC_REGS.

        Raises:
            KvmError: names the first that is absent.
        """
        for name in names:
            if not self.check_extension(getattr(lib, name)):
                raise KvmError(name, _ENXIO, "this kernel's KVM is too old for pyvmm")

    def vcpu_mmap_size(self) -> int:
        """KVM_GET_VCPU_MMAP_SIZE: the size of a vCPU's kvm_run area in bytes."""
        return _ioctl("KVM_GET_VCPU_MMAP_SIZE", self.fd)

    def supported_cpuid(self) -> list[tuple[int, int, int, int, int, int]]:
        """KVM_GET_SUPPORTED_CPUID: (leaf, subleaf, eax, ebx, ecx, edx) of each entry."""
        table = ffi.new("struct kvm_cpuid2 *", {"nent": 256, "entries": 256})
        _ioctl("KVM_GET_SUPPORTED_CPUID", self.fd, table)
        entries = (table.entries[i] for i in range(table.nent))
        return [(e.function, e.index, e.eax, e.ebx, e.ecx, e.edx) for e in entries]

    def create_vm(self, early: Early | None = None) -> Vm:
        """KVM_CREATE_VM, or the VM of `early` (see `take_early`)."""
        fd = _taken(early, "vm_fd") if early else _ioctl("KVM_CREATE_VM", self.fd)
        return Vm(fd, self.vcpu_mmap_size(), lib.EARLY_SLOT if early else 0)


class Vm(_Descriptor):
    """One virtual machine, made by `Kvm.create_vm`.

    Args:
        fd: its descriptor.
        run_size: see `Kvm.vcpu_mmap_size`.
        slot_made: bytes of RAM that slot 0 covers already, from address 0.
    """

    def __init__(self, fd: int, run_size: int, slot_made: int) -> None:
        super().__init__(fd)
        self._run_size = run_size
        self._slot_made = slot_made

    def set_memory_region(self, slot: int, address: int, size: int, host: CData, readonly: bool = False) -> None:
        """KVM_SET_USER_MEMORY_REGION.

        Args:
            slot: the slot's number.
            address: guest-physical, page-aligned.
            size: bytes, a multiple of the page size; 0 removes the slot.
            host: host address of the memory, a `uint8_t *`.
            readonly: guest writes exit as MMIO.
        """
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.slot = slot
        region.flags = lib.KVM_MEM_READONLY if readonly else 0
        region.guest_phys_addr = address
        region.memory_size = size
        region.userspace_addr = int(ffi.cast("uintptr_t", host))
        _ioctl("KVM_SET_USER_MEMORY_REGION", self.fd, region)

    def slots_on_demand(self, ram: NativeRam, end: int | None) -> Slots:
        """Memory slots for all RAM, made when a vCPU first touches it (see `native/memory/slots.c`).

        Args:
            ram: a `struct ram *`.
            end: slots for [0, end) are made at once. All RAM is covered at once if it is
                None, and on kernels that do not exit for an instruction that they cannot
                emulate (no KVM_CAP_EXIT_ON_EMULATION_FAILURE, before Linux 5.14).

        Returns:
            A `struct slots *` for the bus. The caller keeps it and `ram` alive.

        Raises:
            KvmError: KVM has no memory for a slot.
        """
        slots = ffi.new("struct slots *")
        lib.slots_init(slots, self.fd, ram, self._slot_made)
        try:
            self._enable(lib.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1)
            made = at = 0
            if end is None:
                made = lib.slots_cover_all(slots)
            while made >= 0 and end is not None and at < end:
                made = lib.slots_cover(slots, at)
                at = lib.slots_end(slots, at)
        except KvmError:
            made = lib.slots_cover_all(slots)
        if made < 0:
            raise KvmError("KVM_SET_USER_MEMORY_REGION", ffi.errno, "try less memory")
        return slots

    def _enable(self, capability: int, argument: int) -> None:
        """KVM_ENABLE_CAP."""
        cap = ffi.new("struct kvm_enable_cap *", {"cap": capability, "args": [argument]})
        _ioctl("KVM_ENABLE_CAP", self.fd, cap)

    def set_tss_addr(self, address: int) -> None:
        """KVM_SET_TSS_ADDR: three guest-physical pages for KVM on old Intel CPUs."""
        _ioctl("KVM_SET_TSS_ADDR", self.fd, address)

    def create_irqchip(self) -> None:
        """KVM_CREATE_IRQCHIP: local APICs, IOAPIC and PICs in the kernel."""
        _ioctl("KVM_CREATE_IRQCHIP", self.fd)

    def create_pit(self) -> None:
        """KVM_CREATE_PIT2: the PIT, and the speaker port 0x61, which gates its channel 2."""
        _ioctl("KVM_CREATE_PIT2", self.fd, ffi.new("struct kvm_pit_config *", {"flags": lib.KVM_PIT_SPEAKER_DUMMY}))

    def split_irqchip(self, pins: int) -> None:
        """KVM_CAP_SPLIT_IRQCHIP: only the local APICs in the kernel.

        Args:
            pins: number of IOAPIC pins, the first GSIs of the routing table; the IOAPIC itself is user space's.
        """
        self._enable(lib.KVM_CAP_SPLIT_IRQCHIP, pins)

    def route_ioapic(self, pins: int = 24) -> None:
        """KVM_SET_GSI_ROUTING: GSI n to IOAPIC pin n, and to no PIC.

        A GSI that also reached the PIC would deliver vectors 0 to 15 through
        LINT0, which is ExtINT after reset.
        """
        routing = ffi.new("struct kvm_irq_routing *", {"nr": pins, "entries": pins})
        for pin in range(pins):
            lib.route_ioapic(routing.entries + pin, pin, pin)
        _ioctl("KVM_SET_GSI_ROUTING", self.fd, routing)

    def route_msi(self, routes: Mapping[int, tuple[int, int]]) -> None:
        """KVM_SET_GSI_ROUTING: each GSI to a message (MSI). All other GSIs lose their routes.

        Args:
            routes: (APIC ID, vector) by GSI; delivery is fixed and edge-triggered.
        """
        routing = ffi.new("struct kvm_irq_routing *", {"nr": len(routes), "entries": len(routes)})
        for i, (gsi, (apic_id, vector)) in enumerate(routes.items()):
            lib.route_msi(routing.entries + i, gsi, _msi_address(apic_id), vector)
        _ioctl("KVM_SET_GSI_ROUTING", self.fd, routing)

    def irqfd(self, fd: int, gsi: int, deassign: bool = False) -> None:
        """KVM_IRQFD: from now on a write to eventfd `fd` raises `gsi`; with `deassign`, no longer."""
        flags = lib.KVM_IRQFD_FLAG_DEASSIGN if deassign else 0
        _ioctl("KVM_IRQFD", self.fd, ffi.new("struct kvm_irqfd *", {"fd": fd, "gsi": gsi, "flags": flags}))

    def ioeventfd(self, fd: int, address: int, size: int, match: int | None = None, pio: bool = False) -> None:
        """KVM_IOEVENTFD: a guest's write adds one to eventfd `fd`, without an exit to user space.

        Args:
            address: guest-physical; a port with `pio`.
            size: bytes written: 1, 2, 4 or 8, or 0 for any.
            match: if given, only writes of this value count.
        """
        flags = (lib.KVM_IOEVENTFD_FLAG_PIO if pio else 0) | (
            lib.KVM_IOEVENTFD_FLAG_DATAMATCH if match is not None else 0
        )
        request = {"fd": fd, "addr": address, "len": size, "datamatch": match or 0, "flags": flags}
        _ioctl("KVM_IOEVENTFD", self.fd, ffi.new("struct kvm_ioeventfd *", request))

    def signal_msi(self, apic_id: int, data: int) -> None:
        """KVM_SIGNAL_MSI: sends a message to one CPU.

        Args:
            apic_id: of the CPU.
            data: vector, and delivery mode in bits 8 to 10 (Intel SDM volume 3, section 11.11.2).

        Raises:
            KvmError: among other reasons, the CPU's local APIC is disabled.
        """
        message = ffi.new("struct kvm_msi *", {"address_lo": _msi_address(apic_id), "data": data})
        _ioctl("KVM_SIGNAL_MSI", self.fd, message)

    def stats(self) -> dict[str, int]:
        """KVM_GET_STATS_FD: the VM's scalar statistics by name."""
        return _stats(self.fd)

    def create_vcpu(self, index: int, bus: Bus, early: Early | None = None) -> Vcpu:
        """KVM_CREATE_VCPU, or the vCPU of `early`.

        Args:
            index: the vCPU's number and APIC ID.
            bus: serves its exits.
            early: see `take_early`; its vCPU is number 0.
        """
        fd = _taken(early, "vcpu_fd") if early else _ioctl("KVM_CREATE_VCPU", self.fd, index)
        vcpu = ffi.new("struct vcpu *")
        if lib.vcpu_init(vcpu, fd, self._run_size, index, bus.native) < 0:
            errno = ffi.errno
            os.close(fd)
            raise KvmError("mapping kvm_run", errno)
        return Vcpu(vcpu, bus)


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
        _ioctl("KVM_GET_REGS", self.fd, regs)
        return regs

    def set_regs(self, **values: int) -> None:
        """KVM_SET_REGS: sets registers by name (`rip=…`); the others become 0."""
        _ioctl("KVM_SET_REGS", self.fd, ffi.new("struct kvm_regs *", values))

    def sregs(self) -> KvmSregs:
        """KVM_GET_SREGS: a `struct kvm_sregs *`."""
        sregs = ffi.new("struct kvm_sregs *")
        _ioctl("KVM_GET_SREGS", self.fd, sregs)
        return sregs

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS: takes a `struct kvm_sregs *`."""
        _ioctl("KVM_SET_SREGS", self.fd, sregs)

    def msrs(self, indexes: Iterable[int]) -> dict[int, int]:
        """KVM_GET_MSRS: values by index, up to the first that KVM does not know."""
        wanted = list(indexes)
        msrs = _msr_list([(index, 0) for index in wanted])
        known = _ioctl("KVM_GET_MSRS", self.fd, msrs)
        return {msrs.entries[i].index: msrs.entries[i].data for i in range(known)}

    def set_msrs(self, values: Mapping[int, int]) -> None:
        """KVM_SET_MSRS: sets MSRs, given as values by index, in order.

        Raises:
            KvmError: KVM refused one; the message says which. Those before it are set.
        """
        done = _ioctl("KVM_SET_MSRS", self.fd, _msr_list(list(values.items())))
        if done < len(values):
            raise KvmError(f"KVM_SET_MSRS of MSR {list(values)[done]:#x}", _EINVAL)

    def set_cpuid(self, entries: KvmCpuid2) -> None:
        """KVM_SET_CPUID2: takes a `struct kvm_cpuid2 *`."""
        _ioctl("KVM_SET_CPUID2", self.fd, entries)

    def lapic(self) -> bytes:
        """KVM_GET_LAPIC: the local APIC's register page, 1024 bytes."""
        state = ffi.new("struct kvm_lapic_state *")
        _ioctl("KVM_GET_LAPIC", self.fd, state)
        return bytes(ffi.buffer(state.regs))

    def set_lapic(self, registers: bytes) -> None:
        """KVM_SET_LAPIC: takes registers as `lapic` returns them."""
        state = ffi.new("struct kvm_lapic_state *")
        ffi.buffer(state.regs)[:] = registers
        _ioctl("KVM_SET_LAPIC", self.fd, state)

    def events(self) -> KvmVcpuEvents:
        """KVM_GET_VCPU_EVENTS: a `struct kvm_vcpu_events *`."""
        events = ffi.new("struct kvm_vcpu_events *")
        _ioctl("KVM_GET_VCPU_EVENTS", self.fd, events)
        return events

    def set_events(self, events: KvmVcpuEvents) -> None:
        """KVM_SET_VCPU_EVENTS: takes a `struct kvm_vcpu_events *`."""
        _ioctl("KVM_SET_VCPU_EVENTS", self.fd, events)

    def mp_state(self) -> int:
        """KVM_GET_MP_STATE: a KVM_MP_STATE_…"""
        state = ffi.new("struct kvm_mp_state *")
        _ioctl("KVM_GET_MP_STATE", self.fd, state)
        return int(state.mp_state)

    def set_mp_state(self, state: int) -> None:
        """KVM_SET_MP_STATE: KVM_MP_STATE_RUNNABLE lets an AP run without a SIPI."""
        _ioctl("KVM_SET_MP_STATE", self.fd, ffi.new("struct kvm_mp_state *", {"mp_state": state}))

    def tsc_khz(self) -> int:
        """KVM_GET_TSC_KHZ: the frequency of the guest's TSC in kHz."""
        return _ioctl("KVM_GET_TSC_KHZ", self.fd)

    def tsc_offset(self) -> int | None:
        """KVM_VCPU_TSC_OFFSET: guest TSC minus host TSC, modulo 2^64.

        None on kernels without it (before Linux 5.16).
        """
        value = ffi.new("uint64_t *")
        attr = ffi.new("struct kvm_device_attr *", {"group": lib.KVM_VCPU_TSC_CTRL, "attr": lib.KVM_VCPU_TSC_OFFSET})
        attr.addr = int(ffi.cast("uintptr_t", value))
        try:
            _ioctl("KVM_GET_DEVICE_ATTR", self.fd, attr)
        except KvmError:
            return None
        return int(value[0])

    def stats(self) -> dict[str, int]:
        """KVM_GET_STATS_FD: the vCPU's scalar statistics by name."""
        return _stats(self.fd)

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


def _msi_address(apic_id: int) -> int:
    """The address that a message (MSI) for one CPU is written to (Intel SDM volume 3, section 11.11.1)."""
    return LAPIC_BASE | apic_id << 12


def _msr_list(values: list[tuple[int, int]]) -> KvmMsrs:
    msrs = ffi.new("struct kvm_msrs *", {"nmsrs": len(values), "entries": len(values)})
    for i, (index, data) in enumerate(values):
        msrs.entries[i].index = index
        msrs.entries[i].data = data
    return msrs


def _stats(fd: int) -> dict[str, int]:
    from pyvmm.kvm.stats import scalars

    stats_fd = _ioctl("KVM_GET_STATS_FD", fd)
    try:
        return scalars(os.pread(stats_fd, 1 << 20, 0))
    finally:
        os.close(stats_fd)
