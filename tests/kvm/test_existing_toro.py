"""A kernel that starts as existing Toro kernels do: by PVH, in ring 0, with its own tables and trampoline."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from guests import PYVMM, Assembler, pyvmm
from machines import Bare
from test_boot_cache import Cache

pytestmark = pytest.mark.usefixtures("way")

#: Minimal start-up code, with page tables for 4 GiB only. The kernel checks its state on entry, starts the
#: other CPUs, prints what it found, and ends as those kernels do.
SOURCE = """
    .intel_syntax noprefix
    .section .note.Xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long start
    .text
    .code32
    .globl start, _mainCRTStartup
gdt:
    .quad 0, 0x00009b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr64: .word 0x9f
    .quad 0x3000
idtr64: .word 0x13eb
    .quad 0x3080
start:
    mov esp, offset stack
    mov ebp, ebx
    mov esi, offset gdt
    mov edi, 0x3000
    mov ecx, 32
    rep movsb
    mov esi, offset trampoline_init
    mov edi, 0x2000
    mov ecx, offset trampoline_end - trampoline_init
    rep movsb
    lgdt [gdtr64]
    lidt [idtr64]
    mov dword ptr [0x100000], 0x101007
    mov edi, 0x101000
    mov eax, 0x102007
1:  mov [edi], eax
    add eax, 0x1000
    add edi, 8
    cmp edi, 0x101020
    jb 1b
    mov eax, 0x87
2:  mov [edi + 0xfe0], eax
    add eax, 0x200000
    add edi, 8
    cmp edi, 0x101020 + 8 * 2048
    jb 2b
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x100000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    pxor mm0, mm0
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    ljmp 0x18, offset long_mode
    .code64
long_mode:
    mov rbx, rbp
    mov ecx, 1
    xor edx, edx
    jmp _mainCRTStartup

    .code16
trampoline_init:
    lgdt [trampoline_gdt - trampoline_init + 0x2000]
    mov ebx, cr0
    or ebx, 1
    mov cr0, ebx
    .byte 0x66, 0xea
    .long 1f - trampoline_init + 0x2000
    .word 8
trampoline_gdt:
    .word 0x9f
    .long 0x3000
1:  mov eax, 0x10
    mov ss, eax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x100000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    and eax, 0x9fffffff
    or eax, 0x80000000
    mov cr0, eax
    mov edx, 0x1987
    .byte 0x66, 0xea
    .long _mainCRTStartup
    .word 0x18
trampoline_end:

    .code64
_mainCRTStartup:
    cmp edx, 0x1987
    je other
    lea rsp, [rip + stack]
    mov eax, '0'
    cmp ecx, 1
    jne fail
    inc eax
    cmp dword ptr [rbx], 0x336ec578
    jne fail
    inc eax
    mov rcx, cr3
    cmp ecx, 0x100000
    jne fail
    inc eax
    mov ecx, ss
    cmp ecx, 0x10
    jne fail
    inc eax
    sidt [rsp - 16]
    cmp dword ptr [rsp - 14], 0x3080
    jne fail
    inc eax
    mov rcx, cr4
    or ecx, 0x200
    mov cr4, rcx
    pxor xmm0, xmm0
    xor ecx, ecx
    mov cx, [0x500]
    cmp cx, 0x4d5f
    jne fail
    mov esi, [0x504]
    add esi, 44
3:  cmp byte ptr [rsi], 0
    jne 4f
    inc r15d
    add esi, 20
    jmp 3b
4:  mov ebp, 0xfee00000
    mov dword ptr [rbp + 0xf0], 0x1ff
    mov r14d, 1
5:  cmp r14d, r15d
    jae 7f
    mov eax, r14d
    shl eax, 24
    mov [rbp + 0x310], eax
    mov dword ptr [rbp + 0x300], 0x500
    mov [rbp + 0x310], eax
    mov dword ptr [rbp + 0x300], 0x602
    inc r14d
6:  cmp [rip + awake], r14d
    jb 6b
    jmp 5b
7:  mov esi, [rbx + 40]
    mov ecx, [rbx + 48]
    mov edx, 0x3f8
    imul ecx, ecx, 24
    rep outsb
    mov esi, [rbx + 24]
8:  lodsb
    out dx, al
    test al, al
    jnz 8b
    mov al, [rip + awake]
    add al, '0'
    out dx, al
    lidt [rip + nothing]
    ud2
fail:
    mov edx, 0x3f8
    out dx, al
9:  hlt
    jmp 9b
other:
    mov rcx, cr4
    or ecx, 0x200
    mov cr4, rcx
    pxor xmm0, xmm0
    lock inc dword ptr [rip + awake]
    jmp 9b

    .data
awake: .long 1
nothing: .quad 0, 0
    .bss
    .balign 16
    .space 4096
