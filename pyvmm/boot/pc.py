"""What all boot protocols of images that expect a PC have in common."""

from __future__ import annotations

from abc import abstractmethod

from pyvmm._kvm import ffi, lib
from pyvmm.boot import firmware
from pyvmm.boot.host_cpuid import HostCpuid
from pyvmm.boot.protocol import BootProtocol, set_segment
from pyvmm.errors import ImageError
from pyvmm.layout import LAPIC_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmSregs
    from pyvmm.boot.protocol import Host, Registers
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

_RESET_IDT_LIMIT = 0xFFFF  # after INIT
_APIC_BSP, _APIC_ENABLE = 0x100, 0x800  # in IA32_APIC_BASE
_TORO_DEVICES, _TORO_HEAP = 4, 0x80_0000  # existing Toro kernels: the most devices; where the heap begins
_NMI = 4 << 8  # delivery mode of a message: Intel SDM volume 3, section 11.11.2


class PcBoot(BootProtocol):
    """The first vCPU starts at the entry point; the others wait for INIT and SIPI.

    Args:
        name: the image's, for messages.
        ram: where RAM is.
        cpus: number of vCPUs.
        command_line: bytes.
        existing_toro: the image is a Toro kernel that runs in ring 0.

    Raises:
        ImageError: such a kernel is to have more devices than it can.
    """

    def __init__(self, name: str, ram: Ram, cpus: int, command_line: bytes, existing_toro: bool = False) -> None:
        self._ram, self._cpus, self._command_line = ram, cpus, command_line
        self._existing_toro = self.own_pit = existing_toro
        self.shutdown_message = _NMI if existing_toro else 0
        devices = command_line.count(b"virtio_mmio.device=")
        if existing_toro and devices > _TORO_DEVICES:
            raise ImageError(f"{name}: {devices} virtio devices; this kernel has room for {_TORO_DEVICES}")
        # A PC's last way to reset is an exception without an IDT. AMD-V does not preserve the IDT's
        # limit; existing Toro kernels have a handler for every exception.
        self.reset_limits = (0, _RESET_IDT_LIMIT) if existing_toro else (0,)

    def memory_map(self) -> list[tuple[int, int, int]]:
        """(start, bytes, type) of each range, as the guest is told.

        For existing Toro kernels RAM above 1 MiB is trimmed so that each CPU's share of it is a
        multiple of 8 bytes: they divide the RAM above their first 8 MiB, and panic otherwise.
        """
        ranges = firmware.memory_map(self._ram)
        if not self._existing_toro:
            return ranges
        share = 8 * self._cpus
        return [
            (start, size - (start + size - _TORO_HEAP) % share if start == firmware.HIGH_MEMORY else size, kind)
            for start, size, kind in ranges
        ]

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
