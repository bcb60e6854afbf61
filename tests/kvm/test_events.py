"""ioeventfd, irqfd and messages, as a guest sends and receives them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from machines import run

from pyvmm._kvm import ffi, lib
from pyvmm.kvm import Vcpu
from pyvmm.machine import Machine


def run_to_exit(vcpu: Vcpu) -> int:
    """Runs until something that C does not serve; tells the port, if it is one."""
    reason = run(vcpu)
    assert reason == lib.KVM_EXIT_IO
    return int(vcpu.native.address)


def test_guest_s_write_signals_an_ioeventfd_without_an_exit(machine: Callable[..., Machine]) -> None:
    guest = machine("""
        mov eax, 0xfeb00050
        mov dword ptr [rax], 7
        mov dword ptr [rax], 8 # no eventfd waits for this one
        mov dword ptr [rax + 4], 8
        mov dword ptr [rax + 4], 9
        out 0x90, al
        exit 0
    """)
    sevens, all_values, port = fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
    guest.vm.ioeventfd(sevens, 0xFEB0_0050, 4, match=7)
    guest.vm.ioeventfd(all_values, 0xFEB0_0054, 4)
    guest.vm.ioeventfd(port, 0x90, 1, pio=True)
    assert run_to_exit(guest.threads[0].vcpu) == 0xF4
    assert [os.eventfd_read(fd) for fd in fds] == [1, 2, 1]
    assert guest.measures.exits() == {lib.KVM_EXIT_MMIO: 1, lib.KVM_EXIT_IO: 1}
    for fd in fds:
        os.close(fd)


# Writes 1 to the debug port, then the number of the interrupt request bit that comes up.
_WAIT_FOR_VECTOR = """
    mov eax, 0xfee000f0 # spurious vector register: APIC on
    mov dword ptr [rax], 0x1ff
    exit 1
    mov ebx, 0xfee00210 # IRR of vectors 32 to 63
1:  mov eax, [rbx]
    bsf ecx, eax
    jz 1b
    lea eax, [rcx + 32]
    out 0xf4, al
"""


def vector_after(guest: Machine, event: Callable[[], object], cpu: int = 0) -> int:
    """The interrupt that `event` requests of a guest's vCPU."""
    vcpu: Any = guest.threads[cpu].vcpu
    assert run_to_exit(vcpu) == 0xF4
    event()
    assert run_to_exit(vcpu) == 0xF4
    return int(ffi.buffer(vcpu.native.data, 1)[0][0])


@pytest.mark.parametrize("cpu", [0, 1, 2])
def test_message_reaches_its_cpu_as_an_interrupt(machine: Callable[..., Machine], cpu: int) -> None:
    guest = machine(_WAIT_FOR_VECTOR, cpus=3)
    assert vector_after(guest, lambda: guest.vm.signal_msi(cpu, 50), cpu) == 50


@pytest.mark.parametrize("cpu", [0, 1])
def test_irqfd_reaches_the_cpu_that_its_route_names(machine: Callable[..., Machine], cpu: int) -> None:
    guest = machine(_WAIT_FOR_VECTOR, cpus=2)
    fd = os.eventfd(0)
    guest.vm.route_msi({4: (0, 36), 7: (cpu, 41)})
    guest.vm.irqfd(fd, 7)
    assert vector_after(guest, lambda: os.eventfd_write(fd, 1), cpu) == 41
    os.close(fd)


def test_message_to_another_cpu_does_not_reach_this_one(machine: Callable[..., Machine]) -> None:
    guest = machine(_WAIT_FOR_VECTOR, cpus=2)

    def both() -> None:
        guest.vm.signal_msi(1, 40)
        guest.vm.signal_msi(0, 60)

    assert vector_after(guest, both) == 60
