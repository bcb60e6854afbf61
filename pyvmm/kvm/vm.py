"""A virtual machine."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import KvmError
from pyvmm.kvm.ioctl import Descriptor, ioctl, stats_of
from pyvmm.kvm.vcpu import Vcpu
from pyvmm.layout import LAPIC_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyvmm._kvm import CData
    from pyvmm.bus import Bus


class Vm(Descriptor):
    """One virtual machine, made by `Kvm.create_vm`, or by C as part of a machine.

    Args:
        fd: its descriptor.
        run_size: see `Kvm.vcpu_mmap_size`.
    """

    def __init__(self, fd: int, run_size: int = 0) -> None:
        super().__init__(fd)
        self._run_size = run_size

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
        ioctl("KVM_SET_USER_MEMORY_REGION", self.fd, region)

    def _enable(self, capability: int, argument: int) -> None:
        """KVM_ENABLE_CAP."""
        cap = ffi.new("struct kvm_enable_cap *", {"cap": capability, "args": [argument]})
        ioctl("KVM_ENABLE_CAP", self.fd, cap)

    def set_tss_addr(self, address: int) -> None:
        """KVM_SET_TSS_ADDR: three guest-physical pages for KVM on old Intel CPUs."""
        ioctl("KVM_SET_TSS_ADDR", self.fd, address)

    def create_irqchip(self) -> None:
        """KVM_CREATE_IRQCHIP: local APICs, IOAPIC and PICs in the kernel."""
        ioctl("KVM_CREATE_IRQCHIP", self.fd)

    def create_pit(self) -> None:
        """KVM_CREATE_PIT2: the PIT, and the speaker port 0x61, which gates its channel 2."""
        ioctl("KVM_CREATE_PIT2", self.fd, ffi.new("struct kvm_pit_config *", {"flags": lib.KVM_PIT_SPEAKER_DUMMY}))

    def irqchip(self, number: int) -> CData:
        """KVM_GET_IRQCHIP: a `struct kvm_irqchip *` of a PIC (0, 1) or of the IOAPIC (2)."""
        chip = ffi.new("struct kvm_irqchip *", {"chip_id": number})
        ioctl("KVM_GET_IRQCHIP", self.fd, chip)
        return chip

    def pit(self) -> CData:
        """KVM_GET_PIT2: a `struct kvm_pit_state2 *`."""
        pit = ffi.new("struct kvm_pit_state2 *")
        ioctl("KVM_GET_PIT2", self.fd, pit)
        return pit

    def clock(self) -> CData:
        """KVM_GET_CLOCK: kvmclock, a `struct kvm_clock_data *`."""
        clock = ffi.new("struct kvm_clock_data *")
        ioctl("KVM_GET_CLOCK", self.fd, clock)
        return clock

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
        ioctl("KVM_SET_GSI_ROUTING", self.fd, routing)

    def route_msi(self, routes: Mapping[int, tuple[int, int]]) -> None:
        """KVM_SET_GSI_ROUTING: each GSI to a message (MSI). All other GSIs lose their routes.

        Args:
            routes: (APIC ID, vector) by GSI; delivery is fixed and edge-triggered.
        """
        routing = ffi.new("struct kvm_irq_routing *", {"nr": len(routes), "entries": len(routes)})
        for i, (gsi, (apic_id, vector)) in enumerate(routes.items()):
            lib.route_msi(routing.entries + i, gsi, _msi_address(apic_id), vector)
        ioctl("KVM_SET_GSI_ROUTING", self.fd, routing)

    def irqfd(self, fd: int, gsi: int, deassign: bool = False) -> None:
        """KVM_IRQFD: from now on a write to eventfd `fd` raises `gsi`; with `deassign`, no longer."""
        flags = lib.KVM_IRQFD_FLAG_DEASSIGN if deassign else 0
        ioctl("KVM_IRQFD", self.fd, ffi.new("struct kvm_irqfd *", {"fd": fd, "gsi": gsi, "flags": flags}))

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
        ioctl("KVM_IOEVENTFD", self.fd, ffi.new("struct kvm_ioeventfd *", request))

    def signal_msi(self, apic_id: int, data: int) -> None:
        """KVM_SIGNAL_MSI: sends a message to one CPU.

        Args:
            apic_id: of the CPU.
            data: vector, and delivery mode in bits 8 to 10 (Intel SDM volume 3, section 11.11.2).

        Raises:
            KvmError: among other reasons, the CPU's local APIC is disabled.
        """
        message = ffi.new("struct kvm_msi *", {"address_lo": _msi_address(apic_id), "data": data})
        ioctl("KVM_SIGNAL_MSI", self.fd, message)

    def stats(self) -> dict[str, int]:
        """KVM_GET_STATS_FD: the VM's scalar statistics by name."""
        return stats_of(self.fd)

    def create_vcpu(self, index: int, bus: Bus) -> Vcpu:
        """KVM_CREATE_VCPU.

        Args:
            index: the vCPU's number and APIC ID.
            bus: serves its exits.
        """
        fd = ioctl("KVM_CREATE_VCPU", self.fd, index)
        vcpu = ffi.new("struct vcpu *")
        if lib.vcpu_init(vcpu, fd, self._run_size, index, bus.native) < 0:
            errno = ffi.errno
            os.close(fd)
            raise KvmError("mapping kvm_run", errno)
        return Vcpu(vcpu, bus)


def _msi_address(apic_id: int) -> int:
    """The address that a message (MSI) for one CPU is written to (Intel SDM volume 3, section 11.11.1)."""
    return LAPIC_BASE | apic_id << 12
