"""The State and its file: what is written is read, and what is wrong is refused in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from guests import MIB, PAGE, elf_image, good_image
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.boot.compose import compose
from pyvmm.config import MachineConfig
from pyvmm.memory import GuestMemory
from pyvmm.state.state import State

DOCS = Path(__file__).parents[3] / "docs/frozen-format.md"
HEADER = ffi.sizeof("struct state_header")


def check(head: bytes, file_size: int | None = None) -> str:
    """What is wrong with a head; empty if nothing is."""
    state = ffi.new("struct state *")
    if lib.state_check(state, ffi.from_buffer(head), len(head), len(head) if file_size is None else file_size):
        return ""
    text = bytes(ffi.string(state.error)).decode()
    assert text
    assert text.isprintable()
    return text


def opened(path: Path) -> str:
    """The same for a file."""
    state, fd = ffi.new("struct state *"), os.open(path, os.O_RDONLY)
    try:
        if lib.state_open(state, fd):
            lib.state_close(state)
            return ""
        return bytes(ffi.string(state.error)).decode()
    finally:
        os.close(fd)


def cpus_of(state: State, count: int) -> State:
    """Gives vCPUs what each must have, and some of what each may have."""
    for cpu in range(count):
        state.add(lib.STATE_CPUID, cpu, ffi.new("struct kvm_cpuid2 *", {"nent": 2, "entries": 2}))
        state.add(lib.STATE_REGS, cpu, ffi.new("struct kvm_regs *", {"rip": 0x10_0000}))
        state.add(lib.STATE_SREGS, cpu, ffi.new("struct kvm_sregs *"))
        state.add(lib.STATE_MSR, cpu, (0x277).to_bytes(4, "little") + bytes(12))
        state.add(lib.STATE_MP, cpu, (3).to_bytes(4, "little"))
        state.add(lib.STATE_TSC, cpu, bytes(8))
    return state


@pytest.fixture
def state(make_memory: Callable[[int], GuestMemory]) -> State:
    """Two vCPUs, one device, three pages that are not zero."""
    memory = make_memory(16 * MIB)
    for at in (0x10_0000, 0x10_1000, 0x80_0000):
        memory.write(at + 7, b"page")
    made = State(memory, 2, [19], flags=0, boot_info=0x10_0000, end=0x90_0000, shutdown_message=83, reset_limits=0)
    made.add(lib.STATE_SERIAL, 0, ffi.new("struct serial_state *"))
    made.add(lib.STATE_DEVICE, 0, bytes(688))
    return cpus_of(made, 2)


# ---- writing and reading -----------------------------------------------------------------


def test_what_is_written_is_read(state: State, tmp_path: Path) -> None:
    parts = state.parts(key=b"image\0rest", summed=True)
    assert parts
    (tmp_path / "guest").write_bytes(b"".join(parts))
    assert opened(tmp_path / "guest") == ""
    found, size, fd = ffi.new("struct state *"), ffi.new("uint64_t *"), os.open(tmp_path / "guest", os.O_RDONLY)
    assert lib.state_open(found, fd)
    header = found.header
    assert (header.memory, header.cpus, header.boot_info, header.shutdown_message) == (16 * MIB, 2, 0x10_0000, 83)
    assert (header.device_count, header.devices[0]) == (1, 19)
    key = lib.state_section(found, lib.STATE_KEY, 0, size)
    assert bytes(ffi.buffer(key, size[0])) == b"image\0rest"
    regs = ffi.cast("struct kvm_regs *", lib.state_section(found, lib.STATE_REGS, 1, ffi.NULL))
    assert regs.rip == 0x10_0000
    assert lib.state_section(found, lib.STATE_REGS, 2, ffi.NULL) == ffi.NULL
    assert lib.state_section(found, lib.STATE_XSAVE, 0, ffi.NULL) == ffi.NULL
    lib.state_close(found)
    os.close(fd)


def test_pages_are_found_in_runs(state: State) -> None:
    assert state.pages() == [(0x10_0000, 2 * PAGE), (0x80_0000, PAGE)]
    head = state.head()
    parts = state.parts()
    assert parts
    assert [len(part) for part in parts[1:]] == [2 * PAGE, PAGE]
    assert len(head) % PAGE == len(parts[0]) % PAGE == 0


@pytest.mark.parametrize("shared", [False, True])
@settings(max_examples=30, deadline=None)
@given(numbers=st.sets(st.integers(0, 4095), max_size=60))
def test_all_pages_that_are_not_zero_are_in_runs(shared: bool, numbers: set[int]) -> None:
    from pyvmm.layout import Ram

    with GuestMemory(Ram(16 * MIB), shared) as memory:
        for number in numbers:
            memory.write(number * PAGE + PAGE - 1, b"x")
        memory.read(0, PAGE)
        runs = State(memory, 1, [], flags=0, end=0).pages()
        covered = {page for at, size in runs for page in range(at // PAGE, (at + size) // PAGE)}
        assert numbers <= covered
        assert [at for at, _ in runs] == sorted(at for at, _ in runs)
        assert len(covered) <= 5 * len(numbers)  # zeroes between them


def test_composing_needs_no_kvm_and_gives_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "guest.elf").write_bytes(good_image())
    config = MachineConfig(str(tmp_path / "guest.elf"), 16 * MIB, cpus=3, command_line="a b")
    made = [compose(config, [19, 26], shared=False) for _ in range(2)]
    first, second = (b"".join(state.parts() or ()) for state in made)
    assert first == second
    assert check(made[0].head()) == ""
    for state in made:
        state.memory.close()


def test_too_many_pages_are_not_copied(state: State) -> None:
    assert state.parts(most=3 * PAGE)
    assert state.parts(most=3 * PAGE - 1) is None


# ---- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 9, 100, 230, 1000, -1])
def test_damage_is_noticed(state: State, tmp_path: Path, place: int) -> None:
    head = bytearray(state.parts()[0])  # type: ignore[index]
    head[place] ^= 1
    (tmp_path / "guest").write_bytes(bytes(head) + bytes(3 * PAGE))
    assert opened(tmp_path / "guest")


def test_a_truncated_file_says_so(state: State, tmp_path: Path) -> None:
    data = b"".join(state.parts() or ())
    for size in (0, 7, 100, HEADER, PAGE, len(data) - PAGE, len(data) - 1):
        (tmp_path / "guest").write_bytes(data[:size])
        assert re.match("truncated|not a frozen guest", opened(tmp_path / "guest")), size


@pytest.mark.parametrize("name", ["fifo", "directory"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path) if name == "fifo" else path.mkdir()
    fd, state = os.open(path, os.O_RDONLY | os.O_NONBLOCK), ffi.new("struct state *")
    assert not lib.state_open(state, fd)
    assert ffi.string(state.error) == b"not a regular file"
    os.close(fd)


# ---- hostile heads -----------------------------------------------------------------------


def changed(state: State, **fields: int) -> bytes:
    """A head with other values in its header."""
    head = bytearray(state.head())
    header = ffi.from_buffer("struct state_header *", head)
    for name, value in fields.items():
        setattr(header, name, value)
    return bytes(head)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 2}, "version is 2; this pyvmm knows 1"),
        ({"head_size": PAGE - 1}, "head_size is 4095"),
        ({"head_size": 1 << 63}, f"head_size is {1 << 63}"),
        ({"file_size": 5}, "truncated: file_size is 5"),
        ({"sections": 1 << 31}, "sections is 2147483648"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": 16 * MIB + 1}, "memory is 0x1000001"),
        ({"memory": 1 << 40}, "memory is 0x10000000000"),
        ({"cpus": 0}, "cpus is 0"),
        ({"cpus": 256}, "cpus is 256"),
        ({"cpus": 3}, "vCPU 2: number of cpuid entries is 0"),
        ({"cpus": 1}, r"section \d+ \(cpuid\): index is 1 of 1"),
        ({"flags": 8}, "flags are 0x8"),
        ({"flags": 4}, "flags are 0x4"),  # a timer without a PC
        ({"boot_info": 16 * MIB}, "boot_info is 0x1000000"),
        ({"boot_info": 0x10_0004}, "boot_info is 0x100004"),
        ({"boot_info": (1 << 64) - 8}, "boot_info is 0xfffffffffffffff8"),
        ({"end": 16 * MIB + PAGE}, "end is 0x1001000"),
        ({"device_count": 33}, "device_count is 33"),
    ],
)
def test_each_field_of_the_header_is_checked(state: State, fields: dict[str, int], message: str) -> None:
    assert check(state.head()) == ""
    assert re.match(message, check(changed(state, **fields)))


def with_section(state: State, kind: int, index: int, data: Any) -> str:
    """What is wrong with a State that has another section."""
    state.add(kind, index, data)
    return check(state.head())


def sregs(**fields: int) -> Any:
    return ffi.new("struct kvm_sregs *", fields)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("REGS", bytes(143), r"section \d+ \(regs\): size is 143"),
        ("CPUID", bytes(7), r"section \d+ \(cpuid\): size is 7"),
        ("CPUID", (9).to_bytes(8, "little") + bytes(40), "vCPU 0: number of cpuid entries is 0x9"),
        ("MSR", bytes(15), r"section \d+ \(msrs\): size is 15"),
        ("MSR", bytes(16 * 65), "vCPU 0: number of MSRs is 0x41"),
        ("MSR", (0x10).to_bytes(16, "little"), "vCPU 0: index of an MSR is 0x10"),
        ("MP", (9).to_bytes(4, "little"), "vCPU 0: mp_state is 0x9"),
        ("SREGS", sregs(cr0=1 << 32), "vCPU 0: sregs.cr0 is 0x100000000"),
        ("SREGS", sregs(cr0=1 << 31), "vCPU 0: sregs.cr0 is 0x80000000"),
        ("SREGS", sregs(cr4=1 << 40), "vCPU 0: sregs.cr4"),
        ("SREGS", sregs(cr0=0x8000_0001, efer=0x500), "vCPU 0: sregs.efer is 0x500"),
        ("SREGS", sregs(efer=0x400), "vCPU 0: sregs.efer is 0x400"),
        ("SREGS", sregs(cr3=1 << 52), "vCPU 0: sregs.cr3"),
        ("SREGS", sregs(cr8=16), "vCPU 0: sregs.cr8 is 0x10"),
        ("SREGS", sregs(apic_base=1 << 60), "vCPU 0: sregs.apic_base"),
    ],
)
def test_each_section_is_checked(state: State, kind: str, data: Any, message: str) -> None:
    assert re.match(message, with_section(state, getattr(lib, f"STATE_{kind}"), 0, data))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(0x1001, PAGE)], "pages: run 0 at 0x1001"),
        ([(0x1000, PAGE - 1)], "pages: run 0 at 0x1000 of 0xfff bytes"),
        ([(0x1000, 0)], "pages: run 0 at 0x1000 of 0 bytes"),
        ([(0x2000, PAGE), (0x1000, PAGE)], "pages: run 1 at 0x1000"),
        ([(0x1000, 2 * PAGE), (0x2000, PAGE)], "pages: run 1 at 0x2000"),
        ([(16 * MIB, PAGE)], "pages: run 0 at 0x1000000"),
        ([(16 * MIB - PAGE, 2 * PAGE)], "pages: run 0 at 0xfff000"),
        ([(0, 1 << 63)], "pages: run 0 at 0 of 0x8000000000000000 bytes"),
    ],
)
def test_runs_are_pages_of_ram_in_order(state: State, runs: list[tuple[int, int]], message: str) -> None:
    head = state.head(runs)
    assert check(head, len(head) + sum(size for _, size in runs) % (1 << 64)).startswith(message)


def test_sections_are_in_order_and_once(state: State) -> None:
    head = bytearray(state.head())
    entry = slice(HEADER + 24, HEADER + 48)
    head[entry] = head[HEADER : HEADER + 24]
    assert re.match(r"section 1 \(serial\): not in order", check(bytes(head)))


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 6))
def test_any_change_to_a_good_head_is_taken_or_refused(seed: int, flips: int) -> None:
    """What is taken can be thawed: see tests/fuzz/state.c, which also does that."""
    from pyvmm.layout import Ram

    chance = Random(seed)
    with GuestMemory(Ram(16 * MIB)) as memory:
        memory.write(0x10_0000, b"x")
        made = cpus_of(State(memory, 1, [19], flags=2, boot_info=0, end=0), 1)
        head = bytearray(made.head(made.pages()))
    for _ in range(flips):
        at = chance.randrange(0, min(len(head), 1024))
        head[at : at + 1] = bytes([chance.randrange(256)])
    check(bytes(head), len(head) + PAGE)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert check(data)
    assert check(b"PYVSTATE" + data)


def test_no_elf_image_is_taken_for_a_state() -> None:
    assert check(elf_image([], b"")) == "not a frozen guest"


# ---- the document ------------------------------------------------------------------------


def test_the_document_has_every_field_of_the_header() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    fields = dict(ffi.typeof("struct state_header").fields)
    assert [(name, int(at), int(size)) for at, size, name in rows] == [
        (name, field.offset, ffi.sizeof(field.type)) for name, field in fields.items()
    ]
    assert HEADER == 224


def test_the_document_has_every_kind() -> None:
    kinds = re.findall(
        r"^\| (\d+(?:, \d+)*) \| (?=[A-Za-z ])", DOCS.read_text().partition("## Sections")[2], re.MULTILINE
    )
    assert [int(number) for row in kinds for number in row.split(", ")] == [*range(lib.STATE_KINDS)]
