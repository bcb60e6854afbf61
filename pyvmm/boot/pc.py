"""What all boot protocols of images that expect a PC have in common."""

from __future__ import annotations

from abc import abstractmethod

from pyvmm._kvm import ffi, lib
from pyvmm.boot import firmware
from pyvmm.boot.host_cpuid import HostCpuid
from pyvmm.boot.protocol import BootProtocol, set_segment
from pyvmm.layout import LAPIC_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmSregs
    from pyvmm.boot.protocol import Host, Registers
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

_RESET_IDT_LIMIT = 0xFFFF  # after INIT
_APIC_BSP, _APIC_ENABLE = 0x100, 0x800  # in IA32_APIC_BASE


class PcBoot(BootProtocol):
    """The first vCPU starts at the entry point; the others wait for INIT and SIPI.

    Args:
        ram: where RAM is.
        cpus: number of vCPUs.
        existing_toro: the image is a Toro kernel that runs in ring 0.
    """

    def __init__(self, ram: Ram, cpus: int, existing_toro: bool = False) -> None:
        self._ram, self._cpus, self.own_pit = ram, cpus, existing_toro
        # A PC's last way to reset is an exception without an IDT. AMD-V does not preserve the IDT's
        # limit; existing Toro kernels have a handler for every exception.
        self.reset_limits = (0, _RESET_IDT_LIMIT) if existing_toro else (0,)

    def write_tables(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Writes MP and ACPI tables."""
        firmware.write_tables(memory, self._cpus, [(base, gsi) for base, gsi, _ in devices])

    def registers(self, host: Host | None) -> list[Registers]:
        """CPUID is all that KVM supports, local interrupts are as in the tables, the first vCPU starts."""
        assert host
        deadline = bool(host.check_extension(lib.KVM_CAP_TSC_DEADLINE_TIMER))
        cpuid = HostCpuid(host.supported_cpuid(), self._cpus, deadline)
        cpus = [
            {lib.STATE_CPUID: cpuid.native(index), lib.STATE_LAPIC: firmware.lapic_registers(index)}
            for index in range(self._cpus)
        ]
        cpus[0] |= self.first_registers()
        return cpus

    @abstractmethod
    def first_registers(self) -> Registers:
        """The registers with which the first vCPU starts."""


def reset_sregs() -> KvmSregs:
    """System registers of the first CPU after reset, as far as no protocol says otherwise."""
    sregs = ffi.new("struct kvm_sregs *")
    set_segment(sregs.tr, type=11, s=0, db=0, g=0, limit=0xFFFF)
    set_segment(sregs.ldt, type=2, s=0, db=0, g=0, limit=0xFFFF)
    sregs.gdt.limit = sregs.idt.limit = 0xFFFF
    sregs.apic_base = LAPIC_BASE | _APIC_ENABLE | _APIC_BSP
    return sregs
