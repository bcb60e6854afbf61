"""What all boot protocols of images that expect a PC have in common."""

from __future__ import annotations

from abc import abstractmethod

from pyvmm._kvm import lib
from pyvmm.boot import firmware
from pyvmm.boot.host_cpuid import HostCpuid
from pyvmm.boot.protocol import BootProtocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.boot.protocol import Cpu, Host
    from pyvmm.layout import Ram
    from pyvmm.memory import GuestMemory

_RESET_IDT_LIMIT = 0xFFFF  # after INIT


class PcBoot(BootProtocol):
    """The first vCPU starts at the entry point; the others wait for INIT and SIPI.

    Args:
        ram: where RAM is.
        cpus: number of vCPUs.
        existing_toro: the image is a Toro kernel that runs in ring 0.
    """

    def __init__(self, ram: Ram, cpus: int, existing_toro: bool = False) -> None:
        self._ram, self._cpus = ram, cpus
        # A PC's last way to reset is an exception without an IDT. AMD-V does not preserve the IDT's
        # limit; existing Toro kernels have a handler for every exception.
        self.reset_limits = (0, _RESET_IDT_LIMIT) if existing_toro else (0,)

    def write_devices(self, memory: GuestMemory, devices: list[tuple[int, int, int]]) -> None:
        """Writes MP and ACPI tables."""
        firmware.write_tables(memory, self._cpus, [(base, gsi) for base, gsi, _ in devices])

    def set_cpus(self, cpus: Sequence[Cpu], host: Host, have_cpuid: bool = False) -> None:
        """Sets CPUID to all that KVM supports, local interrupts as in the tables, and the entry point."""
        deadline = bool(host.check_extension(lib.KVM_CAP_TSC_DEADLINE_TIMER))
        cpuid = HostCpuid(host.supported_cpuid(), len(cpus), deadline)
        for cpu in cpus:
            cpu.set_cpuid(cpuid.native(cpu.index))
            cpu.set_lapic(firmware.lapic_registers(cpu.lapic()))
        self.set_registers(cpus[0])

    @abstractmethod
    def set_registers(self, cpu: Cpu) -> None:
        """Sets the registers with which the first vCPU starts."""
