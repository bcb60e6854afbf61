"""The CPUID leaves of a guest that expects a PC: all that KVM supports (KVM_GET_SUPPORTED_CPUID)."""

from __future__ import annotations

from pyvmm.boot.cpuid import native_cpuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HYPERVISOR, _TSC_DEADLINE, _X2APIC = 1 << 31, 1 << 24, 1 << 21


class HostCpuid:
    """The leaves of one machine.

    Args:
        supported: (leaf, subleaf, eax, ebx, ecx, edx) of each.
        cpus: how many vCPUs it has.
        tsc_deadline: KVM serves the APIC timer's TSC-deadline mode.
    """

    def __init__(self, supported: list[tuple[int, int, int, int, int, int]], cpus: int, tsc_deadline: bool) -> None:
        self._supported, self._cpus, self._tsc_deadline = supported, cpus, tsc_deadline

    def entries(self, apic_id: int) -> list[tuple[int, int, int, int, int, int]]:
        """(leaf, subleaf, eax, ebx, ecx, edx) for the vCPU with `apic_id`."""
        table = []
        for leaf, subleaf, eax, ebx, ecx, edx in self._supported:
            if leaf in (4, 0xB, 0x1F):  # the host's topology, which is not the guest's
                continue
            if leaf == 1:
                ebx = ebx & 0xFF00 | min(self._cpus, 255) << 16 | (apic_id & 0xFF) << 24
                ecx |= _HYPERVISOR | _X2APIC | (_TSC_DEADLINE if self._tsc_deadline else 0)
            table.append((leaf, subleaf, eax, ebx, ecx, edx))
        # Extended topology: one thread a core, all cores in one package.
        table.append((0xB, 0, 0, 1, 1 << 8, apic_id))
        table.append((0xB, 1, (self._cpus - 1).bit_length(), self._cpus, 2 << 8 | 1, apic_id))
        return table

    def native(self, apic_id: int) -> Any:
        """The same as a `struct kvm_cpuid2 *`."""
        return native_cpuid(self.entries(apic_id))
