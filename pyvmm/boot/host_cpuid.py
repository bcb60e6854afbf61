"""The CPUID leaves of a guest that expects a PC: everything that KVM supports."""

from __future__ import annotations

from pyvmm.boot.cpuid import native_cpuid, with_topology

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmCpuid2
    from pyvmm.boot.cpuid import Leaf

_HYPERVISOR, _TSC_DEADLINE, _X2APIC = 1 << 31, 1 << 24, 1 << 21


class HostCpuid:
    """The leaves of one machine.

    Args:
        supported: (leaf, subleaf, eax, ebx, ecx, edx) of each (see `Kvm.supported_cpuid`).
        cpus: number of vCPUs.
        tsc_deadline: KVM emulates the APIC timer's TSC-deadline mode.
    """

    def __init__(self, supported: list[Leaf], cpus: int, tsc_deadline: bool) -> None:
        self._supported, self._cpus, self._tsc_deadline = supported, cpus, tsc_deadline

    def entries(self, apic_id: int) -> list[Leaf]:
        """(leaf, subleaf, eax, ebx, ecx, edx) of each leaf, for the vCPU with `apic_id`."""
        more = _HYPERVISOR | _X2APIC | (_TSC_DEADLINE if self._tsc_deadline else 0)
        table = [
            (leaf, subleaf, eax, ebx, ecx | more if leaf == 1 else ecx, edx)
            for leaf, subleaf, eax, ebx, ecx, edx in self._supported
            if leaf not in (4, 0xB, 0x1F)  # the host's topology, which is not the guest's
        ]
        return with_topology(table, self._cpus, apic_id)

    def native(self, apic_id: int) -> KvmCpuid2:
        """The same as a `struct kvm_cpuid2 *`."""
        return native_cpuid(self.entries(apic_id))
