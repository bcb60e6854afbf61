"""pyvmm.boot.direct: the note, the layout, the rights of every page, the registers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from guests import GIB, KIB, MIB, PAGE, Load, elf_image, good_image, note, patch, toro_note
from pagetables import NX, PCD, PRESENT, PWT, USER, WRITE, Mapping, all_tables, walk

from pyvmm._kvm import lib
from pyvmm.boot import bootinfo, elf
from pyvmm.boot.direct import PF_SUPERVISOR, DirectBoot
from pyvmm.errors import ImageError
from pyvmm.layout import LAPIC_BASE, VIRTIO_MMIO_BASE, Ram
from pyvmm.memory import GuestMemory

DATA = PRESENT | WRITE | USER | NX
SUPERVISOR_DATA = PRESENT | WRITE | NX


def plan(
    data: bytes, memory: int = 16 * MIB, cpus: int = 1, command_line: bytes = b"", gigabyte_pages: bool = True
) -> DirectBoot:
    """The plan for an image held in memory."""
    image = elf.parse(lambda offset, size: data[offset : offset + size], len(data), "guest.elf")
    cpuid: Any = SimpleNamespace(gigabyte_pages=gigabyte_pages, fsgsbase=True, native=lambda index: index)
    return DirectBoot(image, Ram(memory), cpus, command_line, cpuid)


def failure(data: bytes, **how: Any) -> str:
    """The message that planning for `data` fails with."""
    with pytest.raises(ImageError) as caught:
        plan(data, **how)
    return str(caught.value)


class Booted:
    """Tables and boot-info of a plan, with the registers of each vCPU."""

    def __init__(self, boot: DirectBoot, memory: GuestMemory, cpus: int) -> None:
        self.boot = boot
        self.memory = memory
        boot.build_tables(memory)
        boot.write_tables(memory, [])
        registers = boot.registers(None)
        assert len(registers) == cpus
        self.regs = [each[lib.STATE_REGS] for each in registers]
        self.sregs = [each[lib.STATE_SREGS] for each in registers]
        assert [each[lib.STATE_CPUID] for each in registers] == [*range(cpus)]
        runnable = [each[lib.STATE_MP].mp_state for each in registers if lib.STATE_MP in each]
        assert runnable == [lib.KVM_MP_STATE_RUNNABLE] * (cpus - 1)

    def __getitem__(self, address: int) -> int | None:
        """The rights at `address`, where it maps to itself."""
        mapping = walk(self.memory, self.sregs[0].cr3, address)
        if mapping is None:
            return None
        assert mapping == Mapping(address, mapping.flags)
        return mapping.flags

    def memory_map(self) -> list[tuple[int, int, int]]:
        """(start, end, type) of each range in boot-info's memory map."""
        block = self.boot.boot_info
        at = self.memory.read(block + bootinfo.offset_of("memory_map"), 8)
        count = self.memory.read(block + bootinfo.offset_of("memory_map_count"), 4)
        raw = self.memory.read(int.from_bytes(at, "little"), 24 * int.from_bytes(count, "little"))
        return [(start, start + size, kind) for start, size, kind, _ in struct.iter_unpack("<QQII", raw)]


# ---- the note and the plan ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "wanted"), [(b"Toro\0", 1, True), (b"Toro", 1, True), (b"Toro\0", 2, False), (b"Xen\0", 1, False)]
)
def test_image_wants_direct_boot_when_it_has_the_note(name: bytes, kind: int, wanted: bool) -> None:
    data = elf_image([Load(0x10_0000, b"x")], note(name, kind, bytes(24)))
    image = elf.parse(lambda offset, size: data[offset : offset + size], len(data), "guest.elf")
    assert DirectBoot.wanted_by(image) is wanted


def test_longer_note_of_the_same_version_is_accepted() -> None:
    desc = toro_note(0x10_0000)[20:] + b"later"
    assert plan(elf_image([Load(0x10_0000, b"x")], note(b"Toro\0", 1, desc))).entry == 0x10_0000


