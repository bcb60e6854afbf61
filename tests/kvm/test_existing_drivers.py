"""A console driver that behaves like those of existing Toro kernels.

It reads no features and accepts none, sets up its queues and notifies them before DRIVER_OK, writes FEATURES_OK
and DRIVER_OK at once, has rings of 32 without room for EVENT_IDX, serves before it acknowledges, and waits for each
packet that it sends.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from guests import PYVMM, Assembler, wait_until
from test_emulation import IDT
from test_lines import DRIVER, LEVEL

START = """
    .macro queue number, ring
    mov dword ptr [rbx + 0x30], \\number
    mov dword ptr [rbx + 0x38], 32
    lea rax, \\ring[rip]
    mov [rbx + 0x80], eax
    add eax, 512
    mov [rbx + 0x90], eax
    add eax, 68
    mov [rbx + 0xa0], eax
    mov dword ptr [rbx + 0x44], 1
    .endm
    mov dword ptr [rbx + 0x70], 0
    mov dword ptr [rbx + 0x70], 3
    queue 0, receive
    queue 1, transmit
    lea rdi, [rip + receive]
    lea rax, [rip + buffers]
    xor ecx, ecx
1:  mov rdx, rcx
    shl rdx, 4
    mov [rdi + rdx], rax
    mov dword ptr [rdi + rdx + 8], 100
    mov dword ptr [rdi + rdx + 12], 2
    mov [rdi + rcx * 2 + 516], cx
    add rax, 100
    inc ecx
    cmp ecx, 32
    jb 1b
    mov [rdi + 514], cx
    mov dword ptr [rbx + 0x50], 0
"""

ECHO = """
1:  sti
    hlt
    jmp 1b
isr:
    test dword ptr [rbx + 0x60], 1
    jz 4f
    lea rdi, [rip + receive]
    lea rsi, [rip + transmit]
2:  movzx ecx, r13w
    cmp cx, [rdi + 582]
    je 3f
    and ecx, 31
    mov eax, [rdi + rcx * 8 + 584]
    mov edx, [rdi + rcx * 8 + 588]
    inc r13w
    imul r8d, eax, 100
    lea r9, [rip + buffers]
    add r8, r9
    cmp byte ptr [r8], '!'
    je 5f
    mov [rsi], r8
    mov [rsi + 8], edx
    inc r14w
    mov [rsi + 514], r14w
    mov dword ptr [rbx + 0x50], 1
6:  cmp [rsi + 582], r14w
    jne 6b
    movzx ecx, word ptr [rdi + 514]
    and ecx, 31
    mov [rdi + rcx * 2 + 516], ax
    inc word ptr [rdi + 514]
    mov dword ptr [rbx + 0x50], 0
    jmp 2b
3:  mov dword ptr [rbx + 0x64], 1
4:  mov dword ptr [rbp + 0xb0], 0
    iretq
5:  exit 7
    .bss
    .balign 16
receive: .space 1024
transmit: .space 1024
buffers: .space 3200
    .text
"""


@pytest.mark.parametrize("mode", [LEVEL, 0])
def test_console_echoes_all_that_it_gets(assemble: Assembler, tmp_path: Path, mode: int) -> None:
    idt = IDT.replace("], 8", "], 0x10").replace(".space 320", ".space 4096").replace(".word 319", ".word 4095")
    image = assemble(DRIVER.format(idt=idt, mode=mode, features=START, body=ECHO))
    path = tmp_path / "console"
    guest = subprocess.Popen([PYVMM, "boot", image, "--boot", "linux", "--console", f"virtio=unix:{path}"])
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            wait_until(lambda: not client.connect_ex(str(path)), "somebody listens")
            for size in (1, 5, 100, 101, 3200, 5000):
                sent = bytes(33 + 1 + i % 90 for i in range(size))
                client.sendall(sent)
                got = b""
                while len(got) < size:
                    got += client.recv(65536)
                assert got == sent
            client.sendall(b"!")
            assert guest.wait(60) == 7
    finally:
        guest.kill()
        guest.wait()
