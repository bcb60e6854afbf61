"""The source line of the code at an address, by a file's line tables (DWARF 5, section 6.2; versions 2 to 5).

A line table is a program that makes rows of address, file and line, in sequences of ascending addresses. The
file may be damaged or made to deceive: what does not make sense ends its unit, and sizes are bounded.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from struct import unpack_from

from pyvmm.boot.elf_symbols import section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyvmm.boot.elf import Reader

_SIZE_MAX = 4 << 20  # of a section; more would take seconds
_ENTRIES_MAX, _NAME_MAX = 1 << 12, 1 << 12  # files of a unit, bytes of a name
_LEB_MAX = 10  # bytes of a number of 64 bits
_ZLIB, _COMPRESSION_HEADER = 1, 24  # ELFCOMPRESS_ZLIB, sizeof(Elf64_Chdr)
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2
_PATH, _DIRECTORY = 1, 2  # DW_LNCT_*
#: Sizes of DW_FORM_data1 to DW_FORM_data16, of DW_FORM_strp and of DW_FORM_line_strp.
_DATA, _BLOCK, _STRING, _UDATA, _STRP, _LINE_STRP = {0x0B: 1, 5: 2, 6: 4, 7: 8, 0x1E: 16}, 9, 8, 0x0F, 0x0E, 0x1F


class Lines:
    """The line tables of one file.

    Args:
        read: reads from it; not needed afterwards.
    """

    def __init__(self, read: Reader) -> None:
        self._tables, self._strings, self._line_strings = (
            section(read, name) for name in (b".debug_line", b".debug_str", b".debug_line_str")
        )

    def of(self, addresses: Iterable[int]) -> list[str]:
        """`file:line` of each address, with the file as the compiler was told; empty where the tables do not tell."""
        wanted = list(addresses)
        sought = sorted({*wanted})
        found: dict[int, str] = {}
        tables = _contents(self._tables) if wanted else b""
        strings = {_STRP: _contents(self._strings), _LINE_STRP: _contents(self._line_strings)} if tables else {}
        at = 0
        while at + 4 <= len(tables) and len(found) < len(sought):
            (size,) = unpack_from("<I", tables, at)
            try:
                _Unit(tables[at + 4 : at + 4 + size], strings).find(sought, found)
            except (ArithmeticError, LookupError, struct.error, ValueError):  # it is damaged
                pass
            at += 4 + size
        return [found.get(address, "") for address in wanted]


def _contents(found: tuple[bytes, bool]) -> bytes:
    data, is_compressed = found
    if not is_compressed:
        return data[:_SIZE_MAX]
    try:
        if unpack_from("<I", data)[0] != _ZLIB:
            return b""
        return zlib.decompressobj().decompress(data[_COMPRESSION_HEADER:], _SIZE_MAX)
    except (struct.error, zlib.error):
        return b""


class _Unit:
    """The table of a compilation unit."""

    def __init__(self, data: bytes, strings: dict[int, bytes]) -> None:
        self._data, self._at, self._tables = data, 0, strings
        version = self._int(2)
        if version == 5:
            self._int(2)  # sizes of addresses, and of segment selectors
        length = self._int(4)
        self._program = self._at + length
        self._step = self._int(1)
        self._int(2 if version >= 4 else 1)
        self._base = (self._int(1) ^ 0x80) - 0x80
        self._range = self._int(1)
        self._special = self._int(1)
        self._operands = [self._int(1) for _ in range(1, self._special)]
        self._files: list[tuple[str, int]] = []
        self._directories: list[str] = []
        if version == 5:
            self._directories = [path for path, _ in self._entries()]
            self._files = [*self._entries()]
        elif 2 <= version <= 4:
            self._directories = ["", *iter(self._string, "")]
            self._files = [("", 0), *((name, self._named()) for name in iter(self._string, ""))]

    def _int(self, size: int) -> int:
        self._at += size
        if self._at > len(self._data):
            raise IndexError
        return int.from_bytes(self._data[self._at - size : self._at], "little")

    def _leb(self, is_signed: bool = False) -> int:
        value = 0
        for shift in range(0, 7 * _LEB_MAX, 7):
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (1 << shift + 7) if is_signed and byte & 0x40 else value
        raise ValueError

    def _string(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end]
        self._at = end + 1
        return text.decode(errors="replace")

    def _named(self) -> int:
        """Behind a file's name, before version 5: its directory."""
        directory, _, _ = self._leb(), self._leb(), self._leb()
        return directory

    def _entries(self) -> Iterator[tuple[str, int]]:
        """Path and directory of each directory or file, since version 5."""
        formats = [(self._leb(), self._leb()) for _ in range(self._int(1))]
        for _ in range(min(self._leb(), _ENTRIES_MAX) if formats else 0):
            values = {kind: self._value(form) for kind, form in formats}
            path, directory = values.get(_PATH), values.get(_DIRECTORY)
            yield path if isinstance(path, str) else "", directory if isinstance(directory, int) else 0

    def _value(self, form: int) -> str | int:
        if form == _STRING:
            return self._string()
        if form in self._tables:
            table, at = self._tables[form], self._int(4)
            return table[at : table.index(0, at, at + _NAME_MAX)].decode(errors="replace")
        if form == _BLOCK:
            return self._int(self._leb())
        return self._leb() if form == _UDATA else self._int(_DATA[form])

    def find(self, sought: list[int], found: dict[int, str]) -> None:
        """Adds what it tells of the addresses, which are in order."""
        self._at = self._program
        data, last = self._data, len(self._data)
        start, since, at_row = -1, 0, (0, 0)  # of the sequence, of its last row, and file and line of that
        address, file, line = 0, 1, 1
        while self._at < last:
            code = data[self._at]
            self._at += 1
            is_row, is_end = code >= self._special or code == _COPY, False
            if code >= self._special:
                advance, more = divmod(code - self._special, self._range)
                address += advance * self._step
                line += self._base + more
            elif code == 0:
                following = self._leb() + self._at
                what = self._int(1)
                if what == _SET_ADDRESS:
                    address = self._int(8)
                is_row = is_end = what == _END_SEQUENCE
                self._at = following
            elif code == _ADVANCE_PC:
                address += self._leb() * self._step
            elif code == _ADVANCE_LINE:
                line += self._leb(is_signed=True)
            elif code == _SET_FILE:
                file = self._leb()
            elif code == _CONST_ADD_PC:
                address += (255 - self._special) // self._range * self._step
            elif code == _FIXED_ADVANCE_PC:
                address += self._int(2)
            elif code != _COPY:
                for _ in range(self._operands[code - 1]):
                    self._leb()
            if not is_row:
                continue
            if start < 0:
                start = since = address
            if start and address > since:  # at 0 are sequences of code that was not linked
                index = bisect_left(sought, since)
                while index < len(sought) and sought[index] < address:
                    found.setdefault(sought[index], self._place(*at_row))
                    index += 1
            since, at_row = address, (file, line)
            if is_end:
                start, address, file, line = -1, 0, 1, 1

    def _place(self, file: int, line: int) -> str:
        name, directory = self._files[file]
        if not line or not name:
            return ""
        folder = self._directories[directory]
        return f"{folder}/{name}:{line}" if folder and name[0] != "/" else f"{name}:{line}"
