"""pyvmm.boot.elf: good images are parsed, and bad ones raise nothing but ImageError."""

from __future__ import annotations

import pytest
from guests import EHDR, EHDR_SIZE, GIB, MIB, PHDR, Load, elf_image, good_image, note, patch, toro_note
from hypothesis import example, given
from hypothesis import strategies as st

from pyvmm.boot import elf
from pyvmm.boot.direct import DirectBoot
from pyvmm.errors import ImageError
from pyvmm.layout import Ram

GOOD = good_image()
NOTE_HEADER = 3  # the index of good_image()'s PT_NOTE


def parse(data: bytes) -> elf.Image:
    """Parses a file held in memory, whose reader insists on reads that make sense."""

    def read(offset: int, size: int) -> bytes:
        assert 0 <= offset <= len(data)
        assert 0 <= size <= 1 << 20
        return data[offset : offset + size]

    return elf.parse(read, len(data), "guest.elf")


def failure(data: bytes) -> str:
    """The message that parsing `data` fails with."""
    with pytest.raises(ImageError) as caught:
        parse(data)
    return str(caught.value)


# ---- good images --------------------------------------------------------------


def test_good_image_is_read_back() -> None:
    image = parse(GOOD)
    assert image.name == "guest.elf"
    assert image.entry == 0x10_0000
    assert [(s.paddr, s.vaddr, s.filesz, s.memsz, s.flags) for s in image.segments] == [
        (0x10_0000, 0x10_0000, 100, 100, 5),
        (0x10_1000, 0x10_1000, 8, 8, 4),
        (0x10_2000, 0x10_2000, 8, 0x3000, 6),
    ]
    assert [GOOD[s.offset : s.offset + s.filesz] for s in image.segments] == [b"\xf4" * 100, b"constant", b"variable"]
    assert image.segments[2].end == 0x10_5000
    assert len(image.notes[b"Toro", 1]) == 24


@given(
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=64), st.integers(1, 8), st.integers(0, 7)), min_size=1),
    st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=40)), max_size=4),
)
def test_any_generated_image_is_read_back(
    pieces: list[tuple[int, bytes, int, int]], notes: list[tuple[bytes, int, bytes]]
) -> None:
    loads, at = [], 0x10_0000
    for gap, data, pages, flags in pieces:
        at += gap * 4096
        loads.append(Load(at, data, pages * 4096, flags))
        at += pages * 4096
    # The parser sorts, so any order is allowed here.
    image = parse(elf_image(loads[::-1][:60], b"".join(note(*n) for n in notes)))
    assert [(s.paddr, s.memsz, s.flags) for s in image.segments] == [
        (load.paddr, load.memsz, load.flags) for load in loads[-60:]
    ]
    expected: dict[tuple[bytes, int], bytes] = {}
    for name, kind, desc in notes:
        expected.setdefault((name.rstrip(b"\0"), kind), desc)
    assert image.notes == expected


def test_first_of_two_equal_notes_counts() -> None:
    image = parse(elf_image([Load(0x10_0000, b"x")], note(b"A\0", 7, b"one") + note(b"A\0", 7, b"two")))
    assert image.notes == {(b"A", 7): b"one"}


def test_empty_segments_are_left_out() -> None:
    image = parse(elf_image([Load(0x10_0000), Load(0x20_0000, b"x")], b""))
    assert [s.paddr for s in image.segments] == [0x20_0000]


def test_segments_that_touch_do_not_overlap() -> None:
    image = parse(elf_image([Load(0x10_0000, memsz=4096), Load(0x10_1000, memsz=1)], b""))
    assert len(image.segments) == 2


# ---- bad ones: each message names file and field --------------------------------


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("EI_CLASS", 1, "not 2 (64-bit)"),
        ("EI_DATA", 2, "not 1 (little-endian)"),
        ("EI_VERSION", 0, "not 1"),
        ("e_type", 1, "not 2 (an executable at fixed addresses)"),
        ("e_machine", 183, "not 62 (x86-64)"),
        ("e_phentsize", 32, "not 56"),
        ("e_phnum", 0, "not 1 to 64"),
        ("e_phnum", 65, "not 1 to 64"),
    ],
)
def test_wrong_header_field_is_named_with_its_value(field: str, value: int, wanted: str) -> None:
    message = failure(patch(GOOD, field, value))
    assert message.startswith(f"guest.elf: {field} is {value}, ")
    assert wanted in message


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", bytes(64)])
def test_other_files_are_not_elf(data: bytes) -> None:
    assert failure(data).startswith("guest.elf: not an ELF file")


def test_short_header_is_truncated() -> None:
    assert failure(GOOD[:63]) == "guest.elf: truncated in the ELF header (63 bytes)"


@pytest.mark.parametrize("phoff", [len(GOOD) - 10, len(GOOD) + 1, 1 << 63, (1 << 64) - 1])
def test_program_headers_past_the_end_are_refused(phoff: int) -> None:
    assert f"guest.elf: e_phoff {phoff:#x}" in failure(patch(GOOD, "e_phoff", phoff))


@pytest.mark.parametrize("header", [0, NOTE_HEADER])
@pytest.mark.parametrize(("field", "value"), [("p_offset", 1 << 63), ("p_filesz", (1 << 64) - 1)])
def test_contents_past_the_end_are_refused(header: int, field: str, value: int) -> None:
    message = failure(patch(GOOD, field, value, header))
    assert message.startswith(f"guest.elf: program header {header}: p_offset ")
    assert f"{value:#x}" in message
    assert "past the end" in message


