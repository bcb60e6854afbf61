"""`pyvmm boot` from outside: a guest's exit status, ports, memory and boot-info."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import GIB, MIB, PAGE, Result

from pyvmm.boot import bootinfo

Boot = Callable[..., Result]


def assert_ended(result: Result, status: int, stdout: bytes = b"") -> None:
    """The guest ended with `status` and pyvmm had nothing to say."""
    assert (result.status, result.stdout, result.stderr) == (status, stdout, "")


def assert_failed(result: Result, pattern: str, status: int = 124) -> None:
    """pyvmm ended the guest, with one line that says why, and a crash report if it could not go on."""
    assert result.status == status
    first, *report = result.stderr.splitlines()
    assert re.fullmatch(f"pyvmm: {pattern}", first), result.stderr
    if status == 124:
        *lines, last = report
        assert all(line.startswith("pyvmm:   ") for line in lines)
        assert re.search(r"^pyvmm:   rip +0x", "\n".join(lines), re.M)
        assert last.endswith("; `--crash DIR` keeps a report and a core file")
    else:
        assert not report


def assert_triple_fault(result: Result, vcpu: int, address: str) -> None:
    """The same for a triple fault; AMD-V does not tell where it was."""
    where = "" if re.search(r"\bsvm\b", Path("/proc/cpuinfo").read_text()) else f" at {address}"
    assert_failed(result, f"vCPU {vcpu}{where}: triple fault: .*")


# ---- how a guest ends -----------------------------------------------------------------


def test_status_is_the_first_that_a_string_has(boot: Boot) -> None:
    text = 'lea rsi, text[rip]\n mov ecx, 3\n mov edx, 0xf4\n rep outsb\n .data\n text: .ascii "abc"'
    assert_ended(boot(text), ord("a"))


@pytest.mark.parametrize("status", [0, 1, 7, 123, 255])
def test_status_is_what_the_guest_writes_to_the_debug_port(boot: Boot, status: int) -> None:
    assert_ended(boot(f"exit {status}"), status)


@pytest.mark.parametrize(("width", "register"), [(2, "ax"), (4, "eax")])
def test_wide_write_to_the_debug_port_gives_its_low_byte(boot: Boot, width: int, register: str) -> None:
    assert_ended(boot(f"mov eax, 0x12340a07\n out 0xf4, {register}"), 7)


def test_reset_through_the_keyboard_controller_is_status_0(boot: Boot) -> None:
    assert_ended(boot("mov al, 0xfe\n out 0x64, al"), 0)


def test_triple_fault_is_one_line(boot: Boot) -> None:
    """There is no IDT: any exception ends in one."""
    assert_triple_fault(boot("ud2"), 0, "0x100000")


def test_triple_fault_of_any_vcpu_ends_the_guest(boot: Boot) -> None:
    result = boot("cmp esi, 2\n jne 9f\n ud2", "--cpus", "3")
    assert_triple_fault(result, 2, "0x10000[0-9a-f]")


def test_null_pointer_faults(boot: Boot) -> None:
    assert_triple_fault(boot("xor eax, eax\n mov [rax], eax\n exit 1"), 0, "0x1000[0-9a-f]+")


def test_instruction_that_kvm_cannot_execute_is_named(boot: Boot) -> None:
    """Where KVM interprets ring 0, neither it nor pyvmm knows all of x86; with VMX or SVM they need not."""
    result = boot("pshufb xmm0, xmm1\n exit 5")
    if result.status == 124:
        assert_failed(result, r"vCPU 0 at 0x100000: KVM cannot execute the instruction 66 0f 38 00 c1( [0-9a-f]{2})*")
    else:
        assert_ended(result, 5)


def test_vcpu_that_only_halts_does_not_end_the_guest(boot: Boot) -> None:
    assert_ended(boot("test esi, esi\n jz 9f\n exit 3", "--cpus", "2"), 3)


# ---- memory ------------------------------------------------------------------------------

# Writes 8 bytes to each address after `wanted`, then reads them back.
_TOUCH = """
    lea rbx, [rip + wanted]
    mov ecx, {count}
