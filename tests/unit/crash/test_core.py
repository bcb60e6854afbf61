"""pyvmm.crash.core: the file has all of RAM, where the page tables say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from struct import iter_unpack, unpack_from

from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi
from pyvmm.crash.core import UNMAPPED, Core, fpregset, note, prstatus, xstate
from pyvmm.crash.mappings import Mapping
from pyvmm.memory import GuestMemory

MIB = 1 << 20


def loads(head: bytes) -> list[tuple[int, int, int, int, int]]:
    """Flags, offset, p_vaddr, p_paddr and size of each PT_LOAD."""
    (count,) = unpack_from("<H", head, 56)
    headers = iter_unpack("<IIQQQQQQ", head[64 : 64 + 56 * count])
    return [
        (flags, offset, virtual, physical, size)
        for kind, flags, offset, virtual, physical, size, _, _ in headers
        if kind == 1
    ]


def test_memory_is_where_it_is_mapped(make_memory: Callable[[int], GuestMemory], tmp_path: Path) -> None:
    memory = make_memory(4 * MIB)
    memory.write(0x3000, b"mapped twice")
    memory.write(0x200000, b"not mapped")
    ranges = [
        Mapping(0x7000_0000, 0x3000, 0x1000, False, True),
        Mapping(0xFFFF_FFFF_8000_0000, 0x3000, 0x2000, True, False),
        Mapping(0x9000_0000, 0xFEC0_0000, 0x1000, True, False),
    ]
    core = Core(memory, ranges, [note(b"pyvmm", 1, b"report")])
    fd = os.open(tmp_path / "core", os.O_RDWR | os.O_CREAT)
    core.write(fd)
    os.close(fd)
    data = (tmp_path / "core").read_bytes()
    assert data[:20] == b"\x7fELF\2\1\1" + bytes(9) + b"\4\0\x3e\0"
    found = {virtual: (flags, physical, data[at : at + size]) for flags, at, virtual, physical, size in loads(data)}
    assert found[0x7000_0000][:2] == (5, 0x3000)
    assert found[0x7000_0000][2].startswith(b"mapped twice")
    assert found[0xFFFF_FFFF_8000_0000][0] == 6
    assert len(found[0xFFFF_FFFF_8000_0000][2]) == 0x2000
    assert 0x9000_0000 not in found  # a device
    _, physical, rest = found[UNMAPPED + 0x5000]
    assert rest[0x200000 - physical :].startswith(b"not mapped")
    assert len(found) == 4
    assert (tmp_path / "core").stat().st_blocks * 512 < MIB  # zeroes are holes


@given(st.lists(st.tuples(st.integers(0, 1100), st.integers(1, 600)), max_size=6))
def test_every_page_is_there(spans: list[tuple[int, int]]) -> None:
    from pyvmm.layout import Ram

    ranges = [Mapping(start << 12, start << 12, count << 12, True, True) for start, count in spans]
    with GuestMemory(Ram(4 * MIB)) as memory:
        pages = {
            page
            for _, _, _, physical, size in loads(Core(memory, ranges, []).head())
            for page in range(physical >> 12, physical + size >> 12)
        }
    assert pages == set(range(4 * MIB >> 12))


def test_notes_have_the_layout_of_linux() -> None:
    status = prstatus({"rip": 0x1234, "rsp": 0x5678, "r15": 1, "gs": 9}, 3, 11)
    assert len(status) == 336
    assert unpack_from("<i", status, 0) == (11,)
    assert unpack_from("<i", status, 32) == (3,)
    registers = unpack_from("<27Q", status, 112)
    assert (registers[0], registers[16], registers[19], registers[26]) == (1, 0x1234, 0x5678, 9)
    fpu = ffi.new("struct kvm_fpu *", {"fcw": 0x37F, "mxcsr": 0x1F80})
    fpu.xmm[1][0] = 7
    saved = fpregset(fpu)
    assert len(saved) == 512
    assert (unpack_from("<H", saved, 0), unpack_from("<I", saved, 24), saved[176]) == ((0x37F,), (0x1F80,), 7)


def test_avx_registers_are_kept_if_the_guest_has_them() -> None:
    """As far as the components of XCR0 reach, with XCR0 where Linux has it."""
    area = bytes(range(256)) * 16
    assert xstate(area, 0) == xstate(area, 3) == b""
    kept = xstate(area, 7)
    assert len(kept) >= 576 + 256  # YMM0 to YMM15, upper halves
    assert unpack_from("<Q", kept, 464) == (7,)
    assert kept[:464] + kept[472:] == (area[:464] + area[472:])[: len(kept) - 8]
