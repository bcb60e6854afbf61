"""pyvmm.kvm: each ioctl does its work, and each failure names its ioctl."""

from __future__ import annotations

import os
import posix
from errno import EACCES, EBADF, EBUSY, ENODEV
from types import SimpleNamespace

import pytest
from guests import GIB, MIB, descriptors_left, open_fds
from machines import Bare

from pyvmm._kvm import ffi, lib
from pyvmm.boot.cpuid import Cpuid
from pyvmm.errors import KvmError
from pyvmm.kvm import Kvm, Vcpu, device, hints

# ---- the device -------------------------------------------------------------------------


def test_missing_device_says_what_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_is_container", lambda: False)
    with pytest.raises(KvmError, match=r"/dev/absent: No such file or directory; load kvm_intel or kvm_amd"):
        Kvm("/dev/absent")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_file_that_is_not_kvm_says_so_and_is_closed(path: str) -> None:
    before = open_fds()
    with pytest.raises(KvmError, match=f"{path}: .*; it is not the KVM device"):
        Kvm(path)
    assert open_fds() == before


@pytest.mark.parametrize(
    ("errno", "hint"),
    [
        (ENODEV, "the kvm module is loaded but finds no virtualization in this CPU"),
        (EBUSY, "another hypervisor on this host holds it"),
    ],
)
def test_device_that_cannot_be_opened_says_what_to_do(monkeypatch: pytest.MonkeyPatch, errno: int, hint: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno, "")

    with monkeypatch.context() as patch:
        patch.setattr(posix, "open", refuse)
        with pytest.raises(KvmError, match=f"^/dev/kvm: {os.strerror(errno)}; {hint}$"):
            Kvm()


@pytest.mark.parametrize(
    ("mode", "gid", "hint"),
    [
        (0o20660, 12345, r"it belongs to group 12345: run `sudo usermod -aG 12345 \$USER` and log in again"),
        (0o20600, 12345, "only root may use it here: run `"),
        (0o20660, 0, "only root may use it here: run `"),
    ],
)
def test_missing_right_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, mode: int, gid: int, hint: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(EACCES, "")

    status = os.stat_result((mode, 0, 0, 0, 0, gid, 0, 0, 0, 0))
    monkeypatch.setattr(device, "os", SimpleNamespace(open=refuse, O_RDWR=0, O_CLOEXEC=0))
    monkeypatch.setattr(hints, "os", SimpleNamespace(stat=lambda _: status))
    monkeypatch.setattr(hints, "_is_container", lambda: False)
    with pytest.raises(KvmError, match=f"^/dev/kvm: Permission denied; {hint}"):
        Kvm()


def test_api_of_another_version_is_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_fds()
    monkeypatch.setattr(device, "API_VERSION", 13)
    with pytest.raises(KvmError, match="it speaks KVM API 12, pyvmm needs 13"):
        Kvm()
    assert open_fds() == before


def test_extensions(kvm: Kvm) -> None:
    assert kvm.check_extension(lib.KVM_CAP_USER_MEMORY) == 1
    assert kvm.check_extension(lib.KVM_CAP_MAX_VCPUS) >= 1
    assert kvm.check_extension(0x7FFF) == 0
    kvm.require("KVM_CAP_USER_MEMORY", "KVM_CAP_IRQFD")


def test_absent_extension_is_named(kvm: Kvm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "check_extension", lambda capability: capability != lib.KVM_CAP_IRQFD)
    with pytest.raises(KvmError, match=r"KVM_CAP_IRQFD: .*; this kernel's KVM is too old for pyvmm"):
        kvm.require("KVM_CAP_USER_MEMORY", "KVM_CAP_IRQFD")


def test_vcpu_area_is_whole_pages(kvm: Kvm) -> None:
    assert kvm.vcpu_mmap_size() % 4096 == 0 < kvm.vcpu_mmap_size()


def test_close_twice_is_no_error(kvm: Kvm) -> None:
    kvm.close()
    kvm.close()
    with pytest.raises(KvmError, match=f"KVM_CREATE_VM: {os.strerror(EBADF)}"):
        kvm.create_vm()


def test_no_descriptor_left_is_a_kvm_error(kvm: Kvm) -> None:
    with descriptors_left(0):
        with pytest.raises(KvmError, match="/dev/kvm: Too many open files"):
            Kvm()
        with pytest.raises(KvmError, match="KVM_CREATE_VM: Too many open files"):
            kvm.create_vm()


# ---- CPUID ------------------------------------------------------------------------------