1:  mov rax, [rbx + rcx * 8 - 8]
    mov [rax], rax
    loop 1b
    mov ecx, {count}
2:  mov rax, [rbx + rcx * 8 - 8]
    cmp [rax], rax
    jne 3f
    loop 2b
    mov rsi, [rdi + {map}]
    mov ecx, [rdi + {entries}]
    imul ecx, ecx, 24
    mov edx, 0x3f8
    rep outsb
    exit 0
3:  exit 1
    .data
    wanted: .quad {addresses}
"""


@pytest.mark.parametrize(
    "size",
    [16 * MIB, 3 * GIB, 3 * GIB + 2 * MIB, 5 * GIB, pytest.param(512 * GIB, marks=pytest.mark.slow)],
)
def test_memory_map_covers_all_ram_and_all_of_it_works(boot: Boot, size: int) -> None:
    low_end = min(size, 3 * GIB)
    addresses = [PAGE, low_end - 8]
    if size > low_end:
        addresses += [4 * GIB, GIB + size - 8]
    offset = bootinfo.offset_of
    source = _TOUCH.format(
        count=len(addresses),
        map=offset("memory_map"),
        entries=offset("memory_map_count"),
        addresses=", ".join(map(str, addresses)),
    )
    result = boot(source, "--mem", str(size))
    assert (result.status, result.stderr) == (0, "")
    ranges = [(start, start + length) for start, length, _, _ in struct.iter_unpack("<QQII", result.stdout)]
    # Ascending, without gaps or overlaps, except for the hole below 4 GiB.
    assert ranges[0][0] in (0, PAGE)
    assert [start for start, _ in ranges[1:]] == [end if end < 3 * GIB else 4 * GIB for _, end in ranges[:-1]]
    assert ranges[-1][1] == (size if size <= 3 * GIB else size + GIB)
    assert {kind for _, _, kind, _ in struct.iter_unpack("<QQII", result.stdout)} <= {1, 2}


def test_write_to_code_is_refused_by_the_page_tables(boot: Boot) -> None:
    assert_triple_fault(boot("mov [rip + entry], eax\n exit 1"), 0, "0x100000")


# ---- boot-info ---------------------------------------------------------------------------


def test_boot_info_holds_what_it_promises(boot: Boot) -> None:
    source = f"""
        mov rbx, rdi
        mov rsi, rdi
        mov ecx, {bootinfo.SIZE}
        mov edx, 0x3f8
        rep outsb
        mov rsi, [rbx + {bootinfo.offset_of("command_line")}]
        mov ecx, [rbx + {bootinfo.offset_of("command_line_size")}]
        inc ecx
        rep outsb
        test esi, esi
        exit 0
    """
    before = time.time_ns()
    result = boot(source, "--append", "words for the guest \u00e9")
    after = time.time_ns()
    assert (result.status, result.stderr) == (0, "")
    block, command_line = result.stdout[: bootinfo.SIZE], result.stdout[bootinfo.SIZE :]
    values, at = {}, 0
    for name, size in bootinfo.FIELDS:
        values[name] = int.from_bytes(block[at : at + size], "little")
        at += size
    assert block[:4] == b"Toro"
    assert (values["version"], values["size"], values["cpu_count"]) == (bootinfo.VERSION, bootinfo.SIZE, 1)
    assert command_line == "words for the guest \u00e9\0".encode()
    assert before <= values["wall_clock_ns"] <= after
    assert 5 * 10**8 < values["tsc_hz"] < 10**10
    assert (values["supervisor_size"], values["stack_size"]) == (4096, 65536)
    assert values["console_vector"] == 36
    assert values["cpu_area_size"] == 4096 + 4096 + 65536


CLOCK = f"""
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [rip + now], rax
    mov rax, [rdi + {bootinfo.offset_of("tsc_hz")}]
    mov [rip + now + 8], rax
    mov rax, [rdi + {bootinfo.offset_of("wall_clock_ns")}]
    mov [rip + now + 16], rax
    mov rax, [rdi + {bootinfo.offset_of("wall_clock_tsc")}]
    mov [rip + now + 24], rax
    print now, 32
    exit 0
    .data
    now: .quad 0, 0, 0, 0
