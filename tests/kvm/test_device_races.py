"""Drivers that race with themselves, or break a queue and take it back: only their device suffers."""

from __future__ import annotations

from guests import Assembler, pyvmm

#: Registers of virtio-mmio (virtio 1.2, section 4.2.2) and a vsock device's queues, INDEX in EAX.
_DRIVER = """
    .set SEL, 0x30; .set NUM, 0x38; .set READY, 0x44; .set NOTIFY, 0x50; .set STATUS, 0x70
    .macro reg offset, value
        mov dword ptr [rbx + \\offset], \\value
    .endm
    .macro negotiate # up to FEATURES_OK, with version 1
        reg STATUS, 0
        reg STATUS, 3
        reg 0x24, 1
        reg 0x20, 1
        reg STATUS, 11
    .endm
    mov ebx, 0xfeb00000
    jmp begin
set_up: # queue EAX, its rings at 16 MiB and 16 KiB behind that; R13 is where
    mov [rbx + SEL], eax
    reg NUM, 16
    shl eax, 14
    lea r13d, [rax + 0x1000000]
    mov [rbx + 0x80], r13d
    lea eax, [r13 + 0x1000]
    mov dword ptr [rax], 0
    mov [rbx + 0x90], eax
    lea eax, [r13 + 0x2000]
    mov dword ptr [rax], 0
    mov [rbx + 0xa0], eax
    reg READY, 1
    ret
begin:
"""

#: CPU 1 starts the device and CPU 0 resets it at about the same time. Then CPU 0 sets up queues as after
#: a reset, and exits with 9 if the device takes chains although Status reads 0.
_RACE = """
    .set ROUND, 0x900000; .set ANSWER, 0x900040; .set ROUNDS, 100
    test esi, esi
    jnz second
    xor r15d, r15d
next:
    inc r15d
    cmp r15d, ROUNDS
    ja over
    negotiate
    mov [ROUND], r15d
    mov ecx, r15d
    shl ecx, 2
1:  pause
    dec ecx
    jg 1b
    reg STATUS, 0
2:  cmp [ANSWER], r15d
    jne 2b
    xor r14d, r14d
3:  mov eax, r14d
    call set_up
    mov ecx, 15
4:  mov eax, ecx
    shl eax, 4
    mov qword ptr [r13 + rax], 0x1800000
    mov qword ptr [r13 + rax + 8], 64
    mov [r13 + 0x1004 + rcx * 2], cx
    dec ecx
    jns 4b
    inc r14d
    cmp r14d, 2
    jb 3b
    mov word ptr [r13 + 0x1002], 16
    reg NOTIFY, 1
    mov ecx, 200
5:  pause
    dec ecx
    jnz 5b
    mov eax, [rbx + STATUS]
    test eax, eax
    jnz next
    cmp word ptr [r13 + 0x2002], 0
    je next
    # Pull the queue away under what should not use it.
    mov r12d, 1000
6:  mov eax, 1
    reg READY, 0
    call set_up
    mov word ptr [r13 + 0x1002], 16
    reg NOTIFY, 1
    dec r12d
    jnz 6b
    exit 9
over:
    exit 0
second:
    xor r15d, r15d
7:  mov eax, [ROUND]
    cmp eax, r15d
    je 7b
    mov r15d, eax
    reg STATUS, 15
    mov [ANSWER], r15d
    jmp 7b
"""

#: Breaks TX, notifies, and takes the queue back at once.
_BREAK = """
    mov r15d, 50
1:  negotiate
    xor eax, eax
    call set_up
    mov eax, 1
    call set_up
    reg STATUS, 15
    mov word ptr [r13 + 0x1002], 0x4000
    reg NOTIFY, 1
    reg READY, 0
    dec r15d
    jnz 1b
    exit 7
"""


def test_a_start_and_a_reset_at_once(assemble: Assembler) -> None:
    image = assemble(_DRIVER + _RACE)
    for _ in range(3):
        result = pyvmm("boot", image, "--cpus", "2", "--mem", "64M", "--vsock", "5")
        assert (result.status, result.stderr) == (0, "")


def test_a_broken_queue_that_is_taken_back_at_once(assemble: Assembler) -> None:
    result = pyvmm("boot", assemble(_DRIVER + _BREAK), "--mem", "64M", "--vsock", "5")
    assert result.status == 7
    reason = "vsock at 0xfeb00000 stopped: queue 1: the available index moved by more than the size (2.7.13.3)"
    assert set(result.stderr.splitlines()) <= {f"pyvmm: {reason}"}
