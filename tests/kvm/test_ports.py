"""A guest's ports and MMIO, through the command: devices, string output, and unclaimed addresses."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import Result

Boot = Callable[..., Result]


def assert_ended(result: Result, status: int, stdout: bytes = b"") -> None:
    """The guest ended with `status` and pyvmm had nothing to say."""
    assert (result.status, result.stdout, result.stderr) == (status, stdout, "")


# ---- ports and addresses where nothing is ----------------------------------------------


@pytest.mark.parametrize(("register", "size"), [("al", 1), ("ax", 2), ("eax", 4)])
def test_unknown_port_reads_as_all_ones(boot: Boot, register: str, size: int) -> None:
    source = f"""
        mov edx, 0x500
        xor eax, eax
        in {register}, dx
        mov [rip + value], rax
        print value, 8
        exit 0
        .data
        value: .quad 0
    """
    assert_ended(boot(source), 0, (b"\xff" * size).ljust(8, b"\0"))


def test_write_to_an_unknown_port_is_lost(boot: Boot) -> None:
    assert_ended(boot("mov eax, -1\n out 0x80, al\n out 0x82, ax\n out 0x84, eax\n exit 0"), 0)


def test_access_across_the_end_of_a_device_reaches_no_device(boot: Boot) -> None:
    """The last two registers of the UART, and two ports behind it."""
    source = """
        mov edx, 0x3fe
        in eax, dx
        mov [rip + value], eax
        print value, 4
        exit 0
        .data
        value: .long 0
    """
    assert_ended(boot(source), 0, b"\xff" * 4)


@pytest.mark.parametrize("address", [0xC000_0000, 0xFEB0_0000, 0xFFFF_F000])
def test_address_without_a_device_reads_as_all_ones(boot: Boot, address: int) -> None:
    source = f"""
        mov ebx, {address}
        lea rbp, [rip + values]
        mov al, [rbx]
        mov [rbp], al
        mov ax, [rbx]
        mov [rbp + 1], ax
        mov eax, [rbx]
        mov [rbp + 3], eax
        mov rax, [rbx]
        mov [rbp + 7], rax
        mov [rbx], rax
        print values, 16
        exit 0
        .data
        values: .fill 16
    """
    assert_ended(boot(source), 0, b"\xff" * 15 + b"\0")


def test_keyboard_controller_is_ready(boot: Boot) -> None:
    assert_ended(boot("in al, 0x64\n out 0xf4, al"), 0)


# ---- strings ----------------------------------------------------------------------------


def io_exits(boot: Boot, tmp_path: Path, source: str) -> tuple[bytes, int]:
    """What a guest writes, and its number of port exits."""
    result = boot(source, f"--timing={tmp_path}/t.json")
    assert (result.status, result.stderr) == (0, "")
    return result.stdout, int(json.loads((tmp_path / "t.json").read_text())["exits"]["io"])


def test_line_of_text_is_exactly_one_exit(boot: Boot, tmp_path: Path) -> None:
    line = "a line of text as an application writes it, eighty columns wide or thereabouts"
    _, without = io_exits(boot, tmp_path, "exit 0")
    text, exits = io_exits(boot, tmp_path, f'print line, {len(line)}\n exit 0\n .data\n line: .ascii "{line}"')
    assert text == line.encode()
    assert exits == without + 1


@pytest.mark.parametrize("offset", [0, 1, 4095])
@pytest.mark.parametrize("size", [1, 2, 4096, 4097, 20000])
def test_string_arrives_complete_wherever_it_lies(boot: Boot, offset: int, size: int) -> None:
    source = f"""
        print text, {size}
        exit 0
        .data
        .balign 4096
        .fill {offset}, 1, 0x2e
        text:
        n = 0
        .rept {size}
        .byte n * 7 + n / 256
        n = n + 1
        .endr
    """
    assert_ended(boot(source), 0, bytes((n * 7 + n // 256) & 0xFF for n in range(size)))


def test_registers_after_a_string_are_those_of_the_instruction(boot: Boot) -> None:
    source = """
        lea rbx, [rip + text]
        print text, 5000
        sub rsi, rbx
        mov [rip + after], rsi
        mov [rip + after + 8], rcx
        mov [rip + after + 16], rdx
        print after, 24
        exit 0
        .data
        text: .fill 5000, 1, 0x2e
        after: .quad -1, -1, -1
    """
    assert_ended(boot(source), 0, b"." * 5000 + struct.pack("<QQQ", 5000, 0, 0x3F8))


def test_string_of_length_0_is_nothing(boot: Boot) -> None:
    assert_ended(boot("print text, 0\n exit 0\n .data\n text: .ascii `no`".replace("`", '"')), 0)


def test_string_backwards(boot: Boot) -> None:
    source = (
        'std\n lea rsi, [rip + text + 2]\n mov ecx, 3\n mov edx, 0x3f8\n rep outsb\n exit 0\n.data\ntext: .ascii "abc"'
    )
    assert_ended(boot(source), 0, b"cba")


def test_plain_output_before_a_string_goes_to_its_own_port(boot: Boot) -> None:
    """Right after the first OUT, RIP points at a REP OUTSB that has not begun."""
    source = """
        lea rsi, [rip + text]
        mov ecx, 5
        mov edx, 0x3f8
        mov al, 0x2a
        out 0x80, al
        rep outsb
        lea rsi, [rip + text]
        mov ecx, 5
        out dx, al
        rep outsb
        exit 0
        .data
        text: .ascii "hello"
    """
    assert_ended(boot(source), 0, b"hello*hello")


def test_string_from_where_no_ram_is_reads_as_all_ones(boot: Boot) -> None:
    source = "mov esi, 0xd0000000\n mov ecx, 4\n mov edx, 0x3f8\n rep outsb\n exit 0"
    assert_ended(boot(source), 0, b"\xff" * 4)


def test_string_continues_where_the_page_tables_say(boot: Boot) -> None:
    """The second page of the string is not the physical one behind the first."""
    source = """
        mov rbx, cr3
        .irp shift, 39, 30, 21
        mov rbx, [rbx]
        and rbx, -4096
        .endr
        lea eax, [rip + second]
        shr eax, 12
        and eax, 511
        lea rbx, [rbx + rax * 8]
        mov rax, [rbx]
        xchg rax, [rbx + 8]
        mov [rbx], rax
        mov rax, cr3
        mov cr3, rax
        print text, 14
        exit 0
        .data
        .balign 4096
        .fill 4091
        text: .ascii "first"
        second: .ascii "physical "
        .balign 4096
        .ascii " virtual "
        .balign 4096
    """
    assert_ended(boot(source), 0, b"first virtual ")


def test_string_from_where_nothing_is_mapped_is_the_fault_of_the_guest(boot: Boot) -> None:
    """It faults at the page's boundary, and what lies before has come out."""
    source = """
        lea rsi, [rsp - 5] # below the guard page
        mov dword ptr [rsi], 0x6b636174
        mov byte ptr [rsi + 4], 0x21
        mov ecx, 100
        mov edx, 0x3f8
        rep outsb
        exit 1
    """
    result = boot(source)
    assert (result.status, result.stdout) == (124, b"tack!")
    assert "triple fault" in result.stderr


def test_string_of_words_arrives_complete(boot: Boot) -> None:
    source = """
        lea rsi, [rip + text]
        mov ecx, 3
        mov edx, 0x500
        rep outsw
        lea rax, [rip + text + 6]
        cmp rsi, rax
        jne 1f
        test rcx, rcx
        jnz 1f
        exit 0
        1: exit 1
        .data
        text: .ascii "abcdef"
    """
    assert_ended(boot(source), 0)
