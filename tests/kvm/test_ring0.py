"""Ring-0 code as compilers generate it: pyvmm executes the instructions that KVM does not know."""

from __future__ import annotations

from collections.abc import Callable

from guests import Result

# 6 * 7 in SSE, MMX and x87 registers, each breakpoint counted by its handler, and the largest
# of the atomic operations.
SOURCE = """
.data
.balign 16
idt:    .fill 8, 8, 0
limits: .word 63
        .quad idt
.balign 16
pair:   .quad 1, 2
six:    .word 6
number: .quad 0
.text
    lea rax, [rip + breakpoint]
    lea rbx, [rip + idt + 48]
    mov [rbx], ax
    mov [rbx + 2], cs
    mov word ptr [rbx + 4], 0x8e00
    shr rax, 16
    mov [rbx + 6], ax
    lidt [rip + limits]
    mov rax, cr0
    and rax, ~0xc
    mov cr0, rax
    mov rax, cr4
    or rax, 0x600
    mov cr4, rax
    mov r15d, 0

    mov eax, 6
    cvtsi2sd xmm0, eax
    mov eax, 7
    cvtsi2sd xmm1, eax
    mulsd xmm0, xmm1
    cvttsd2si r8d, xmm0
    int3
    movd mm0, r8d
    pxor mm1, mm1
    paddd mm1, mm0
    movd r9d, mm1
    emms
    fild word ptr [rip + six]
    fistp qword ptr [rip + number]
    mov r10, [rip + number]
    mov eax, 1
    mov edx, 2
    mov ebx, 3
    mov ecx, 4
    mov rax, 1
    lock cmpxchg16b [rip + pair]
    setz r11b
    mov eax, 0x15
    popcnt r12d, eax
    int3

    cmp r8d, 42
    jne bad
    cmp r9d, 42
    jne bad
    cmp r10, 6
    jne bad
    cmp r11b, 1
    jne bad
    cmp qword ptr [rip + pair], 3
    jne bad
    cmp r12d, 3
    jne bad
    cmp r15d, 2
    jne bad
    exit 42
bad:
    exit 1
breakpoint:
    inc r15d
    iretq
"""


def test_ring_0_uses_what_compilers_use(boot: Callable[..., Result]) -> None:
    result = boot(SOURCE)
    assert (result.status, result.stdout, result.stderr) == (42, b"", "")
