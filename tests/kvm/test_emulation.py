"""Ring-0 guests with instructions that not every KVM can execute run anyway."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from guests import Result
from test_boot import assert_ended

Boot = Callable[..., Result]

#: Builds and loads an IDT: each exception enters `handler` with its number on the stack, above an error code
#: (0 if the CPU pushes none).
IDT = """
    lea rax, [rip + gates]
    lea rbx, [rip + idt]
    mov ecx, 20
1:  mov [rbx], ax
    mov word ptr [rbx + 2], 8
    mov word ptr [rbx + 4], 0x8e00
    mov rdx, rax
    shr rdx, 16
    mov [rbx + 6], dx
    add rbx, 16
    add rax, 16
    loop 1b
    lidt [rip + idtr]
    jmp start
    .balign 16
gates:
    .set number, 0
    .rept 20
    .balign 16
    .if number != 8 && number != 10 && number != 11 && number != 12 && number != 13 && number != 14 && number != 17
    push 0
    .endif
    push number
    jmp handler
    .set number, number + 1
    .endr
    .data
    .balign 16
idt: .space 320
idtr: .word 319
    .quad idt
    .text
start:
"""

EVERYTHING = """
    fwait
    fldcw [rip + control]
    fnstcw [rip + results]
    ldmxcsr [rip + status]
    stmxcsr [rip + results + 4]
    pxor mm0, mm0
    movq [rip + results + 8], mm0
    mov edx, 0x41
    movd xmm1, edx
    punpcklbw xmm1, xmm1
    pshufd xmm1, xmm1, 0
    movdqu [rip + results + 16], xmm1
    pxor xmm0, xmm0
    pcmpeqb xmm0, xmm1
    pmovmskb eax, xmm0
    mov [rip + results + 32], eax
    mov eax, 0xf0f0
    popcnt eax, eax
    mov [rip + results + 36], eax
    mov eax, -3
    cvtsi2sd xmm2, eax
    mulsd xmm2, xmm2
    sqrtsd xmm3, xmm2
    addsd xmm3, [rip + half]
    cvttsd2si eax, xmm3
    mov [rip + results + 40], eax
    ucomisd xmm2, xmm3
    seta byte ptr [rip + results + 44]
    emms
    fild dword ptr [rip + results + 40]
    fadd qword ptr [rip + half]
    fstp qword ptr [rip + results + 48]
    mov rax, [rip + pair]
    mov rdx, [rip + pair + 8]
    mov ebx, 0x1111
    mov ecx, 0x2222
    lock cmpxchg16b [rip + pair]
    setz byte ptr [rip + results + 45]
    movdqa xmm4, [rip + pair]
    movdqu [rip + results + 56], xmm4
"""

DATA = """
    .data
    .balign 16
pair: .quad 5, 6
half: .double 0.5
control: .word 0x37f
status: .long 0x1fa0
results: .space 72
"""

RESULTS = struct.pack("<HxxIQ16sIIIBBxxdQQ", 0x37F, 0x1FA0, 0, b"AA\0\0" * 4, 0xCCCC, 8, 3, 1, 1, 3.5, 0x1111, 0x2222)


def test_instructions_that_compilers_put_into_kernels(boot: Boot) -> None:
    assert_ended(boot(EVERYTHING + "print results, 72\n exit 7" + DATA), 7, RESULTS)


def test_each_cpu_has_its_own_registers(boot: Boot) -> None:
    """Those of SSE are in their initial state on a CPU that has just started."""
    source = f"""
        cvtsi2sd xmm5, esi
        test esi, esi
        jz first
        {EVERYTHING}
        cvttsd2si eax, xmm5
        add [rip + sum], eax
        lock inc dword ptr [rip + done]
        jmp 9f
    first:
        cmp dword ptr [rip + done], 1
        jb first
        cvttsd2si eax, xmm5
        add al, [rip + sum]
        print results, 72
        out 0xf4, al
        {DATA}
    sum: .long 0
    done: .long 0
    """
    assert_ended(boot(source, "--cpus", "2"), 1, RESULTS)


def test_breakpoint_enters_its_handler_behind_the_instruction(boot: Boot) -> None:
    source = f"""
        {IDT}
        int3
    behind:
        exit 1
    handler:
        pop rbx
        add rsp, 8
        lea rax, [rip + behind]
        cmp rax, [rsp]
        jne 2f
        add ebx, 100
        mov al, bl
        out 0xf4, al
    2:  exit 2
    """
    assert_ended(boot(source), 103)


@pytest.mark.parametrize(
    ("code", "vector", "error"),
    [
        ("mov rax, 0x7f0000000000\n movq xmm0, [rax]", 14, 0),
        ("mov rax, 0x7f0000000000\n movq [rax], xmm0", 14, 2),
        ("lea rax, [rip + entry]\n movq [rax], xmm0", 14, 3),
        ("mov rax, 0x8000000000000000\n movq xmm0, [rax]", 13, 0),
        ("lea rax, [rip + idt + 1]\n paddb xmm0, [rax]", 13, 0),
        ("mov rax, cr0\n or eax, 8\n mov cr0, rax\n pxor xmm0, xmm0", 7, 0),
        ("ldmxcsr [rip + divide]\n xorpd xmm0, xmm0\n divsd xmm0, xmm0", 19, 0),
        ("fldcw [rip + strict]\n fldz\n fld1\n fdivrp\n fwait", 16, 0),
    ],
)
def test_exceptions_are_the_guests(boot: Boot, code: str, vector: int, error: int) -> None:
    """The vector, the error code, and that RIP is still at the instruction."""
    source = f"""
        {IDT}
        mov rax, cr0
        or eax, 0x20
        mov cr0, rax
        {code}
        exit 1
    handler:
        mov rsi, rsp
        mov ecx, 16
        mov edx, 0x3f8
        rep outsb
        exit 9
        .data
    divide: .long 0x1f00
    strict: .word 0x360
    """
    result = boot(source)
    if vector == 19 and result.status == 1:
        pytest.skip("this CPU is QEMU's, which raises no SIMD exceptions")
    assert_ended(result, 9, struct.pack("<QQ", vector, error))


def test_single_step_stops_behind_each_instruction(boot: Boot) -> None:
    source = f"""
        {IDT}
        push 0x102
        popfq
        pxor xmm0, xmm0
        paddb xmm0, xmm0
        nop
        exit 1
    handler:
        pop rbx
        cmp ebx, 1
        jne 2f
        add rsp, 8
        inc dword ptr [rip + steps]
        mov rax, dr6
        test eax, 0x4000
        jz 2f
        xor eax, eax
        mov dr6, rax
        mov al, [rip + steps]
        cmp al, 3
        je 3f
        iretq
    2:  exit 2
    3:  out 0xf4, al
        .data
    steps: .long 0
    """
    assert_ended(boot(source), 3)
