"""KVM's binary statistics (Documentation/virt/kvm/api.rst, section 4.133)."""

from __future__ import annotations

_DESCRIPTOR_SIZE = 16


def scalars(data: bytes) -> dict[str, int]:
    """Statistics that have a single value, by name; histograms are left out.

    Args:
        data: the whole contents of a statistics file: a header, a descriptor with
            the name for each statistic, and the values.
    """

    def u32(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    name_size, count, descriptors, values = u32(4), u32(8), u32(16), u32(20)
    found = {}
    for i in range(count):
        at = descriptors + i * (_DESCRIPTOR_SIZE + name_size)
        size, offset = int.from_bytes(data[at + 6 : at + 8], "little"), u32(at + 8)
        if size == 1:
            name = data[at + _DESCRIPTOR_SIZE :][:name_size].split(b"\0")[0].decode()
            found[name] = int.from_bytes(data[values + offset :][:8], "little")
    return found