"""


def assert_right_time(boot: Boot, **how: object) -> None:
    """Wall clock at boot, plus the TSC since then at the rate that boot-info tells."""
    before = time.time_ns()
    result = boot(CLOCK, **how)
    after = time.time_ns()
    tsc, hz, wall_clock, wall_clock_tsc = struct.unpack("<4Q", result.stdout)
    now = wall_clock + (tsc - wall_clock_tsc) % 2**64 * 10**9 // hz
    # KVM reports the rate in kHz; the clocks are read one after the other.
    assert before - 10**6 <= now <= after + 10**6


def test_clock_of_the_guest_tells_the_time(boot: Boot) -> None:
    assert_right_time(boot)


#: The host lets others run for a second when the wall clock is first read.
HELD_UP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*get)(clockid_t, struct timespec *);
    static int calls;
    struct timespec start;

    if (!get)
        get = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (clock == CLOCK_REALTIME && !calls++) {
        get(clock, &start);
        do
            get(clock, now);
        while (now->tv_sec - start.tv_sec + (now->tv_nsec - start.tv_nsec) / 1e9 < 1);
    }
    return get(clock, now);
}
"""


def test_clock_of_the_guest_is_right_though_pyvmm_was_held_up(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "held.c").write_text(HELD_UP)
    library = str(tmp_path / "held.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, str(tmp_path / "held.c")], check=True)
    assert_right_time(boot, env=os.environ | {"LD_PRELOAD": library})


# ---- several vCPUs -------------------------------------------------------------------------


@pytest.mark.parametrize("cpus", [1, 2, 5, 40])
def test_every_vcpu_starts_with_registers_of_its_own(boot: Boot, cpus: int) -> None:
    source = f"""
        lea rbx, [rip + places]
        mov ecx, esi
        shl ecx, 5
        add rbx, rcx
        mov [rbx], rsi
        mov [rbx + 8], rsp
        mov [rbx + 16], rdx
        mov [rbx + 24], rdi
        mov rbp, rsi
        lock inc dword ptr [rip + arrived]
        test esi, esi
        jnz 9f
    1:  pause
        cmp dword ptr [rip + arrived], {cpus}
        jne 1b
        print places, {32 * cpus}
        exit 0
        .data
        arrived: .quad 0
        places: .fill {32 * cpus}
    """
    result = boot(source, "--cpus", str(cpus))
    assert (result.status, result.stderr) == (0, "")
    cpu = list(struct.iter_unpack("<4Q", result.stdout))
    assert [index for index, *_ in cpu] == list(range(cpus))
    assert len({boot_info for *_, boot_info in cpu}) == 1
    # Supervisor area, guard page, stack; then the next vCPU's.
    first = cpu[0][1] - PAGE
    area = 2 * PAGE + 65536
    for index, supervisor_top, stack_top, boot_info in cpu:
        assert supervisor_top == first + index * area + PAGE
        assert stack_top == first + (index + 1) * area <= boot_info


def test_apic_ids_are_the_indexes(boot: Boot) -> None:
    source = """
        mov ebp, esi
        mov eax, 1
        cpuid
        shr ebx, 24
        mov eax, 0xfee00020
        mov eax, [rax]
        shr eax, 24
        cmp eax, ebp
        jne 1f
        cmp ebx, ebp
        jne 1f
        lock inc dword ptr [rip + good]
        test ebp, ebp
        jnz 9f
    2:  pause
        cmp dword ptr [rip + good], 3
        jne 2b
        exit 0
    1:  exit 1
        .data
        good: .quad 0
    """
    assert_ended(boot(source, "--cpus", "3"), 0)
