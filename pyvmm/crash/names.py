"""Function, file and line of the code at an address, from a guest's image.

Functions are named by the table that `pyvmm build` links into an image for its own backtraces,
spelled as the sources spell them (toro/kernel/Symbols.pas), else by the ELF symbols.
"""

from __future__ import annotations

from bisect import bisect_right

from pyvmm.boot.elf import parse
from pyvmm.boot.elf_symbols import find_symbols, functions
from pyvmm.crash.lines import Lines
from pyvmm.errors import PyvmmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyvmm.boot.elf import Reader
    from pyvmm.boot.file import File

_TABLE_MAX = 4 << 20  # bytes of an image's own table
_NAME_MAX = 200
_TABLE, _START, _END = b"toro_symbols", b"toro_text", b"toro_text_end"


class Names:
    """Those of one image.

    Args:
        file: the image; not needed afterwards. One that is None, no ELF file, or damaged, has no names.
    """

    def __init__(self, file: File | None) -> None:
        self._starts: list[int] = []
        self._functions: list[tuple[int, str]] = []  # end (0: that of the next one) and name
        self._lines: Lines | None = None
        if not file:
            return
        try:
            self._lines = Lines(file.read)
            for start, end, name in _own_table(file.read, file.size, file.name) or _symbols(file.read):
                self._starts.append(start)
                self._functions.append((end, name))
        except PyvmmError:
            pass

    def __bool__(self) -> bool:
        return bool(self._starts)

    def function(self, address: int) -> str:
        """The function at an address, as `Unit.Routine+offset`; empty if there is none."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return ""
        end, name = self._functions[index]
        if end and address >= end:
            return ""
        return f"{name}+{address - self._starts[index]}"

    def lines(self, addresses: Iterable[int]) -> list[str]:
        """`file:line` of each address; empty where the image does not tell."""
        wanted = list(addresses)
        return self._lines.of(wanted) if self._lines else [""] * len(wanted)


def _own_table(read: Reader, size: int, path: str) -> list[tuple[int, int, str]]:
    """Start, end and name of each function by the image's own table; empty if it has none."""
    symbols = find_symbols(read, (_TABLE, _START, _END))
    if len(symbols) < 3:
        return []
    for segment in parse(read, size, path).segments:
        offset = symbols[_TABLE] - segment.vaddr
        if 0 <= offset < segment.filesz:
            data = read(segment.offset + offset, min(segment.filesz - offset, _TABLE_MAX))
            break
    else:
        return []
    return _table_of(data, symbols[_START], symbols[_END])


def _table_of(data: bytes, low: int, high: int) -> list[tuple[int, int, str]]:
    """The functions within [low, high) by a table of names."""
    count = int.from_bytes(data[:4], "little")
    if not count or 4 + 4 * count > len(data):
        return []
    starts = [int.from_bytes(data[4 + 4 * n : 8 + 4 * n], "little") for n in range(count)]
    names = data[4 + 4 * count :].split(b"\0", count)
    return [
        (start, end, _shown(name))
        for start, end, name in zip(starts, [*starts[1:], high], names, strict=False)
        if low <= start < high
    ]


def _symbols(read: Reader) -> list[tuple[int, int, str]]:
    found = functions(read)
    ends = [*(start for start, _, _ in found[1:]), 0]
    return [
        (start, start + size if size else end, _shown(name))
        for (start, size, name), end in zip(found, ends, strict=False)
    ]


def _shown(name: bytes) -> str:
    return name[:_NAME_MAX].decode(errors="replace")