def test_short_note_is_refused() -> None:
    data = elf_image([Load(0x10_0000, b"x")], note(b"Toro\0", 1, bytes(23)))
    assert failure(data) == "guest.elf: Toro note: n_descsz is 23, not 24"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "version is 2; this pyvmm knows 1"),
        ({"version": 0}, "version is 0; this pyvmm knows 1"),
        ({"supervisor_size": 0}, "supervisor_size is 0x0, not whole pages up to 0x100000"),
        ({"supervisor_size": 100}, "supervisor_size is 0x64, not whole pages"),
        ({"stack_size": MIB + PAGE}, "stack_size is 0x101000, not whole pages"),
        ({"stack_size": 0}, "stack_size is 0x0, not whole pages"),
    ],
)
def test_wrong_note_names_its_field(values: dict[str, int], message: str) -> None:
    data = elf_image([Load(0x10_0000, b"x")], toro_note(0x10_0000, **values))
    assert failure(data).startswith(f"guest.elf: Toro note: {message}")


@pytest.mark.parametrize("entry", [0, 0xF_FFFF, 0x10_0064, 0x10_1000, 1 << 63])
def test_entry_outside_executable_segments_is_refused(entry: int) -> None:
    loads = [Load(0x10_0000, bytes(100)), Load(0x10_1000, bytes(100), flags=4)]
    assert failure(elf_image(loads, toro_note(entry))) == (
        f"guest.elf: Toro note: entry {entry:#x} is in no executable segment"
    )


def test_segment_outside_the_identity_map_is_refused() -> None:
    assert failure(patch(good_image(), "p_vaddr", 0xFFFF_8000_0010_1000, 1)) == (
        "guest.elf: segment at p_paddr 0x101000: p_vaddr is 0xffff800000101000, but the map is the identity"
    )


def test_segment_off_a_page_boundary_is_refused() -> None:
    loads = [Load(0x10_0000, b"x"), Load(0x10_1010, b"x")]
    assert "segment at p_paddr 0x101010: not at a page boundary" in failure(elf_image(loads, toro_note(0x10_0000)))


def test_segment_at_page_0_is_refused() -> None:
    assert "segment at p_paddr 0x0: page 0 stays unmapped" in failure(elf_image([Load(0, b"x")], toro_note(0)))


@pytest.mark.parametrize("memory", [16 * MIB, 5 * GIB])
def test_segment_past_the_ram_is_refused_with_advice(memory: int) -> None:
    end = min(memory, 3 * GIB)
    loads = [Load(0x10_0000, b"x", memsz=end - 0x10_0000 + 1)]
    assert failure(elf_image(loads, toro_note(0x10_0000)), memory=memory).endswith(
        f"ends past the RAM at {end:#x}; it needs more memory"
    )


def test_no_room_for_the_cpus_is_refused_with_advice() -> None:
    message = failure(good_image(), cpus=255)
    assert message.startswith("guest.elf: the image, 255 CPU areas and tables end at 0x")
    assert message.endswith("past the RAM; it needs more memory")


def test_no_room_for_the_page_tables_is_refused(make_memory: Callable[[int], GuestMemory]) -> None:
    """2 MiB pages for 2 GiB take four tables and more: one page for them is too little."""
    room = 16 * MIB - 0x10_0000 - (PAGE + PAGE + 64 * KIB) - 2 * PAGE
    data = elf_image([Load(0x10_0000, b"x", memsz=room)], toro_note(0x10_0000))
    boot = plan(data, gigabyte_pages=False)
    assert boot.tables < 16 * MIB
    with pytest.raises(ImageError, match=r"guest.elf: the image, 1 CPU areas and tables end .*; it needs more memory"):
        boot.build_tables(make_memory(16 * MIB))


def test_parts_follow_one_another_page_by_page() -> None:
    boot = plan(good_image(), cpus=3, command_line=b"x" * 4096)
    assert boot.cpu_areas == 0x10_5000
    assert boot.cpu_area_size == PAGE + PAGE + 64 * KIB
    assert boot.boot_info == boot.cpu_areas + 3 * boot.cpu_area_size
    block = bootinfo.build(boot.boot_info, b"x" * 4096, [(0, 0, 0)] * 3, [(0, 0, 0, 0)] * 32)
    assert boot.boot_info + len(block) <= boot.tables
    assert boot.tables % PAGE == 0


