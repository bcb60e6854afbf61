"""pyvmm.boot.bootinfo: the block has the layout of its table."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.boot import bootinfo


def field(block: bytes, name: str) -> int:
    """The value of a field in a block."""
    at = bootinfo.offset_of(name)
    return int.from_bytes(block[at : at + dict(bootinfo.FIELDS)[name]], "little")


def test_offsets_are_those_of_version_3() -> None:
    """A kernel of today must boot on a later pyvmm: no field may move."""
    offsets = {name: bootinfo.offset_of(name) for name, _ in bootinfo.FIELDS}
    assert offsets == {
        "magic": 0,
        "version": 4,
        "size": 8,
        "cpu_count": 12,
        "tsc_hz": 16,
        "wall_clock_ns": 24,
        "wall_clock_tsc": 32,
        "command_line": 40,
        "command_line_size": 48,
        "memory_map_count": 52,
        "memory_map": 56,
        "devices": 64,
        "device_count": 72,
        "console_vector": 76,
        "cpu_areas": 80,
        "cpu_area_size": 88,
        "supervisor_size": 96,
        "stack_size": 100,
        "flags": 104,
        "shutdown_vector": 112,
        "generation_vector": 116,
        "generation": 120,
        "marks": 128,
        "random": 256,
    }
    assert bootinfo.SIZE == 288
    assert bootinfo.MARKS == ("entry", "kernel", "application", "exit")


def test_fields_are_aligned_to_their_size() -> None:
    for name, size in bootinfo.FIELDS:
        assert bootinfo.offset_of(name) % min(size, 8) == 0, name


def test_unknown_field_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="tsc_khz"):
        bootinfo.offset_of("tsc_khz")


_U32, _U64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)


@given(
    address=st.integers(0, 1 << 32).map(lambda page: page * 4096),
    command_line=st.binary(max_size=100),
    memory_map=st.lists(st.tuples(_U64, _U64, _U32), max_size=3),
    devices=st.lists(st.tuples(_U64, _U32, _U32, _U32), max_size=32),
    tsc_hz=_U64,
    console_vector=_U32,
)
def test_block_points_at_its_tables(
    address: int,
    command_line: bytes,
    memory_map: list[tuple[int, int, int]],
    devices: list[tuple[int, int, int, int]],
    tsc_hz: int,
    console_vector: int,
) -> None:
    block = bootinfo.build(address, command_line, memory_map, devices, tsc_hz=tsc_hz, console_vector=console_vector)
    assert block[:4] == b"Toro"
    assert (field(block, "version"), field(block, "size")) == (3, 288)
    assert (field(block, "tsc_hz"), field(block, "console_vector")) == (tsc_hz, console_vector)
    assert field(block, "cpu_count") == field(block, "generation") == field(block, "marks") == 0

    at = field(block, "memory_map") - address
    assert field(block, "memory_map_count") == len(memory_map)
    assert [struct.unpack_from("<QQII", block, at + 24 * i) for i in range(len(memory_map))] == [
        (*entry, 0) for entry in memory_map
    ]
    at = field(block, "devices") - address
    assert field(block, "device_count") == len(devices)
    assert [struct.unpack_from("<QIIII", block, at + 24 * i) for i in range(len(devices))] == [
        (*device, 0) for device in devices
    ]
    at = field(block, "command_line") - address
    assert block[at : at + field(block, "command_line_size") + 1] == command_line + b"\0"
    assert block.index(command_line + b"\0", at) == at


def test_value_that_does_not_fit_its_field_is_an_error() -> None:
    with pytest.raises(OverflowError):
        bootinfo.build(0, b"", [], [], cpu_count=1 << 32)
