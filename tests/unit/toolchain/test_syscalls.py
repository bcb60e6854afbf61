"""The replacement of system calls, tried on programs for the host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyvmm.errors import BuildError
from pyvmm.toolchain import syscalls
from pyvmm.toolchain.elf import Elf

CALLS = "/* SYS_write SYS_exit SYS_getpid */"
#: Writes by way of `function`, whose system calls are to be replaced, and counts them.
HEAD = """
        .intel_syntax noprefix
        .globl _start
_start: call    function
        mov     edi, calls[rip]
        mov     eax, 60
        .globl  start, end
toro_syscall:                   # what the kernel does here: the call itself
        inc     dword ptr calls[rip]
        cmp     eax, 60
        jne     1f
        dec     edi
1:      .byte   0x0f, 0x05
        ret
rooms:  .fill   1024
start:
"""
TAIL = """
end:
        .section .rodata
text:   .ascii  "hello\\n"
        .bss
calls:  .long 0
"""
PLAIN = """
        .type function, @function
function:
        mov     edi, 1
        lea     rsi, text[rip]
        mov     edx, 6
        mov     eax, 1
        syscall
        ret
"""
RELATIVE = PLAIN.replace("mov     edx, 6\n        mov     eax, 1", "mov eax, 1\n mov edx, 6\n lea rsi, text[rip]")
BACKWARD = """
        .type function, @function
function:
        mov     edi, 1
        mov     edx, 6
        mov     eax, 1
        lea     rsi, text[rip]
        jmp     1f
        nop
1:      syscall
        mov     rdi, rax
        ret
"""


def link(tmp_path: Path, function: str) -> Path:
    source, code, image = (tmp_path / f"program{suffix}" for suffix in (".s", ".o", ""))
    source.write_text(HEAD + function + TAIL)
    subprocess.run(["as", str(source), "-o", str(code)], check=True)
    subprocess.run(["ld", str(code), "-o", str(image)], check=True)
    return image


def places(image: Path) -> dict[str, int]:
    listed = subprocess.run(["nm", str(image)], check=True, capture_output=True, text=True).stdout
    return {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}


def find(tmp_path: Path, image: Path) -> list[syscalls.Site]:
    calls = tmp_path / "calls.c"
    calls.write_text(CALLS)
    return syscalls.find(image, places(image)["start"], places(image)["end"], calls)


@pytest.fixture(autouse=True)
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux's numbers, without musl's headers."""
    (tmp_path / "bits").mkdir()
    (tmp_path / "bits/syscall.h").write_text("#define __NR_write 1\n#define __NR_fork 57\n#define __NR_exit 60\n")
    monkeypatch.setattr(syscalls, "HEADERS", tmp_path)


@pytest.mark.parametrize("function", [PLAIN, RELATIVE, BACKWARD], ids=["plain", "relative", "from behind"])
def test_a_call_is_made_by_the_routine(tmp_path: Path, function: str) -> None:
    image = link(tmp_path, function)
    sites = find(tmp_path, image)
    assert len(sites) == 1
    elf = Elf(image)
    syscalls.redirect(elf, sites, places(image)["rooms"], places(image)["toro_syscall"])
    image.write_bytes(elf.data)
    done = subprocess.run([str(image)], capture_output=True)
    assert (done.stdout, done.returncode) == (b"hello\n", 0)


def test_a_call_that_toro_lacks_is_named(tmp_path: Path) -> None:
    image = link(tmp_path, PLAIN.replace("mov     eax, 1", "mov     eax, 57"))
    with pytest.raises(BuildError, match=r"^function calls fork: Toro has no such system call$"):
        find(tmp_path, image)


def test_a_call_of_an_unknown_number_is_left_to_run_time(tmp_path: Path) -> None:
    assert len(find(tmp_path, link(tmp_path, PLAIN.replace("mov     eax, 1", "mov     eax, r8d")))) == 1


def test_a_call_without_room_is_refused(tmp_path: Path) -> None:
    image = link(tmp_path, "        .type function, @function\nfunction:\n        syscall\n        jmp function\n")
    with pytest.raises(BuildError, match=r"^function: its system call at 0x[0-9a-f]+ cannot be replaced$"):
        find(tmp_path, image)