# ---- the page tables --------------------------------------------------------------

IMAGE = elf_image(
    [
        Load(0x10_0000, b"code", 2 * PAGE, flags=5),
        Load(0x10_2000, b"constants", flags=4),
        Load(0x10_3000, b"variables", 2 * PAGE + 1, flags=6),
        Load(0x10_8000, b"nucleus", flags=5 | PF_SUPERVISOR),
        Load(0x10_9000, b"nucleus data", flags=6 | PF_SUPERVISOR),
        Load(0x10_A000, b"guard", flags=0),
        Load(0x20_0000, b"more", 5 * MIB, flags=6),
    ],
    toro_note(0x10_0000, 2 * PAGE, 3 * PAGE),
)


@pytest.fixture(params=[True, False], ids=["1-GiB-pages", "2-MiB-pages"])
def booted(request: pytest.FixtureRequest, make_memory: Callable[[int], GuestMemory]) -> Booted:
    """IMAGE on a machine of 5 GiB with two vCPUs."""
    return Booted(plan(IMAGE, 5 * GIB, 2, b"words", request.param), make_memory(5 * GIB), 2)


def test_pages_have_the_rights_of_their_segment(booted: Booted) -> None:
    text, constants, data = PRESENT | USER, PRESENT | USER | NX, DATA
    nucleus, nucleus_data = PRESENT, SUPERVISOR_DATA
    assert [booted[0x10_0000 + n * PAGE] for n in range(12)] == [
        *(text, text, constants, data, data, data),
        *(DATA, DATA),  # between segments: RAM like any other
        *(nucleus, nucleus_data, None, DATA),
    ]


def test_page_0_is_unmapped_and_page_1_is_ram(booted: Booted) -> None:
    assert [booted[address] for address in (0, PAGE - 1, PAGE)] == [None, None, DATA]


def test_no_page_is_writable_and_executable(booted: Booted) -> None:
    for address in range(0, 16 * MIB, PAGE):
        flags = booted[address]
        assert flags is None or not flags & WRITE or flags & NX, hex(address)


def test_each_cpu_has_a_supervisor_area_a_guard_page_and_a_stack(booted: Booted) -> None:
    for cpu in range(2):
        area = booted.boot.cpu_areas + cpu * booted.boot.cpu_area_size
        assert [booted[area + n * PAGE] for n in range(6)] == [*[SUPERVISOR_DATA] * 2, None, *[DATA] * 3]


def test_boot_info_is_readable_in_ring_3(booted: Booted) -> None:
    assert booted[booted.boot.boot_info] == DATA


def test_gdt_and_every_table_is_out_of_ring_3_s_reach(booted: Booted) -> None:
    hidden = all_tables(booted.memory, booted.sregs[0].cr3)
    assert len(hidden) > 4
    for page in {booted.boot.tables} | hidden:
        assert booted.boot.tables <= page < booted.boot.end
        assert booted[page] == SUPERVISOR_DATA


@pytest.mark.parametrize("boundary", [8 * MIB, GIB])
@pytest.mark.parametrize("pages", range(-1, 7))
@pytest.mark.parametrize("gigabyte_pages", [True, False])
def test_tables_that_hiding_the_tables_takes_are_hidden_too(
    make_memory: Callable[[int], GuestMemory], boundary: int, pages: int, gigabyte_pages: bool
) -> None:
    """Where the tables cross a large page's boundary, it must be split for them."""
    behind_image = plan(elf_image([Load(0x10_0000, b"x", PAGE)], toro_note(0x10_0000))).tables - 0x10_1000
    size = boundary - pages * PAGE - behind_image - 0x10_0000
    boot = plan(elf_image([Load(0x10_0000, b"x", size)], toro_note(0x10_0000)), 5 * GIB, gigabyte_pages=gigabyte_pages)
    assert boot.tables == boundary - pages * PAGE
    booted = Booted(boot, make_memory(5 * GIB), 1)
    for page in {boot.tables} | all_tables(booted.memory, booted.sregs[0].cr3):
        assert boot.tables <= page < boot.end
        assert booted[page] == SUPERVISOR_DATA