stack:
"""

_LINKER_SCRIPT = """
PHDRS { text PT_LOAD FLAGS(7); note PT_NOTE FLAGS(4); }
SECTIONS {
  . = 0x400000;
  .text : { *(.text) } :text
  .note : { *(.note.*) } :text :note
  .data : { *(.data) *(.bss) } :text
}
"""


Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(assemble: Assembler, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Makes an image, with its symbols, of each source once (and `assemble` knows whether there are tools)."""
    folder = tmp_path_factory.mktemp("existing")
    (folder / "toro.ld").write_text(_LINKER_SCRIPT)

    def make(source: str) -> Path:
        image = folder / f"{sha256(source.encode()).hexdigest()[:16]}.elf"
        if not image.exists():
            (folder / "toro.s").write_text(source)
            for words in (["as", "-o", "toro.o", "toro.s"], ["ld", "-n", "-T", "toro.ld", "-o", image, "toro.o"]):
                subprocess.run(words, cwd=folder, check=True)
        return image

    return make


@pytest.fixture(scope="module")
def kernel(build: Build) -> Path:
    """The kernel."""
    return build(SOURCE)


def stripped(image: Path) -> str:
    """The image without its symbols."""
    bare = image.with_suffix(".bare")
    if not bare.exists():
        subprocess.run(["strip", "-o", bare, image], check=True)
    return str(bare)


@pytest.mark.parametrize("protocol", ["pvh", "toro-fast"])
@pytest.mark.parametrize("cpus", [1, 3])
def test_it_starts_and_ends(kernel: Path, protocol: str, cpus: int) -> None:
    """Its end is a triple fault without an IDT, which is no error."""
    result = pyvmm("boot", str(kernel), "--boot", protocol, "--cpus", str(cpus), "--mem", "256M", "--append", "a,b c")
    assert (result.status, result.stderr) == (0, "")
    table, text = result.stdout[:72], result.stdout[72:]
    assert text == b"a,b c\0%d" % cpus
    ranges = [tuple(int.from_bytes(table[at + i : at + i + 8], "little") for i in (0, 8, 16)) for at in (0, 24, 48)]
    assert [(start, kind) for start, _, kind in ranges] == [(0, 1), (0x9FC00, 2), (0x100000, 1)]
    start, size, _ = ranges[2]
    assert (start + size - (8 << 20)) % (8 * cpus) == 0
    assert (256 << 20) - 8 * cpus < start + size <= 256 << 20


def test_the_fast_way_is_the_first(kernel: Path) -> None:
    """It leaves out the image's own start-up code, and the MMX instruction there."""
    result = pyvmm("boot", str(kernel), "--timing")
    slow = pyvmm("boot", str(kernel), "--boot", "pvh", "--timing")
    counts = [re.search(r"instructions emulated: (\d+)", each.stderr) for each in (result, slow)]
    fast, all_of_them = (int(count[1]) if count else 0 for count in counts)
    assert (result.status, slow.status) == (0, 0)
    assert (fast, all_of_them) in ((1, 2), (0, 0))