def test_filesz_over_memsz_is_refused() -> None:
    assert "program header 0: p_filesz 0x64 is over p_memsz 0x63" in failure(patch(GOOD, "p_memsz", 99, 0))


@pytest.mark.parametrize("field", ["p_paddr", "p_vaddr"])
def test_address_that_wraps_is_refused(field: str) -> None:
    message = failure(patch(GOOD, field, (1 << 64) - 50, 0))
    assert message.startswith("guest.elf: program header 0: p_paddr")
    assert message.endswith("wraps")


def test_overlap_is_refused_with_both_addresses() -> None:
    message = failure(elf_image([Load(0x20_0000, memsz=4097), Load(0x20_1000, b"x")], b""))
    assert message == "guest.elf: segments overlap: p_paddr 0x201000 is in 0x200000+0x1001"


def test_image_without_segments_is_refused() -> None:
    assert failure(elf_image([], toro_note(0))) == "guest.elf: no program header is a PT_LOAD: nothing to boot"


@pytest.mark.parametrize("sizes", [(0xFFFF_FFFF, 0), (0, 0xFFFF_FFFF), (0, 1), (4, 0)])
def test_note_past_its_segment_is_refused(sizes: tuple[int, int]) -> None:
    notes = sizes[0].to_bytes(4, "little") + sizes[1].to_bytes(4, "little") + bytes(4)
    message = failure(elf_image([Load(0x10_0000, b"x")], notes))
    assert message.startswith("guest.elf: program header 1: n_namesz")


def test_notes_of_unreasonable_size_are_refused() -> None:
    assert "program header 1: p_filesz 0x10001 is too much for notes" in failure(
        elf_image([Load(0x10_0000, b"x")], bytes(65537))
    )


@pytest.mark.parametrize(("cut", "where"), [(100, "program headers"), (len(GOOD) - 1, "notes")])
def test_file_that_shrinks_while_it_is_read_is_truncated(cut: int, where: str) -> None:
    with pytest.raises(ImageError, match=f"guest.elf: .*truncated in the {where}"):
        elf.parse(lambda offset, size: GOOD[:cut][offset : offset + size], len(GOOD), "guest.elf")


# ---- hostile ones: ImageError or a sane image ------------------------------------

_VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 4, 64, 4095, 4096, len(GOOD), 3 << 30, 1 << 32, 1 << 47, 1 << 63, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
_MUTATIONS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, len(GOOD) - 1), st.integers(1, 255)),
    st.tuples(st.sampled_from(sorted(EHDR)), st.none(), _VALUES),
    st.tuples(st.sampled_from(sorted(PHDR)), st.integers(0, NOTE_HEADER), _VALUES),
    st.tuples(st.just("word"), st.integers(EHDR_SIZE, len(GOOD) - 4), _VALUES),
    st.tuples(st.just("cut"), st.integers(0, len(GOOD)), st.just(0)),
)


def mutate(mutations: list[tuple[str, int | None, int]]) -> bytes:
    """good_image() with each mutation done to it in turn."""
    data = GOOD
    for what, where, value in mutations:
        at = where or 0
        if what == "cut":
            data = data[:at]
        elif at >= len(data) or len(data) < len(GOOD):
            continue
        elif what == "flip":
            data = data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
        elif what == "word":
            data = data[:at] + (value & 0xFFFF_FFFF).to_bytes(4, "little") + data[at + 4 :]
        else:
            size = (EHDR if where is None else PHDR)[what][1]
            data = patch(data, what, value % (1 << 8 * size), where)
    return data


def assert_sane(image: elf.Image, size: int) -> None:
    """What every loader relies on."""
    end = 0
    for segment in image.segments:
        assert segment.paddr >= end
        assert 0 <= segment.filesz <= segment.memsz
        assert segment.memsz > 0
        assert segment.offset + segment.filesz <= size
        assert segment.end <= 1 << 64
        end = segment.end


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: GOOD[:16] + tail)))
@example(b"\x7fELF")
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    try:
        image = parse(data)
    except ImageError as error:
        assert str(error).startswith("guest.elf: ")  # noqa: PT017 - an image is as good as an error
    else:
        assert_sane(image, len(data))


@given(
    st.lists(_MUTATIONS, min_size=1, max_size=4),
    st.sampled_from([16 * MIB, 5 * GIB]),
    st.sampled_from([1, 2, 255]),
)
def test_any_damage_gives_a_plan_inside_the_ram_or_an_image_error(
    mutations: list[tuple[str, int | None, int]], memory: int, cpus: int
) -> None:
    data = mutate(mutations)
    try:
        image = parse(data)
        assert_sane(image, len(data))
        if not DirectBoot.wanted_by(image):
            return
        plan = DirectBoot(image, Ram(memory), cpus, b"words")
    except ImageError as error:
        assert str(error).startswith("guest.elf: ")  # noqa: PT017 - a plan is as good as an error
        return
    low_end = min(memory, 3 * GIB)
    assert all(s.paddr >= 4096 and s.end <= low_end for s in image.segments)
    assert image.segments[-1].end <= plan.cpu_areas < plan.boot_info < plan.tables < low_end
