"""Symbols and sections of an ELF64 file (System V gABI, chapter 4)."""

from __future__ import annotations

from struct import iter_unpack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyvmm.boot.elf import Reader

_SHDR_SIZE, _SYM_SIZE = 64, 24
_SHT_SYMTAB, _SHF_COMPRESSED = 2, 0x800
_CODE_KINDS = (0, 2)  # STT_NOTYPE, as assemblers write, and STT_FUNC
_NO_SECTION = (0, 0xFFF1)  # SHN_UNDEF, SHN_ABS
_TABLE_MAX = 16 << 20


def find_symbols(read: Reader, wanted: Iterable[bytes]) -> dict[bytes, int]:
    """The values of those `wanted` symbols that the file has, by name.

    Symbols are optional: a table that is missing, damaged or larger than 16 MiB counts as empty.

    Args:
        read: reads from the file.
        wanted: names.
    """
    symbols, names = _tables(read)
    return _look_up(symbols, names, wanted)


def functions(read: Reader) -> list[tuple[int, int, bytes]]:
    """Address, size and name of each symbol of code, by address; the size is 0 where the file does not tell."""
    symbols, names = _tables(read)
    found = []
    for at, info, section, value, size in iter_unpack("<IBxHQQ", symbols):
        if info & 0xF in _CODE_KINDS and section not in _NO_SECTION:
            found.append((value, size, names[at : names.find(b"\0", at)]))
    return sorted(found)


def section(read: Reader, name: bytes) -> tuple[bytes, bool]:
    """The contents of a section, and whether they are compressed; empty if it is missing, damaged or over 16 MiB."""
    table, strings = _sections(read)
    for at in range(0, len(table), _SHDR_SIZE):
        index, flags, offset, size = unpack_from("<I4xQ8xQQ", table, at)
        if strings[index : index + len(name) + 1] == name + b"\0":
            return _read(read, offset, size), bool(flags & _SHF_COMPRESSED)
    return b"", False


def _sections(read: Reader) -> tuple[bytes, bytes]:
    """The section headers, and the names that they refer to."""
    header = read(0, 64)
    if len(header) < 64:
        return b"", b""
    (shoff,), (entsize, count, strings) = unpack_from("<Q", header, 40), unpack_from("<HHH", header, 58)
    table = _read(read, shoff, _SHDR_SIZE * count) if entsize == _SHDR_SIZE else b""
    if strings >= len(table) // _SHDR_SIZE:
        return table, b""
    return table, _read(read, *unpack_from("<24xQQ", table, strings * _SHDR_SIZE))


def _tables(read: Reader) -> tuple[bytes, bytes]:
    """The symbols, and their names; empty if there are none."""
    table, _ = _sections(read)
    for at in range(0, len(table), _SHDR_SIZE):
        kind, offset, size, link = unpack_from("<4xI16xQQI", table, at)
        if kind == _SHT_SYMTAB and link < len(table) // _SHDR_SIZE:
            names = _read(read, *unpack_from("<24xQQ", table, link * _SHDR_SIZE))
            symbols = _read(read, offset, size)
            return symbols[: len(symbols) // _SYM_SIZE * _SYM_SIZE], names
    return b"", b""


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
