"""Notifications of virtqueues: exits at first, an ioeventfd after many."""

from __future__ import annotations

import pytest
from guests import Assembler
from virtiodev import Echo

from pyvmm._kvm import lib
from pyvmm.config import MachineConfig
from pyvmm.layout import GIB, MIB
from pyvmm.machine import Machine

#: Takes its device through DRIVER_OK, notifies queues 1 and 0, and touches the last byte of memory.
GUEST = """
    mov ebx, 0xfeb00000
    mov dword ptr [rbx + 0x70], 15
    mov ecx, {count}
1:  mov dword ptr [rbx + 0x50], 1
    dec ecx
    jnz 1b
    mov dword ptr [rbx + 0x50], 0
    mov rax, {last}
    mov byte ptr [rax], 1
    exit 0
"""


@pytest.mark.parametrize(("count", "exits"), [(10, 10), (256, 256), (5000, 256)])
@pytest.mark.parametrize("memory", [64 * MIB, 5 * GIB])
def test_a_queue_that_is_notified_often_costs_no_more_exits(
    assemble: Assembler, count: int, exits: int, memory: int
) -> None:
    last = memory - 1 if memory < GIB else GIB + memory - 1  # 5 GiB: above the MMIO hole
    config = MachineConfig(assemble(GUEST.format(count=count, last=last)), memory)
    with Machine(config, [Echo()], console=(0, 1)) as machine:
        assert machine.run() == 0
        # Status, the other queue, and perhaps memory that no slot covers yet.
        assert exits + 2 <= machine.measures.exits()[lib.KVM_EXIT_MMIO] <= exits + 3