#: Fields of the leaves of `Cpuid` that are feature bits: (leaf, subleaf) to registers.
_FEATURES = {(1, 0): "cd", (7, 0): "bcd", (0x8000_0001, 0): "cd", (0x8000_0007, 0): "d"}


@pytest.mark.parametrize("cpus", [1, 3, 255])
def test_guests_are_shown_nothing_that_kvm_does_not_support(kvm: Kvm, cpus: int) -> None:
    supported = {(leaf, subleaf): registers for leaf, subleaf, *registers in kvm.supported_cpuid()}
    for leaf, subleaf, *registers in Cpuid(cpus).entries(cpus - 1):
        for name in _FEATURES.get((leaf, subleaf), ""):
            shown = registers["abcd".index(name)]
            allowed = supported[leaf, subleaf]["abcd".index(name)] | (1 << 31 if (leaf, name) == (1, "c") else 0)
            # The APIC bit follows from the in-kernel APIC, which pyvmm always creates.
            allowed |= 1 << 9 if (leaf, name) == (1, "d") else 0
            assert shown & ~allowed == 0, f"leaf {leaf:#x}, e{name}x: {shown & ~allowed:#x}"
    assert (supported[0x8000_0008, 0][0] & 0xFF) >= 36


def test_cpuid_of_a_guest_is_accepted(bare: Bare) -> None:
    bare.vm.split_irqchip(24)
    bare.vcpu().set_cpuid(Cpuid(1).native(0))


# ---- the VM -----------------------------------------------------------------------------


def test_memory_region_that_overlaps_is_an_error(bare: Bare) -> None:
    with pytest.raises(KvmError, match="KVM_SET_USER_MEMORY_REGION: File exists"):
        bare.vm.set_memory_region(1, 8 * MIB, MIB, bare.memory.host)


def test_memory_region_off_a_page_is_an_error(bare: Bare) -> None:
    with pytest.raises(KvmError, match="KVM_SET_USER_MEMORY_REGION: Invalid argument"):
        bare.vm.set_memory_region(1, GIB + 1, MIB, bare.memory.host)


def test_memory_region_of_no_size_is_removed(bare: Bare) -> None:
    bare.vm.set_memory_region(1, GIB, MIB, bare.memory.host, readonly=True)
    bare.vm.set_memory_region(1, GIB, 0, bare.memory.host)
    bare.vm.set_memory_region(2, GIB, MIB, bare.memory.host)


def test_interrupt_controllers_in_the_kernel(bare: Bare) -> None:
    bare.vm.set_tss_addr(0xFFFB_D000)
    bare.vm.create_irqchip()
    bare.vm.route_ioapic()
    with pytest.raises(KvmError, match="KVM_CREATE_IRQCHIP: File exists"):
        bare.vm.create_irqchip()


def test_interrupts_are_refused_without_a_controller(bare: Bare) -> None:
    fd = os.eventfd(0)
    with pytest.raises(KvmError, match="KVM_IRQFD: "):
        bare.vm.irqfd(fd, 4)
    with pytest.raises(KvmError, match="KVM_SIGNAL_MSI: "):
        bare.vm.signal_msi(0, 36)
    os.close(fd)


def test_eventfds_are_assigned_once(bare: Bare) -> None:
    bare.vm.split_irqchip(24)
    bare.vm.route_msi({4: (0, 36), 5: (1, 37)})
    fd = os.eventfd(0)
    bare.vm.irqfd(fd, 4)
    with pytest.raises(KvmError, match="KVM_IRQFD: Device or resource busy"):
        bare.vm.irqfd(fd, 5)
    bare.vm.irqfd(fd, 4, deassign=True)
    bare.vm.irqfd(fd, 5)
    bare.vm.ioeventfd(fd, 0xFEB0_0050, 4)
    with pytest.raises(KvmError, match="KVM_IOEVENTFD: File exists"):
        bare.vm.ioeventfd(fd, 0xFEB0_0050, 4)
    os.close(fd)


def test_statistics_of_vm_and_vcpu_have_names(bare: Bare) -> None:
    vcpu = bare.vcpu()
    assert all(isinstance(value, int) and name.isprintable() for name, value in bare.vm.stats().items())
    assert {"exits", "io_exits"} <= vcpu.stats().keys()


def test_vcpu_that_exists_is_an_error_with_a_hint(bare: Bare) -> None:
    bare.vcpu()
    with pytest.raises(KvmError, match="KVM_CREATE_VCPU: File exists; that vCPU exists already"):
        bare.vcpu()


def test_more_vcpus_than_kvm_allows_is_an_error_with_a_hint(bare: Bare) -> None:
    with pytest.raises(KvmError, match="KVM_CREATE_VCPU: Invalid argument; more vCPUs than this host's KVM allows"):
        bare.vcpu(1 << 20)


