"""pyvmm.boot.cpuid: what each vCPU sees."""

from __future__ import annotations

import pytest

from pyvmm._kvm import ffi, lib
from pyvmm.boot.cpuid import Cpuid

_ECX_HYPERVISOR = 1 << 31

Registers = tuple[int, int, int, int]


def host(leaf: int) -> Registers:
    """EAX, EBX, ECX, EDX of the host."""
    out = ffi.new("uint32_t[4]")
    lib.cpuid(leaf, 0, out)
    return out[0], out[1], out[2], out[3]


def leaves(cpus: int, apic_id: int) -> dict[tuple[int, int], Registers]:
    """All entries by leaf and subleaf."""
    entries = Cpuid(cpus).entries(apic_id)
    table = {(leaf, subleaf): (eax, ebx, ecx, edx) for leaf, subleaf, eax, ebx, ecx, edx in entries}
    assert len(table) == len(entries), "a leaf is there twice"
    return table


def test_no_feature_is_shown_that_the_host_lacks() -> None:
    shown = leaves(1, 0)
    assert shown[1, 0][2] & ~_ECX_HYPERVISOR & ~host(1)[2] == 0
    assert shown[1, 0][3] & ~host(1)[3] == 0
    assert shown[7, 0][1] & ~host(7)[1] == 0
    assert shown[7, 0][2:] == (0, 0)
    assert shown[0x8000_0001, 0][2] & ~host(0x8000_0001)[2] == 0
    assert shown[0x8000_0001, 0][3] & ~host(0x8000_0001)[3] == 0


def test_guest_can_tell_that_it_is_one() -> None:
    shown = leaves(1, 0)
    assert shown[1, 0][2] & _ECX_HYPERVISOR
    signature = b"".join(register.to_bytes(4, "little") for register in shown[0x4000_0000, 0][1:])
    assert signature == b"KVMKVMKVM\0\0\0"


def test_vendor_is_the_host_s() -> None:
    assert leaves(1, 0)[0, 0][1:] == host(0)[1:]


def test_state_that_pyvmm_does_not_enable_is_not_offered() -> None:
    """XSAVE, AVX, x2APIC, the TSC deadline timer and MONITOR."""
    ecx = leaves(1, 0)[1, 0][2]
    assert [bit for bit in (3, 21, 24, 26, 27, 28) if ecx >> bit & 1] == []


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 255])
def test_each_vcpu_has_its_own_apic_id(cpus: int) -> None:
    for apic_id in {0, cpus // 2, cpus - 1}:
        shown = leaves(cpus, apic_id)
        assert shown[1, 0][1] >> 24 == apic_id
        assert shown[1, 0][1] >> 16 & 0xFF == cpus
        assert [shown[0xB, subleaf][3] for subleaf in (0, 1)] == [apic_id] * 2


@pytest.mark.parametrize(("cpus", "shift"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (255, 8)])
def test_topology_is_one_package_of_single_thread_cores(cpus: int, shift: int) -> None:
    shown = leaves(cpus, 0)
    threads, cores = shown[0xB, 0], shown[0xB, 1]
    assert threads[:3] == (0, 1, 1 << 8)
    assert cores[:3] == (shift, cpus, 2 << 8 | 1)


def test_maximum_leaves_are_those_shown() -> None:
    shown = leaves(1, 0)
    assert shown[0, 0][0] == max(leaf for leaf, _ in shown if leaf < 0x4000_0000)
    assert shown[0x8000_0000, 0][0] == max(leaf for leaf, _ in shown)


def test_flags_tell_what_the_tables_and_registers_may_use() -> None:
    cpuid, shown = Cpuid(1), leaves(1, 0)
    assert cpuid.gigabyte_pages is bool(shown[0x8000_0001, 0][3] >> 26 & 1)
    assert cpuid.fsgsbase is bool(shown[7, 0][1] & 1)


def test_native_table_is_the_same_with_flags_for_leaves_that_have_subleaves() -> None:
    cpuid = Cpuid(2)
    native = cpuid.native(1)
    entries = [native.entries[i] for i in range(native.nent)]
    assert [(e.function, e.index, e.eax, e.ebx, e.ecx, e.edx) for e in entries] == cpuid.entries(1)
    significant = {e.function for e in entries if e.flags & lib.KVM_CPUID_FLAG_SIGNIFCANT_INDEX}
    assert significant == {7, 0xB}
