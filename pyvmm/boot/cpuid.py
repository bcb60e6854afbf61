"""The CPUID leaves of a direct-booted guest.

They are the host's own without the features that are not named here. Asking KVM
for its list (KVM_GET_SUPPORTED_CPUID) would take longer than all other ioctls of a
small guest together. A KVM without hardware virtualization (PVM) supports less than
its host, so its guests see only the baseline of x86-64. A test checks that KVM
supports what guests see.
"""

from __future__ import annotations

from pyvmm._kvm import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmCpuid2

    #: leaf, subleaf, EAX, EBX, ECX, EDX
    Leaf = tuple[int, int, int, int, int, int]


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
# SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND
_LEAF_1_ECX = _bits(0, 1, 9, 13, 19, 20, 22, 23, 25, 30)
# FPU TSC MSR PAE MCE CX8 APIC PGE CMOV PAT CLFLUSH MMX FXSR SSE SSE2
_LEAF_1_EDX = _bits(0, 4, 5, 6, 7, 8, 9, 13, 15, 16, 19, 23, 24, 25, 26)
# FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX CLFLUSHOPT CLWB SHA
_LEAF_7_EBX = _bits(0, 3, 7, 8, 9, 18, 19, 23, 24, 29)
# LAHF LZCNT
_LEAF_80000001_ECX = _bits(0, 5)
# SYSCALL NX 1-GiB pages RDTSCP LM
_LEAF_80000001_EDX = _bits(11, 20, 26, 27, 29)
_INVARIANT_TSC = 1 << 8

#: What remains of the above without VMX or SVM.
_BASE_1_ECX = _bits(13)
_BASE_80000001_ECX = _bits(0)
_BASE_80000001_EDX = _bits(11, 20, 29)

_VMX, _SVM = 1 << 5, 1 << 2

#: Leaves that have subleaves.
_INDEXED = frozenset({4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1D, 0x1E, 0x1F, 0x8000_001D})

_HYPERVISOR = 1 << 31
_GIGABYTE_PAGES = 1 << 26
_FSGSBASE = 1

#: Leaf 4000_0000h (Documentation/virt/kvm/x86/cpuid.rst).
_KVM_SIGNATURE = (b"KVMK", b"VMKV", b"M\0\0\0")


class Cpuid:
    """The leaves of one machine.

    Args:
        cpus: number of vCPUs.

    Attributes:
        gigabyte_pages: the guest may use 1 GiB pages.
        fsgsbase: the guest may use RDFSBASE and its siblings.
    """

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        host = {leaf: _host(leaf) for leaf in (0, 1, 7, 0x8000_0000, 0x8000_0001, 0x8000_0007, 0x8000_0008)}
        if host[1][2] & _VMX or host[0x8000_0001][2] & _SVM:
            masks = _LEAF_1_ECX, _LEAF_7_EBX, _LEAF_80000001_ECX, _LEAF_80000001_EDX
        else:
            masks = _BASE_1_ECX, 0, _BASE_80000001_ECX, _BASE_80000001_EDX
        leaf_1_ecx, leaf_7_ebx = host[1][2] & masks[0], host[7][1] & masks[1]
        leaf_80000001_ecx, leaf_80000001_edx = host[0x8000_0001][2] & masks[2], host[0x8000_0001][3] & masks[3]
        self.gigabyte_pages = bool(leaf_80000001_edx & _GIGABYTE_PAGES)
        self.fsgsbase = bool(leaf_7_ebx & _FSGSBASE)
        ebx, ecx, edx = (int.from_bytes(part, "little") for part in _KVM_SIGNATURE)
        self._leaves: dict[int, tuple[int, int, int, int]] = {
            0: (0xB, *host[0][1:]),
            1: (host[1][0], host[1][1] & 0xFF00, leaf_1_ecx | _HYPERVISOR, host[1][3] & _LEAF_1_EDX),
            7: (0, leaf_7_ebx, 0, 0),
            0x4000_0000: (0x4000_0000, ebx, ecx, edx),
            0x8000_0000: (0x8000_0008, *host[0x8000_0000][1:]),
            0x8000_0001: (host[0x8000_0001][0], 0, leaf_80000001_ecx, leaf_80000001_edx),
            0x8000_0007: (0, 0, 0, host[0x8000_0007][3] & _INVARIANT_TSC),
            0x8000_0008: (host[0x8000_0008][0], 0, 0, 0),
        }

    def entries(self, apic_id: int) -> list[Leaf]:
        """(leaf, subleaf, eax, ebx, ecx, edx) of each leaf, for the vCPU with `apic_id`."""
        return with_topology([(leaf, 0, *registers) for leaf, registers in self._leaves.items()], self._cpus, apic_id)

    def native(self, apic_id: int) -> KvmCpuid2:
        """The same as a `struct kvm_cpuid2 *`."""
        return native_cpuid(self.entries(apic_id))


def with_topology(table: list[Leaf], cpus: int, apic_id: int) -> list[Leaf]:
    """Adds the topology to a table: one thread per core, all `cpus` cores in one package."""
    here = min(cpus, 255) << 16 | (apic_id & 0xFF) << 24
    changed = [
        (leaf, subleaf, eax, ebx & 0xFF00 | here if leaf == 1 else ebx, ecx, edx)
        for leaf, subleaf, eax, ebx, ecx, edx in table
    ]
    changed.append((0xB, 0, 0, 1, 1 << 8, apic_id))
    changed.append((0xB, 1, (cpus - 1).bit_length(), cpus, 2 << 8 | 1, apic_id))
    return changed


def native_cpuid(table: list[Leaf]) -> KvmCpuid2:
    """A `struct kvm_cpuid2 *` of (leaf, subleaf, eax, ebx, ecx, edx)."""
    native = ffi.new("struct kvm_cpuid2 *", {"nent": len(table), "entries": len(table)})
    for i, (leaf, subleaf, eax, ebx, ecx, edx) in enumerate(table):
        entry = native.entries[i]
        entry.function, entry.index = leaf, subleaf
        entry.flags = lib.KVM_CPUID_FLAG_SIGNIFCANT_INDEX if leaf in _INDEXED else 0
        entry.eax, entry.ebx, entry.ecx, entry.edx = eax, ebx, ecx, edx
    return native


_known: dict[int, tuple[int, int, int, int]] = {}


def _host(leaf: int) -> tuple[int, int, int, int]:
    """The host's registers for a leaf, cached: in a virtual machine CPUID costs an exit."""
    if leaf not in _known:
        out = ffi.new("uint32_t[4]")
        lib.cpuid(leaf, 0, out)
        _known[leaf] = out[0], out[1], out[2], out[3]
    return _known[leaf]
