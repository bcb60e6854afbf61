"""The addresses of a few symbols of an ELF64 file (System V gABI, chapter 4)."""

from __future__ import annotations

from struct import iter_unpack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyvmm.boot.elf import Reader

_SHDR_SIZE, _SYM_SIZE = 64, 24
_SHT_SYMTAB = 2
_TABLE_MAX = 16 << 20


def find_symbols(read: Reader, wanted: Iterable[bytes]) -> dict[bytes, int]:
    """The values of those `wanted` symbols that the file has, by name.

    Symbols are optional: a table that is missing, damaged or larger than 16 MiB counts as empty.

    Args:
        read: reads from the file.
        wanted: names.
    """
    header = read(0, 64)
    if len(header) < 64:
        return {}
    (shoff,), (entsize, count) = unpack_from("<Q", header, 40), unpack_from("<HH", header, 58)
    table = _read(read, shoff, _SHDR_SIZE * count) if entsize == _SHDR_SIZE else b""
    for at in range(0, len(table), _SHDR_SIZE):
        kind, offset, size, link = unpack_from("<4xI16xQQI", table, at)
        if kind == _SHT_SYMTAB and link < count:
            names = _read(read, *unpack_from("<24xQQ", table, link * _SHDR_SIZE))
            symbols = _read(read, offset, size)
            return _look_up(symbols[: len(symbols) // _SYM_SIZE * _SYM_SIZE], names, wanted)
    return {}


def _read(read: Reader, offset: int, size: int) -> bytes:
    """Reads all of these bytes, or none."""
    data = read(offset, size) if size <= _TABLE_MAX and offset < 1 << 62 else b""
    return data if len(data) == size else b""


def _look_up(symbols: bytes, names: bytes, wanted: Iterable[bytes]) -> dict[bytes, int]:
    by_offset = {}
    for name in wanted:
        at = names.find(name + b"\0")
        while at >= 0:  # names may share tails
            by_offset[at] = name
            at = names.find(name + b"\0", at + 1)
    return {by_offset[at]: value for at, value in iter_unpack("<I4xQ8x", symbols) if at in by_offset}