def test_hidden_pages_end_where_the_free_ram_begins(booted: Booted) -> None:
    assert booted[booted.boot.tables - PAGE] == DATA
    for address in range(booted.boot.tables, booted.boot.end, PAGE):
        assert booted[address] == SUPERVISOR_DATA
    assert booted[booted.boot.end] == DATA


def test_mmio_hole_is_uncached_and_all_ram_is_mapped(booted: Booted) -> None:
    uncached = DATA | PCD | PWT
    for address in (3 * GIB, VIRTIO_MMIO_BASE, LAPIC_BASE, 4 * GIB - PAGE):
        assert booted[address] == uncached
    for address in (3 * GIB - PAGE, 4 * GIB, 6 * GIB - 1):
        assert booted[address] == DATA
    assert booted[6 * GIB] is None


# ---- boot-info and registers ------------------------------------------------------


FREE, IN_USE = 1, 2


def test_memory_map_is_all_ram_and_says_what_is_free(booted: Booted) -> None:
    end = booted.boot.end
    assert booted.memory_map() == [
        (0, PAGE, IN_USE),
        (PAGE, 0x10_0000, FREE),
        (0x10_0000, end, IN_USE),
        (end, 3 * GIB, FREE),
        (4 * GIB, 6 * GIB, FREE),
    ]


def test_memory_map_has_no_empty_range(make_memory: Callable[[int], GuestMemory]) -> None:
    data = elf_image([Load(PAGE, b"x")], toro_note(PAGE))
    booted = Booted(plan(data), make_memory(16 * MIB), 1)
    end = booted.boot.end
    assert booted.memory_map() == [(0, PAGE, IN_USE), (PAGE, end, IN_USE), (end, 16 * MIB, FREE)]


def test_registers_are_those_of_the_contract(booted: Booted) -> None:
    boot = booted.boot
    for index, regs in enumerate(booted.regs):
        area = boot.cpu_areas + index * boot.cpu_area_size
        wanted = {
            "rip": 0x10_0000,
            "rflags": 2,
            "rdi": boot.boot_info,
            "rsi": index,
            "rsp": area + 2 * PAGE,
            "rdx": area + 6 * PAGE,
        }
        assert {name: getattr(regs, name) for name in wanted} == wanted
        assert sum(getattr(regs, name) for name in dir(regs)) == sum(wanted.values())


def test_vcpus_share_the_tables_and_the_gdt_and_the_first_is_the_bsp(booted: Booted) -> None:
    first, second = booted.sregs
    assert first.cr3 == second.cr3
    assert (first.gdt.base, first.gdt.limit) == (booted.boot.tables, 23)
    assert (first.apic_base, second.apic_base) == (0xFEE0_0900, 0xFEE0_0800)
    gdt = booted.memory.read(booted.boot.tables, 24)
    assert gdt[:8] == bytes(8)
    # Type, S, DPL, P and L of both descriptors match what CS and SS hold.
    assert (gdt[8 + 5], gdt[8 + 6] >> 4, gdt[16 + 5]) == (0x9B, 0xA, 0x93)
    for sregs in (first, second):
        assert (sregs.cs.selector, sregs.cs.type, sregs.cs.l, sregs.cs.db, sregs.cs.dpl) == (8, 11, 1, 0, 0)
        assert (sregs.ss.selector, sregs.ss.type, sregs.ss.dpl) == (16, 3, 0)
        assert (sregs.tr.type, sregs.tr.present) == (11, 1)


def test_write_protection_and_no_execute_are_on(booted: Booted) -> None:
    sregs = booted.sregs[0]
    assert sregs.cr0 & (1 << 31 | 1 << 16 | 1) == 1 << 31 | 1 << 16 | 1  # PG, WP, PE
    assert sregs.cr4 & (1 << 5) == 1 << 5  # PAE
    assert sregs.cr4 >> 16 & 1 == 1  # FSGSBASE, as the CPU has it
    assert sregs.efer == 0xD00  # LME, LMA, NXE