# ---- the vCPU ---------------------------------------------------------------------------


@pytest.fixture
def vcpu(bare: Bare) -> Vcpu:
    """A vCPU with a local APIC, in real mode before its first instruction."""
    bare.vm.split_irqchip(24)
    made = bare.vcpu()
    made.set_cpuid(Cpuid(1).native(0))
    return made


def test_registers_are_read_back_and_the_others_are_0(vcpu: Vcpu) -> None:
    vcpu.set_regs(ffi.new("struct kvm_regs *", {"rip": 0x1000, "rax": (1 << 64) - 1, "r15": 7, "rflags": 2}))
    regs = vcpu.regs()
    assert (regs.rip, regs.rax, regs.r15, regs.rflags, regs.rsp) == (0x1000, (1 << 64) - 1, 7, 2, 0)


def test_system_registers_are_read_back(vcpu: Vcpu) -> None:
    sregs = vcpu.sregs()
    assert sregs.cs.selector == 0xF000  # the reset vector's
    sregs.gdt.base, sregs.gdt.limit = 0x5000, 23
    sregs.cr3 = 0x7000
    vcpu.set_sregs(sregs)
    again = vcpu.sregs()
    assert (again.gdt.base, again.gdt.limit, again.cr3) == (0x5000, 23, 0x7000)


def test_system_registers_that_cannot_be_are_refused(vcpu: Vcpu) -> None:
    sregs = vcpu.sregs()
    sregs.efer = 1 << 10  # long mode active, without paging and without LME
    sregs.cr0 = 0x8000_0000  # paging without protection
    with pytest.raises(KvmError, match="KVM_SET_SREGS: Invalid argument"):
        vcpu.set_sregs(sregs)


IA32_KERNEL_GS_BASE, IA32_LSTAR, UNKNOWN_MSR = 0xC000_0102, 0xC000_0082, 0x1234_5678


def test_msrs_are_read_back(vcpu: Vcpu) -> None:
    values = {IA32_KERNEL_GS_BASE: 0x1122_3344, IA32_LSTAR: 0x5566_7788}
    vcpu.set_msrs(values)
    assert vcpu.msrs(values) == values


def test_refused_msr_is_named(vcpu: Vcpu) -> None:
    with pytest.raises(KvmError, match="KVM_SET_MSRS of MSR 0x12345678: Invalid argument"):
        vcpu.set_msrs({IA32_LSTAR: 0, UNKNOWN_MSR: 1, IA32_KERNEL_GS_BASE: 0})


def test_unknown_msr_is_left_out(vcpu: Vcpu) -> None:
    assert UNKNOWN_MSR not in vcpu.msrs([UNKNOWN_MSR])


def test_local_apic_is_read_back(vcpu: Vcpu) -> None:
    registers = bytearray(vcpu.lapic())
    assert registers[0x20:0x24] == bytes(4)  # APIC id 0
    registers[0x80] = 0x30  # task priority
    vcpu.set_lapic(bytes(registers))
    assert vcpu.lapic()[0x80] == 0x30


def test_events_and_mp_state_are_read_back(vcpu: Vcpu) -> None:
    vcpu.set_events(vcpu.events())
    assert vcpu.mp_state() == lib.KVM_MP_STATE_RUNNABLE
    vcpu.set_mp_state(lib.KVM_MP_STATE_RUNNABLE)
    with pytest.raises(KvmError, match="KVM_SET_MP_STATE: Invalid argument"):
        vcpu.set_mp_state(99)


def test_tsc_frequency_and_offset(vcpu: Vcpu) -> None:
    assert 100_000 < vcpu.tsc_khz() < 10_000_000
    offset = vcpu.tsc_offset()
    assert offset is None or 0 <= offset < 1 << 64


def test_ioctls_of_a_closed_vcpu_are_errors_and_closing_twice_is_none(vcpu: Vcpu) -> None:
    before = open_fds()
    vcpu.close()
    vcpu.close()
    assert len(open_fds()) == len(before) - 1
    vcpu.stop()
    for call in (vcpu.regs, vcpu.sregs, vcpu.stats, vcpu.lapic, vcpu.run):
        with pytest.raises(KvmError, match="Bad file descriptor"):
            call()


def test_kvm_run_area_that_cannot_be_mapped_is_an_error(bare: Bare) -> None:
    before = open_fds()
    bare.vm._run_size = 1 << 50
    with pytest.raises(KvmError, match="mapping kvm_run: "):
        bare.vcpu()
    assert open_fds() == before