@pytest.mark.parametrize("protocol", ["pvh", "toro-fast"])
@pytest.mark.parametrize("interrupts", ["cli", "sti"])
def test_sigterm_is_an_nmi(build: Build, protocol: str, interrupts: str) -> None:
    """Such a kernel takes that for the request to shut down; what it was doing is no matter."""
    waiting = f"""
    mov edi, 0x3080 + 2 * 16
    lea rax, [rip + nmi]
    mov [rdi], ax
    mov word ptr [rdi + 2], 0x18
    mov word ptr [rdi + 4], 0x8e00
    shr rax, 16
    mov [rdi + 6], ax
    {interrupts}
    mov al, 10
    out dx, al
1:  hlt
    jmp 1b
nmi:
    mov edx, 0x3f8
    mov al, 'N'
    out dx, al
    lidt [rip + nothing]
    """
    image = build(SOURCE.replace("    lidt [rip + nothing]\n", waiting))
    command = [PYVMM, "boot", image, "--boot", protocol, "--append", "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout
        while guest.stdout.read(1) != b"\0":
            pass
        guest.stdout.readline()
        guest.send_signal(signal.SIGTERM)
        assert (guest.communicate(timeout=60), guest.returncode) == ((b"N", b""), 0)


def test_sigterm_ends_a_kernel_that_has_no_handler_yet(build: Build) -> None:
    """By a triple fault; AMD-V does not tell it from the kernel's own way to end."""
    image = build(SOURCE.replace("    lidt [rip + nothing]\n", "1:  jmp 1b\n"))
    with subprocess.Popen(
        [PYVMM, "boot", image, "--append", "a"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as guest:
        assert guest.stdout
        while guest.stdout.read(1) != b"a":
            pass
        guest.send_signal(signal.SIGTERM)
        assert guest.communicate(timeout=60)[1] == b""
        assert guest.returncode in (0, 143)


def test_a_stripped_image_starts_by_pvh(kernel: Path) -> None:
    image = stripped(kernel)
    assert pyvmm("boot", image, "--cpus", "2").stdout.endswith(b"2")
    refused = pyvmm("boot", image, "--boot", "toro-fast")
    assert (refused.status, refused.stderr) == (125, f"pyvmm: --boot toro-fast: {image} offers pvh\n")


def test_triple_fault_with_an_idt_is_an_error(build: Build) -> None:
    """Of an image that is not taken for Toro: AMD-V does not tell of the IDT."""
    result = pyvmm("boot", stripped(build(SOURCE.replace("nothing: .quad 0, 0", "nothing: .quad 0xff, 0"))))
    assert result.status == 124
    assert "triple fault" in result.stderr


#: It measures the TSC by the timer as those kernels do, waits again, so long that a vCPU may lose its CPU, before it
#: looks at the count, and writes the count in hexadecimal.
CLOCK = """
    in al, 0x61
    and al, 0xfe
    out 0x61, al
    mov al, 0xb0
    out 0x43, al
    mov al, 0xff
    out 0x42, al
    out 0x42, al
    in al, 0x61
    or al, 1
    out 0x61, al
    rdtsc
    mov ecx, eax
1:  rdtsc
    sub eax, ecx
    cmp eax, 6000000 + {lost}
    jb 1b
    in al, 0x61
    and al, 0xfe
    out 0x61, al
    mov al, 0x80
    out 0x43, al
    in al, 0x42
    mov bl, al
    in al, 0x42
    mov bh, al
    not bx
    mov edx, 0x3f8
    mov ecx, 4
2:  rol bx, 4
    mov al, bl
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe 3f
    add al, 'A' - '9' - 1
3:  out dx, al
    dec ecx
    jnz 2b
    lidt [rip + nothing]
"""


@pytest.mark.parametrize("protocol", ["pvh", "toro-fast"])
@pytest.mark.parametrize("lost", [0, 30_000_000])
def test_it_measures_its_clock_right_on_a_busy_host(build: Build, bare: Bare, protocol: str, lost: int) -> None:
    """Existing Toro kernels take it that 6,000,000 ticks have passed. In all, 52 boots by each protocol."""
    image = build(SOURCE.replace("    lidt [rip + nothing]\n", CLOCK.format(lost=lost)))
    khz = bare.vcpu().tsc_khz()
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * len(os.sched_getaffinity(0)))
    ]
    try:
        results = [pyvmm("boot", str(image), "--boot", protocol) for _ in range(13)]
    finally:
        for each in busy:
            each.kill()
            each.wait()
    counts = [int(result.stdout[-4:], 16) for result in results]
    assert all(abs(6_000_000 * 1_193_182 / count / 1000 - khz) < khz / 100 for count in counts), (counts, khz)


@pytest.mark.parametrize("protocol", ["pvh", "toro-fast"])
def test_its_state_is_cached(kernel: Path, tmp_path: Path, protocol: str) -> None:
    cache = Cache(tmp_path)
    words = [str(kernel), "--boot", protocol, "--append", "a"]
    said = cache.boot(*words)
    assert said.stdout.endswith(b"a\x001")
    assert cache.hits(*words, result=said)
    assert not cache.hits(*words, "--mem", "1G", result=cache.boot(*words, "--mem", "1G", "--no-cache"))


#: A kernel with the loader that Linux's protocol starts: in 64-bit mode, with RSI = zero page.
LINUX_SOURCE = """
    .intel_syntax noprefix
    .text
    .globl _start, _startkernel, _mainCRTStartup
_start:
_startkernel:
    mov edx, 0x3f8
    mov al, 'L'
    out dx, al
_mainCRTStartup:
    movzx ecx, byte ptr [rsi + 0x1e8]
    dec ecx
    imul ecx, ecx, 20
    lea rsi, [rsi + rcx + 0x2d0]
    mov ecx, 16
    rep outsb
    lidt [rip + nothing]
    ud2
    .data
nothing: .quad 0, 0
"""


@pytest.mark.parametrize("options", [[], ["--boot", "linux"]])
def test_one_with_a_loader_for_linux_starts_by_that(build: Build, options: list[str]) -> None:
    """Its symbols tell it from other images, and that it divides its RAM."""
    result = pyvmm("boot", str(build(LINUX_SOURCE)), *options, "--cpus", "3", "--mem", "256M")
    assert (result.status, result.stderr, result.stdout[:1]) == (0, "", b"L")
    start, size = (int.from_bytes(result.stdout[at : at + 8], "little") for at in (1, 9))
    assert start == 1 << 20
    assert (start + size - (8 << 20)) % (8 * 3) == 0


def test_a_stripped_one_with_a_loader_for_linux_names_no_protocol(build: Build) -> None:
    result = pyvmm("boot", stripped(build(LINUX_SOURCE)))
    assert (result.status, result.stdout) == (125, b"")
    assert "no known boot protocol" in result.stderr
