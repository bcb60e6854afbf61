"""Interrupts of virtio devices on a PC: lines that stay high until the driver acknowledges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guests import Assembler
from test_emulation import IDT

from pyvmm._kvm import lib
from pyvmm.config import MachineConfig
from pyvmm.layout import MIB
from pyvmm.machine import Machine
from pyvmm.virtio.device import Device
from pyvmm.virtio.queue import SplitQueue

if TYPE_CHECKING:
    from pyvmm.virtio.device import Transport


class Ringer(Device):
    """Interrupts once for each notification of queue 0, and breaks for one of queue 1.

    The first byte of its configuration counts the interrupts.
    """

    queue_sizes = (8, 8)
    config = b"\0"

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self._transport = transport
        self._started: set[int] = set()
        self._rings = 0

    def kicked(self, index: int) -> None:
        if index not in self._started:  # as part of the start
            self._started.add(index)
        elif index:
            self._transport.needs_reset("as the test wants it")
        else:
            self._transport.interrupt()
            self._rings += 1
            lib.virtio_mmio_set_config(self._transport.native, bytes([self._rings]), 1)

    def reset(self) -> None:
        """Nothing is kept."""


#: A driver in ring 0, with the device on a pin of the IOAPIC with vector 40. Its handler is `isr`.
DRIVER = """
    .equ DEVICE, 0xfeb00000
    .equ APIC, 0xfee00000
    .equ IOAPIC, 0xfec00000
    lea rsp, [rip + stack]
    {idt}
    lea rax, [rip + isr]
    lea rbx, [rip + idt + 40 * 16]
    mov [rbx], ax
    mov word ptr [rbx + 2], 0x10
    mov word ptr [rbx + 4], 0x8e00
    shr rax, 16
    mov [rbx + 6], ax
    mov ebp, APIC
    mov dword ptr [rbp + 0xf0], 0x1ff
    mov ebx, IOAPIC
    mov dword ptr [rbx], 0x10 + 2 * 5
    mov dword ptr [rbx + 0x10], {mode} + 40
    mov dword ptr [rbx], 0x11 + 2 * 5
    mov dword ptr [rbx + 0x10], 0
    mov ebx, DEVICE
    {features}
    mov dword ptr [rbx + 0x70], 15
    {body}
handler:
    exit 99
    .bss
    .space 4096
stack:
"""
LEVEL, EDGE = 0x8000, 0


def run(assemble: Assembler, body: str, mode: int, features: str = "") -> int:
    """The exit status of such a driver."""
    idt = IDT.replace("], 8", "], 0x10").replace(".space 320", ".space 4096").replace(".word 319", ".word 4095")
    image = assemble(DRIVER.format(idt=idt, mode=mode, body=body, features=features))
    with Machine(MachineConfig(image, 64 * MIB, boot="linux"), [Ringer()], console=(0, 1)) as machine:
        return machine.run()


@pytest.mark.parametrize("mode", [LEVEL, EDGE])
def test_each_interrupt_comes_once(assemble: Assembler, mode: int) -> None:
    """No storm: one for each notification. (One without a reason may come now and then, and does on some KVMs.)"""
    body = """
        mov r12d, 50
    1:  mov dword ptr [rbx + 0x50], 0
        mov eax, r13d
        inc eax
    2:  sti
        hlt
        cli
        cmp r13d, eax
        jb 2b
        dec r12d
        jnz 1b
        mov al, r13b
        out 0xf4, al
    isr:
        mov ecx, [rbx + 0x60]
        mov [rbx + 0x64], ecx
        add r13d, ecx
        inc r14d
        cmp r14d, 100
        ja handler
        mov dword ptr [rbp + 0xb0], 0
        iretq
    """
    assert run(assemble, body, mode) == 50


@pytest.mark.parametrize("mode", [LEVEL, EDGE])
def test_interrupt_that_comes_between_acknowledgement_and_eoi_is_not_lost(assemble: Assembler, mode: int) -> None:
    """The handler itself notifies the device, and waits until that interrupts again."""
    body = """
        mov dword ptr [rbx + 0x50], 0
    1:  sti
        hlt
        cli
        cmp r13d, 100
        jb 1b
        mov al, r13b
        out 0xf4, al
    isr:
        mov ecx, [rbx + 0x60]
        test ecx, ecx
        jz 2f
        mov [rbx + 0x64], ecx
        inc r13d
        cmp r13d, 100
        jae 2f
        mov dword ptr [rbx + 0x50], 0
    1:  test dword ptr [rbx + 0x60], 1
        jz 1b
    2:  mov dword ptr [rbp + 0xb0], 0
        iretq
    """
    assert run(assemble, body, mode) == 100


@pytest.mark.parametrize("mode", [LEVEL, EDGE])
def test_interrupt_that_comes_before_a_late_acknowledgement_is_not_lost(assemble: Assembler, mode: int) -> None:
    """As existing Toro's handler does: it looks, serves the device, and then acknowledges.

    The device interrupts before it counts, so the handler may have to wait for the count.
    """
    body = """
        mov dword ptr [rbx + 0x50], 0
    1:  sti
        hlt
        cli
        cmp r13d, 100
        jb 1b
        mov al, r13b
        out 0xf4, al
    isr:
        mov ecx, [rbx + 0x60]
        test ecx, ecx
        jz 2f
    4:  mov al, [rbx + 0x100]
        cmp al, r13b
        je 4b
        mov r13b, al
        cmp al, 100
        jae 3f
        mov dword ptr [rbx + 0x50], 0
    1:  cmp [rbx + 0x100], al
        je 1b
    3:  mov [rbx + 0x64], ecx
    2:  mov dword ptr [rbp + 0xb0], 0
        iretq
    """
    assert run(assemble, body, mode) == 100


def test_level_interrupts_again_until_it_is_acknowledged(assemble: Assembler) -> None:
    body = """
        mov dword ptr [rbx + 0x50], 0
    1:  sti
        hlt
        cli
        cmp r13d, 5
        jb 1b
        mov ecx, [rbx + 0x60]
        test ecx, ecx
        jnz handler
        exit 5
    isr:
        inc r13d
        cmp r13d, 5
        jb 2f
        mov dword ptr [rbx + 0x64], 1
    2:  mov dword ptr [rbp + 0xb0], 0
        iretq
    """
    assert run(assemble, body, LEVEL) == 5


VERSION_1 = "mov dword ptr [rbx + 0x24], 1\n mov dword ptr [rbx + 0x20], 1\n"


@pytest.mark.parametrize(("features", "status"), [("", 0), (VERSION_1, 0), ("mov eax, [rbx + 0x10]\n" + VERSION_1, 2)])
def test_driver_that_knows_of_no_changes_is_not_told(assemble: Assembler, features: str, status: int) -> None:
    """It would never acknowledge. Once it sees NEEDS_RESET, InterruptStatus is settled as well."""
    body = """
        mov dword ptr [rbx + 0x50], 1
    1:  test dword ptr [rbx + 0x70], 64
        jz 1b
        mov eax, [rbx + 0x60]
        out 0xf4, al
    isr:
    """
    assert run(assemble, body, LEVEL, features) == status
