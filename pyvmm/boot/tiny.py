"""An image made of a few bytes of machine code, for benchmarks and tests."""

from __future__ import annotations

_BASE = 0x10_0000
_HEADERS = 64 + 3 * 56
_NOTES = 44 + 20

#: Where the code is loaded.
ENTRY = _BASE + _HEADERS + _NOTES


def tiny_image(code: bytes) -> bytes:
    """An ELF executable (System V gABI, chapters 4 and 5) of `code`, which runs in ring 0.

    It offers direct boot and PVH with the same entry point; code for both must mean
    the same in 64-bit and 32-bit mode. Physical and virtual addresses are equal; it
    is loaded readable and executable.
    """
    from struct import pack

    toro = pack("<III8sIIQII", 5, 24, 1, b"Toro", 1, 0, ENTRY, 0x1000, 0x1000)
    xen = pack("<III4sI", 4, 4, 18, b"Xen", ENTRY)
    size = _HEADERS + _NOTES + len(code)
    header = pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    load = pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    notes = [
        pack("<IIQQQQQQ", 4, 4, at, _BASE + at, _BASE + at, length, length, 4)
        for at, length in ((_HEADERS, len(toro)), (_HEADERS + len(toro), len(xen)))
    ]
    return b"".join((header, load, *notes, toro, xen, code))
