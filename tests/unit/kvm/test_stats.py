"""KVM's binary statistics."""

from __future__ import annotations

import struct

from pyvmm.kvm.stats import place_of, scalars

NAME_SIZE = 16


def block(statistics: list[tuple[bytes, list[int]]]) -> bytes:
    """A statistics descriptor's content: header, id, descriptors, values."""
    descriptors_at = 24 + 8
    values_at = descriptors_at + len(statistics) * (16 + NAME_SIZE)
    descriptors = values = b""
    for name, numbers in statistics:
        descriptors += struct.pack("<IhHII", 0, 0, len(numbers), len(values), 0) + name.ljust(NAME_SIZE, b"\0")
        values += struct.pack(f"<{len(numbers)}Q", *numbers)
    header = struct.pack("<6I", 0, NAME_SIZE, len(statistics), 24, descriptors_at, values_at)
    return header + b"kvm-1\0\0\0" + descriptors + values


def test_scalars_are_found_by_name_and_histograms_left_out() -> None:
    data = block([(b"exits", [7]), (b"wait_hist", [1, 2, 3]), (b"insn_emulation", [2**63])])
    assert scalars(data) == {"exits": 7, "insn_emulation": 2**63}


def test_no_statistics() -> None:
    assert scalars(block([])) == {}


def test_the_place_of_a_value_is_where_it_is_read() -> None:
    data = block([(b"exits", [7]), (b"wait_hist", [1, 2]), (b"blocking", [1])])
    place = place_of(data, "blocking")
    assert place is not None
    assert data[place : place + 8] == (1).to_bytes(8, "little")
    assert place_of(data, "absent") is None
